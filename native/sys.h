// System calls as values: a descriptor that closes itself, results as value or -errno, and calls glibc lacks here.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>

namespace vreserve {

// Owns a descriptor.
class Fd {
 public:
  Fd() noexcept = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

using SharedFd = std::shared_ptr<const Fd>;

// The result of a system call: what it returned, or -errno.
template <typename T>
[[nodiscard]] inline T checked(T result) noexcept {
  return result < 0 ? static_cast<T>(-errno) : result;
}

// Where an inode is for the calls that take a path: `/proc/self/fd/N/name`, or `/proc/self/fd/N` when name is empty.
struct ProcPath {
  char text[288];
  ProcPath(int fd, const char* name) noexcept {
    std::snprintf(text, sizeof text, *name != 0 ? "/proc/self/fd/%d/%s" : "/proc/self/fd/%d", fd, name);
  }
};

// Ids that only newer headers have; the numbers are the same on every architecture.
inline constexpr long kSysOpenTree = 428;
inline constexpr long kSysMoveMount = 429;
inline constexpr unsigned kOpenTreeClone = 1;
inline constexpr unsigned kMoveMountFromEmptyPath = 4;

// Bytes of the file that are charged and not allocated.
[[nodiscard]] inline std::int64_t hole_bytes(const struct stat& st) noexcept {
  if (!S_ISREG(st.st_mode)) return 0;
  const std::int64_t allocated = static_cast<std::int64_t>(st.st_blocks) * 512;
  return st.st_size > allocated ? st.st_size - allocated : 0;
}

}  // namespace vreserve
