// Grafts: directories of pools in the place of empty directories of the backing.
#include <algorithm>

#include "ops.h"
#include "pool_disk.h"

namespace vreserve {

int Engine::graft(const std::string& path, PoolId id, const std::string& directory, bool by_kernel) noexcept {
  const auto pool = find_pool(id);
  if (pool == nullptr && id != kMainPool) return -ENODEV;
  const std::string normal = normalized(path);
  // Its disk is asked before anything is locked. Of a broken one there is nothing to be seen yet.
  struct Found {
    Fd fd;
    struct stat st {};
    int error = 0;
  };
  const auto there = std::make_shared<Found>();
  if (const SharedFd in = pool_fd(id); in) {
    const bool answered = ask(id, [there, in, directory] {
      there->fd = open_in_pool(in->get(), directory);
      if (!there->fd || ::fstat(there->fd.get(), &there->st) != 0) there->error = -errno;
    });
    if (!answered) return -EIO;
    // Before the mount it is grafted all the same: what is lost is EIO, and not an empty directory.
    if (there->error != 0 && (mounted_ || there->error != -ENOENT)) return there->error;
  }
  Change binding = begin_change({kMainPool, id});
  Walked walked;
  int error = walk(normal, walked);
  if (error == 0 && walked.top == nullptr) error = -ENOENT;
  if (error == 0 && walked.top == &inodes.root()) error = -EINVAL;
  if (error == 0 && !walked.top->is_directory()) error = -ENOTDIR;
  if (error == 0 && walked.top->is_root) error = -EBUSY;
  if (error == 0 && walked.top->root != 0) error = -EXDEV;
  const bool freezes = error == 0 && mounted_;  // nobody makes anything in it meanwhile
  Freezes frozen;
  if (freezes) {
    freeze(std::span(&walked, 1), frozen);
    quiesce({kMainPool});
  }
  if (error == 0) {
    int failure = 0;
    const SharedFd place = inodes.directory(*walked.top, failure);
    const Fd listed(place ? ::openat(place->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1);
    if (!listed) error = failure != 0 ? -failure : -errno;
    else if (!list_directory(listed.get()).empty()) error = -ENOTEMPTY;
  }
  // It may have broken meanwhile.
  const bool seen = there->fd && (pool == nullptr || !pool->is_broken);
  const SharedFd fd = seen ? std::make_shared<const Fd>(std::move(there->fd)) : nullptr;
  Root* const root = error == 0 ? inodes.graft(*walked.top, id, normal, directory, fd, there->st) : nullptr;
  if (error == 0 && root == nullptr) error = -EMFILE;
  std::uint64_t above = 0;
  std::string name;
  if (root != nullptr) {
    set_io(*root, pool.get());
    root->by_kernel = by_kernel;
    above = walked.directory->nodeid();
    name = walked.name;
    rebind();
  }
  if (freezes) thaw(frozen);
  drop(walked);
  binding.end();
  // The kernel knows the empty directory by this name.
  if (root != nullptr && mounted_) tell_removed(above, name, 0);
  return error != 0 ? error : there->error;
}

int Engine::ungraft(const std::string& path) noexcept {
  const std::string normal = normalized(path);
  const auto found = [this, &normal]() -> Root* {
    Root& root = inodes.root_at(normal);
    return root.index != 0 && root.path == normal ? &root : nullptr;
  };
  Root* const seen = found();
  if (seen == nullptr) return -ENOENT;
  const std::set<PoolId> pools{kMainPool, seen->pool};
  wait_for_others(pools);
  if (const auto pool = find_pool(seen->pool); pool != nullptr && pool->is_silent) return -EIO;
  Change binding = begin_change(pools);
  if (found() != seen) return -ENOENT;
  Root& root = *seen;
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
  if (mounted_) quiesce(pools);
  if (is_open()) {
    root.trouble = before;
    return -EBUSY;
  }
  const std::uint64_t above = root.inode->parent->nodeid();
  const std::string name = root.inode->name;
  inodes.ungraft(root);
  rebind();
  binding.end();
  if (mounted_) tell_removed(above, name, 0);
  return 0;
}

}  // namespace vreserve
