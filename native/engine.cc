// The backing, its private view and samples; serving; which lot an inode is in; charges and refunds.
#include "engine.h"

#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "ops.h"
#include "pool_disk.h"

namespace vreserve {

namespace {

constexpr auto kSamplePeriod = std::chrono::milliseconds(200);

}  // namespace

Engine::Engine() noexcept = default;

Engine::~Engine() { stop(); }

// --- the backing ------------------------------------------------------------------------------------------------

int Engine::open_backing(const EngineOptions& options, BackingInfo& info, std::string& why) noexcept {
  options_ = options;
  privileged_ = ::geteuid() == 0;
  if (const int error = view_.take(options_.backing, privileged_, why); error != 0) return error;
  Fd root(::open(view_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) {
    const int error = -errno;
    why = "cannot open " + options_.backing;
    view_.drop();
    return error;
  }
  struct statfs fs {};
  ::fstatfs(root.get(), &fs);
  const bool stacked = is_overlay(fs);
  inodes.backing().read_write = !options_.device.read_only && !stacked;
  if (stacked && options_.device.passthrough) {
    // All opens of a file must share one backing file. It would have to be open for writing, and that copies the file
    // up, so that reading would write.
    options_.device.passthrough = false;
    options_.device.no_passthrough = "the backing is an overlay";
  }
  describe(fs, view_.path(), info);
  struct stat st {};
  const int fd = ::openat(root.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || ::fstat(fd, &st) != 0) return -errno;
  return inodes.open_root(fd);
}

void Engine::sampler() noexcept {
  std::unique_lock lock(sampler_mutex_);
  while (sampling_) {
    lock.unlock();
    sample();
    oversee();
    lock.lock();
    sampler_wakes_.wait_for(lock, kSamplePeriod, [this] { return !sampling_; });
  }
}

// --- serving ----------------------------------------------------------------------------------------------------

int Engine::mount(Virtual::Sink sink, std::function<void()> ended, std::string& why) noexcept {
  virtuals.set_sink(std::move(sink));
  probe_ = Fd(::openat(inodes.root_fd(), ".vreserve/lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (const int error = device.mount(options_.device, probe_.get(), why); error != 0) return error;
  inodes.backing().passthrough = passthrough();
  for (Root* const root : inodes.all_grafts()) {
    if (root->pool == kMainPool) set_io(*root, nullptr);
  }
  start_sampler();
  std::map<PoolId, std::shared_ptr<PoolBacking>> pools;
  {
    const std::shared_lock guard(pools_mutex_);
    pools = pools_;
  }
  for (const auto& [id, pool] : pools) try_passthrough(*pool, pool_fd(id));
  device.serve([this](Request& request) { dispatch(request); },
               [this, ended = std::move(ended)] {
                 mount_ended();
                 ended();
               });
  return 0;
}

void Engine::serve_from(Transport& transport, Virtual::Sink sink) noexcept {
  virtuals.set_sink(std::move(sink));
  start_sampler();
  device.serve_from(transport, [this](Request& request) { dispatch(request); });
}

void Engine::start_sampler() noexcept {
  {
    const std::lock_guard guard(sampler_mutex_);
    sampling_ = true;
  }
  sampler_ = std::thread([this] { sampler(); });
  mounted_ = true;
}

void Engine::mount_ended() noexcept {
  mounted_ = false;
  blobs.close_all();
  // With the last close of a detached mount the kernel drops the RELEASE requests that it has not sent.
  inodes.for_each_held([this](Inode& inode) {
    if (inodes.root_of(inode).trouble != 0) return;  // whoever waits for its disk may have the lock
    inode.lock.lock();
    if (inode.unlinked && inode.open) close_shared(*this, inode);
    inode.lock.unlock();
  });
}

int Engine::unmount(bool lazy) noexcept { return unmount_path(options_.device.mountpoint.c_str(), lazy); }

void Engine::stop() noexcept {
  {
    const std::lock_guard guard(sampler_mutex_);
    sampling_ = false;
  }
  sampler_wakes_.notify_all();
  if (sampler_.joinable()) sampler_.join();
  end_pools();
  for (bool told = false; !told;) {
    virtuals.abandon();  // a notification may wait for a request that waits for the control plane
    {
      const std::lock_guard guard(notify_mutex_);
      stopped_ = true;
      told = notifying_ == 0;
    }
    if (!told) ::usleep(1000);
  }
  blobs.end();
  device.stop();
  view_.drop();
}

// --- which lot --------------------------------------------------------------------------------------------------

PathStep Engine::step_of(Inode& inode) noexcept {
  const std::uint32_t epoch = epoch_.load(std::memory_order_acquire);
  const std::uint64_t known = inode.lot_and_epoch.load(std::memory_order_acquire);
  if (known >> 32 == epoch) {
    return {inode.node.load(std::memory_order_relaxed), static_cast<LotId>(known & 0xFFFFFFFFU)};
  }
  PathStep step;
  LotUsage usage;
  const auto former = static_cast<LotId>(known & 0xFFFFFFFFU);
  if (&inode == &inodes.root()) {
    step = paths.root();
  } else if (inode.unlinked && former != kNoLot && meter.usage(former, usage)) {
    step = {nullptr, former};  // stays with its lot until that lot goes
  } else {
    inode.parent->lock.lock_shared();
    const PathStep above = step_of(*inode.parent);
    inode.parent->lock.unlock_shared();
    step = inode.name == nullptr ? PathStep{nullptr, above.lot} : paths.step(above, inode.name, inode.is_directory());
    step = within_pool(step, inode);
    if (has_straddlers_.load(std::memory_order_relaxed) && inode.nlink > 1) {
      const std::shared_lock guard(names_mutex_);
      if (const auto found = straddlers_.find({inode.root, inode.number}); found != straddlers_.end()) step.lot = found->second;
    }
  }
  inode.node.store(step.node, std::memory_order_relaxed);
  inode.lot_and_epoch.store((std::uint64_t{epoch} << 32) | step.lot, std::memory_order_release);
  return step;
}

PathStep Engine::step_of_entry(Inode& directory, std::string_view name, bool is_directory) noexcept {
  directory.lock.lock_shared();
  const PathStep above = step_of(directory);
  directory.lock.unlock_shared();
  return within_pool(paths.step(above, name, is_directory), directory);
}

PathStep Engine::within_pool(PathStep step, const Inode& inode) noexcept {
  if (has_pools_ && !is_of(step.lot, inodes.root_of(inode))) step.lot = kNoLot;
  return step;
}

bool Engine::is_of(LotId id, const Root& root) noexcept {
  const std::shared_lock guard(names_mutex_);
  const auto found = names_.find(id);
  const Known lot = found == names_.end() ? Known{} : found->second;
  return lot.pool == root.pool && lot.by_kernel == root.by_kernel;
}

PoolId Engine::pool_of(LotId id) noexcept {
  const std::shared_lock guard(names_mutex_);
  const auto found = names_.find(id);
  return found == names_.end() ? kMainPool : found->second.pool;
}

std::string Engine::lot_name(LotId id) noexcept {
  const std::shared_lock guard(names_mutex_);
  const auto found = names_.find(id);
  return found == names_.end() ? std::string() : found->second.name;
}

std::string Engine::path_of(Inode& inode) noexcept {
  std::string path;
  for (Inode* at = &inode; at != nullptr && at != &inodes.root();) {
    at->lock.lock_shared();
    const bool named = at->name != nullptr && !at->unlinked;
    if (named) path = "/" + std::string(at->name) + path;
    Inode* const parent = at->parent;
    at->lock.unlock_shared();
    if (!named) return {};
    at = parent;
  }
  return path.empty() ? "/" : path;
}

// --- charging ---------------------------------------------------------------------------------------------------

int Engine::charge(std::span<const Delta> change, Worker* worker, PoolId pool) noexcept {
  if (!charging()) return 0;
  if (meter.apply(change) == 0) return 0;
  fresh_look(worker, pool);
  return meter.apply(change) == 0 ? 0 : -ENOSPC;
}

void Engine::fresh_look(Worker* worker, PoolId pool) noexcept {
  device.settle(worker, pool);
  sample(pool);
}

void Engine::refund(const Delta& delta) noexcept {
  if (!charging()) return;
  (void)meter.apply(std::span(&delta, 1), true);
}

void Engine::measure_holes(Inode& inode, const struct stat& st) noexcept {
  add_holes(inode, hole_bytes(st) - inode.hole);
}

void Engine::add_holes(Inode& inode, std::int64_t bytes) noexcept {
  if (bytes == 0 || by_kernel(inode)) return;
  meter.add_holes(bytes, inodes.pool_of(inode));
  inode.hole += bytes;
}

void Engine::take_size(Inode& inode) noexcept {
  if (!inode.is_regular()) return;
  const bool enforced = by_kernel(inode);
  if (!enforced && !(inode.open && inode.open->bypassed && charging())) return;
  struct stat st {};
  const int fd = inode.open && inode.open->fd ? inode.open->fd.get() : -1;
  if (fd >= 0 ? ::fstat(fd, &st) != 0 : inodes.stat(inode, st) != 0) return;
  const std::int64_t growth = st.st_size - inode.size;
  if (growth != 0 && !enforced) {
    const bool pending = inode.open && inode.open->writers > 0;
    const Delta delta{lot_of(inode), growth, 0, pending ? growth : 0, 0};
    if (meter.apply(std::span(&delta, 1), true) == 0 && growth > 0) meter.landed(growth, inodes.pool_of(inode));
  }
  inode.size = st.st_size;
  measure_holes(inode, st);
}

void Engine::refund_unlinked(Inode& inode) noexcept {
  Delta delta{lot_of(inode), -inode.size, -1, 0, 0};
  if (inode.open && inode.open->writers > 0) {
    delta.pending_bytes = -inode.size;
    delta.pending_objects = -1;
  }
  refund(delta);
  add_holes(inode, -inode.hole);
  inode.size = 0;
}

}  // namespace vreserve
