#include "inodes.h"

#include <cstdlib>
#include <cstring>

namespace vreserve {

namespace {

std::size_t bucket_of(std::uint32_t root, ino_t number, std::size_t buckets) noexcept {
  return ((shown_number(root, number) * 0x9E3779B97F4A7C15ULL) >> 20) & (buckets - 1);
}

}  // namespace

Inodes::Inodes() noexcept
    : slabs_(new std::atomic<Inode*>[kSlabs]()), buckets_(1024), roots_(new std::atomic<Root*>[kRoots]()) {
  owned_roots_.push_back(std::make_unique<Root>());
  roots_[0] = owned_roots_.front().get();
}

Inodes::~Inodes() {
  for (std::size_t i = 0; i < kSlabs; ++i) {
    Inode* const slab = slabs_[i].load();
    if (slab == nullptr) break;
    for (std::size_t j = 0; j < kSlab; ++j) std::free(slab[j].name);
    delete[] slab;
  }
}

int Inodes::open_root(int fd) noexcept {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return -errno;
  root_fd_ = std::make_shared<const Fd>(fd);
  owned_roots_.front()->device = st.st_dev;
  owned_roots_.front()->path.assign(1, '/');
  root_ = allocate();
  root_->number = st.st_ino;
  root_->type = S_IFDIR;
  root_->nlink = 2;
  root_->refs = 1;
  root_->nlookup = 1;
  const std::lock_guard guard(mutex_);
  insert(*root_);
  return 0;
}

char* Inodes::copy_name(std::string_view name) noexcept {
  char* const copy = static_cast<char*>(std::malloc(name.size() + 1));
  if (copy == nullptr) std::abort();
  std::memcpy(copy, name.data(), name.size());
  copy[name.size()] = 0;
  return copy;
}

// The table's mutex must be held, but for the root.
Inode* Inodes::allocate() noexcept {
  if (free_ != nullptr) {
    Inode* const inode = free_;
    free_ = inode->next;
    inode->next = nullptr;
    return inode;
  }
  const std::size_t slab = next_index_ / kSlab;
  if (slab >= kSlabs) return nullptr;
  Inode* base = slabs_[slab].load(std::memory_order_relaxed);
  if (base == nullptr) {
    base = new Inode[kSlab];
    for (std::size_t i = 0; i < kSlab; ++i) base[i].index = static_cast<std::uint32_t>(slab * kSlab + i);
    slabs_[slab].store(base, std::memory_order_release);
  }
  return &base[next_index_++ % kSlab];
}

void Inodes::grow() noexcept {
  std::vector<Inode*> wider(buckets_.size() * 2);
  for (Inode* inode : buckets_) {
    while (inode != nullptr) {
      Inode* const next = inode->next;
      Inode*& bucket = wider[bucket_of(inode->root, inode->number, wider.size())];
      inode->next = bucket;
      bucket = inode;
      inode = next;
    }
  }
  buckets_.swap(wider);
}

void Inodes::insert(Inode& inode) noexcept {
  const std::size_t known = known_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (known > buckets_.size()) grow();
  Inode*& bucket = buckets_[bucket_of(inode.root, inode.number, buckets_.size())];
  inode.next = bucket;
  bucket = &inode;
  inode.hashed = true;
}

void Inodes::erase(Inode& inode) noexcept {
  if (!inode.is_directory()) forgotten_.fetch_add(1, std::memory_order_release);
  Inode** link = &buckets_[bucket_of(inode.root, inode.number, buckets_.size())];
  while (*link != &inode) link = &(*link)->next;
  *link = inode.next;
  inode.next = nullptr;
  inode.hashed = false;
  known_.fetch_sub(1, std::memory_order_relaxed);
}

Inode* Inodes::find_number(std::uint32_t root, ino_t number) noexcept {
  Inode* inode = buckets_[bucket_of(root, number, buckets_.size())];
  while (inode != nullptr && (inode->number != number || inode->root != root)) inode = inode->next;
  return inode;
}

Inode* Inodes::find(std::uint64_t nodeid) noexcept {
  const std::uint64_t index = (nodeid & 0xFFFFFFFFU) - 1;
  if (index >= kSlab * kSlabs) return nullptr;
  Inode* const slab = slabs_[index / kSlab].load(std::memory_order_acquire);
  if (slab == nullptr) return nullptr;
  Inode* const inode = &slab[index % kSlab];
  return inode->generation == nodeid >> 32 ? inode : nullptr;
}

// Frees the inode, and then each parent that only it held. The table's mutex must be held.
void Inodes::release_if_unused(Inode* inode) noexcept {
  while (inode != nullptr && inode->nlookup == 0 && inode->refs == 0) {
    if (inode->hashed) erase(*inode);
    nameless_.erase(inode);
    if (inode->is_directory() || inode->name == nullptr) forget_directory(*inode);
    Inode* const parent = inode->parent;
    std::free(inode->name);
    inode->name = nullptr;
    inode->parent = nullptr;
    inode->size = inode->hole = 0;
    inode->unlinked = inode->may_have_suid = inode->is_root = false;
    if (inode->root != 0) --roots_[inode->root].load()->known;
    inode->root = 0;
    inode->open.reset();
    inode->last.reset();
    inode->lot_and_epoch.store(0, std::memory_order_relaxed);
    inode->generation = (inode->generation + 1) & 0x3FFFFFFF;
    inode->next = free_;
    free_ = inode;
    if (parent != nullptr) --parent->refs;
    inode = parent;
  }
}

// Who holds a file open may write to it after it was looked at, close it, and have the kernel forget it, all before it is
// entered in the table: by its other names it was known meanwhile. Its size would be that of before, and its next growth
// charged twice. So it is looked at again where any file was forgotten since.
template <typename Stat>
Inode* Inodes::look(Inode& parent, const char* name, struct stat& st, unsigned lookups, int& error, Stat stat) noexcept {
  for (;;) {
    const std::uint64_t seen = forgotten_.load(std::memory_order_acquire);
    error = stat() == 0 ? 0 : errno;
    if (error == 0 && st.st_dev != device(parent)) error = EXDEV;
    if (error != 0) return nullptr;
    bool stale = false;
    Inode* const inode = learn(parent, name, st, lookups, seen, stale);
    if (stale) continue;
    if (inode == nullptr) error = ENOMEM;
    return inode;
  }
}

Inode* Inodes::look_up(Inode& parent, int directory, const char* name, struct stat& st, unsigned lookups, int& error) noexcept {
  return look(parent, name, st, lookups, error, [&] { return ::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW); });
}

Inode* Inodes::learn_made(Inode& parent, int file, const char* name, struct stat& st, int& error) noexcept {
  return look(parent, name, st, 1, error, [&] { return ::fstat(file, &st); });
}

Inode* Inodes::learn(Inode& parent, const char* name, const struct stat& st, unsigned lookups, std::uint64_t seen,
                     bool& stale) noexcept {
  Inode* inode = nullptr;
  {
    const std::lock_guard guard(mutex_);
    inode = find_number(parent.root, st.st_ino);
    stale = inode == nullptr && forgotten_.load(std::memory_order_relaxed) != seen;
    if (stale) return nullptr;
    if (inode != nullptr && inode->covered) inode = covers_.at(inode)->inode;
    if (inode == nullptr) {
      inode = allocate();
      if (inode == nullptr) return nullptr;
      inode->number = st.st_ino;
      inode->root = parent.root;
      if (parent.root != 0) ++roots_[parent.root].load()->known;
      inode->type = st.st_mode & S_IFMT;
      inode->size = S_ISREG(st.st_mode) ? st.st_size : 0;
      inode->hole = hole_bytes(st);
      inode->nlink = st.st_nlink;
      inode->may_have_suid = (st.st_mode & (S_ISUID | S_ISGID)) != 0;
      inode->parent = &parent;
      inode->name = copy_name(name);
      inode->nlookup = lookups;
      inode->refs = lookups == 0 ? 1 : 0;
      ++parent.refs;
      insert(*inode);
      return inode;
    }
    if (lookups != 0) {
      inode->nlookup += lookups;
    } else {
      ++inode->refs;
    }
  }
  // Known, but under a name that is not its only one now: this is where it is.
  inode->lock.lock_shared();
  const bool moved = inode != root_ && !inode->is_root && !inode->unlinked &&
                     (inode->name == nullptr ||
                      (st.st_nlink == 1 && (inode->parent != &parent || std::strcmp(name, inode->name) != 0)));
  inode->lock.unlock_shared();
  if (moved) {
    inode->lock.lock();
    if (!inode->unlinked) set_name(*inode, &parent, name);
    inode->lock.unlock();
  }
  return inode;
}

Inode* Inodes::learn_unnamed(Inode& parent, const struct stat& st) noexcept {
  const std::lock_guard guard(mutex_);
  Inode* const inode = allocate();
  if (inode == nullptr) return nullptr;
  inode->number = st.st_ino;
  inode->root = parent.root;
  if (parent.root != 0) ++roots_[parent.root].load()->known;
  inode->type = st.st_mode & S_IFMT;
  inode->nlink = 0;
  inode->unlinked = true;
  inode->may_have_suid = (st.st_mode & (S_ISUID | S_ISGID)) != 0;
  inode->parent = &parent;
  inode->nlookup = 1;
  ++parent.refs;
  return inode;  // not found by its number, which is free again with the last close, unless it gets a name
}

void Inodes::forget(Inode& inode, std::uint64_t lookups) noexcept {
  const std::lock_guard guard(mutex_);
  inode.nlookup -= std::min(inode.nlookup, lookups);
  release_if_unused(&inode);
}

void Inodes::hold(Inode& inode) noexcept {
  const std::lock_guard guard(mutex_);
  ++inode.refs;
}

void Inodes::drop(Inode& inode) noexcept {
  const std::lock_guard guard(mutex_);
  --inode.refs;
  release_if_unused(&inode);
}

void Inodes::set_name(Inode& inode, Inode* parent, std::string_view name) noexcept {
  if (inode.name == nullptr && !inode.is_directory()) forget_directory(inode);
  char* const copy = copy_name(name);
  std::free(inode.name);
  inode.name = copy;
  inode.lot_and_epoch.store(0, std::memory_order_relaxed);
  const std::lock_guard guard(mutex_);
  nameless_.erase(&inode);
  if (inode.parent == parent) return;
  ++parent->refs;
  if (Inode* const former = std::exchange(inode.parent, parent); former != nullptr) {
    --former->refs;
    release_if_unused(former);
  }
}

void Inodes::clear_name(Inode& inode) noexcept {
  std::free(inode.name);
  inode.name = nullptr;
  if (inode.unlinked) return;
  const std::lock_guard guard(mutex_);
  nameless_.insert(&inode);
}

void Inodes::for_each_nameless(const std::function<void(Inode&)>& visit) {
  std::vector<Inode*> nameless;
  {
    const std::lock_guard guard(mutex_);
    nameless.assign(nameless_.begin(), nameless_.end());
    for (Inode* inode : nameless) ++inode->refs;
  }
  for (Inode* inode : nameless) {
    visit(*inode);
    drop(*inode);
  }
}

void Inodes::unhash(Inode& inode) noexcept {
  const std::lock_guard guard(mutex_);
  if (inode.hashed) erase(inode);
}

void Inodes::rehash(Inode& inode) noexcept {
  const std::lock_guard guard(mutex_);
  if (!inode.hashed) insert(inode);
}

void Inodes::disown(std::uint32_t root, ino_t number) noexcept {
  Inode* stale = nullptr;
  {
    const std::lock_guard guard(mutex_);
    stale = find_number(root, number);
    if (stale == nullptr) return;
    erase(*stale);
    ++stale->refs;
  }
  stale->lock.lock();
  stale->unlinked = true;
  stale->size = stale->hole = 0;
  clear_name(*stale);
  stale->lock.unlock();
  drop(*stale);
}

SharedFd Inodes::directory(Inode& directory, int& error) noexcept {
  if (&directory == root_) return root_fd_;
  if (directory.is_root) {
    const Root& root = root_of(directory);
    SharedFd fd = root_fd(root);
    if (!fd) error = root.trouble != 0 ? root.trouble.load() : EIO;
    return fd;
  }
  {
    const std::lock_guard guard(dirs_mutex_);
    if (const auto found = dirs_.find(&directory); found != dirs_.end()) {
      dirs_by_use_.splice(dirs_by_use_.begin(), dirs_by_use_, found->second.used);
      return found->second.fd;
    }
  }
  directory.lock.lock_shared();
  const Location at = locate(directory);
  Fd fd;
  error = at.error;
  if (at.error == 0) {
    if (*at.name == 0) {
      fd = Fd(::openat(at.fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    } else {
      fd = Fd(::openat(at.fd, at.name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    struct stat st {};
    if (!fd || ::fstat(fd.get(), &st) != 0) {
      error = errno;
    } else if (st.st_ino != directory.number || st.st_dev != device(directory)) {
      error = ESTALE;
    }
  }
  directory.lock.unlock_shared();
  if (error != 0) return nullptr;
  return remember(directory, std::move(fd));
}

void Inodes::keep_descriptor(Inode& inode, Fd&& fd) noexcept { (void)remember(inode, std::move(fd)); }

SharedFd Inodes::remember(Inode& inode, Fd&& fd) noexcept {
  auto shared = std::make_shared<const Fd>(std::move(fd));
  SharedFd evicted;  // closed after the mutex
  const std::lock_guard guard(dirs_mutex_);
  if (const auto found = dirs_.find(&inode); found != dirs_.end()) return found->second.fd;
  dirs_by_use_.push_front(&inode);
  dirs_.emplace(&inode, CachedDirectory{shared, dirs_by_use_.begin()});
  if (dirs_.size() > kDirectories) {
    const auto last = dirs_.find(dirs_by_use_.back());
    evicted = last->second.fd;
    dirs_by_use_.pop_back();
    dirs_.erase(last);
  }
  return shared;
}

void Inodes::forget_directory(Inode& inode) noexcept {
  SharedFd closed;
  const std::lock_guard guard(dirs_mutex_);
  const auto found = dirs_.find(&inode);
  if (found == dirs_.end()) return;
  closed = found->second.fd;
  dirs_by_use_.erase(found->second.used);
  dirs_.erase(found);
}

Location Inodes::locate(Inode& inode) noexcept {
  Location at;
  if (&inode == root_) {
    at.fd = root_fd_->get();
    return at;
  }
  if (inode.is_root) {
    at.directory = directory(inode, at.error);
    if (at.directory) at.fd = at.directory->get();
    return at;
  }
  if (inode.name == nullptr) {
    if (inode.open && inode.open->fd) {
      at.fd = inode.open->fd.get();
    } else if (inode.open && inode.open->pin) {
      at.fd = inode.open->pin.get();
    } else {
      const std::lock_guard guard(dirs_mutex_);
      if (const auto found = dirs_.find(&inode); found != dirs_.end()) {
        at.directory = found->second.fd;
        at.fd = at.directory->get();
      } else {
        at.error = ESTALE;
      }
    }
    return at;
  }
  at.directory = directory(*inode.parent, at.error);
  if (at.directory) {
    at.fd = at.directory->get();
    at.name = inode.name;
  }
  return at;
}

int Inodes::stat(Inode& inode, struct stat& st) noexcept {
  if (inode.open && inode.open->fd) return ::fstat(inode.open->fd.get(), &st) == 0 ? 0 : -errno;
  const Location at = locate(inode);
  if (at.error == ESTALE && inode.last) {
    st = *inode.last;
    return 0;
  }
  if (at.error != 0) return -at.error;
  if (::fstatat(at.fd, at.name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) return -errno;
  return st.st_ino == inode.number && st.st_dev == device(inode) ? 0 : -ESTALE;
}

bool Inodes::is_below(Inode& inode, const Inode& top) noexcept {
  bool found = false;
  for_each_above(inode, [&](const Inode& at) { return !(found = &at == &top); });
  return found;
}

void Inodes::set_held(Inode& inode, bool held) noexcept {
  const std::lock_guard guard(held_mutex_);
  if (held) {
    held_.insert(&inode);
  } else {
    held_.erase(&inode);
  }
}

void Inodes::for_each_held(const std::function<void(Inode&)>& visit) {
  std::vector<Inode*> held;
  {
    const std::lock_guard guard(held_mutex_);
    held.assign(held_.begin(), held_.end());
    for (Inode* inode : held) hold(*inode);
  }
  for (Inode* inode : held) {
    visit(*inode);
    drop(*inode);
  }
}

}  // namespace vreserve
