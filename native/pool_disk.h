// What is done with the directory of a pool itself: its mark, a small write that tells whether its disk takes one, what it has.
#pragma once

#include <sys/vfs.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "sys.h"

namespace vreserve {

[[nodiscard]] inline std::int64_t steady_ms() noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline constexpr const char* kPoolMark = ".vreserve/pool";
inline constexpr const char* kPoolLock = ".vreserve/lock";

[[nodiscard]] const char* filesystem_name(long magic) noexcept;
[[nodiscard]] bool is_overlay(const struct statfs& fs) noexcept;
[[nodiscard]] inline std::int64_t total_of(const struct statfs& fs) noexcept {
  return static_cast<std::int64_t>(fs.f_blocks) * fs.f_frsize;
}
[[nodiscard]] inline std::int64_t free_of(const struct statfs& fs) noexcept {
  return static_cast<std::int64_t>(fs.f_bavail) * fs.f_frsize;
}
// The margin that is kept without being asked for.
[[nodiscard]] std::int64_t default_margin(std::int64_t capacity) noexcept;

// An errno that a disk gives that fails or is gone. What a full disk gives, or one without the rights, is no such.
[[nodiscard]] bool is_of_disk(int error) noexcept;
// Writes a block, and waits until it is on the disk. 0 or errno.
[[nodiscard]] int probe_disk(int pool) noexcept;
// The mark of the pool, or empty.
[[nodiscard]] std::string read_mark(int pool) noexcept;
// Whole or not at all, since it is what the pool is known by. 0 or errno.
[[nodiscard]] int write_mark(int pool, const std::string& mark) noexcept;
// A directory of a pool. Not open, with errno set, on failure.
[[nodiscard]] Fd open_in_pool(int pool, const std::string& directory) noexcept;

}  // namespace vreserve
