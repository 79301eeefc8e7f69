#include "engine.h"

#include <sys/mount.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "creds.h"
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

std::vector<std::string> components_of(const std::string& path) {
  std::vector<std::string> components;
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) components.push_back(path.substr(at, slash - at));
    at = slash + 1;
  }
  return components;
}

unsigned count_threads() noexcept { return std::clamp(std::thread::hardware_concurrency(), 2U, 16U); }

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
  if (stacked_backing_) options_.device.stack_depth = 2;
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

// A private view of the backing, out of reach of the mount that may cover it: SQLite and Node take paths, and resolve
// /proc/self/fd links to the covered one.
int Engine::make_view(std::string& why) noexcept {
  view_path_ = options_.backing;
  if (!privileged_) return 0;
  ::mkdir(kViews, 0700);
  // What daemons that were killed left behind.
  if (const Fd views(::open(kViews, O_RDONLY | O_DIRECTORY | O_CLOEXEC)); views) {
    for (const std::string& name : list_directory(views.get())) {
      const pid_t pid = static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10));
      if (pid <= 0 || ::kill(pid, 0) == 0 || errno != ESRCH) continue;
      const std::string stale = std::string(kViews) + "/" + name;
      ::umount2(stale.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
      ::rmdir(stale.c_str());
    }
  }
  const Fd tree(static_cast<int>(
      ::syscall(kSysOpenTree, AT_FDCWD, options_.backing.c_str(), kOpenTreeClone | static_cast<unsigned>(O_CLOEXEC))));
  if (!tree) {
    why = "cannot take a private view of " + options_.backing;
    return -errno;
  }
  std::string path = std::string(kViews) + "/" + std::to_string(::getpid());
  for (int n = 1; ::mkdir(path.c_str(), 0700) != 0; ++n) {
    if (errno != EEXIST || n > 64) {
      why = "cannot make " + path;
      return -errno;
    }
    path = std::string(kViews) + "/" + std::to_string(::getpid()) + "-" + std::to_string(n);
  }
  if (::syscall(kSysMoveMount, tree.get(), "", AT_FDCWD, path.c_str(), kMoveMountFromEmptyPath) != 0) {
    const int error = -errno;
    why = "cannot attach a private view below " + std::string(kViews);
    ::rmdir(path.c_str());
    return error;
  }
  ::mount(nullptr, path.c_str(), nullptr, MS_PRIVATE, nullptr);
  view_path_ = path;
  has_view_ = true;
  return 0;
}

void Engine::drop_view() noexcept {
  if (!has_view_) return;
  ::umount2(view_path_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  ::rmdir(view_path_.c_str());
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
  {
    const std::lock_guard guard(sampler_mutex_);
    sampling_ = true;
  }
  sampler_ = std::thread([this] { sampler(); });
  mounted_ = true;
  device.serve([this](Request& request) { dispatch(request); },
               [this, ended = std::move(ended)] {
                 mounted_ = false;
                 ended();
               });
  return 0;
}

int Engine::unmount(bool lazy) noexcept { return unmount_path(options_.device.mountpoint.c_str(), lazy); }

void Engine::stop() noexcept {
  {
    const std::lock_guard guard(sampler_mutex_);
    sampling_ = false;
  }
  sampler_wakes_.notify_all();
  if (sampler_.joinable()) sampler_.join();
  virtuals.abandon();
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
    step = inode.name == nullptr ? PathStep{nullptr, above.lot} : paths.step(above, inode.name);
    if (has_straddlers_.load(std::memory_order_relaxed) && inode.nlink > 1) {
      const std::shared_lock guard(names_mutex_);
      if (const auto found = straddlers_.find(inode.number); found != straddlers_.end()) step.lot = found->second;
    }
  }
  inode.node.store(step.node, std::memory_order_relaxed);
  inode.lot_and_epoch.store((std::uint64_t{epoch} << 32) | step.lot, std::memory_order_release);
  return step;
}

PathStep Engine::step_of_entry(Inode& directory, std::string_view name) noexcept {
  directory.lock.lock_shared();
  const PathStep above = step_of(directory);
  directory.lock.unlock_shared();
  return paths.step(above, name);
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
    path = "/" + std::string(at->name == nullptr ? "?" : at->name) + path;
    Inode* const parent = at->parent;
    at->lock.unlock_shared();
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

// --- freezing ---------------------------------------------------------------------------------------------------

bool Engine::parked(Request& request, Inode& inode, const char* entry) noexcept {
  if (frozen_.load() == 0) return false;
  const std::lock_guard guard(freeze_mutex_);
  for (const auto& freeze : freezes_) {
    const bool inside = (entry != nullptr && freeze->directory == &inode && freeze->name == entry) ||
                        (freeze->top != nullptr && inodes.is_below(inode, *freeze->top));
    if (!inside) continue;
    park(*freeze, request);
    return true;
  }
  return false;
}

bool Engine::parked_above(Request& request, Inode& directory) noexcept {
  if (frozen_.load() == 0) return false;
  const std::lock_guard guard(freeze_mutex_);
  for (const auto& freeze : freezes_) {
    if (!inodes.is_below(*freeze->directory, directory)) continue;
    park(*freeze, request);
    return true;
  }
  return false;
}

void Engine::park(Freeze& freeze, Request& request) noexcept {
  request.pull();
  Parked parked;
  const auto* const header = reinterpret_cast<const char*>(&request.header());
  parked.message.assign(header, header + sizeof(fuse::InHeader));
  parked.message.insert(parked.message.end(), request.body().begin(), request.body().end());
  parked.fd = request.fd();
  freeze.parked.push_back(std::move(parked));
  request.defer();
}

void Engine::freeze(const Walked& walked) noexcept {
  auto freeze = std::make_unique<Freeze>();
  freeze->top = walked.top;
  freeze->directory = walked.directory;
  freeze->name = walked.name;
  {
    const std::lock_guard guard(freeze_mutex_);
    freezes_.push_back(std::move(freeze));
    frozen_.fetch_add(1);
  }
  device.quiesce(nullptr);
}

// Lifts every freeze and serves what was parked, on this thread.
void Engine::thaw() noexcept {
  std::vector<std::unique_ptr<Freeze>> lifted;
  const auto own = std::make_shared<Worker>();
  Worker& worker = *own;
  device.enlist(own);
  worker.tid = static_cast<pid_t>(::syscall(SYS_gettid));
  {
    const std::lock_guard guard(freeze_mutex_);
    lifted.swap(freezes_);
    frozen_ = 0;
  }
  std::vector<char> replies((1U << 20) + 4096);
  worker.reply_buffer = replies.data();
  for (const auto& freeze : lifted) {
    for (Parked& parked : freeze->parked) {
      const auto& header = *reinterpret_cast<const fuse::InHeader*>(parked.message.data());
      worker.gives_back.store(may_give_back(header.opcode));
      const Turn turn(worker);
      Request request(device, parked.fd, header, parked.message.data() + sizeof header,
                      parked.message.size() - sizeof header, &worker);
      dispatch(request);
    }
  }
  device.delist(worker);
}

void Engine::rebind() noexcept { epoch_.fetch_add(1, std::memory_order_acq_rel); }

// --- the control plane's calls ----------------------------------------------------------------------------------

int Engine::add_lot(const LotSpec& spec, std::int64_t bytes, std::int64_t objects) noexcept {
  LotUsage usage;
  usage.id = spec.id;
  usage.bytes = bytes;
  usage.objects = objects;
  if (const int error = meter.add(spec.id, spec.policy, spec.parents, usage, kNoLot, true); error != 0) return -error;
  const std::unique_lock guard(names_mutex_);
  names_[spec.id] = spec.name;
  return 0;
}

void Engine::bind(const std::string& path, LotId lot) noexcept {
  paths.bind(path, lot);
  rebind();
}

int Engine::walk(const std::string& path, Walked& walked) noexcept {
  walked.directory = &inodes.root();
  inodes.hold(*walked.directory);
  const std::vector<std::string> components = components_of(path);
  if (components.empty()) {
    walked.top = &inodes.root();
    inodes.hold(*walked.top);
    return 0;
  }
  for (std::size_t i = 0; i < components.size(); ++i) {
    walked.name = components[i];
    struct stat st {};
    int error = 0;
    const SharedFd fd = inodes.directory(*walked.directory, error);
    if (!fd) return -error;
    if (::fstatat(fd->get(), components[i].c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? 0 : -errno;
    if (st.st_dev != inodes.device()) return -EXDEV;
    Inode* const next = inodes.learn(*walked.directory, components[i], st, 0);
    if (next == nullptr) return -ENOMEM;
    if (i + 1 == components.size()) {
      walked.top = next;
      return 0;
    }
    if (!next->is_directory()) {
      inodes.drop(*next);
      return -ENOTDIR;
    }
    inodes.drop(*walked.directory);
    walked.directory = next;
  }
  return 0;
}

void Engine::drop(Walked& walked) noexcept {
  if (walked.top != nullptr) inodes.drop(*walked.top);
  if (walked.directory != nullptr) inodes.drop(*walked.directory);
}

int Engine::resolve(const std::string& path, Resolved& resolved) noexcept {
  std::vector<std::string> rest = components_of(path);
  std::reverse(rest.begin(), rest.end());  // the next component is at the back
  std::vector<std::string> done;
  const auto text = [](const std::vector<std::string>& parts) {
    std::string joined;
    for (const std::string& part : parts) joined += "/" + part;
    return joined.empty() ? std::string("/") : joined;
  };
  int links = 0;
  resolved.exists = true;
  resolved.is_directory = true;
  resolved.directory = "/";
  Fd at(::openat(inodes.root_fd(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  while (!rest.empty()) {
    const std::string name = rest.back();
    rest.pop_back();
    if (name == ".") continue;
    if (name == "..") return -EXDEV;  // only in a symlink's text: kept simple, such a link is not followed
    if (name.size() > 255) return -ENAMETOOLONG;
    struct stat st {};
    if (::fstatat(at.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) return -errno;
      resolved.exists = false;
      resolved.is_directory = false;
      done.push_back(name);
      while (!rest.empty()) {
        done.push_back(rest.back());
        rest.pop_back();
      }
      break;
    }
    if (st.st_dev != inodes.device()) return -EXDEV;
    if (S_ISLNK(st.st_mode)) {
      if (++links > 40) return -ELOOP;
      char target[4096];
      const ssize_t length = ::readlinkat(at.get(), name.c_str(), target, sizeof target - 1);
      if (length < 0) return -errno;
      target[length] = 0;
      if (target[0] == '/') return -EXDEV;  // leads out of the mount
      std::vector<std::string> parts = components_of(target);
      rest.insert(rest.end(), parts.rbegin(), parts.rend());
      continue;
    }
    resolved.is_directory = S_ISDIR(st.st_mode);
    done.push_back(name);
    if (rest.empty()) break;
    if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
    at = Fd(::openat(at.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!at) return -errno;
    resolved.directory = text(done);
  }
  resolved.path = text(done);
  return 0;
}

int Engine::access(const std::string& directory, const Caller& caller, WriteAccess& access) noexcept {
  const std::string relative = directory == "/" ? "." : directory.substr(1);
  struct stat st {};
  if (::fstatat(inodes.root_fd(), relative.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return -errno;
  access.sticky = (st.st_mode & S_ISVTX) != 0;
  access.owner = st.st_uid;
  access.may_write = privileged_ ? may_write(inodes.root_fd(), relative.c_str(), caller) : caller.uid == ::geteuid();
  return 0;
}

Admission Engine::refusal(int error, std::span<const LotId> parents) noexcept {
  Admission admission;
  admission.error = error;
  admission.available = std::max<std::int64_t>(0, meter.available(parents));
  return admission;
}

Admission Engine::admit(const LotSpec& spec, const std::string& path) noexcept {
  const std::lock_guard guard(bind_mutex_);
  sample();
  Walked walked;
  if (const int error = walk(path, walked); error != 0) {
    drop(walked);
    return refusal(-error, spec.parents);
  }
  if (walked.top != nullptr && walked.top->is_directory() && walked.top != &inodes.root()) {
    int error = 0;
    struct stat st {};
    const SharedFd fd = inodes.directory(*walked.top, error);
    if (fd && ::fstatat(fd->get(), ".vreserve", &st, AT_SYMLINK_NOFOLLOW) == 0) {
      drop(walked);
      Admission admission = refusal(EEXIST, spec.parents);
      admission.path = path + "/.vreserve";
      return admission;
    }
  }
  freeze(walked);
  const LotId former = paths.at(path).lot;
  LotUsage held;
  held.id = spec.id;
  Admission admission;
  CountOutcome outcome;
  if (walked.top != nullptr) {
    CountProgress progress;
    outcome = count_tree(inodes.root_fd(), path, paths, count_threads(), progress);
    held.bytes = outcome.lots[former].bytes;
    held.objects = outcome.lots[former].objects;
    inodes.for_each_held([&](Inode& inode) {
      const bool inside = inodes.is_below(inode, *walked.top);
      inode.lock.lock_shared();
      if (inside && inode.open && inode.open->writers > 0 && !inode.unlinked && lot_of(inode) == former) {
        held.pending_bytes += inode.size;
        ++held.pending_objects;
      }
      inode.lock.unlock_shared();
    });
  }
  if (outcome.error != 0) {
    admission = refusal(outcome.error, spec.parents);
    admission.path = outcome.error_path;
  } else if (!outcome.partial.empty()) {
    admission = refusal(EXDEV, spec.parents);
    admission.path = outcome.partial;
  } else if (const int error = meter.add(spec.id, spec.policy, spec.parents, held, former, false); error != 0) {
    // Once more with what is on its way back.
    fresh_look(nullptr);
    if (meter.add(spec.id, spec.policy, spec.parents, held, former, false) != 0) {
      admission = refusal(error, spec.parents);
    }
  }
  admission.held = held.bytes;
  if (admission.error == 0) {
    {
      const std::unique_lock names(names_mutex_);
      names_[spec.id] = spec.name;
    }
    paths.bind(path, spec.id);
    rebind();
    (void)meter.usage(spec.id, admission.usage);
  }
  thaw();
  drop(walked);
  return admission;
}

Admission Engine::set_lot(const LotSpec& spec) noexcept {
  sample();
  int error = meter.set_policy(spec.id, spec.policy, false);
  if (error == ENOSPC) {
    fresh_look(nullptr);
    error = meter.set_policy(spec.id, spec.policy, false);
  }
  Admission admission = error == 0 ? Admission{} : refusal(error, spec.parents);
  if (error == 0) {
    const std::unique_lock guard(names_mutex_);
    names_[spec.id] = spec.name;
  }
  (void)meter.usage(spec.id, admission.usage);
  admission.held = admission.usage.bytes;
  return admission;
}

int Engine::release(LotId lot) noexcept {
  const std::lock_guard guard(bind_mutex_);
  const std::vector<std::string> bound = paths.bound_to(lot);
  std::vector<Walked> all(bound.size());
  for (std::size_t i = 0; i < bound.size(); ++i) {
    // A path that cannot be walked has nothing below it that could move.
    if (walk(bound[i], all[i]) == 0) freeze(all[i]);
  }
  if (bound.empty()) device.quiesce(nullptr);
  if (counting_ == 0) paths.reclaim();  // nobody holds a node that fell away at an earlier release
  for (const std::string& path : bound) paths.unbind(path);
  const LotId heir = bound.empty() ? kDefaultLot : paths.at(bound.front()).lot;
  // What is unlinked and still open goes with the rest, and stays there.
  std::vector<Inode*> orphans;
  inodes.for_each_held([&](Inode& inode) {
    inode.lock.lock_shared();
    if (inode.unlinked && lot_of(inode) == lot) {
      inodes.hold(inode);
      orphans.push_back(&inode);
    }
    inode.lock.unlock_shared();
  });
  rebind();
  const int error = meter.remove(lot, heir);
  for (Inode* const orphan : orphans) {
    orphan->lot_and_epoch.store((std::uint64_t{epoch_} << 32) | heir, std::memory_order_release);
    inodes.drop(*orphan);
  }
  {
    const std::unique_lock names(names_mutex_);
    names_.erase(lot);
  }
  thaw();
  for (Walked& walked : all) drop(walked);
  return -error;
}

// --- counting ---------------------------------------------------------------------------------------------------

CountReport Engine::compare(const CountOutcome& outcome, const std::vector<LotUsage>& before,
                            const std::vector<LotUsage>& after) noexcept {
  CountReport report;
  report.error = outcome.error;
  report.path = outcome.error_path;
  report.straddling = outcome.straddling;
  std::unordered_map<LotId, std::uint64_t> changes;
  for (const LotUsage& usage : before) changes[usage.id] = usage.changes;
  for (const LotUsage& usage : after) {
    CountedLot lot;
    lot.id = usage.id;
    if (const auto found = outcome.lots.find(usage.id); found != outcome.lots.end()) lot.counted = found->second;
    lot.recorded = {usage.bytes, usage.objects};
    const auto earlier = changes.find(usage.id);
    lot.exact = earlier != changes.end() && earlier->second == usage.changes;
    report.lots.push_back(lot);
  }
  return report;
}

CountReport Engine::count(bool repair, CountProgress& progress) noexcept {
  // Bindings may change while it walks: the lots concerned are then not exact. No node of theirs is freed meanwhile.
  counting_.fetch_add(1);
  const auto held_unlinked = [this](CountOutcome& outcome) {
    // Unlinked and still open: charged, and in no directory.
    inodes.for_each_held([&](Inode& inode) {
      inode.lock.lock_shared();
      if (inode.unlinked) {
        LotCount& lot = outcome.lots[lot_of(inode)];
        lot.bytes += inode.size;
        ++lot.objects;
      }
      inode.lock.unlock_shared();
    });
  };
  CountReport report;
  for (int round = 0; round < 3; ++round) {
    const bool still = round == 2 && mounted_;  // the last one with every writer parked
    std::unique_lock binding(bind_mutex_, std::defer_lock);
    if (still) binding.lock();
    progress.files = progress.directories = progress.bytes = 0;
    Walked walked;
    if (still && walk("/", walked) == 0) freeze(walked);
    // What was charged before and is not done yet is done before the walk; what changes after it shows in `changes`.
    const std::vector<LotUsage> before = meter.all_usage();
    if (mounted_) device.quiesce(nullptr);
    CountOutcome outcome = count_tree(inodes.root_fd(), "/", paths, count_threads(), progress);
    held_unlinked(outcome);
    if (mounted_) device.quiesce(nullptr);
    report = compare(outcome, before, meter.all_usage());
    const bool exact = std::all_of(report.lots.begin(), report.lots.end(), [](const auto& lot) { return lot.exact; });
    const bool differs = std::any_of(report.lots.begin(), report.lots.end(), [](const auto& lot) {
      return lot.counted.bytes != lot.recorded.bytes || lot.counted.objects != lot.recorded.objects;
    });
    // What is corrected must not move between the count and the correction.
    if (exact && differs && repair && mounted_ && !still) {
      round = 1;
      continue;
    }
    if (outcome.error == 0 && exact) {
      {
        const std::unique_lock names(names_mutex_);
        straddlers_.clear();
        for (const Straddler& straddler : outcome.straddling) straddlers_[straddler.inode] = straddler.lot;
        has_straddlers_ = !straddlers_.empty();
      }
      if (!mounted_ || repair) {
        for (const CountedLot& lot : report.lots) {
          if (lot.counted.bytes != lot.recorded.bytes || lot.counted.objects != lot.recorded.objects) {
            meter.set_usage(lot.id, lot.counted.bytes, lot.counted.objects);
          }
        }
      }
      if (!mounted_ || repair) meter.forget_drift();
      meter.set_holes(outcome.hole_bytes);
    }
    if (still) {
      thaw();
      drop(walked);
    }
    if (outcome.error != 0 || exact) break;
  }
  counting_.fetch_sub(1);
  return report;
}

// --- dispatch ---------------------------------------------------------------------------------------------------

void Engine::dispatch(Request& request) noexcept {
  const std::uint32_t opcode = request.header().opcode;
  switch (opcode) {
    case fuse::FORGET:
    case fuse::BATCH_FORGET:
      return op_forget(*this, request);
    case fuse::INTERRUPT:
      return op_interrupt(*this, request);
    case fuse::DESTROY:
      return request.done();
    case fuse::OPENDIR:
      return request.fail(ENOSYS);  // the kernel lists without it from now on
    case fuse::SYNCFS:
      return op_syncfs(*this, request);
    case fuse::STATFS:
      return op_statfs(*this, request);
    default:
      break;
  }
  if (is_virtual(request.nodeid())) return virtuals.serve(request);
  Inode* const inode = inodes.find(request.nodeid());
  if (inode == nullptr) return request.fail(ESTALE);
  switch (opcode) {
    case fuse::LOOKUP: return op_lookup(*this, request, *inode);
    case fuse::GETATTR: return op_getattr(*this, request, *inode);
    case fuse::STATX: return op_statx(*this, request, *inode);
    case fuse::SETATTR: return op_setattr(*this, request, *inode);
    case fuse::READLINK: return op_readlink(*this, request, *inode);
    case fuse::SYMLINK: return op_symlink(*this, request, *inode);
    case fuse::MKNOD: return op_mknod(*this, request, *inode);
    case fuse::MKDIR: return op_mkdir(*this, request, *inode);
    case fuse::UNLINK: return op_unlink(*this, request, *inode);
    case fuse::RMDIR: return op_rmdir(*this, request, *inode);
    case fuse::RENAME: return op_rename(*this, request, *inode);
    case fuse::RENAME2: return op_rename2(*this, request, *inode);
    case fuse::LINK: return op_link(*this, request, *inode);
    case fuse::OPEN: return op_open(*this, request, *inode);
    case fuse::CREATE: return op_create(*this, request, *inode);
    case fuse::TMPFILE: return op_tmpfile(*this, request, *inode);
    case fuse::READ: return op_read(*this, request, *inode);
    case fuse::WRITE: return op_write(*this, request, *inode);
    case fuse::COPY_FILE_RANGE:
    case fuse::COPY_FILE_RANGE_64: return op_copy_file_range(*this, request, *inode);
    case fuse::FALLOCATE: return op_fallocate(*this, request, *inode);
    case fuse::LSEEK: return op_lseek(*this, request, *inode);
    case fuse::FSYNC:
    case fuse::FSYNCDIR: return op_fsync(*this, request, *inode);
    case fuse::FLUSH: return request.done();
    case fuse::RELEASE: return op_release(*this, request, *inode);
    case fuse::READDIR: return op_readdir(*this, request, *inode, false);
    case fuse::READDIRPLUS: return op_readdir(*this, request, *inode, true);
    case fuse::GETXATTR: return op_getxattr(*this, request, *inode);
    case fuse::SETXATTR: return op_setxattr(*this, request, *inode);
    case fuse::LISTXATTR: return op_listxattr(*this, request, *inode);
    case fuse::REMOVEXATTR: return op_removexattr(*this, request, *inode);
    case fuse::IOCTL: return request.fail(ENOTTY);
    default: return request.fail(ENOSYS);
  }
}

}  // namespace vreserve
