// The full count: trees of all kinds in a temporary directory, counted with one thread and with several.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <functional>
#include <thread>

#include "tree.h"

using namespace vreserve;

namespace {

int open_descriptors() {
  DIR* const directory = ::opendir("/proc/self/fd");
  int count = -3;  // ".", ".." and this one
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

// Goes down a chain of directories from an open one, making them, and calls `at_end` with the last.
void deep_chain(int start, const std::string& name, int depth, const std::function<void(int)>& at_end) {
  Fd here(::dup(start));
  for (int i = 0; i < depth; ++i) {
    CHECK_EQ(::mkdirat(here.get(), name.c_str(), 0755), 0);
    here = Fd(::openat(here.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  at_end(here.get());
}

}  // namespace

TEST("files, by the lots that own their paths") {
  Tree tree;
  tree.directory("/a");
  tree.directory("/a/b");
  tree.directory("/a/bb");
  tree.directory("/empty");
  tree.file("/one", 1);
  tree.file("/a/two", 20);
  tree.file("/a/b/three", 300);
  tree.file("/a/bb/four", 4'000);
  tree.file("/a/file", 50'000);
  tree.paths.bind("/a", {2});
  tree.paths.bind("/a/b", {3});
  tree.paths.bind("/a/file", {4});
  tree.paths.bind("/gone", {5});
  for (const unsigned threads : {1U, 2U, 8U}) {
    auto outcome = tree.count("/", threads);
    CHECK_EQ(outcome.error, 0);
    CHECK(holds(outcome, kDefaultLot, 1, 1));
    CHECK(holds(outcome, 2, 4'020, 2));
    CHECK(holds(outcome, 3, 300, 1));
    CHECK(holds(outcome, 4, 50'000, 1));
    CHECK_EQ(outcome.hole_bytes, 0);
    CHECK(outcome.straddling.empty());
    CHECK_EQ(outcome.partial, "");
    CHECK_EQ(tree.progress.files.load(), 5);
    CHECK_EQ(tree.progress.directories.load(), 5);
    CHECK_EQ(tree.progress.bytes.load(), 54'321);
  }
}

TEST("a subtree, a single file, and what is absent") {
  Tree tree;
  tree.directory("/a");
  tree.directory("/a/b");
  tree.file("/a/one", 10);
  tree.file("/a/b/two", 5);
  CHECK_EQ(::symlink("a", tree.at("/link").c_str()), 0);
  tree.paths.bind("/a/b", {2});
  auto outcome = tree.count("//a/");
  CHECK(holds(outcome, kDefaultLot, 10, 1) && holds(outcome, 2, 5, 1));
  outcome = tree.count("/a/b/two");
  CHECK(holds(outcome, kDefaultLot, 0, 0) && holds(outcome, 2, 5, 1));
  outcome = tree.count("/link");
  CHECK(holds(outcome, kDefaultLot, 0, 1));
  for (const char* absent : {"/none", "/none/x", "/a/one/x", "/link/b", "/link/b/two"}) {
    outcome = tree.count(absent);
    CHECK_EQ(outcome.error, 0);
    CHECK(outcome.lots.empty());
  }
}

TEST("only regular files have bytes; every inode that is no directory is an object") {
  Tree tree;
  tree.file("/file", 100);
  CHECK_EQ(::symlink("/etc", tree.at("/absolute").c_str()), 0);
  CHECK_EQ(::symlink("a-target-that-is-not-there", tree.at("/dangling").c_str()), 0);
  CHECK_EQ(::symlink(".", tree.at("/loop").c_str()), 0);
  CHECK_EQ(::mkfifo(tree.at("/fifo").c_str(), 0644), 0);
  CHECK_EQ(::mknod(tree.at("/socket").c_str(), S_IFSOCK | 0644, 0), 0);
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 100, 6));
}

TEST("a sparse file counts in full, and what it has not allocated is a hole") {
  Tree tree;
  tree.file("/full", 8'192);
  tree.file("/sparse", 4'096);
  CHECK_EQ(::truncate(tree.at("/sparse").c_str(), 10'000'000), 0);
  struct stat st {};
  CHECK_EQ(::stat(tree.at("/sparse").c_str(), &st), 0);
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 10'008'192, 2));
  CHECK_EQ(outcome.hole_bytes, 10'000'000 - st.st_blocks * 512);
  CHECK(outcome.hole_bytes > 9'900'000);
  tree.link("/sparse", "/again");
  outcome = tree.count();
  CHECK_EQ(outcome.hole_bytes, 10'000'000 - st.st_blocks * 512);
}

TEST("an inode with several names counts once, where its bytewise first path is") {
  Tree tree;
  for (const char* name : {"/a", "/b", "/c", "/a.x"}) tree.directory(name);
  tree.file("/c/within", 7);
  tree.link("/c/within", "/c/within2");
  tree.link("/c/within", "/c/within3");
  tree.file("/c/across", 100);
  tree.link("/c/across", "/b/across");
  tree.link("/c/across", "/b/also");
  tree.file("/c/slash", 1'000);
  tree.link("/c/slash", "/a/z");
  tree.link("/c/slash", "/a.x/a");  // '.' comes before '/'
  tree.paths.bind("/a", {2});
  tree.paths.bind("/a.x", {3});
  tree.paths.bind("/b", {4});
  tree.paths.bind("/c", {5});
  for (int round = 0; round < 20; ++round) {
    auto outcome = tree.count("/", 1 + static_cast<unsigned>(round) % 4);
    CHECK(holds(outcome, 2, 0, 0));
    CHECK(holds(outcome, 3, 1'000, 1));
    CHECK(holds(outcome, 4, 100, 1));
    CHECK(holds(outcome, 5, 7, 1));
    CHECK_EQ(outcome.partial, "");
    CHECK_EQ(outcome.straddling.size(), 2U);
    if (outcome.straddling.size() != 2) continue;
    struct stat st {};
    CHECK_EQ(::stat(tree.at("/c/slash").c_str(), &st), 0);
    CHECK_EQ(outcome.straddling[0].path, "/a.x/a");
    CHECK_EQ(outcome.straddling[0].lot, 3U);
    CHECK(outcome.straddling[0].inode == st.st_ino && outcome.straddling[0].device == st.st_dev);
    CHECK_EQ(outcome.straddling[1].path, "/b/across");
    CHECK_EQ(outcome.straddling[1].lot, 4U);
    CHECK_EQ(tree.progress.files.load(), 3);
  }
}

TEST("a name outside of what is walked is told, by the bytewise first path that was seen") {
  Tree tree;
  tree.directory("/a");
  tree.directory("/b");
  tree.file("/a/z", 1);
  tree.link("/a/z", "/a/y");
  tree.link("/a/z", "/b/1");
  tree.file("/a/x", 1);
  tree.link("/a/x", "/b/2");
  tree.file("/a/k", 1);
  tree.link("/a/k", "/a/l");
  auto outcome = tree.count("/a");
  CHECK_EQ(outcome.partial, "/a/x");
  CHECK(holds(outcome, kDefaultLot, 3, 3));
  CHECK(outcome.straddling.empty());
  CHECK_EQ(tree.count("/b/1").partial, "/b/1");
  CHECK_EQ(tree.count().partial, "");
}

TEST("of `.vreserve` directly below the root only what is served is counted; elsewhere and by name all of it is") {
  Tree tree;
  tree.directory("/.vreserve");
  tree.directory("/.vreserve/spool");
  tree.directory("/a");
  tree.directory("/a/.vreserve");
  tree.file("/.vreserve/ledger", 1'000);
  tree.file("/.vreserve/spool/job", 30);
  tree.file("/a/.vreserve/file", 5);
  tree.file("/.vreserve2", 1);
  tree.directory("/.vreserve/spool/q");
  tree.directory("/.vreserve/spoolx");
  tree.file("/.vreserve/spool/q/deep", 200);
  tree.file("/.vreserve/spoolx/file", 50'000);
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 236, 4));
  CHECK_EQ(tree.progress.directories.load(), 5);
  tree.directory("/.vreserve/blobs");
  tree.file("/.vreserve/blobs/1", 4'000);
  outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 4'236, 5));
  tree.paths.bind("/.vreserve/blobs", {3});
  tree.paths.bind("/.vreserve/spool", {2});
  outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 6, 2) && holds(outcome, 2, 230, 2));
  outcome = tree.count("/.vreserve/spool");
  CHECK(holds(outcome, 2, 230, 2));
  outcome = tree.count("/.vreserve");
  CHECK(holds(outcome, kDefaultLot, 51'000, 2) && holds(outcome, 2, 230, 2) && holds(outcome, 3, 4'000, 1));
  const auto after = tree.paths.excerpt(std::vector<std::string>{"/"});
  after->unbind("/.vreserve/spool");
  const std::unordered_map<ino_t, LotId> none;
  const std::unordered_set<ino_t> nobody;
  outcome = count_change(tree.root(), {"/"}, tree.paths, {*after, none, nobody}, 2, tree.progress);
  CHECK_EQ(outcome.moves.size(), 1U);
  CHECK(outcome.moves[0].from == 2 && outcome.moves[0].to == kDefaultLot && outcome.moves[0].count.bytes == 230);
}

TEST("a spool that is no directory of its own is nobody's") {
  Tree tree;
  tree.directory("/.vreserve");
  tree.directory("/a");
  tree.file("/a/file", 7);
  tree.file("/.vreserve/spool", 1'000);
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 7, 1));
  CHECK_EQ(::unlink(tree.at("/.vreserve/spool").c_str()), 0);
  CHECK_EQ(::symlink("../a", tree.at("/.vreserve/spool").c_str()), 0);
  outcome = tree.count();
  CHECK_EQ(outcome.error, 0);
  CHECK(holds(outcome, kDefaultLot, 7, 1));
}

TEST("a tree deeper than PATH_MAX") {
  Tree tree;
  const std::string name(200, 'd');
  deep_chain(tree.root(), name, 60, [](int last) {
    const Fd fd(::openat(last, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    CHECK_EQ(::write(fd.get(), "12345", 5), 5);
    CHECK_EQ(::linkat(last, "file", last, "file2", 0), 0);
  });
  std::string path;
  for (int i = 0; i < 60; ++i) path += "/" + name;
  CHECK(path.size() > 2 * PATH_MAX);
  tree.paths.bind(path, {2});
  auto outcome = tree.count();
  CHECK_EQ(outcome.error, 0);
  CHECK(holds(outcome, 2, 5, 1));
  CHECK_EQ(tree.progress.directories.load(), 61);
  outcome = tree.count(path + "/file");
  CHECK(holds(outcome, 2, 5, 1));
  CHECK_EQ(outcome.partial, path + "/file");
  outcome = tree.count(path);
  CHECK(holds(outcome, 2, 5, 1));
}

TEST("a chain of 3,000 directories") {
  Tree tree;
  // With this name a component ends one byte past what the kernel takes at once.
  deep_chain(tree.root(), "exactly-16-bytes", 3'000, [](int last) {
    const Fd fd(::openat(last, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    CHECK_EQ(::write(fd.get(), "1", 1), 1);
  });
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 1, 1));
  CHECK_EQ(tree.progress.directories.load(), 3'001);
}

TEST("a wide tree takes few descriptors, and gives them back") {
  Tree tree;
  for (int i = 0; i < 300; ++i) {
    const std::string name = "/" + std::to_string(i);
    tree.directory(name);
    for (int j = 0; j < 5; ++j) tree.directory(name + "/" + std::to_string(j));
    tree.empty_file(name + "/file");
  }
  const int before = open_descriptors();
  rlimit limit{};
  CHECK_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t usual = limit.rlim_cur;
  limit.rlim_cur = static_cast<rlim_t>(before) + 3 + 2 * 4;  // room for gaps in the numbers, and two a thread
  CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  auto outcome = tree.count("/", 4);
  limit.rlim_cur = usual;
  CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  CHECK_EQ(outcome.error, 0);
  CHECK(holds(outcome, kDefaultLot, 0, 300));
  CHECK_EQ(tree.progress.directories.load(), 1 + 300 + 1'500);
  CHECK_EQ(open_descriptors(), before);
}

TEST("a directory of many files is read in many pieces") {
  Tree tree;
  for (int i = 0; i < 5'000; ++i) {
    tree.empty_file("/a-somewhat-long-name-" + std::to_string(i));
  }
  tree.paths.bind("/a-somewhat-long-name-77", {2});
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 0, 4'999));
  CHECK(holds(outcome, 2, 0, 1));
  CHECK_EQ(tree.progress.files.load(), 5'000);
}

TEST("what comes and goes during the walk is no error") {
  Tree tree;
  for (int i = 0; i < 40; ++i) {
    tree.directory("/" + std::to_string(i));
    tree.empty_file("/" + std::to_string(i) + "/stays");
  }
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    for (int i = 0; !stop; i = (i + 1) % 40) {
      const std::string base = tree.at("/" + std::to_string(i));
      const std::string directory = base + "/d";
      const std::string file = base + "/f";
      ::mkdir(directory.c_str(), 0755);
      ::close(::open(file.c_str(), O_CREAT | O_CLOEXEC, 0600));
      ::unlink(file.c_str());
      ::rmdir(directory.c_str());
      if (::symlink("..", directory.c_str()) == 0) ::unlink(directory.c_str());
    }
  });
  for (int round = 0; round < 100; ++round) {
    auto outcome = tree.count("/", 2);
    CHECK_EQ(outcome.error, 0);
    CHECK(outcome.lots[kDefaultLot].objects >= 40);
  }
  stop = true;
  churn.join();
}

TEST("another device is left out") {
  Tree tree;
  tree.directory("/mounted");
  tree.file("/file", 5);
  if (::mount("tmpfs", tree.at("/mounted").c_str(), "tmpfs", 0, nullptr) != 0) {
    std::printf("# not asked: tmpfs cannot be mounted here\n");
    return;
  }
  tree.file("/mounted/file", 100);
  auto outcome = tree.count();
  CHECK(holds(outcome, kDefaultLot, 5, 1));
  CHECK_EQ(tree.progress.directories.load(), 1);
  outcome = tree.count("/mounted");
  CHECK(holds(outcome, kDefaultLot, 0, 0));
  outcome = tree.count("/mounted/file");
  CHECK(holds(outcome, kDefaultLot, 0, 0));
  CHECK_EQ(::umount2(tree.at("/mounted").c_str(), MNT_DETACH), 0);
}

TEST("a cancelled count says so; a root that cannot be read is an error") {
  Tree tree;
  tree.file("/file", 5);
  tree.progress.cancel = true;
  CHECK_EQ(count_tree(tree.root(), "/", tree.paths, 2, tree.progress).error, ECANCELED);
  tree.progress.cancel = false;
  const auto outcome = count_tree(-1, "/", tree.paths, 2, tree.progress);
  CHECK_EQ(outcome.error, EBADF);
  CHECK_EQ(outcome.error_path, "/");
}

TEST("sums past 2^63 end there") {
  Tree tree;
  tree.directory("/m");
  if (::mount("tmpfs", tree.at("/m").c_str(), "tmpfs", 0, nullptr) != 0) {
    std::printf("# not asked: tmpfs cannot be mounted here\n");
    return;
  }
  for (const char* name : {"/m/a", "/m/b"}) {
    tree.file(name, 0);
    CHECK_EQ(::truncate(tree.at(name).c_str(), 0x7fff'ffff'ffff'f000), 0);
  }
  Fd root(::open(tree.at("/m").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto outcome = count_tree(root.get(), "/", tree.paths, 2, tree.progress);
  root.reset();
  CHECK(holds(outcome, kDefaultLot, kUnlimited, 2));
  CHECK_EQ(outcome.hole_bytes, kUnlimited);
  CHECK_EQ(::umount2(tree.at("/m").c_str(), MNT_DETACH), 0);
}

TAP_MAIN()
