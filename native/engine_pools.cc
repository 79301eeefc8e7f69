// Pools: their directories and samples, grafts of them, and what becomes of one that breaks and comes back.
//
// Each pool beside the main one has a thread that samples it and looks whether it is still there, so that a disk that
// answers no more holds up nobody else. Of a broken pool everything is EIO at once; its view and descriptors are let go, so
// that the disk can be taken out. When its path leads to the directory with its mark again, it is opened anew and counted,
// which nobody can disturb, before anything is served.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "ops.h"

namespace vreserve {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kGiB = 1LL << 30;
constexpr auto kSamplePeriod = std::chrono::milliseconds(200);
constexpr auto kCheckPeriod = std::chrono::seconds(1);
constexpr auto kIdleProbePeriod = std::chrono::seconds(10);
constexpr auto kPatience = std::chrono::seconds(2);  // with a disk that does not answer, at the end
constexpr long kOverlayMagic = 0x794c7630;
constexpr const char* kMark = ".vreserve/pool";
constexpr const char* kLock = ".vreserve/lock";
constexpr const char* kProbe = ".vreserve/probe";
constexpr std::size_t kProbeBytes = 4096;

const char* filesystem_name(long magic) noexcept {
  switch (magic) {
    case 0xEF53: return "ext4";
    case 0x01021994: return "tmpfs";
    case 0x58465342: return "xfs";
    case 0x9123683E: return "btrfs";
    case kOverlayMagic: return "overlay";
    default: return "other";
  }
}

std::int64_t total_of(const struct statfs& fs) noexcept { return static_cast<std::int64_t>(fs.f_blocks) * fs.f_frsize; }
std::int64_t free_of(const struct statfs& fs) noexcept { return static_cast<std::int64_t>(fs.f_bavail) * fs.f_frsize; }

// Errors that a full disk gives, or one without the rights, are none of the disk's.
bool is_of_disk(int error) noexcept {
  return error == EIO || error == EROFS || error == ENODEV || error == ENXIO || error == ESTALE || error == ENOTCONN ||
         error == EREMOTEIO || error == EBADF;
}

// Writes a block to the disk past the page cache, where that can be had. 0 or errno.
int probe(int pool) noexcept {
  alignas(kProbeBytes) static const std::array<char, kProbeBytes> block{};
  Fd fd(::openat(pool, kProbe, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_DIRECT, 0600));
  const bool direct = static_cast<bool>(fd);
  if (!direct) fd = Fd(::openat(pool, kProbe, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return errno;
  if (::pwrite(fd.get(), block.data(), block.size(), 0) < 0) return errno;
  return direct || ::fdatasync(fd.get()) == 0 ? 0 : errno;
}

// The mark of the pool, or empty.
std::string read_mark(int pool) noexcept {
  const Fd fd(::openat(pool, kMark, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  std::array<char, 4096> text{};
  const ssize_t length = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

// Whole or not at all, since it is what the pool is known by. 0 or errno.
int write_mark(int pool, const std::string& mark) noexcept {
  constexpr const char* kDraft = ".vreserve/pool.new";
  const Fd fd(::openat(pool, kDraft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd || ::write(fd.get(), mark.data(), mark.size()) != static_cast<ssize_t>(mark.size())) return errno;
  if (::fsync(fd.get()) != 0) return errno;
  return ::renameat(pool, kDraft, pool, kMark) == 0 ? 0 : errno;
}

// A directory of a pool. Not open, with errno set, on failure.
Fd open_in(int pool, const std::string& directory) noexcept {
  return Fd(::openat(pool, directory.empty() ? "." : directory.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

}  // namespace

void Engine::describe(const struct statfs& fs, const std::string& view, BackingInfo& info) noexcept {
  info.view_path = view;
  info.total_bytes = total_of(fs);
  info.free_bytes = free_of(fs);
  info.read_only = (fs.f_flags & ST_RDONLY) != 0;
  info.filesystem = filesystem_name(fs.f_type);
}

// --- what is there ----------------------------------------------------------------------------------------------

std::shared_ptr<PoolBacking> Engine::find_pool(PoolId id) noexcept {
  const std::shared_lock guard(pools_mutex_);
  const auto found = pools_.find(id);
  return found == pools_.end() ? nullptr : found->second;
}

// Opens the directory, takes its lock, and compares its mark, or makes that where there may be none yet. What is not the
// pool's directory is left as it is. The pool's mutex must be held, but for a new one. 0 or -errno; then nothing is open.
int Engine::open_pool(PoolBacking& pool, std::string& why) noexcept {
  const PoolSpec& spec = pool.spec;
  struct stat there {};
  const Fd directory(::open(spec.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fstat(directory.get(), &there) != 0) {
    const int error = -errno;
    why = std::strerror(errno);
    return error;
  }
  const std::string mark = read_mark(directory.get());
  if (mark != spec.mark && (spec.known || !mark.empty())) {
    why = mark.empty() ? "another directory is there" : "it is a pool of another mount";
    return -EEXIST;
  }
  int error = pool.view.take(spec.directory, privileged_, why);
  SharedFd fd;
  if (error == 0) {
    fd = std::make_shared<const Fd>(::open(pool.view.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!*fd) error = -errno;
  }
  if (error == 0 && !options_.device.read_only) {
    ::mkdirat(fd->get(), ".vreserve", 0700);
    Fd lock(::openat(fd->get(), kLock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) {
      error = -errno;
    } else if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      error = -EBUSY;
      why = "another daemon uses it";
    } else {
      pool.lock = std::move(lock);
    }
  }
  if (error == 0 && mark.empty() && !options_.device.read_only) error = -write_mark(fd->get(), spec.mark);
  struct statfs fs {};
  if (error == 0 && ::fstatfs(fd->get(), &fs) != 0) error = -errno;
  if (error == 0 && !options_.device.read_only) {
    if (const int found = probe(fd->get()); is_of_disk(found)) error = -found;
  }
  if (error != 0) {
    if (why.empty()) why = std::strerror(-error);
    fd.reset();
    pool.lock.reset();
    pool.view.drop();
    return error;
  }
  pool.spec.known = true;
  pool.fd = fd;
  pool.device = there.st_dev;
  pool.number = there.st_ino;
  pool.stacked = fs.f_type == kOverlayMagic;
  const std::unique_lock guard(pools_mutex_);
  pool.filesystem = filesystem_name(fs.f_type);
  return 0;
}

int Engine::add_pool(const PoolSpec& spec, BackingInfo& info, std::string& why) noexcept {
  if (spec.id == kMainPool || find_pool(spec.id) != nullptr) return -EEXIST;
  auto pool = std::make_shared<PoolBacking>();
  pool->spec = spec;
  const int error = open_pool(*pool, why);
  // Only one that is known may be away for now.
  if (error != 0 && (!spec.known || error == -EBUSY)) return error;
  if (error != 0) {
    pool->is_broken = true;
    pool->broken = why;
  }
  struct statfs fs {};
  if (pool->fd && ::fstatfs(pool->fd->get(), &fs) == 0) describe(fs, pool->view.path(), info);
  {
    const std::unique_lock guard(pools_mutex_);
    pools_[spec.id] = pool;
  }
  set_pool(spec.capacity, spec.margin, spec.id);
  has_pools_ = true;
  if (mounted_) try_passthrough(*pool, pool->fd);
  pool->watcher = std::thread([this, pool] { watch(pool); });
  return 0;
}

int Engine::remove_pool(PoolId id) noexcept {
  const std::lock_guard binding(bind_mutex_);
  const auto pool = find_pool(id);
  if (pool == nullptr) return -ENOENT;
  const auto grafts = inodes.all_grafts();
  if (std::ranges::any_of(grafts, [id](const Root* root) { return root->pool == id; })) return -EBUSY;
  if (const int error = meter.remove_pool(id); error != 0) return -error;
  end_watch(*pool);
  const std::unique_lock guard(pools_mutex_);
  pools_.erase(id);
  return 0;
}

void Engine::set_pool(std::int64_t capacity, std::int64_t margin, PoolId id) noexcept {
  struct statfs fs {};
  const auto pool = find_pool(id);
  if (pool != nullptr) {
    const std::lock_guard guard(pool->mutex);
    pool->capacity = capacity;
    pool->margin = margin;
  }
  const SharedFd fd = pool_fd(id);
  if (fd) ::fstatfs(fd->get(), &fs);
  const std::int64_t total = total_of(fs);
  // Of a pool that was never seen nothing is known but what is asked for.
  if (fd && (capacity < 0 || capacity > total)) capacity = total;
  capacity = std::max<std::int64_t>(capacity, 0);
  if (margin < 0) margin = std::min(capacity / 100, kGiB);
  meter.set_pool(capacity, margin, fs.f_frsize, id);
  sample(id);
}

// null of a broken one.
SharedFd Engine::pool_fd(PoolId id) noexcept {
  if (id == kMainPool) return inodes.root_fd(inodes.backing());
  const auto pool = find_pool(id);
  if (pool == nullptr || pool->is_broken) return nullptr;
  const std::lock_guard guard(pool->mutex);
  return pool->fd;
}

void Engine::sample(PoolId id) noexcept {
  const SharedFd fd = pool_fd(id);
  if (!fd) return;
  const std::uint64_t mark = meter.begin_sample(id);
  struct statfs fs {};
  if (::fstatfs(fd->get(), &fs) != 0) return;
  meter.end_sample(mark, free_of(fs), id);
}

PoolReport Engine::pool(PoolId id) noexcept {
  if (id == kMainPool) sample();
  PoolReport report;
  report.usage = meter.pool(id);
  if (const auto pool = find_pool(id); pool != nullptr) {
    const std::shared_lock guard(pools_mutex_);
    report.broken = pool->broken;
    report.filesystem = pool->filesystem;
    report.io_reason = pool->io_reason;
    report.passthrough = pool->passthrough;
  } else {
    report.passthrough = passthrough();
    report.io_reason = device.info().passthrough_reason;
  }
  return report;
}

// Whether the kernel takes files of the pool as backing files.
void Engine::try_passthrough(PoolBacking& pool, const SharedFd& fd) noexcept {
  std::string reason;
  bool works = false;
  if (pool.stacked) {
    reason = "the backing is an overlay";
  } else if (!options_.device.passthrough) {
    reason = options_.device.no_passthrough;
  } else if ((device.info().flags & fuse::PASSTHROUGH) == 0) {
    reason = device.info().passthrough_reason;
  } else if (fd) {
    const Fd file(::openat(fd->get(), kMark, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    const std::uint32_t id = file ? device.backing_open(file.get()) : 0;
    if (id == 0) reason = std::string("refused by the kernel: ") + std::strerror(errno);
    works = id != 0;
    device.backing_close(id);
  }
  pool.passthrough = works;
  for (Root* const root : inodes.all_grafts()) {
    if (root->pool == pool.spec.id) set_io(*root, pool);
  }
  const std::unique_lock guard(pools_mutex_);
  pool.io_reason = reason;
}

void Engine::set_io(Root& root, const PoolBacking& pool) noexcept {
  root.passthrough = pool.passthrough.load();
  root.read_write = !options_.device.read_only && !pool.stacked;
}

// --- grafts -----------------------------------------------------------------------------------------------------

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
    Fd opened = open_in(in->get(), directory);
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

// --- whether it is there ----------------------------------------------------------------------------------------

// What a look at a pool gave. It may hang with the disk, and is made without any lock.
struct Engine::Look {
  std::uint64_t mark = 0;
  std::int64_t free = -1;
  std::string broken;  // why; empty: it is there
};

void Engine::watch(const std::shared_ptr<PoolBacking>& pool) noexcept {
  auto next_check = Clock::now();
  auto next_probe = Clock::now();
  std::unique_lock lock(pool->mutex);
  while (!pool->ending) {
    if (pool->is_broken) {
      if (Clock::now() >= next_check) {
        next_check = Clock::now() + kCheckPeriod;
        revive(*pool);
      }
    } else {
      Look look;
      look.mark = meter.begin_sample(pool->spec.id);
      const SharedFd fd = pool->fd;
      const dev_t device = pool->device;
      const ino_t number = pool->number;
      const std::string directory = pool->spec.directory;
      const bool checks = Clock::now() >= next_check;
      bool used = Clock::now() >= next_probe;
      if (checks) {
        for (Root* const root : inodes.all_grafts()) used |= root->pool == pool->spec.id && root->used.exchange(false);
      }
      const bool probes = checks && used && !options_.device.read_only;
      lock.unlock();
      struct statfs fs {};
      if (::fstatfs(fd->get(), &fs) != 0) {
        look.broken = std::strerror(errno);
      } else {
        look.free = free_of(fs);
      }
      struct stat st {};
      if (checks && look.broken.empty()) {
        if (::stat(directory.c_str(), &st) != 0) {
          look.broken = std::strerror(errno);
        } else if (st.st_dev != device || st.st_ino != number) {
          look.broken = "its path leads elsewhere: it was unmounted";
        }
      }
      if (probes && look.broken.empty()) {
        if (const int error = probe(fd->get()); is_of_disk(error)) look.broken = std::string("a write failed: ") + std::strerror(error);
      }
      if (checks) next_check = Clock::now() + kCheckPeriod;
      if (probes) next_probe = Clock::now() + kIdleProbePeriod;
      lock.lock();
      if (pool->ending) break;
      if (!look.broken.empty()) {
        give_up(*pool, look.broken);
      } else if (look.free >= 0) {
        meter.end_sample(look.mark, look.free, pool->spec.id);
      }
    }
    pool->wakes.wait_for(lock, kSamplePeriod, [&pool] { return pool->ending.load(); });
  }
  pool->has_ended = true;
  pool->wakes.notify_all();
}

// Its mutex must be held.
void Engine::give_up(PoolBacking& pool, const std::string& why) noexcept {
  std::vector<Root*> roots = inodes.all_grafts();
  std::erase_if(roots, [&pool](const Root* root) { return root->pool != pool.spec.id; });
  for (Root* const root : roots) root->trouble = EIO;
  pool.is_broken = true;
  {
    const std::unique_lock guard(pools_mutex_);
    pool.broken = why;
  }
  for (Root* const root : roots) let_go(*root);
  streams.clear();
  pool.fd.reset();
  pool.lock.reset();
  pool.view.drop();
}

// Closes what is open of a root, as far as the kernel does not hold it. What is unlinked is lost with that, and is charged
// until its last close all the same.
void Engine::let_go(Root& root) noexcept {
  (void)inodes.reopen(root, nullptr);
  inodes.for_each_of(root, [this](Inode& inode) {
    {
      const InodeGuard guard(inode.lock);
      inodes.forget_directory(inode);
      if (inode.open) {
        inode.open->fd.reset();
        inode.open->pin.reset();
        inode.open->fd_writable = false;
      }
    }
    device.invalidate_attributes(inode.nodeid());
  });
}

// Looks whether a broken pool is there again; then opens and counts it, and serves it. Its mutex must be held.
void Engine::revive(PoolBacking& pool) noexcept {
  const std::unique_lock binding(bind_mutex_, std::try_to_lock);  // who has it may want the pool's mutex
  std::string why;
  if (!binding || open_pool(pool, why) != 0) return;
  std::vector<Root*> roots = inodes.all_grafts();
  std::erase_if(roots, [&pool](const Root* root) { return root->pool != pool.spec.id; });
  for (Root* const root : roots) {
    Fd fd = open_in(pool.fd->get(), root->directory);
    if (!fd) continue;  // that one stays in trouble
    if (inodes.reopen(*root, std::make_shared<const Fd>(std::move(fd))) == 0) renew(*root);
  }
  set_pool_capacity(pool);
  if (!count_pool(pool.spec.id, pool.progress)) {
    for (Root* const root : roots) (void)inodes.reopen(*root, nullptr);
    pool.fd.reset();
    pool.lock.reset();
    pool.view.drop();
    return;
  }
  pool.is_broken = false;
  {
    const std::unique_lock guard(pools_mutex_);
    pool.broken.clear();
  }
  if (mounted_) try_passthrough(pool, pool.fd);
  for (Root* const root : roots) {
    if (!inodes.root_fd(*root)) continue;
    set_io(*root, pool);
    root->trouble = 0;
    if (mounted_) device.invalidate_attributes(root->inode->nodeid());
  }
}

// As set_pool() does, where the pool's mutex is held.
void Engine::set_pool_capacity(PoolBacking& pool) noexcept {
  struct statfs fs {};
  if (::fstatfs(pool.fd->get(), &fs) != 0) return;
  const std::int64_t total = total_of(fs);
  const std::int64_t capacity = pool.capacity < 0 || pool.capacity > total ? total : pool.capacity;
  const std::int64_t margin = pool.margin < 0 ? std::min(capacity / 100, kGiB) : pool.margin;
  meter.set_pool(capacity, margin, fs.f_frsize, pool.spec.id);
  const std::uint64_t mark = meter.begin_sample(pool.spec.id);
  meter.end_sample(mark, free_of(fs), pool.spec.id);
}

// What is known of files may be wrong after a disk was away: it did not keep what was not written yet.
void Engine::renew(Root& root) noexcept {
  inodes.for_each_of(root, [this](Inode& inode) {
    const InodeGuard guard(inode.lock);
    if (inode.is_root || inode.unlinked) return;
    struct stat st {};
    const bool is_there = inodes.stat(inode, st) == 0;
    if (!is_there) {
      inodes.unhash(inode);
      inode.unlinked = true;
      inodes.clear_name(inode);
      if (inode.open && inode.open->opens > 0) inodes.set_held(inode, true);
    }
    const std::int64_t size = is_there && inode.is_regular() ? st.st_size : 0;
    if (inode.open && inode.open->writers > 0) refund({lot_of(inode), 0, 0, size - inode.size, 0});
    inode.size = size;
    inode.hole = is_there ? hole_bytes(st) : 0;
    if (is_there) inode.nlink = static_cast<std::uint32_t>(st.st_nlink);
  });
}

void Engine::end_watch(PoolBacking& pool) noexcept {
  pool.ending = true;
  pool.progress.cancel = true;
  pool.wakes.notify_all();
  {
    std::unique_lock lock(pool.mutex);
    pool.wakes.wait_for(lock, kPatience, [&pool] { return pool.has_ended; });
    // A thread that hangs in the disk looks at `ending` before it touches anything else.
    if (!pool.has_ended) pool.watcher.detach();
    pool.fd.reset();
    pool.lock.reset();
    pool.view.drop();
  }
  if (pool.watcher.joinable()) pool.watcher.join();
}

void Engine::end_pools() noexcept {
  std::map<PoolId, std::shared_ptr<PoolBacking>> pools;
  {
    const std::unique_lock guard(pools_mutex_);
    pools.swap(pools_);
  }
  for (const auto& [id, pool] : pools) end_watch(*pool);
}

}  // namespace vreserve
