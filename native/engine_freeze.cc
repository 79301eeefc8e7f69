// Freezing what is at and below a path: walking there, parking requests, and serving them afterwards.
#include <algorithm>
#include <iterator>
#include <utility>

#include "ops.h"

namespace vreserve {

// What holds the inode, or the entry in it, still. freeze_mutex_ must be held.
Engine::Freeze* Engine::freeze_of(Inode& inode, const char* entry) noexcept {
  if (entry != nullptr) {
    const auto [begin, end] = frozen_entries_.equal_range(&inode);
    const auto found = std::find_if(begin, end, [entry](const auto& each) { return each.second->name == entry; });
    if (found != end) return found->second;
  }
  Freeze* found = nullptr;
  inodes.for_each_above(inode, [&](const Inode& at) {
    const auto top = frozen_tops_.find(&at);
    if (top != frozen_tops_.end()) found = top->second;
    return found == nullptr;
  });
  return found;
}

bool Engine::parked(Request& request, Inode& inode, const char* entry) noexcept {
  if (frozen_.load() == 0) return false;
  const std::lock_guard guard(freeze_mutex_);
  Freeze* const freeze = freeze_of(inode, entry);
  if (freeze != nullptr) freeze->parked.push_back(request.keep());
  return freeze != nullptr;
}

bool Engine::parked_above(Request& request, Inode& directory) noexcept {
  if (frozen_.load() == 0) return false;
  const std::lock_guard guard(freeze_mutex_);
  for (const auto& freeze : freezes_) {
    if (freeze->directory == nullptr || !inodes.is_below(*freeze->directory, directory)) continue;
    freeze->parked.push_back(request.keep());
    return true;
  }
  return false;
}

void Engine::freeze(std::span<const Walked> all) noexcept {
  const std::lock_guard guard(freeze_mutex_);
  for (const Walked& walked : all) {
    auto freeze = std::make_unique<Freeze>();
    freeze->top = walked.top;
    freeze->directory = walked.directory;
    freeze->name = walked.name;
    if (freeze->top != nullptr) frozen_tops_[freeze->top] = freeze.get();
    if (freeze->directory != nullptr) frozen_entries_.emplace(freeze->directory, freeze.get());
    freezes_.push_back(std::move(freeze));
  }
  frozen_ = static_cast<unsigned>(freezes_.size());
}

int Engine::freeze_at(const std::vector<std::string>& paths, std::vector<Walked>& all) noexcept {
  constexpr int kTries = 16;  // each lost to a rename or a new directory above a path
  for (int tries = 0; tries < kTries; ++tries) {
    all.assign(paths.size(), {});
    for (std::size_t i = 0; i < paths.size(); ++i) walk(paths[i], all[i]);
    freeze(all);
    device.quiesce(nullptr);
    const bool fits = std::ranges::equal(paths, all, [this](const std::string& path, const Walked& walked) {
      Walked again;
      walk(path, again);
      const bool same = again.directory == walked.directory && again.top == walked.top && again.name == walked.name &&
                        again.error == walked.error;
      drop(again);
      return same;
    });
    if (fits) return 0;
    thaw();
    drop(all);
  }
  return -EBUSY;
}

// Lifts every freeze and serves what was parked, on this thread.
void Engine::thaw() noexcept {
  std::vector<Kept> parked;
  {
    const std::lock_guard guard(freeze_mutex_);
    for (const auto& freeze : freezes_) {
      std::move(freeze->parked.begin(), freeze->parked.end(), std::back_inserter(parked));
    }
    freezes_.clear();
    frozen_tops_.clear();
    frozen_entries_.clear();
    frozen_ = 0;
  }
  if (parked.empty()) return;
  Enlisted enlisted(device);
  for (Kept& kept : parked) serve_kept(kept, enlisted.worker());
}

void Engine::serve_kept(Kept& kept, Worker& worker) noexcept {
  const auto& header = *reinterpret_cast<const fuse::InHeader*>(kept.message.data());
  worker.gives_back.store(may_give_back(header.opcode));
  const Turn turn(worker);
  Request request(device, kept.fd, header, kept.message.data() + sizeof header, kept.message.size() - sizeof header, &worker);
  dispatch(request);
}

int Engine::hold_file(const std::string& path, Inode*& inode) noexcept {
  Walked walked;
  int error = walk(path, walked);
  if (error == 0 && walked.top == nullptr) error = -ENOENT;
  if (error == 0 && !walked.top->is_regular()) error = -EIO;
  inode = error == 0 ? std::exchange(walked.top, nullptr) : nullptr;
  drop(walked);
  return error;
}

int Engine::walk(const std::string& path, Walked& walked) noexcept {
  const auto leads_nowhere = [&walked](int error) { return walked.error = error; };
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
    if (!fd) return leads_nowhere(-error);
    Inode* const next = inodes.look_up(*walked.directory, fd->get(), components[i].c_str(), st, 0, error);
    if (next == nullptr) return leads_nowhere(error == ENOENT ? 0 : -error);
    if (i + 1 == components.size()) {
      walked.top = next;
      return 0;
    }
    if (!next->is_directory()) {
      inodes.drop(*next);
      return leads_nowhere(-ENOTDIR);
    }
    inodes.drop(*walked.directory);
    walked.directory = next;
  }
  return 0;
}

void Engine::drop(Walked& walked) noexcept {
  if (walked.top != nullptr) inodes.drop(*walked.top);
  if (walked.directory != nullptr) inodes.drop(*walked.directory);
  walked = {};
}

void Engine::drop(std::vector<Walked>& all) noexcept {
  for (Walked& walked : all) drop(walked);
  all.clear();
}

}  // namespace vreserve
