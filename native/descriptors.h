// Who still has a descriptor of a file of this mount: what /proc says, as text. Nothing is opened or asked that could lead to
// the mount itself.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace vreserve {

// The process that a thread belongs to; 0 where it cannot be seen.
[[nodiscard]] pid_t process_of(pid_t thread) noexcept;

// A file as its descriptors show it: the last component of its path, and its inode number.
struct ShownFile {
  std::string name;
  std::uint64_t number = 0;
};

// True when the thread's process has a descriptor of the file that can write, or a process that it made, or one that those
// made, has one that it would hand on to a program (not close-on-exec: every process has such copies for a moment before it
// starts a program). Also where they cannot be seen, or are too many to look at.
[[nodiscard]] bool may_be_written_by(pid_t thread, const ShownFile& file) noexcept;

}  // namespace vreserve
