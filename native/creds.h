// Acting as the caller, for this thread alone: raw system calls, since glibc's set the ids of the whole process.
#pragma once

#include <sys/types.h>

#include "virtual.h"

namespace vreserve {

// While it lives, files that this thread makes belong to the caller; what the thread may do stays as it was, since the
// kernel has decided access already. Does nothing for root, or when the daemon is an ordinary user.
class CreateAs {
 public:
  CreateAs(bool privileged, uid_t uid, gid_t gid, mode_t umask) noexcept;
  ~CreateAs();
  CreateAs(const CreateAs&) = delete;
  CreateAs& operator=(const CreateAs&) = delete;

 private:
  bool switched_ = false;
};

// True when the caller may do what `mode` (of access(2)) says with the path below the descriptor `root`, by the kernel's
// judgement with the caller's ids and groups, and of its capabilities CAP_DAC_OVERRIDE alone. Changes this thread's
// credentials for the time of the call.
[[nodiscard]] bool may_access(int root, const char* path, int mode, const Caller& caller) noexcept;

}  // namespace vreserve
