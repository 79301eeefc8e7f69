// Who still has a descriptor of a file of this mount: what /proc says. The kernel may wait for the answer to a request of the
// very process that is looked at: nothing is asked that could wait for that, nor anything that could lead to the mount.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace vreserve {

// True when this thread's process is `process`, and closes its last descriptor that can write to the file with this inode
// number: neither has it another one, nor a process that it made, or one that those made, one that it would hand on to a
// program (a close-on-exec one every process has for a moment before it starts a program). False where that cannot be seen,
// would take too long to find out, or must not be looked at because the process is about to run another program.
[[nodiscard]] bool is_last_of(pid_t process, pid_t thread, std::uint64_t number) noexcept;

// True when this thread's process is `process`, and ends by a signal: it did not mean to close what it closes.
[[nodiscard]] bool is_killed(pid_t process, pid_t thread) noexcept;

}  // namespace vreserve
