// Detaching a mount, as root or as an ordinary user.
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cerrno>

#include "ops.h"

extern char** environ;

namespace vreserve {

int unmount_path(const char* mountpoint, bool lazy) noexcept {
  if (::umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0) return 0;
  if (errno != EPERM || ::geteuid() == 0) return -errno;
  char program[] = "fusermount3", dash_u[] = "-u", dash_q[] = "-q", dash_z[] = "-z", dashes[] = "--";
  char* argv[] = {program, dash_u, dash_q, lazy ? dash_z : dashes, lazy ? dashes : const_cast<char*>(mountpoint),
                  lazy ? const_cast<char*>(mountpoint) : nullptr, nullptr};
  pid_t child = 0;
  if (const int error = ::posix_spawnp(&child, program, nullptr, nullptr, argv, environ); error != 0) return -error;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 0;  // somebody else collects our children
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

}  // namespace vreserve
