// Grafts: directories of pools in the place of empty directories of the backing.
#include <algorithm>

#include "ops.h"
#include "pool_disk.h"

namespace vreserve {

int Engine::graft(const std::string& path, PoolId id, const std::string& directory, bool by_kernel) noexcept {
  std::unique_lock binding(bind_mutex_);
  const auto pool = find_pool(id);
  if (pool == nullptr) return -ENODEV;
  const std::string normal = normalized(path);
  Walked walked;
  int error = walk(normal, walked);
  if (error == 0 && walked.top == nullptr) error = -ENOENT;
  if (error == 0 && walked.top == &inodes.root()) error = -EINVAL;
  if (error == 0 && !walked.top->is_directory()) error = -ENOTDIR;
  if (error == 0 && walked.top->is_root) error = -EBUSY;
  if (error == 0 && walked.top->root != 0) error = -EXDEV;
  const bool freezes = error == 0 && mounted_;  // nobody makes anything in it meanwhile
  if (freezes) {
    freeze(std::span(&walked, 1));
    device.quiesce(nullptr);
  }
  SharedFd fd;
  if (error == 0) {
    int failure = 0;
    const SharedFd place = inodes.directory(*walked.top, failure);
    const Fd listed(place ? ::openat(place->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1);
    if (!listed) error = failure != 0 ? -failure : -errno;
    else if (!list_directory(listed.get()).empty()) error = -ENOTEMPTY;
  }
  const SharedFd in = pool_fd(id);
  if (error == 0 && in) {
    Fd opened = open_in_pool(in->get(), directory);
    if (!opened) error = -errno;
    else fd = std::make_shared<const Fd>(std::move(opened));
  }
  Root* const root = error == 0 ? inodes.graft(*walked.top, id, normal, directory, fd) : nullptr;
  if (error == 0 && root == nullptr) error = -EMFILE;
  std::uint64_t above = 0;
  std::string name;
  if (root != nullptr) {
    set_io(*root, *pool);
    root->by_kernel = by_kernel;
    above = walked.directory->nodeid();
    name = walked.name;
    rebind();
  }
  if (freezes) thaw();
  drop(walked);
  binding.unlock();
  // The kernel knows the empty directory by this name.
  if (root != nullptr && mounted_) tell_removed(above, name, 0);
  return error;
}

int Engine::ungraft(const std::string& path) noexcept {
  std::unique_lock binding(bind_mutex_);
  const std::string normal = normalized(path);
  const auto grafts = inodes.all_grafts();
  const auto found = std::ranges::find_if(grafts, [&normal](const Root* root) { return root->path == normal; });
  if (found == grafts.end()) return -ENOENT;
  Root& root = **found;
  const auto is_open = [this, &root] {
    bool open = false;
    inodes.for_each_of(root, [&open](Inode& inode) {
      inode.lock.lock_shared();
      open = open || (inode.open && inode.open->opens > 0);
      inode.lock.unlock_shared();
    });
    return open;
  };
  if (is_open()) return -EBUSY;
  // From here on nothing is opened in it; who was at it is through after this.
  const int before = root.trouble.exchange(ESTALE);
  if (mounted_) device.quiesce(nullptr);
  if (is_open()) {
    root.trouble = before;
    return -EBUSY;
  }
  const std::uint64_t above = root.inode->parent->nodeid();
  const std::string name = root.inode->name;
  inodes.ungraft(root);
  rebind();
  binding.unlock();
  if (mounted_) tell_removed(above, name, 0);
  return 0;
}

}  // namespace vreserve
