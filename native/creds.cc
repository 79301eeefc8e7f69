#include "creds.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace vreserve {

namespace {

struct Capabilities {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};

  void get() noexcept { ::syscall(SYS_capget, &header, data); }
  void set() noexcept {
    if (::syscall(SYS_capset, &header, data) != 0) {
      std::perror("vreserve: broken invariant: cannot set the thread's capabilities");
      std::abort();
    }
  }
};

Capabilities current() noexcept {
  Capabilities capabilities;
  capabilities.get();
  return capabilities;
}

// umask(2) costs a system call, and most callers have the same one.
thread_local mode_t thread_umask = 0;

}  // namespace

CreateAs::CreateAs(bool privileged, uid_t uid, gid_t gid, mode_t umask) noexcept {
  if (umask != thread_umask) {
    ::umask(umask);  // this thread's own; the backing ignores it where a default ACL rules
    thread_umask = umask;
  }
  if (!privileged || (uid == 0 && gid == 0)) return;
  switched_ = true;
  Capabilities capabilities = current();
  ::syscall(SYS_setfsgid, gid);
  ::syscall(SYS_setfsuid, uid);
  capabilities.set();  // leaving uid 0 took the filesystem's capabilities away
}

CreateAs::~CreateAs() {
  if (!switched_) return;
  ::syscall(SYS_setfsuid, 0);
  ::syscall(SYS_setfsgid, 0);
}

bool may_access(int root, const char* path, int mode, const Caller& caller) noexcept {
  std::vector<gid_t> own(static_cast<std::size_t>(std::max(0, ::getgroups(0, nullptr))));
  const int count = ::getgroups(static_cast<int>(own.size()), own.data());
  const Capabilities before = current();
  ::syscall(SYS_setgroups, caller.groups.size(), caller.groups.data());
  ::syscall(SYS_setfsgid, caller.gid);
  ::syscall(SYS_setfsuid, caller.uid);
  Capabilities none = before;
  for (auto& part : none.data) part.effective = 0;
  if (caller.dac_override) none.data[0].effective = before.data[0].effective & (1U << CAP_DAC_OVERRIDE);
  none.set();
  const int found = static_cast<int>(::syscall(SYS_faccessat2, root, path, mode, AT_EACCESS));
  Capabilities back = before;
  back.set();
  ::syscall(SYS_setfsuid, 0);
  ::syscall(SYS_setfsgid, 0);
  ::syscall(SYS_setgroups, count < 0 ? 0 : count, own.data());
  back.set();
  return found == 0;
}

}  // namespace vreserve
