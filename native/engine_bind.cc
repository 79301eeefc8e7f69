// Lots and bindings at the start; what the control plane asks about a path.
#include <algorithm>

#include "creds.h"
#include "engine.h"

namespace vreserve {

void Engine::rebind() noexcept { epoch_.fetch_add(1, std::memory_order_acq_rel); }

int Engine::add_lot(const LotSpec& spec, std::int64_t bytes, std::int64_t objects) noexcept {
  LotUsage usage;
  usage.id = spec.id;
  usage.bytes = bytes;
  usage.objects = objects;
  if (const int error = meter.add(spec.id, spec.policy, spec.parents, usage, spec.pool); error != 0) return -error;
  know(spec);
  return 0;
}

void Engine::know(const LotSpec& spec) noexcept {
  const std::unique_lock guard(names_mutex_);
  names_[spec.id] = {spec.name, spec.pool, spec.policy.by_kernel};
  if (spec.policy.by_kernel) has_pools_ = true;
}

void Engine::bind(const BoundPath& bound) noexcept {
  paths.bind(bound.path, bound.binding);
  rebind();
}

void Engine::set_phases(std::span<const Phase> phases) noexcept {
  for (const Phase& phase : phases) meter.set_phase(phase.id, phase.sets_aside, phase.may_grow);
}

namespace {

// A path that is resolved, component by component, in one root after the other. It owns all that it touches, since the disk of
// a pool may not answer.
struct Resolving {
  std::vector<std::string> rest;  // the next component is at the back
  std::vector<std::string> done;
  std::size_t open_to_all = 0;
  std::unique_ptr<const Caller> caller;  // null: everywhere
  Resolved resolved;
  Fd at;
  dev_t device = 0;
  int links = 0;
};

std::string text(const std::vector<std::string>& parts) {
  std::string joined;
  for (const std::string& part : parts) joined += "/" + part;
  return joined.empty() ? std::string("/") : joined;
}

// covers: whether something is grafted in the place of a directory; there it stops. 0 or -errno.
int resolve_on(Resolving& on, const std::function<bool(ino_t)>& covers) noexcept {
  while (!on.rest.empty()) {
    const std::string name = on.rest.back();
    on.rest.pop_back();
    if (name == ".") continue;
    if (name == "..") return -EXDEV;  // only in a symlink's text: kept simple, such a link is not followed
    if (name.size() > 255) return -ENAMETOOLONG;
    const bool asks = on.caller != nullptr && on.done.size() >= on.open_to_all;
    if (asks && !may_access(on.at.get(), ".", X_OK, *on.caller)) return -EACCES;
    struct stat st {};
    if (::fstatat(on.at.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) return -errno;
      on.resolved.exists = false;
      on.resolved.is_directory = false;
      on.done.push_back(name);
      on.done.insert(on.done.end(), on.rest.rbegin(), on.rest.rend());
      on.rest.clear();
      return 0;
    }
    if (st.st_dev != on.device) return -EXDEV;
    if (S_ISLNK(st.st_mode)) {
      if (++on.links > 40) return -ELOOP;
      char target[4096];
      const ssize_t length = ::readlinkat(on.at.get(), name.c_str(), target, sizeof target - 1);
      if (length < 0) return -errno;
      target[length] = 0;
      if (target[0] == '/') return -EXDEV;  // leads out of the mount
      std::vector<std::string> parts = components_of(target);
      on.rest.insert(on.rest.end(), parts.rbegin(), parts.rend());
      continue;
    }
    on.resolved.is_directory = S_ISDIR(st.st_mode);
    on.done.push_back(name);
    if (on.rest.empty()) return 0;
    if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
    on.resolved.directory = text(on.done);
    if (covers(st.st_ino)) return 0;
    on.at = Fd(::openat(on.at.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!on.at) return -errno;
  }
  return 0;
}

}  // namespace

int Engine::resolve(const std::string& path, const Caller* caller, const std::string& trusted,
                    Resolved& resolved) noexcept {
  const auto on = std::make_shared<Resolving>();
  on->open_to_all = components_of(trusted).size();
  on->rest = components_of(path);
  std::ranges::reverse(on->rest);
  if (caller != nullptr && privileged_) on->caller = std::make_unique<const Caller>(*caller);
  on->resolved.exists = true;
  on->resolved.is_directory = true;
  on->resolved.directory.assign(1, '/');
  on->at = Fd(::openat(inodes.root_fd(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  on->device = inodes.backing().device;
  Root* graft = nullptr;
  int error = resolve_on(*on, [&](ino_t number) { return (graft = inodes.covering(number)) != nullptr; });
  if (error == 0 && graft != nullptr) {
    const SharedFd covers = inodes.root_fd(*graft);
    const auto outcome = std::make_shared<std::atomic<int>>(-EIO);
    const bool answered = covers && ask(graft->pool, [on, outcome, covers, device = graft->device.load()] {
      on->device = device;
      on->at = Fd(::openat(covers->get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
      *outcome = on->at ? resolve_on(*on, [](ino_t) { return false; }) : -errno;
    });
    if (!answered) return -EIO;
    error = *outcome;
  }
  if (error != 0) return error;
  resolved = on->resolved;
  resolved.path = text(on->done);
  return 0;
}

int Engine::access(const std::string& directory, const std::string& path, const Caller& caller,
                   WriteAccess& access) noexcept {
  // A path of the mount in its root.
  struct Place {
    SharedFd root;
    std::string relative;
    PoolId pool = kMainPool;
  };
  const auto place_of = [this](const std::string& absolute) {
    const Root& root = inodes.root_at(absolute);
    const std::string below = root.index == 0 ? absolute : absolute.substr(root.path.size());
    return Place{inodes.root_fd(root), below.size() <= 1 ? "." : below.substr(1), root.pool};
  };
  const auto may_write = [privileged = privileged_, caller](const Place& place) {
    return privileged ? may_access(place.root->get(), place.relative.c_str(), W_OK | X_OK, caller) : caller.uid == ::geteuid();
  };
  const Place above = place_of(directory);
  const Place itself = place_of(path);
  if (!above.root || !itself.root) return -EIO;
  struct Judged {
    int error = 0;
    WriteAccess access;
  };
  const auto judged = std::make_shared<Judged>();
  const auto judge = [judged, above, itself, may_write] {
    WriteAccess& to = judged->access;
    struct stat st {};
    if (::fstatat(itself.root->get(), itself.relative.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
      to.may_write_in = may_write(itself);
    }
    if (::fstatat(above.root->get(), above.relative.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      judged->error = -errno;
      return;
    }
    to.sticky = (st.st_mode & S_ISVTX) != 0;
    to.owner = st.st_uid;
    to.may_write = may_write(above);
  };
  if (itself.pool == kMainPool) {
    judge();
  } else if (!ask(itself.pool, judge)) {
    return -EIO;
  }
  access = judged->access;
  return judged->error;
}

}  // namespace vreserve
