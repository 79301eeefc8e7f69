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
  // The helper of libfuse 3, or that of libfuse 2.
  char newer[] = "fusermount3", older[] = "fusermount", dash_u[] = "-u", dash_q[] = "-q", dash_z[] = "-z", dashes[] = "--";
  pid_t child = 0;
  int error = ENOENT;
  for (char* const program : {newer, older}) {
    char* argv[] = {program, dash_u, dash_q, lazy ? dash_z : dashes, lazy ? dashes : const_cast<char*>(mountpoint),
                    lazy ? const_cast<char*>(mountpoint) : nullptr, nullptr};
    error = ::posix_spawnp(&child, program, nullptr, nullptr, argv, environ);
    if (error != ENOENT) break;
  }
  if (error != 0) return -error;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 0;  // somebody else collects our children
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

}  // namespace vreserve
