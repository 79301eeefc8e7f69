// Who still has a descriptor of a file, by what /proc says of this process and its children.
#include "descriptors.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

#include "sys.h"
#include "tap.h"

using namespace vreserve;

namespace {

// A file that has no name any more.
class Nameless {
 public:
  Nameless() {
    std::string name = (std::filesystem::temp_directory_path() / "vreserve-descriptors-XXXXXX").string();
    fd_ = Fd(::mkostemp(name.data(), O_CLOEXEC));
    ::unlink(name.c_str());
    struct stat st {};
    CHECK_EQ(::fstat(fd_.get(), &st), 0);
    number_ = st.st_ino;
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t number() const { return number_; }
  // Another open of it.
  [[nodiscard]] Fd open(int flags) const { return Fd(::open(ProcPath(fd(), "").text, flags)); }
  void close() { fd_.reset(); }

 private:
  Fd fd_;
  std::uint64_t number_ = 0;
};

bool is_last(const Nameless& file) { return is_last_of(::getpid(), ::gettid(), file.number()); }

// A child that does nothing until it is ended, or until `then` has been called in it.
class Child {
 public:
  template <typename Then>
  explicit Child(Then then) {
    int ready[2];
    CHECK_EQ(::pipe2(ready, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      then();
      (void)!::write(ready[1], "", 1);
      ::pause();
      ::_exit(0);
    }
    char byte = 0;
    CHECK_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  pid_t pid_ = 0;
};

}  // namespace

TEST("the last descriptor that can write is the last") {
  Nameless file;
  CHECK(!is_last(file));
  Fd other = file.open(O_WRONLY | O_APPEND | O_CLOEXEC);
  const Fd reader = file.open(O_RDONLY | O_CLOEXEC);
  file.close();
  CHECK(!is_last(file));
  other.reset();
  CHECK(is_last(file));
}

TEST("of another process, or one that is not there, nothing is the last") {
  Nameless file;
  file.close();
  CHECK(!is_last_of(::getppid(), ::gettid(), file.number()));
  CHECK(!is_last_of(0, 0, file.number()));
  CHECK(!is_last_of(::getpid(), 0, file.number()));
  CHECK(!is_last_of(::getpid(), 1 << 30, file.number()));
}

TEST("any thread may close it") {
  Nameless file;
  std::thread([&file] {
    CHECK(!is_last(file));
    file.close();
    CHECK(is_last(file));
  }).join();
}

TEST("what a child would hand on counts, and what it would not does not") {
  Nameless file;
  {
    const Child child([] {});
    CHECK(!is_last(file));
    file.close();
    CHECK(is_last(file));
  }
  Nameless kept;
  const Child child([&kept] { ::fcntl(kept.fd(), F_SETFD, 0); });
  kept.close();
  CHECK(!is_last(kept));
}

TEST("children of children count") {
  Nameless file;
  ::fcntl(file.fd(), F_SETFD, 0);
  const Child child([&file] {
    if (::fork() == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::pause();
      ::_exit(0);
    }
    file.close();
  });
  file.close();
  CHECK(!is_last(file));
}

TAP_MAIN()
