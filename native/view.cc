// Taking a private view, and clearing away those that killed daemons left.
#include "view.h"

#include <sys/file.h>
#include <sys/mount.h>

#include <string_view>

#include "ops.h"

namespace vreserve {

namespace {

constexpr const char* kViews = "/run/vreserve";
constexpr std::string_view kLock = ".lock";

// The lock of a view, which its daemon holds for as long as it lives; a process id would not tell who lives in another
// namespace. Not open, with errno set (EWOULDBLOCK: held), on failure.
Fd lock_view(const std::string& view) noexcept {
  const std::string path = view + std::string(kLock);
  for (;;) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return {};
    struct stat held {}, there {};
    // Who removed it before the lock was had, removed this one's name.
    const bool same = ::fstat(fd.get(), &held) == 0 && ::stat(path.c_str(), &there) == 0 && held.st_ino == there.st_ino;
    if (same) return fd;
  }
}

// Its lock must be held.
void remove_view(const std::string& view) noexcept {
  ::umount2(view.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  ::rmdir(view.c_str());
  ::unlink((view + std::string(kLock)).c_str());
}

// What daemons that were killed left behind.
void clear_stale_views() noexcept {
  const Fd views(::open(kViews, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!views) return;
  for (const std::string& name : list_directory(views.get())) {
    if (!name.ends_with(kLock)) continue;
    const std::string view = std::string(kViews) + "/" + name.substr(0, name.size() - kLock.size());
    if (const Fd lock = lock_view(view); lock) remove_view(view);
  }
}

}  // namespace

// SQLite and Node take paths, and resolve /proc/self/fd links to what covers the directory.
int View::take(const std::string& directory, bool privileged, std::string& why) noexcept {
  path_ = directory;
  if (!privileged) return 0;
  ::mkdir(kViews, 0700);
  clear_stale_views();
  const Fd tree(static_cast<int>(
      ::syscall(kSysOpenTree, AT_FDCWD, directory.c_str(), kOpenTreeClone | static_cast<unsigned>(O_CLOEXEC))));
  if (!tree) {
    why = "cannot take a private view of " + directory;
    return -errno;
  }
  const std::string own = std::string(kViews) + "/" + std::to_string(::getpid());
  std::string path = own;
  for (int n = 1;; ++n) {
    lock_ = lock_view(path);
    if (lock_ && ::mkdir(path.c_str(), 0700) == 0) break;
    const int error = errno;
    if ((error != EEXIST && error != EWOULDBLOCK) || n > 4096) {
      why = "cannot make " + path;
      return -error;
    }
    path = own + "-" + std::to_string(n);
  }
  if (::syscall(kSysMoveMount, tree.get(), "", AT_FDCWD, path.c_str(), kMoveMountFromEmptyPath) != 0) {
    const int error = -errno;
    why = "cannot attach a private view below " + std::string(kViews);
    remove_view(path);
    lock_ = Fd();
    return error;
  }
  ::mount(nullptr, path.c_str(), nullptr, MS_PRIVATE, nullptr);
  path_ = path;
  mounted_ = true;
  return 0;
}

void View::drop() noexcept {
  if (!mounted_) return;
  remove_view(path_);
  lock_ = Fd();
  mounted_ = false;
}

}  // namespace vreserve
