// Bound paths: which lot owns a path, as bindings come and go.
#include "paths.h"

#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "tap.h"

using namespace vreserve;

namespace {

std::string bound(const Paths& paths, LotId lot) {
  std::string all;
  for (const auto& bound : paths.bound_to(lot)) all += bound.path + " ";
  return all;
}

}  // namespace

TEST("an unbound tree is the default lot's") {
  const Paths paths;
  CHECK_EQ(paths.root().lot, kDefaultLot);
  CHECK(paths.root().node != nullptr);
  CHECK_EQ(paths.at("/", true).lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b", true).lot, kDefaultLot);
  CHECK(paths.at("/a", true).node == nullptr);
  CHECK_EQ(bound(paths, kDefaultLot), "");
}

TEST("the longest bound prefix owns, by whole components, byte by byte") {
  Paths paths;
  paths.bind("/a/b", {2});
  paths.bind("/a/b/c/d", {3});
  paths.bind("/\xc3\xa9", {4});
  CHECK_EQ(paths.at("/a", true).lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b", true).lot, 2U);
  CHECK_EQ(paths.at("/a/bb", true).lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/B", true).lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b/x/y", true).lot, 2U);
  CHECK_EQ(paths.at("/a/b/c", true).lot, 2U);
  CHECK_EQ(paths.at("/a/b/c/d", true).lot, 3U);
  CHECK_EQ(paths.at("/a/b/c/d/e", true).lot, 3U);
  CHECK_EQ(paths.at("/\xc3\xa9/x", true).lot, 4U);
  CHECK_EQ(paths.at("/e\xcc\x81", true).lot, kDefaultLot);  // the same letter in other bytes
}

TEST("step by step is the same as at once, and ends where nothing is bound below") {
  Paths paths;
  paths.bind("/a/b", {2});
  const PathStep a = paths.step(paths.root(), "a", true);
  CHECK(a.node != nullptr && !paths.is_bound(a.node));
  CHECK_EQ(a.lot, kDefaultLot);
  const PathStep b = paths.step(a, "b", true);
  CHECK(b.node == paths.at("/a/b", true).node && paths.is_bound(b.node));
  CHECK_EQ(b.lot, 2U);
  const PathStep c = paths.step(b, "c", true);
  CHECK(c.node == nullptr && !paths.is_bound(c.node));
  CHECK_EQ(c.lot, 2U);
  CHECK_EQ(paths.step(c, "d", true).lot, 2U);
}

TEST("bound_to lists a lot's paths in bytewise order, spelled in one way") {
  Paths paths;
  paths.bind("/b", {2});
  paths.bind("//a//c/", {2});
  paths.bind("/a.d", {2});
  paths.bind("/\xff", {2});
  paths.bind("/other", {3});
  CHECK_EQ(bound(paths, 2), "/a.d /a/c /b /\xff ");
  paths.unbind("/a/c/");
  CHECK_EQ(bound(paths, 2), "/a.d /b /\xff ");
  CHECK_EQ(paths.at("/a/c", true).lot, kDefaultLot);
}

TEST("a path that is bound anew belongs to the last binding only") {
  Paths paths;
  paths.bind("/a", {2});
  paths.bind("/a", {3});
  CHECK_EQ(paths.at("/a", true).lot, 3U);
  CHECK_EQ(bound(paths, 2), "");
  CHECK_EQ(bound(paths, 3), "/a ");
  paths.bind("/a", {3});
  CHECK_EQ(bound(paths, 3), "/a ");
}

TEST("the root can be bound and falls back to the default lot") {
  Paths paths;
  paths.bind("/", {2});
  CHECK_EQ(paths.at("/x", true).lot, 2U);
  CHECK_EQ(bound(paths, 2), "/ ");
  paths.unbind("/");
  CHECK_EQ(paths.at("/x", true).lot, kDefaultLot);
  CHECK_EQ(bound(paths, 2), "");
}

TEST("unbinding leaves what is bound above and below") {
  Paths paths;
  paths.bind("/a", {2});
  paths.bind("/a/b/c", {3});
  paths.bind("/a/b/c/d/e", {4});
  paths.unbind("/a/b/c");
  CHECK_EQ(paths.at("/a/b/c", true).lot, 2U);
  CHECK_EQ(paths.at("/a/b/c/d/e", true).lot, 4U);
  CHECK(paths.at("/a/b/c", true).node != nullptr);
  paths.unbind("/a/b/c/d/e");
  CHECK(paths.at("/a/b", true).node == nullptr);
  CHECK(paths.is_bound(paths.at("/a", true).node));
  paths.unbind("/a/b");        // never bound
  paths.unbind("/no/such/x");  // nor there
  CHECK_EQ(paths.at("/a/b", true).lot, 2U);
  paths.unbind("/a");
  CHECK(paths.root().node->children.empty());
}

TEST("a node that fell away can be asked until it is reclaimed") {
  Paths paths;
  paths.bind("/a/b/c", {2});
  const PathStep b = paths.at("/a/b", true);
  const PathStep c = paths.at("/a/b/c", true);
  paths.unbind("/a/b/c");
  CHECK(!paths.is_bound(c.node));
  CHECK(paths.step(b, "c", true).node == nullptr);
  CHECK_EQ(paths.step(b, "c", true).lot, kDefaultLot);
  paths.bind("/a/b/c", {3});  // new nodes
  CHECK(paths.at("/a/b", true).node != b.node);
  CHECK_EQ(paths.at("/a/b/c", true).lot, 3U);
  paths.reclaim();
  CHECK_EQ(paths.at("/a/b/c", true).lot, 3U);
}

TEST("not recursive: the path and, of a directory, its entries that are none") {
  Paths paths;
  paths.bind("/a", {2});
  paths.bind("/a/b", {3, false});
  CHECK_EQ(paths.at("/a/b", true).lot, 3U);
  CHECK_EQ(paths.at("/a/b", false).lot, 3U);
  CHECK_EQ(paths.at("/a/b/file", false).lot, 3U);
  CHECK_EQ(paths.at("/a/b/sub", true).lot, 2U);
  CHECK_EQ(paths.at("/a/b/sub/file", false).lot, 2U);
  CHECK(paths.is_bound(paths.at("/a/b", true).node));
  paths.bind("/a/b/on/the/way", {4});
  CHECK_EQ(paths.at("/a/b/on", true).lot, 2U);
  CHECK_EQ(paths.at("/a/b/on", false).lot, 3U);  // a file where the way to a bound path would lead
  CHECK_EQ(paths.at("/a/b/on/file", false).lot, 2U);
  CHECK_EQ(paths.at("/a/b/on/the/way/x", false).lot, 4U);
  paths.bind("/a/b/deeper", {5, false});
  CHECK_EQ(paths.at("/a/b/deeper/file", false).lot, 5U);
  CHECK_EQ(paths.at("/a/b/deeper/sub/file", false).lot, 2U);
  paths.unbind("/a");
  CHECK_EQ(paths.at("/a/b/deeper/sub/file", false).lot, kDefaultLot);
  CHECK_EQ(paths.at("/a/b/file", false).lot, 3U);
}

TEST("an exclusion takes from its lot alone, and a deeper binding gives back") {
  Paths paths;
  paths.bind("/", {9});
  paths.bind("/a", {2});
  paths.bind("/a/b", {3});
  paths.bind("/a/b/x", {3, true, true});
  paths.bind("/a/b/x/y", {2, true, true});
  paths.bind("/a/b/x/y/z", {3});
  const PathStep x = paths.at("/a/b/x", true);
  CHECK_EQ(x.lot, 2U);
  CHECK(x.node != nullptr && !paths.is_bound(x.node));
  CHECK_EQ(paths.at("/a/b/x/file", false).lot, 2U);
  CHECK_EQ(paths.at("/a/b/x/y/file", false).lot, 9U);
  CHECK_EQ(paths.at("/a/b/x/y/z/file", false).lot, 3U);
  CHECK_EQ(paths.at("/a/b/file", false).lot, 3U);
  paths.bind("/a/b", {4});  // what the exclusion at x takes from lot 3, it does not have
  CHECK_EQ(paths.at("/a/b/x/file", false).lot, 4U);
  CHECK_EQ(paths.at("/a/b/x/y/file", false).lot, 4U);
  paths.bind("/a/b", {3, false});
  CHECK_EQ(paths.at("/a/b/x/y/file", false).lot, 9U);
  paths.bind("/a", {5});
  CHECK_EQ(paths.at("/a/b/x/y/file", false).lot, 5U);
  CHECK_EQ(bound(paths, 3), "/a/b /a/b/x /a/b/x/y/z ");
}

TEST("an exclusion of a file falls back to its directory's own binding") {
  Paths paths;
  paths.bind("/a", {2});
  paths.bind("/a/b", {3, false});
  paths.bind("/a/b/f", {2, true, true});
  CHECK_EQ(paths.at("/a/b/f", false).lot, 3U);
  CHECK_EQ(paths.at("/a/b/f", true).lot, kDefaultLot);
  paths.bind("/a/b/f", {3, true, true});
  CHECK_EQ(paths.at("/a/b/f", false).lot, 2U);
}

TEST("topmost paths, by whole components") {
  const auto tops = topmost({"/b", "/a-b", "/a/c", "/a", "/a.x/y", "/a", "/c/d", "/c/d/e"});
  std::string all;
  for (const auto& top : tops) all += top + " ";
  CHECK_EQ(all, "/a /a-b /a.x/y /b /c/d ");
  CHECK_EQ(topmost({"/a", "/", "/b"}).size(), 1U);
  CHECK(is_at_or_below("/a", "/a") && is_at_or_below("/a/b", "/a") && !is_at_or_below("/ab", "/a"));
  CHECK_EQ(normalized("//a///b/"), "/a/b");
  CHECK_EQ(normalized("/"), "/");
}

namespace {

// The rule as it is said, looked up anew for each path.
struct Model {
  std::map<std::string, Binding> bindings{{"/", {kDefaultLot}}};

  [[nodiscard]] LotId owner(const std::string& path, bool is_directory) const {
    std::set<LotId> excluded;
    std::string at = path;
    for (;;) {
      if (const auto found = bindings.find(at); found != bindings.end()) {
        const Binding& binding = found->second;
        const bool reaches = binding.recursive || at == path || (!is_directory && at == above(path));
        if (binding.exclude && reaches) excluded.insert(binding.lot);
        if (!binding.exclude && reaches && !excluded.contains(binding.lot)) return binding.lot;
      }
      if (at == "/") return kDefaultLot;
      at = above(at);
    }
  }
  static std::string above(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
  }
};

struct Chance {
  std::mt19937 random;
  unsigned upto(unsigned most) { return static_cast<unsigned>(random() % most); }
  std::string path(unsigned deepest) {
    std::string path;
    for (unsigned depth = 1 + upto(deepest); depth > 0; --depth) path += std::string("/") + "abc"[upto(3)];
    return path;
  }
};

bool agree(const Paths& paths, const Model& model, Chance& chance, const std::vector<std::string>& tops) {
  bool all = true;
  for (int i = 0; i < 60; ++i) {
    std::string path = chance.upto(8) == 0 ? "" : chance.path(5);
    if (!tops.empty()) path = tops[chance.upto(static_cast<unsigned>(tops.size()))] + path;
    if (path.empty()) path = "/";
    const bool is_directory = path == "/" || chance.upto(2) == 0;
    const LotId lot = paths.at(path, is_directory).lot;
    if (lot == model.owner(path, is_directory)) continue;
    std::printf("# %s (%s): %u, not %u\n", path.c_str(), is_directory ? "directory" : "file", lot,
                model.owner(path, is_directory));
    all = false;
  }
  return all;
}

void change(Paths& paths, Model& model, const std::string& path, const Binding& binding) {
  if (binding.lot == kNoLot) {
    paths.unbind(path);
    model.bindings.erase(path);
  } else {
    paths.bind(path, binding);
    model.bindings[path] = binding;
  }
}

Binding any_binding(Chance& chance) {
  if (chance.upto(4) == 0) return {};
  const bool exclude = chance.upto(3) == 0;
  return {1 + chance.upto(4), chance.upto(3) != 0, exclude};
}

}  // namespace

TEST("any bindings, in any order, own as the rule says; so does an excerpt of them") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    Chance chance{std::mt19937(seed)};
    Paths paths;
    Model model;
    bool right = true;
    for (int i = 0; i < 120 && right; ++i) {
      change(paths, model, chance.path(5), any_binding(chance));
      right = CHECK(agree(paths, model, chance, {}));
      if (i % 10 != 9 || !right) continue;
      // What some paths would be under a change: asked of the excerpt, and the original stays as it is.
      std::vector<std::string> changed;
      for (int n = 0; n < 4; ++n) changed.push_back(chance.path(4));
      const auto tops = topmost(changed);
      const auto excerpt = paths.excerpt(tops);
      right = CHECK(agree(*excerpt, model, chance, tops));
      Model then = model;
      for (const auto& path : changed) change(*excerpt, then, path, any_binding(chance));
      right = CHECK(agree(*excerpt, then, chance, tops)) && CHECK(agree(paths, model, chance, {}));
      paths.reclaim();
    }
    for (const auto& [path, binding] : model.bindings) {
      CHECK(path == "/" || paths.binding_of(path) == binding);
    }
    if (!right) std::printf("# seed %u\n", seed);
  }
}

TEST("walks and bindings go on side by side") {
  Paths paths;
  paths.bind("/a", {2});
  std::atomic<bool> stop{false};
  std::vector<std::thread> walkers;
  for (int i = 0; i < 3; ++i) {
    walkers.emplace_back([&] {
      while (!stop) {
        PathStep step = paths.root();
        for (const char* name : {"a", "b", "c", "d"}) step = paths.step(step, name, true);
        CHECK(step.lot == 2 || step.lot == 3);
        (void)paths.is_bound(step.node);
        CHECK(paths.bound_to(2).size() == 1);
      }
    });
  }
  for (int i = 0; i < 2'000; ++i) {
    paths.bind("/a/b/c", {3});
    paths.unbind("/a/b/c");
  }
  stop = true;
  for (auto& walker : walkers) walker.join();
  paths.reclaim();
  CHECK_EQ(paths.at("/a/b/c", true).lot, 2U);
}

TAP_MAIN()
