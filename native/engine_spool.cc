// The spool: directories in it are made with all that belongs to them. What that is the control plane says.
#include <linux/fs.h>

#include <cstdio>
#include <cstring>

#include "ops.h"

namespace vreserve {

int Engine::serve_spool(SpoolLayout&& layout) noexcept {
  layout_ = std::move(layout);
  return serve_own("spool", true, spool_);
}

int Engine::spool_level(Inode& directory) noexcept {
  if (spool_ == nullptr) return -1;
  int level = -1;
  bool found = false;
  inodes.for_each_above(directory, [&](const Inode& at) {
    ++level;
    found = &at == spool_;
    return !found && level < 2;
  });
  return found ? level : -1;
}

const std::vector<std::string>* Engine::layout_of(Inode& parent, const char* name) noexcept {
  if (spool_ == nullptr || *name == '.') return nullptr;  // what begins with a dot is part of a layout, or nobody's
  const int level = spool_level(parent);
  if (level == 0) return &layout_.spool;
  return level == 1 ? &layout_.queue : nullptr;
}

bool Engine::is_being_made(Inode& parent, const char* name) noexcept {
  if (spool_ == nullptr || std::strncmp(name, layout_.making.c_str(), layout_.making.size()) != 0) return false;
  const int level = spool_level(parent);
  return level == 0 || level == 1;
}

// It is made where it will be, so that it inherits what a plain one would: group, set-group-id, default ACL.
int Engine::make_layout(int parent, const char* name, mode_t mode, const std::vector<std::string>& layout) noexcept {
  constexpr int kTries = 64;  // what a crash left behind and nobody could remove is in the way
  char making[NAME_MAX + 1];
  int result = -1;
  for (int tries = 0; tries < kTries; ++tries) {
    std::snprintf(making, sizeof making, "%s%llu", layout_.making.c_str(),
                  static_cast<unsigned long long>(next_made_.fetch_add(1, std::memory_order_relaxed)));
    result = ::mkdirat(parent, making, mode);
    if (result == 0 || errno != EEXIST) break;
  }
  if (result != 0) return -1;
  int error = 0;
  std::size_t made = 0;
  const Fd top(::openat(parent, making, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top) error = errno;
  for (; error == 0 && made < layout.size(); ++made) {
    if (::mkdirat(top.get(), layout[made].c_str(), mode) != 0) {
      error = errno;
      break;
    }
  }
  if (error == 0 && ::syscall(SYS_renameat2, parent, making, parent, name, RENAME_NOREPLACE) != 0) error = errno;
  if (error == 0) return 0;
  while (made > 0) ::unlinkat(top.get(), layout[--made].c_str(), AT_REMOVEDIR);
  ::unlinkat(parent, making, AT_REMOVEDIR);
  errno = error;
  return -1;
}

}  // namespace vreserve
