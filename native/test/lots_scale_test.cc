// The meter at its limits: numbers near 2^63, deep lattices, 100,000 lots, and threads that race for the last bytes.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <numeric>
#include <random>
#include <thread>

#include "pool.h"
#include "tap.h"

using namespace vreserve;

namespace {

constexpr unsigned kThreads = 8;

// Runs `body` in kThreads threads that start together; each gets its number.
template <typename Body>
void race(Body body) {
  std::atomic<unsigned> ready{0};
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      ++ready;
      while (ready < kThreads) std::this_thread::yield();
      body(number);
    });
  }
  for (auto& thread : threads) thread.join();
}

template <typename Body>
double nanoseconds(Body body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST("numbers near the end of their range neither wrap nor lie") {
  Pool pool(kUnlimited);
  pool.start(2, {.dedicated_bytes = kUnlimited - 5}, {});
  CHECK_EQ(pool.grant(2), kUnlimited);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = kUnlimited}}), ENOSPC);
  CHECK_EQ(pool.charge(1, kUnlimited), 5);
  pool.set_usage(1, kUnlimited, 1);
  pool.set_usage(2, kUnlimited, 1);
  CHECK_EQ(pool.pool().used, kUnlimited);
  CHECK_EQ(pool.charge(1, 1), 0);
  pool.set_usage(1, 0, 0);
  pool.set_usage(2, 0, 0);
  CHECK_EQ(pool.room(1), 5);
}

TEST("a lattice 20 deep with three parents each is as quick and exact as a chain") {
  Pool pool(kUnlimited);
  for (LotId level = 0; level < 20; ++level) {
    std::vector<LotId> parents;
    if (level > 0) parents = {level * 3 - 1, level * 3, level * 3 + 1};
    for (LotId i = 0; i < 3; ++i) pool.start(2 + level * 3 + i, {}, parents);
  }
  CHECK_EQ(pool.change({{.lot = 59, .bytes = 1'000'000'000'000'000}}, true), 0);  // 3^20 paths
  CHECK_EQ(pool.used(2), 1'000'000'000'000'000);
  CHECK_EQ(pool.change({{.lot = 59, .bytes = -1'000'000'000'000'000}}), 0);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.pool().headroom, kUnlimited);
}

TEST("100,000 lots, chained by twenties") {
  Pool pool(kUnlimited);
  for (LotId id = 2; id < 100'002; ++id) {
    const LotId depth = (id - 2) % 20;  // each keeps 5 bytes for itself
    pool.start(id, reservation(200 - 5 * depth), depth == 0 ? std::vector<LotId>{} : std::vector<LotId>{id - 1});
  }
  CHECK_EQ(pool.pool().set_aside, 1'000'000);
  for (LotId id = 2; id < 100'002; ++id) CHECK_EQ(pool.charge(id, 5), 5);
  CHECK_EQ(pool.used(2), 100);
  CHECK_EQ(pool.pool().set_aside, 500'000);  // a leaf's unfilled 100 are needed by all above it
  CHECK_EQ(pool.drain().size(), 100'000U);
  for (LotId id = 2; id < 100'002; ++id) {  // the top of a chain each time
    Reshape what{.gone = {{id, kDefaultLot}}};
    if ((id - 2) % 20 < 19) what.lots = {{id + 1, pool.shapes[id + 1].policy, {}}};
    CHECK_EQ(pool.change_lots(what).error, 0);
  }
  CHECK_EQ(pool.own(kDefaultLot).bytes, 500'000);
}

TEST("a charge costs little more 20 lots deep than in one") {
  constexpr LotId kLots = 100'000;
  constexpr int kCharges = 200'000;
  Meter meter;
  meter.set_pool(kUnlimited, 0, 4096);
  const auto add = nanoseconds([&] {
    for (LotId id = 2; id < kLots + 2; ++id) {
      const LotId parent = id - 1;
      const LotId depth = (id - 2) % 20;
      const Policy policy{.dedicated_bytes = 2'000'000'000 - depth, .opportunistic_bytes = 2'000'000'000};
      CHECK_EQ(meter.add(id, policy, depth == 0 ? std::span<const LotId>{} : std::span(&parent, 1), {}), 0);
    }
  });
  std::printf("# add: %.0f ns a lot\n", add / kLots);
  const auto report = [&](const char* what, LotId first, LotId chains) {
    std::mt19937 random(1);
    const auto spent = nanoseconds([&] {
      for (int n = 0; n < kCharges; ++n) {
        CHECK_EQ(meter.charge_up_to(first + random() % chains * 20, 1, false, true), 1);
      }
    });
    std::printf("# charge: %.0f ns %s\n", spent / kCharges, what);
  };
  report("in one lot", 2, 1);
  report("20 deep in one", 21, 1);
  report("in any of 5,000 lots", 2, 5'000);
  report("20 deep in any of 5,000", 21, 5'000);
  const auto leaves = nanoseconds([&] {
    for (LotId id = 0; id < 10'000; ++id) {
      CHECK_EQ(meter.reshape({.lots = {{200'000 + id, reservation(1), {21 + id % 5'000 * 20}}}}).error, 0);
    }
  });
  std::printf("# reshape: %.0f ns a new leaf 20 deep\n", leaves / 10'000);
}

TEST("lots come, are filled and go while others write below the same grant") {
  Pool pool;
  pool.start(2, limited(50'000), {});
  pool.start(3, {}, {2});
  pool.start(4, {}, {2});
  std::atomic<std::int64_t> held{0};
  race([&](unsigned number) {
    const LotId leaf = 100 + number;
    for (int step = 0; step < 1'000; ++step) {
      const bool made = pool.reshape({.lots = {{leaf, reservation(100), {3, 4}}}}).error == 0;
      const auto got = pool.charge_up_to(made ? leaf : 3, 60, false, true);
      CHECK(!made || got == 60);  // its own, whatever the others do
      pool.landed(got);
      held += got;
      if (!made) continue;
      if (step % 3 == 0) CHECK_EQ(pool.reshape({.lots = {{leaf, reservation(100), {4}}}}).error, 0);
      CHECK_EQ(pool.reshape({.gone = {{leaf, 3}}, .force = true}).error, 0);
    }
  });
  CHECK(held > 40'000 && held <= 50'000);
  CHECK_EQ(pool.used(2), held.load());
  CHECK_EQ(pool.own(3).bytes, held.load());
  CHECK_EQ(pool.used(4), 0);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.room(3), 50'000 - held);
}

TEST("8 threads race for the last bytes of a grant: exactly the grant lands") {
  std::mt19937_64 random(20240611);
  for (int round = 0; round < 200; ++round) {
    const auto grant = static_cast<std::int64_t>(random() % 100'000 + 1);
    const auto most = static_cast<std::int64_t>(random() % 5'000 + 1);
    Pool pool;
    pool.start(2, round % 3 == 0 ? reservation(grant) : limited(grant), {});
    pool.start(3, {}, {2});
    pool.start(4, {}, {2});
    const std::vector<LotId> targets = round % 2 == 0 ? std::vector<LotId>{2} : std::vector<LotId>{2, 3, 4};
    std::atomic<std::int64_t> landed{0};
    race([&](unsigned number) {
      std::mt19937_64 sizes(static_cast<std::uint64_t>(round) * kThreads + number);
      const LotId target = targets[number % targets.size()];
      for (;;) {
        const auto want = static_cast<std::int64_t>(sizes() % static_cast<std::uint64_t>(most) + 1);
        const auto got = pool.charge_up_to(target, want, false, true);
        landed += got;
        // Nothing is refunded, so who is refused, or cut short, proves that no byte was left at that moment.
        if (got < want) break;
      }
    });
    CHECK_EQ(landed.load(), grant);
    CHECK_EQ(pool.used(2), grant);
    CHECK_EQ(pool.room(2), 0);
  }
}

TEST("8 threads race for the last headroom of a pool: exactly the headroom lands") {
  for (int round = 0; round < 50; ++round) {
    Pool pool(50'000 + round, 1'000);
    pool.start(9, reservation(20'000), {});
    for (LotId id = 2; id < 6; ++id) pool.start(id, {}, {});
    std::atomic<std::int64_t> landed{0};
    race([&](unsigned number) {
      while (const auto got = pool.charge_up_to(2 + number % 4, 37 + number, false, true)) landed += got;
    });
    CHECK_EQ(landed.load(), 29'000 + round);
    CHECK_EQ(pool.pool().headroom, 0);
    CHECK_EQ(pool.charge(9, 30'000), 20'000);
  }
}

TEST("a storm of charges, refunds, moves, samples and drains ends in equal sums") {
  constexpr LotId kLots = 12;
  Pool pool(2'000'000, 0);
  for (LotId id = 2; id < 2 + kLots; ++id) {
    pool.start(id, {.dedicated_bytes = 10'000, .opportunistic_bytes = 90'000},
               id < 5 ? std::vector<LotId>{} : std::vector<LotId>{id - 3, id - 2});
  }
  std::vector<std::atomic<std::int64_t>> held(2 + kLots);
  std::atomic<std::int64_t> drained{0};
  const auto drain = [&] {
    for (const auto& change : pool.drain()) drained += change.charged_bytes - change.refunded_bytes;
  };
  race([&](unsigned number) {
    std::mt19937_64 random(number);
    std::vector<std::int64_t> mine(2 + kLots);  // charged and landed by this thread
    for (int step = 0; step < 5'000; ++step) {
      const LotId id = 2 + random() % kLots;
      const LotId other = 2 + random() % kLots;
      const auto bytes = static_cast<std::int64_t>(random() % 3'000 + 1);
      switch (random() % 8) {
        case 0: {
          const auto got = pool.charge_up_to(id, bytes, false, true);
          pool.refund_unlanded(id, got, false);
          break;
        }
        case 1: {
          const auto back = std::min(bytes, mine[id]);
          CHECK_EQ(pool.change({{.lot = id, .bytes = -back}}), 0);
          mine[id] -= back;
          break;
        }
        case 2:
          if (mine[id] >= bytes && pool.change({{.lot = id, .bytes = -bytes}, {.lot = other, .bytes = bytes}}) == 0) {
            mine[id] -= bytes;
            mine[other] += bytes;
          }
          break;
        case 3:
          pool.sample(1'000'000);
          CHECK(pool.room(id) >= 0);
          break;
        case 4:
          drain();
          break;
        default: {
          const auto got = pool.charge_up_to(id, bytes, false, true);
          pool.landed(got);
          mine[id] += got;
        }
      }
      CHECK(pool.used(id) <= 100'000);
    }
    for (LotId id = 2; id < 2 + kLots; ++id) held[id] += mine[id];
  });
  drain();
  std::int64_t total = 0;
  for (LotId id = 2; id < 2 + kLots; ++id) {
    CHECK_EQ(pool.own(id).bytes, held[id].load());
    total += held[id];
  }
  CHECK_EQ(pool.pool().used, total);
  CHECK_EQ(drained.load(), total);
  for (LotId id = 2; id < 2 + kLots; ++id) CHECK_EQ(pool.change({{.lot = id, .bytes = -held[id]}}), 0);
  CHECK_EQ(pool.used(2), 0);
  CHECK_EQ(pool.pool().used, 0);
}

TAP_MAIN()
