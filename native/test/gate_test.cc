// What may be written to a blob: open, sealed, decided, and threads that write meanwhile.
#include "gate.h"

#include <atomic>
#include <thread>
#include <vector>

#include "tap.h"

using namespace vreserve;

namespace {

using TestGate = Gate<int>;
using Passage = TestGate::Passage;

Passage enter(TestGate& gate, int what = 0) {
  return gate.enter([what] { return what; });
}

}  // namespace

TEST("changes pass until it is sealed, and what comes before the decision waits for it") {
  TestGate gate;
  CHECK(gate.is_open());
  CHECK(enter(gate) == Passage::open);
  gate.leave(true, 0);
  TestGate::Use use;
  CHECK(gate.seal(use));
  CHECK(use.written);
  CHECK_EQ(use.failed, 0);
  CHECK(!gate.is_open());
  CHECK(!gate.seal(use));
  CHECK(enter(gate, 1) == Passage::waits);
  CHECK(enter(gate, 2) == Passage::waits);
  CHECK(gate.decide(true) == (std::vector<int>{1, 2}));
  CHECK(enter(gate) == Passage::open);
  gate.leave(true, 0);
  CHECK(gate.seal(use));
  CHECK(enter(gate, 3) == Passage::waits);
  CHECK(gate.decide(false) == std::vector<int>{3});
  CHECK(enter(gate) == Passage::shut);
  CHECK(!gate.seal(use));
  CHECK(gate.settle().written);
}

TEST("the first failure is kept, and a change that comes again counts for nothing") {
  TestGate gate;
  CHECK(enter(gate) == Passage::open);
  gate.leave(false, 0);
  CHECK(!gate.settle().written);
  for (const int failed : {0, 28, 0, 5}) {
    CHECK(enter(gate) == Passage::open);
    gate.leave(true, failed);
  }
  CHECK_EQ(gate.settle().failed, 28);
}

TEST("who seals waits for every change that is under way") {
  for (int round = 0; round < 200; ++round) {
    TestGate gate;
    std::atomic<int> changing{0};
    std::atomic<int> changed{0};
    std::atomic<int> kept{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          const Passage passage = enter(gate);
          if (passage == Passage::waits) ++kept;
          if (passage != Passage::open) return;
          ++changing;
          ++changed;
          --changing;
          gate.leave(true, 0);
        }
      });
    }
    while (changed < 20) std::this_thread::yield();
    TestGate::Use use;
    CHECK(gate.seal(use));
    CHECK_EQ(changing.load(), 0);
    const int before = changed;
    for (auto& thread : threads) thread.join();
    CHECK_EQ(changed.load(), before);
    CHECK_EQ(static_cast<int>(gate.decide(false).size()), kept.load());
    CHECK_EQ(kept.load(), 4);
  }
}

TAP_MAIN()
