// The backing, its private view and samples; serving; which lot an inode is in; charges and refunds.
#include "engine.h"

#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "ops.h"

namespace vreserve {

namespace {

constexpr std::int64_t kGiB = 1LL << 30;
constexpr auto kSamplePeriod = std::chrono::milliseconds(200);
constexpr long kOverlayMagic = 0x794c7630;
constexpr const char* kViews = "/run/vreserve";

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

}  // namespace

Engine::Engine() noexcept = default;

Engine::~Engine() { stop(); }

// --- the backing ------------------------------------------------------------------------------------------------

int Engine::open_backing(const EngineOptions& options, BackingInfo& info, std::string& why) noexcept {
  options_ = options;
  privileged_ = ::geteuid() == 0;
  if (const int error = make_view(why); error != 0) return error;
  Fd root(::open(view_path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) {
    const int error = -errno;
    why = "cannot open " + options_.backing;
    drop_view();
    return error;
  }
  struct statfs fs {};
  ::fstatfs(root.get(), &fs);
  stacked_backing_ = fs.f_type == kOverlayMagic;
  if (stacked_backing_ && options_.device.passthrough) {
    // All opens of a file must share one backing file. It would have to be open for writing, and that copies the file
    // up, so that reading would write.
    options_.device.passthrough = false;
    options_.device.no_passthrough = "the backing is an overlay";
  }
  info.view_path = view_path_;
  info.total_bytes = static_cast<std::int64_t>(fs.f_blocks) * fs.f_frsize;
  info.free_bytes = static_cast<std::int64_t>(fs.f_bavail) * fs.f_frsize;
  info.read_only = (fs.f_flags & ST_RDONLY) != 0;
  info.filesystem = filesystem_name(fs.f_type);
  struct stat st {};
  const int fd = ::openat(root.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || ::fstat(fd, &st) != 0) return -errno;
  return inodes.open_root(fd);
}

namespace {

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

// A private view of the backing, out of reach of the mount that may cover it: SQLite and Node take paths, and resolve
// /proc/self/fd links to the covered one.
int Engine::make_view(std::string& why) noexcept {
  view_path_ = options_.backing;
  if (!privileged_) return 0;
  ::mkdir(kViews, 0700);
  clear_stale_views();
  const Fd tree(static_cast<int>(
      ::syscall(kSysOpenTree, AT_FDCWD, options_.backing.c_str(), kOpenTreeClone | static_cast<unsigned>(O_CLOEXEC))));
  if (!tree) {
    why = "cannot take a private view of " + options_.backing;
    return -errno;
  }
  const std::string own = std::string(kViews) + "/" + std::to_string(::getpid());
  std::string path = own;
  for (int n = 1;; ++n) {
    view_lock_ = lock_view(path);
    if (view_lock_ && ::mkdir(path.c_str(), 0700) == 0) break;
    const int error = errno;
    if ((error != EEXIST && error != EWOULDBLOCK) || n > 64) {
      why = "cannot make " + path;
      return -error;
    }
    path = own + "-" + std::to_string(n);
  }
  if (::syscall(kSysMoveMount, tree.get(), "", AT_FDCWD, path.c_str(), kMoveMountFromEmptyPath) != 0) {
    const int error = -errno;
    why = "cannot attach a private view below " + std::string(kViews);
    remove_view(path);
    view_lock_ = Fd();
    return error;
  }
  ::mount(nullptr, path.c_str(), nullptr, MS_PRIVATE, nullptr);
  view_path_ = path;
  has_view_ = true;
  return 0;
}

void Engine::drop_view() noexcept {
  if (!has_view_) return;
  remove_view(view_path_);
  view_lock_ = Fd();
  has_view_ = false;
}

void Engine::set_pool(std::int64_t capacity, std::int64_t margin) noexcept {
  struct statfs fs {};
  ::fstatfs(inodes.root_fd(), &fs);
  const std::int64_t total = static_cast<std::int64_t>(fs.f_blocks) * fs.f_frsize;
  if (capacity < 0 || capacity > total) capacity = total;
  if (margin < 0) margin = std::min(capacity / 100, kGiB);
  meter.set_pool(capacity, margin, fs.f_frsize);
  sample();
}

void Engine::sample() noexcept {
  const std::uint64_t mark = meter.begin_sample();
  struct statfs fs {};
  if (::fstatfs(inodes.root_fd(), &fs) != 0) return;
  meter.end_sample(mark, static_cast<std::int64_t>(fs.f_bavail) * fs.f_frsize);
}

void Engine::sampler() noexcept {
  std::unique_lock lock(sampler_mutex_);
  while (sampling_) {
    lock.unlock();
    sample();
    lock.lock();
    sampler_wakes_.wait_for(lock, kSamplePeriod, [this] { return !sampling_; });
  }
}

PoolUsage Engine::pool() noexcept {
  sample();
  return meter.pool();
}

// --- serving ----------------------------------------------------------------------------------------------------

int Engine::mount(Virtual::Sink sink, std::function<void()> ended, std::string& why) noexcept {
  virtuals.set_sink(std::move(sink));
  probe_ = Fd(::openat(inodes.root_fd(), ".vreserve/lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (const int error = device.mount(options_.device, probe_.get(), why); error != 0) return error;
  start_sampler();
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
  drop_view();
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
    if (has_straddlers_.load(std::memory_order_relaxed) && inode.nlink > 1) {
      const std::shared_lock guard(names_mutex_);
      if (const auto found = straddlers_.find(inode.number); found != straddlers_.end()) step.lot = found->second;
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
  return paths.step(above, name, is_directory);
}

std::string Engine::lot_name(LotId id) noexcept {
  const std::shared_lock guard(names_mutex_);
  const auto found = names_.find(id);
  return found == names_.end() ? std::string() : found->second;
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

int Engine::charge(std::span<const Delta> change, Worker* worker) noexcept {
  if (!charging()) return 0;
  if (meter.apply(change) == 0) return 0;
  fresh_look(worker);
  return meter.apply(change) == 0 ? 0 : -ENOSPC;
}

void Engine::fresh_look(Worker* worker) noexcept {
  device.settle(worker);
  sample();
}

void Engine::refund(const Delta& delta) noexcept {
  if (!charging()) return;
  (void)meter.apply(std::span(&delta, 1), true);
}

void Engine::measure_holes(Inode& inode, const struct stat& st) noexcept {
  const std::int64_t hole = hole_bytes(st);
  if (hole == inode.hole) return;
  meter.add_holes(hole - inode.hole);
  inode.hole = hole;
}

void Engine::refund_unlinked(Inode& inode) noexcept {
  Delta delta{lot_of(inode), -inode.size, -1, 0, 0};
  if (inode.open && inode.open->writers > 0) {
    delta.pending_bytes = -inode.size;
    delta.pending_objects = -1;
  }
  refund(delta);
  meter.add_holes(-inode.hole);
  inode.hole = 0;
  inode.size = 0;
}

}  // namespace vreserve
