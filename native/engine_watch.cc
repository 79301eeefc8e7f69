// What becomes of a pool that breaks and comes back.
//
// Each pool beside the main one has a thread that samples it and looks whether it is still there, so that a disk that
// answers no more holds up nobody else. Of a broken pool everything is EIO at once; its view and descriptors are let go, so
// that the disk can be taken out. When its path leads to the directory with its mark again, it is opened anew and counted,
// which nobody can disturb, before anything is served. What becomes of one that does not answer is in engine_silent.cc.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "ops.h"
#include "pool_disk.h"

namespace vreserve {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kSamplePeriod = std::chrono::milliseconds(200);
constexpr auto kCheckPeriod = std::chrono::seconds(1);
constexpr auto kIdleProbePeriod = std::chrono::seconds(10);
constexpr auto kPatience = std::chrono::seconds(2);  // with a disk that does not answer, at the end

}  // namespace

void Engine::watch(const std::shared_ptr<PoolBacking>& pool) noexcept {
  auto next_check = Clock::now();
  auto next_probe = Clock::now();
  std::unique_lock lock(pool->mutex);
  while (!pool->ending) {
    if (pool->is_broken) {
      if (Clock::now() >= next_check) {
        next_check = Clock::now() + kCheckPeriod;
        if (pool->is_silent) {
          look_again(lock, *pool);
        } else {
          if (std::exchange(pool->lets_go_again, false)) let_go(*pool);
          revive(*pool);
        }
      }
    } else {
      Look look;
      look.mark = meter.begin_sample(pool->spec.id);
      const bool checks = Clock::now() >= next_check;
      bool used = Clock::now() >= next_probe;
      if (checks) {
        for (Root* const root : inodes.all_grafts()) used |= root->pool == pool->spec.id && root->used.exchange(false);
      }
      const bool probes = checks && used && !options_.device.read_only;
      look_at(lock, *pool, checks, probes, look);
      if (checks) next_check = Clock::now() + kCheckPeriod;
      if (probes) next_probe = Clock::now() + kIdleProbePeriod;
      if (pool->ending) break;
      if (!look.broken.empty()) {
        give_up(*pool, look.broken);
      } else if (!pool->is_silent && look.free >= 0) {
        meter.end_sample(look.mark, look.free, pool->spec.id);
      }
    }
    pool->wakes.wait_for(lock, kSamplePeriod, [&pool] { return pool->ending.load(); });
  }
  pool->has_ended = true;
  pool->wakes.notify_all();
}

// May wait for the disk, and does so without the mutex, which `lock` holds before and after.
void Engine::look_at(std::unique_lock<std::mutex>& lock, PoolBacking& pool, bool checks, bool probes, Look& look) noexcept {
  const SharedFd fd = pool.fd;
  const dev_t device = pool.device;
  const ino_t number = pool.number;
  pool.looks_since = steady_ms();
  lock.unlock();
  struct statfs fs {};
  if (::fstatfs(fd->get(), &fs) != 0) {
    look.broken = std::strerror(errno);
  } else {
    look.free = free_of(fs);
  }
  struct stat st {};
  if (checks && look.broken.empty()) {
    if (::stat(pool.spec.directory.c_str(), &st) != 0) {
      look.broken = std::strerror(errno);
    } else if (st.st_dev != device || st.st_ino != number) {
      look.broken = "its path leads elsewhere: it was unmounted";
    }
  }
  if (probes && look.broken.empty()) {
    if (const int error = probe_disk(fd->get()); is_of_disk(error)) look.broken = std::string("a write failed: ") + std::strerror(error);
  }
  lock.lock();
  pool.looks_since = 0;
}

// Its mutex must be held.
void Engine::give_up(PoolBacking& pool, const std::string& why) noexcept {
  stop_serving(pool, why);
  pool.is_silent = false;
  let_go(pool);
  pool.lets_go_again = true;
  drop_directory(pool);
}

// From now on everything in it is EIO. Waits for nothing. Its mutex must be held.
void Engine::stop_serving(PoolBacking& pool, const std::string& why) noexcept {
  for (Root* const root : inodes.all_grafts()) {
    if (root->pool != pool.spec.id) continue;
    root->trouble = EIO;
    inodes.close(*root);
  }
  pool.is_broken = true;
  const std::unique_lock guard(pools_mutex_);
  pool.broken = why;
}

// Its mutex must be held.
void Engine::drop_directory(PoolBacking& pool) noexcept {
  {
    const std::unique_lock guard(pools_mutex_);
    pool.fd.reset();
  }
  pool.lock.reset();
  pool.view.drop();
}

// Closes what is open of the pool's grafts, as far as the kernel does not hold it. What is unlinked is lost with that, and
// is charged until its last close all the same.
void Engine::let_go(const PoolBacking& pool) noexcept {
  for (Root* const root : inodes.all_grafts()) {
    if (root->pool != pool.spec.id) continue;
    inodes.close(*root);
    inodes.for_each_of(*root, [this](Inode& inode) {
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
  streams.clear();
}

// Looks whether a broken pool is there again; then opens and counts it, and serves it. Its mutex must be held.
void Engine::revive(PoolBacking& pool) noexcept {
  std::string why;
  if (open_pool(pool, why) == 0 && !serve_again(pool)) drop_directory(pool);
}

// Counts what is in it, and serves it. False: it could not be read, or somebody is at a change of it; nothing of it is served
// then. Its mutex must be held.
bool Engine::serve_again(PoolBacking& pool) noexcept {
  const std::unique_lock binding(pool.bind_mutex, std::try_to_lock);  // who has it may want the pool's mutex
  if (!binding || pool.ending) return false;
  std::vector<Root*> roots = inodes.all_grafts();
  std::erase_if(roots, [&pool](const Root* root) { return root->pool != pool.spec.id; });
  for (Root* const root : roots) {
    Fd fd = open_in_pool(pool.fd->get(), root->directory);
    struct stat st {};
    if (!fd || ::fstat(fd.get(), &st) != 0) continue;  // that one stays in trouble
    inodes.reopen(*root, std::make_shared<const Fd>(std::move(fd)), st);
    renew(*root);
  }
  set_pool_capacity(pool);
  if (!count_pool(pool.spec.id, pool.progress)) {
    for (Root* const root : roots) inodes.close(*root);
    return false;
  }
  pool.is_broken = pool.is_silent = false;
  {
    const std::unique_lock guard(pools_mutex_);
    pool.broken.clear();
  }
  if (mounted_) try_passthrough(pool, pool.fd);
  for (Root* const root : roots) {
    if (!inodes.root_fd(*root)) continue;
    set_io(*root, &pool);
    root->trouble = 0;
    if (mounted_) device.invalidate_attributes(root->inode->nodeid());
  }
  return true;
}

// As set_pool() does, where the pool's mutex is held.
void Engine::set_pool_capacity(PoolBacking& pool) noexcept {
  struct statfs fs {};
  if (::fstatfs(pool.fd->get(), &fs) != 0) return;
  const std::int64_t total = total_of(fs);
  const std::int64_t capacity = pool.capacity < 0 || pool.capacity > total ? total : pool.capacity;
  const std::int64_t margin = pool.margin < 0 ? default_margin(capacity) : pool.margin;
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
    inode.hole = is_there && !by_kernel(inode) ? hole_bytes(st) : 0;
    if (is_there) inode.nlink = static_cast<std::uint32_t>(st.st_nlink);
  });
}

void Engine::end_watch(PoolBacking& pool) noexcept {
  pool.ending = true;
  pool.progress.cancel = true;
  pool.wakes.notify_all();
  {
    std::unique_lock lock(pool.mutex, std::defer_lock);
    const auto until = Clock::now() + kPatience;
    // Whoever opens a pool that is back may hang, too.
    while (!lock.try_lock() && Clock::now() < until) std::this_thread::sleep_for(kSamplePeriod / 10);
    if (lock) pool.wakes.wait_until(lock, until, [&pool] { return pool.has_ended; });
    // A thread that hangs in the disk looks at `ending` before it touches anything else. What it has open stays so.
    if (lock && pool.has_ended) drop_directory(pool);
    else pool.watcher.detach();
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
