// Pools: opened, described and sampled.
#include <sys/file.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>

#include "ops.h"
#include "pool_disk.h"

namespace vreserve {

void Engine::describe(const struct statfs& fs, const std::string& view, BackingInfo& info) noexcept {
  info.view_path = view;
  info.total_bytes = total_of(fs);
  info.free_bytes = free_of(fs);
  info.read_only = (fs.f_flags & ST_RDONLY) != 0;
  info.filesystem = filesystem_name(fs.f_type);
}

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
    Fd lock(::openat(fd->get(), kPoolLock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
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
    if (const int found = probe_disk(fd->get()); is_of_disk(found)) error = -found;
  }
  if (error != 0) {
    if (why.empty()) why = std::strerror(-error);
    fd.reset();
    pool.lock.reset();
    pool.view.drop();
    return error;
  }
  pool.spec.known = true;
  pool.device = there.st_dev;
  pool.number = there.st_ino;
  pool.stacked = is_overlay(fs);
  const std::unique_lock guard(pools_mutex_);
  pool.fd = fd;
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
  const auto pool = find_pool(id);
  if (pool == nullptr) return -ENOENT;
  const Change change = begin_change({id});
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
  if (const auto pool = find_pool(id); pool != nullptr) {
    const std::unique_lock guard(pools_mutex_);
    pool->capacity = capacity;
    pool->margin = margin;
  }
  const SharedFd fd = pool_fd(id);
  if (fd) ::fstatfs(fd->get(), &fs);
  const std::int64_t total = total_of(fs);
  // Of a pool that was never seen nothing is known but what is asked for.
  if (fd && (capacity < 0 || capacity > total)) capacity = total;
  capacity = std::max<std::int64_t>(capacity, 0);
  if (margin < 0) margin = default_margin(capacity);
  meter.set_pool(capacity, margin, fs.f_frsize, id);
  sample(id);
}

// null of a broken one.
SharedFd Engine::pool_fd(PoolId id) noexcept {
  if (id == kMainPool) return inodes.root_fd(inodes.backing());
  const auto pool = find_pool(id);
  if (pool == nullptr || pool->is_broken) return nullptr;
  const std::shared_lock guard(pools_mutex_);
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
    const Fd file(::openat(fd->get(), kPoolMark, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    const std::uint32_t id = file ? device.backing_open(file.get()) : 0;
    if (id == 0) reason = std::string("refused by the kernel: ") + std::strerror(errno);
    works = id != 0;
    device.backing_close(id);
  }
  pool.passthrough = works;
  for (Root* const root : inodes.all_grafts()) {
    if (root->pool == pool.spec.id) set_io(*root, &pool);
  }
  const std::unique_lock guard(pools_mutex_);
  pool.io_reason = reason;
}

// null: as the backing.
void Engine::set_io(Root& root, const PoolBacking* pool) noexcept {
  const Root& backing = inodes.backing();
  root.passthrough = pool != nullptr ? pool->passthrough.load() : backing.passthrough.load();
  root.read_write = pool != nullptr ? !options_.device.read_only && !pool->stacked : backing.read_write.load();
}

}  // namespace vreserve
