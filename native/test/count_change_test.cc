// Counting under two sets of bindings at once: what moves, and whose names would be split.
#include <algorithm>

#include "tree.h"

using namespace vreserve;

namespace {

// Counts under the tree's bindings and under `after`.
CountOutcome count_both(Tree& tree, const Paths& after, const std::vector<std::string>& tops,
                        const std::unordered_map<ino_t, LotId>& straddling = {},
                        const std::unordered_set<ino_t>& watched = {}) {
  return count_change(tree.root(), tops, tree.paths, {after, straddling, watched}, 3, tree.progress);
}

// "FROM>TO:BYTES/OBJECTS", in order.
std::string moves_of(const CountOutcome& outcome) {
  std::vector<std::string> all;
  for (const CountMove& move : outcome.moves) {
    all.push_back(std::to_string(move.from) + ">" + std::to_string(move.to) + ":" + std::to_string(move.count.bytes) + "/" +
                  std::to_string(move.count.objects));
  }
  std::sort(all.begin(), all.end());
  std::string text;
  for (const auto& one : all) text += one + " ";
  return text;
}

ino_t inode_at(const Tree& tree, const std::string& path) {
  struct stat st {};
  CHECK_EQ(::lstat(tree.at(path).c_str(), &st), 0);
  return st.st_ino;
}

}  // namespace

TEST("under two bindings at once: what moves, and what is watched of it") {
  Tree tree;
  for (const char* name : {"/a", "/a/b", "/a/b/c", "/z"}) tree.directory(name);
  tree.file("/a/one", 1);
  tree.file("/a/b/two", 20);
  tree.file("/a/b/c/three", 300);
  tree.file("/a/b/c/four", 4'000);
  tree.file("/z/file", 50'000);
  tree.paths.bind("/a", {2});
  const auto after = tree.paths.excerpt(std::vector<std::string>{"/a"});
  after->bind("/a", {3, false});
  after->bind("/a/b", {4, false});
  after->bind("/a/b/c/four", {2});
  const std::unordered_set<ino_t> watched{inode_at(tree, "/a/one"), inode_at(tree, "/a/b/c/four"), inode_at(tree, "/z/file")};
  auto outcome = count_both(tree, *after, {"/a"}, {}, watched);
  CHECK_EQ(outcome.error, 0);
  CHECK_EQ(moves_of(outcome), "2>1:300/1 2>3:1/1 2>4:20/1 ");
  CHECK(holds(outcome, 2, 4'321, 4));
  CHECK_EQ(outcome.watched.size(), 2U);
  const Passage one = outcome.watched[inode_at(tree, "/a/one")];
  CHECK(one.from == 2 && one.to == 3 && one.bytes == 1);
  const Passage four = outcome.watched[inode_at(tree, "/a/b/c/four")];
  CHECK(four.from == 2 && four.to == 2 && four.bytes == 4'000);
  CHECK_EQ(outcome.split, "");
  CHECK_EQ(moves_of(count_both(tree, *after, {"/a/b/c", "/a/one", "/none"})), "2>1:300/1 2>3:1/1 ");
}

TEST("an inode is split where one of its names changes its lot and another has a different one then") {
  Tree tree;
  for (const char* name : {"/a", "/a/b", "/z"}) tree.directory(name);
  tree.file("/a/both", 1);
  tree.link("/a/both", "/a/b/both");
  tree.file("/a/b/within", 20);
  tree.link("/a/b/within", "/a/b/within2");
  tree.file("/a/b/out", 300);
  tree.link("/a/b/out", "/z/out");
  Paths after;
  after.bind("/a", {2});
  auto outcome = count_both(tree, after, {"/a"});
  CHECK_EQ(outcome.split, "/a/b/out");  // its other name stays where it was
  CHECK_EQ(outcome.straddling_after.size(), 1U);
  CHECK_EQ(count_both(tree, after, {"/a", "/z"}).split, "/a/b/out");
  after.bind("/z", {2});
  outcome = count_both(tree, after, {"/a", "/z"});
  CHECK_EQ(outcome.split, "");
  CHECK_EQ(moves_of(outcome), "1>2:321/3 ");
  Paths inner;
  inner.bind("/a/b", {3});
  CHECK_EQ(count_both(tree, inner, {"/a/b"}).split, "/a/b/both");
  // No name of it changes: that another one is elsewhere is no matter.
  Paths same;
  same.bind("/a/b/within", {3, true, true});
  CHECK_EQ(count_both(tree, same, {"/a"}).split, "");
  // One that straddles already is charged to one lot, and comes together here.
  tree.paths.bind("/a/b", {4});
  outcome = count_both(tree, after, {"/a", "/z"}, {{inode_at(tree, "/a/both"), 4}, {inode_at(tree, "/a/b/out"), 1}});
  CHECK_EQ(outcome.split, "");
  CHECK_EQ(outcome.gathered.size(), 2U);
  CHECK_EQ(moves_of(outcome), "1>2:300/1 4>2:21/2 ");
}

TAP_MAIN()
