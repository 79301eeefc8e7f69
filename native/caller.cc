// Who asks: what /proc says of the process behind a request.
#include <linux/capability.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "virtual.h"

namespace vreserve {

int read_caller(pid_t pid, Caller& caller) noexcept {
  if (pid <= 0) return EACCES;  // a process that this namespace does not see
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE* const status = std::fopen(path, "re");
  if (status == nullptr) return EACCES;
  caller.pid = pid;
  std::uint64_t effective = 0;
  bool kernel_thread = false;
  char line[4096];
  unsigned a = 0, b = 0, c = 0, d = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::sscanf(line, "Uid: %u %u %u %u", &a, &b, &c, &d) == 4) caller.uid = d;
    if (std::sscanf(line, "Gid: %u %u %u %u", &a, &b, &c, &d) == 4) caller.gid = d;
    if (std::strncmp(line, "Groups:", 7) == 0) {
      char* at = line + 7;
      for (;;) {
        char* end = nullptr;
        const unsigned long group = std::strtoul(at, &end, 10);
        if (end == at) break;
        caller.groups.push_back(static_cast<gid_t>(group));
        at = end;
      }
    }
    if (std::sscanf(line, "Tgid: %u", &a) == 1) caller.process = static_cast<pid_t>(a);
    std::sscanf(line, "CapEff: %" SCNx64, &effective);
    if (std::sscanf(line, "Kthread: %u", &a) == 1) kernel_thread = a != 0;
  }
  std::fclose(status);
  if (kernel_thread) return EACCES;  // a file server's, say: it asks for somebody whom it does not tell
  char theirs[64] = "", ours[64] = "";
  std::snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
  const ssize_t length = ::readlink(path, theirs, sizeof theirs - 1);
  const ssize_t own = ::readlink("/proc/self/ns/user", ours, sizeof ours - 1);
  // Capabilities of another user namespace are not meant for what this mount holds.
  const bool here = length > 0 && own > 0 && std::strcmp(theirs, ours) == 0;
  caller.home = here;
  caller.fsetid = here && (effective & (1ULL << CAP_FSETID)) != 0;
  caller.dac_override = here && (effective & (1ULL << CAP_DAC_OVERRIDE)) != 0;
  caller.sys_admin = here && (effective & (1ULL << CAP_SYS_ADMIN)) != 0;
  return 0;
}

}  // namespace vreserve
