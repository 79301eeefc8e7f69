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
  const std::unique_lock guard(names_mutex_);
  names_[spec.id] = {spec.name, spec.pool};
  return 0;
}

void Engine::bind(const BoundPath& bound) noexcept {
  paths.bind(bound.path, bound.binding);
  rebind();
}

void Engine::set_phases(std::span<const Phase> phases) noexcept {
  for (const Phase& phase : phases) meter.set_phase(phase.id, phase.sets_aside, phase.may_grow);
}

int Engine::resolve(const std::string& path, const Caller* caller, const std::string& trusted,
                    Resolved& resolved) noexcept {
  const std::size_t open_to_all = components_of(trusted).size();
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
  const Root* root = &inodes.backing();
  while (!rest.empty()) {
    const std::string name = rest.back();
    rest.pop_back();
    if (name == ".") continue;
    if (name == "..") return -EXDEV;  // only in a symlink's text: kept simple, such a link is not followed
    if (name.size() > 255) return -ENAMETOOLONG;
    const bool asks = caller != nullptr && privileged_ && done.size() >= open_to_all;
    if (asks && !may_access(at.get(), ".", X_OK, *caller)) return -EACCES;
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
    if (st.st_dev != root->device) return -EXDEV;
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
    if (Root* const graft = root->index == 0 ? inodes.covering(st.st_ino) : nullptr; graft != nullptr) {
      const SharedFd covers = inodes.root_fd(*graft);
      if (!covers) return -EIO;
      root = graft;
      at = Fd(::openat(covers->get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    } else {
      at = Fd(::openat(at.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (!at) return -errno;
    resolved.directory = text(done);
  }
  resolved.path = text(done);
  return 0;
}

int Engine::access(const std::string& directory, const std::string& path, const Caller& caller,
                   WriteAccess& access) noexcept {
  // A path of the mount in its root.
  struct Place {
    SharedFd root;
    std::string relative;
  };
  const auto place_of = [this](const std::string& absolute) {
    const Root& root = inodes.root_at(absolute);
    const std::string below = root.index == 0 ? absolute : absolute.substr(root.path.size());
    return Place{inodes.root_fd(root), below.size() <= 1 ? "." : below.substr(1)};
  };
  const auto may_write = [this, &caller](const Place& place) {
    return privileged_ ? may_access(place.root->get(), place.relative.c_str(), W_OK | X_OK, caller) : caller.uid == ::geteuid();
  };
  const Place above = place_of(directory);
  const Place itself = place_of(path);
  if (!above.root || !itself.root) return -EIO;
  struct stat st {};
  if (::fstatat(itself.root->get(), itself.relative.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
    access.may_write_in = may_write(itself);
  }
  if (::fstatat(above.root->get(), above.relative.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return -errno;
  access.sticky = (st.st_mode & S_ISVTX) != 0;
  access.owner = st.st_uid;
  access.may_write = may_write(above);
  return 0;
}

}  // namespace vreserve
