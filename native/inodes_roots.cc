// The table of roots: the backing, and grafts, which are directories of pools in the place of directories of the backing.
#include <unordered_set>

#include "inodes.h"

namespace vreserve {

Root* Inodes::graft(Inode& place, PoolId pool, const std::string& path, const std::string& directory, SharedFd fd,
                     const struct stat& st) noexcept {
  const std::lock_guard guard(mutex_);
  std::size_t index = 1;
  while (index < owned_roots_.size() && (owned_roots_[index]->known != 0 || owned_roots_[index]->inode != nullptr)) ++index;
  Inode* const inode = index < kRoots ? allocate() : nullptr;
  if (inode == nullptr) return nullptr;
  if (index == owned_roots_.size()) owned_roots_.push_back(std::make_unique<Root>());
  Root& root = *owned_roots_[index];
  root.index = static_cast<std::uint32_t>(index);
  root.pool = pool;
  root.path = path;
  root.directory = directory;
  root.device = st.st_dev;
  root.trouble = fd ? 0 : EIO;
  root.by_kernel = false;
  root.known = 1;
  inode->root = static_cast<std::uint16_t>(index);
  inode->is_root = true;
  inode->number = st.st_ino;
  inode->type = S_IFDIR;
  inode->nlink = 2;
  inode->refs = 1;
  inode->parent = place.parent;
  inode->name = copy_name(place.name);
  ++place.parent->refs;
  ++place.refs;
  place.covered = true;
  root.inode = inode;
  root.place = &place;
  {
    const std::lock_guard dirs(dirs_mutex_);
    root.fd = std::move(fd);
    root.shown = st;
  }
  roots_[index].store(&root, std::memory_order_release);
  insert(*inode);
  covers_[&place] = &root;
  ++grafts_;
  return &root;
}

void Inodes::ungraft(Root& root) noexcept {
  SharedFd closed;
  const std::lock_guard guard(mutex_);
  root.trouble = ESTALE;
  root.place->covered = false;
  covers_.erase(root.place);
  --grafts_;
  {
    const std::lock_guard dirs(dirs_mutex_);
    closed = std::exchange(root.fd, nullptr);
  }
  for (Inode* const held : {std::exchange(root.place, nullptr), std::exchange(root.inode, nullptr)}) {
    --held->refs;
    release_if_unused(held);
  }
}

void Inodes::reopen(Root& root, SharedFd fd, const struct stat& st) noexcept {
  const std::lock_guard guard(mutex_);
  if (fd) {
    erase(*root.inode);
    root.inode->number = st.st_ino;
    insert(*root.inode);
    root.device = st.st_dev;
  }
  const std::lock_guard dirs(dirs_mutex_);
  if (fd) root.shown = st;
  root.fd.swap(fd);
}

struct stat Inodes::shown(const Root& root) noexcept {
  const std::lock_guard dirs(dirs_mutex_);
  return root.shown;
}

void Inodes::show(const Inode& inode, const struct stat& st) noexcept {
  if (!inode.is_root) return;
  const std::lock_guard dirs(dirs_mutex_);
  root_of(inode).shown = st;
}

SharedFd Inodes::root_fd(const Root& root) noexcept {
  if (root.index == 0) return root_fd_;
  const std::lock_guard dirs(dirs_mutex_);
  return root.fd;
}

Root* Inodes::covering(ino_t number) noexcept {
  if (!has_grafts()) return nullptr;
  const std::lock_guard guard(mutex_);
  const Inode* const place = find_number(0, number);
  return place != nullptr && place->covered ? covers_.at(place) : nullptr;
}

std::uint64_t Inodes::listed_number(const Inode& directory, ino_t number) noexcept {
  if (directory.root != 0 || !has_grafts()) return shown_number(directory.root, number);
  const std::lock_guard guard(mutex_);
  const Inode* const place = find_number(0, number);
  if (place == nullptr || !place->covered) return number;
  const Root& graft = *covers_.at(place);
  return shown_number(graft.index, graft.inode->number);
}

bool Inodes::leads_to_graft(const Inode& directory) noexcept {
  if (directory.root != 0 || !has_grafts()) return false;
  std::vector<Inode*> places;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& [place, graft] : covers_) {
      places.push_back(graft->place);
      ++graft->place->refs;
    }
  }
  bool leads = false;
  for (Inode* const place : places) {
    leads = leads || is_below(*place, directory);
    drop(*place);
  }
  return leads;
}

Root& Inodes::root_at(std::string_view path) noexcept {
  for (Root* const root : all_grafts()) {  // none lies below another
    if (is_at_or_below(path, root->path)) return *root;
  }
  return backing();
}

std::vector<Root*> Inodes::all_grafts() noexcept {
  std::vector<Root*> all;
  if (!has_grafts()) return all;
  const std::lock_guard guard(mutex_);
  for (std::size_t i = 1; i < owned_roots_.size(); ++i) {
    if (owned_roots_[i]->inode != nullptr) all.push_back(owned_roots_[i].get());
  }
  return all;
}

void Inodes::for_each_of(const Root& root, const std::function<void(Inode&)>& visit) {
  std::unordered_set<Inode*> found;
  {
    const std::lock_guard held(held_mutex_);  // what is unlinked is in no bucket
    const std::lock_guard guard(mutex_);
    for (Inode* inode : buckets_) {
      for (; inode != nullptr; inode = inode->next) {
        if (inode->root == root.index) found.insert(inode);
      }
    }
    for (Inode* const inode : held_) {
      if (inode->root == root.index) found.insert(inode);
    }
    for (Inode* const inode : found) ++inode->refs;
  }
  for (Inode* const inode : found) {
    visit(*inode);
    drop(*inode);
  }
}

}  // namespace vreserve
