// Bindings: walking to a path, freezing what is below it, admitting a lot there, and letting it go.
#include <algorithm>

#include "creds.h"
#include "ops.h"

namespace vreserve {

namespace {

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

}  // namespace

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
  resolved.directory.assign(1, '/');
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
    outcome = count_tree(inodes.root_fd(), path, paths, Engine::count_threads(), progress);
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

}  // namespace vreserve
