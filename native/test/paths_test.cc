// Bound paths: which lot owns a path, as bindings come and go.
#include "paths.h"

#include <atomic>
#include <string>
#include <thread>

#include "tap.h"

using namespace vreserve;

namespace {

std::string bound(const Paths& paths, LotId lot) {
  std::string all;
  for (const auto& path : paths.bound_to(lot)) all += path + " ";
  return all;
}

}  // namespace

TEST("an unbound tree is the default lot's") {
  const Paths paths;
  CHECK_EQ(paths.root().lot, kDefaultLot);
  CHECK(paths.root().node != nullptr);
  CHECK_EQ(paths.at("/").lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b").lot, kDefaultLot);
  CHECK(paths.at("/a").node == nullptr);
  CHECK_EQ(bound(paths, kDefaultLot), "");
}

TEST("the longest bound prefix owns, by whole components, byte by byte") {
  Paths paths;
  paths.bind("/a/b", 2);
  paths.bind("/a/b/c/d", 3);
  paths.bind("/\xc3\xa9", 4);
  CHECK_EQ(paths.at("/a").lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b").lot, 2U);
  CHECK_EQ(paths.at("/a/bb").lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/B").lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b/x/y").lot, 2U);
  CHECK_EQ(paths.at("/a/b/c").lot, 2U);
  CHECK_EQ(paths.at("/a/b/c/d").lot, 3U);
  CHECK_EQ(paths.at("/a/b/c/d/e").lot, 3U);
  CHECK_EQ(paths.at("/\xc3\xa9/x").lot, 4U);
  CHECK_EQ(paths.at("/e\xcc\x81").lot, kDefaultLot);  // the same letter in other bytes
}

TEST("step by step is the same as at once, and ends where nothing is bound below") {
  Paths paths;
  paths.bind("/a/b", 2);
  const PathStep a = paths.step(paths.root(), "a");
  CHECK(a.node != nullptr && !paths.is_bound(a.node));
  CHECK_EQ(a.lot, kDefaultLot);
  const PathStep b = paths.step(a, "b");
  CHECK(b.node == paths.at("/a/b").node && paths.is_bound(b.node));
  CHECK_EQ(b.lot, 2U);
  const PathStep c = paths.step(b, "c");
  CHECK(c.node == nullptr && !paths.is_bound(c.node));
  CHECK_EQ(c.lot, 2U);
  CHECK_EQ(paths.step(c, "d").lot, 2U);
}

TEST("bound_to lists a lot's paths in bytewise order, spelled in one way") {
  Paths paths;
  paths.bind("/b", 2);
  paths.bind("//a//c/", 2);
  paths.bind("/a.d", 2);
  paths.bind("/\xff", 2);
  paths.bind("/other", 3);
  CHECK_EQ(bound(paths, 2), "/a.d /a/c /b /\xff ");
  paths.unbind("/a/c/");
  CHECK_EQ(bound(paths, 2), "/a.d /b /\xff ");
  CHECK_EQ(paths.at("/a/c").lot, kDefaultLot);
}

TEST("a path that is bound anew belongs to the last binding only") {
  Paths paths;
  paths.bind("/a", 2);
  paths.bind("/a", 3);
  CHECK_EQ(paths.at("/a").lot, 3U);
  CHECK_EQ(bound(paths, 2), "");
  CHECK_EQ(bound(paths, 3), "/a ");
  paths.bind("/a", 3);
  CHECK_EQ(bound(paths, 3), "/a ");
}

TEST("the root can be bound and falls back to the default lot") {
  Paths paths;
  paths.bind("/", 2);
  CHECK_EQ(paths.at("/x").lot, 2U);
  CHECK_EQ(bound(paths, 2), "/ ");
  paths.unbind("/");
  CHECK_EQ(paths.at("/x").lot, kDefaultLot);
  CHECK_EQ(bound(paths, 2), "");
}

TEST("unbinding leaves what is bound above and below") {
  Paths paths;
  paths.bind("/a", 2);
  paths.bind("/a/b/c", 3);
  paths.bind("/a/b/c/d/e", 4);
  paths.unbind("/a/b/c");
  CHECK_EQ(paths.at("/a/b/c").lot, 2U);
  CHECK_EQ(paths.at("/a/b/c/d/e").lot, 4U);
  CHECK(paths.at("/a/b/c").node != nullptr);
  paths.unbind("/a/b/c/d/e");
  CHECK(paths.at("/a/b").node == nullptr);
  CHECK(paths.is_bound(paths.at("/a").node));
  paths.unbind("/a/b");        // never bound
  paths.unbind("/no/such/x");  // nor there
  CHECK_EQ(paths.at("/a/b").lot, 2U);
  paths.unbind("/a");
  CHECK(paths.root().node->children.empty());
}

TEST("a node that fell away can be asked until it is reclaimed") {
  Paths paths;
  paths.bind("/a/b/c", 2);
  const PathStep b = paths.at("/a/b");
  const PathStep c = paths.at("/a/b/c");
  paths.unbind("/a/b/c");
  CHECK(!paths.is_bound(c.node));
  CHECK(paths.step(b, "c").node == nullptr);
  CHECK_EQ(paths.step(b, "c").lot, kDefaultLot);
  paths.bind("/a/b/c", 3);  // new nodes
  CHECK(paths.at("/a/b").node != b.node);
  CHECK_EQ(paths.at("/a/b/c").lot, 3U);
  paths.reclaim();
  CHECK_EQ(paths.at("/a/b/c").lot, 3U);
}

TEST("walks and bindings go on side by side") {
  Paths paths;
  paths.bind("/a", 2);
  std::atomic<bool> stop{false};
  std::vector<std::thread> walkers;
  for (int i = 0; i < 3; ++i) {
    walkers.emplace_back([&] {
      while (!stop) {
        PathStep step = paths.root();
        for (const char* name : {"a", "b", "c", "d"}) step = paths.step(step, name);
        CHECK(step.lot == 2 || step.lot == 3);
        (void)paths.is_bound(step.node);
        CHECK(paths.bound_to(2).size() == 1);
      }
    });
  }
  for (int i = 0; i < 2'000; ++i) {
    paths.bind("/a/b/c", 3);
    paths.unbind("/a/b/c");
  }
  stop = true;
  for (auto& walker : walkers) walker.join();
  paths.reclaim();
  CHECK_EQ(paths.at("/a/b/c").lot, 2U);
}

TAP_MAIN()
