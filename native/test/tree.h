// A temporary tree to count, for the tests of the count.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "count.h"
#include "sys.h"
#include "tap.h"

namespace vreserve {

// A temporary directory that is emptied when it goes, however deep it is.
class Tree {
 public:
  Tree() {
    std::string name = (std::filesystem::temp_directory_path() / "vreserve-count-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
    root_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~Tree() { CHECK_EQ(std::system(("rm -rf --one-file-system '" + path_ + "'").c_str()), 0); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  [[nodiscard]] std::string at(const std::string& path) const { return path_ + path; }
  [[nodiscard]] int root() const { return root_.get(); }
  void directory(const std::string& path) const { CHECK_EQ(::mkdir(at(path).c_str(), 0755), 0); }
  void empty_file(const std::string& path) const {
    CHECK_EQ(::close(::open(at(path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
  }
  // Written in full, so that nothing of it is a hole.
  void file(const std::string& path, std::size_t bytes) const {
    const Fd fd(::open(at(path).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    const std::string data(bytes, 'x');
    CHECK_EQ(::write(fd.get(), data.data(), data.size()), static_cast<ssize_t>(bytes));
    CHECK_EQ(::fsync(fd.get()), 0);  // blocks are allocated by now
  }
  void link(const std::string& from, const std::string& to) const {
    CHECK_EQ(::link(at(from).c_str(), at(to).c_str()), 0);
  }
  [[nodiscard]] CountOutcome count(const std::string& path = "/", unsigned threads = 3) {
    progress.files = progress.directories = progress.bytes = 0;
    auto outcome = count_tree(root(), path, paths, threads, progress);
    CHECK_EQ(outcome.error_path, "");
    return outcome;
  }

  Paths paths;
  CountProgress progress;

 private:
  std::string path_;
  Fd root_;
};

// What the outcome has for the lot.
inline bool holds(CountOutcome& outcome, LotId lot, std::int64_t bytes, std::int64_t objects) {
  const auto& count = outcome.lots[lot];
  if (count.bytes == bytes && count.objects == objects) return true;
  std::printf("# lot %u: %lld bytes, %lld objects\n", lot, static_cast<long long>(count.bytes),
              static_cast<long long>(count.objects));
  return false;
}

}  // namespace vreserve
