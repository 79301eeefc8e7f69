// Freezing what is at and below a path: walking there, parking requests, and serving them afterwards.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine_rebinding.h"
#include "ops.h"

namespace vreserve {

// What holds the inode, or the entry in it, still. above: the inode, and the directories above it in its root. freeze_mutex_ must
// be held.
Engine::Freeze* Engine::freeze_of(const Inode& inode, const char* entry, std::span<const Inode* const> above) noexcept {
  if (entry != nullptr) {
    const auto [begin, end] = frozen_entries_.equal_range(&inode);
    const auto found = std::find_if(begin, end, [entry](const auto& each) { return each.second->name == entry; });
    if (found != end) return found->second;
  }
  for (const Inode* const at : above) {
    if (const auto top = frozen_tops_.find(at); top != frozen_tops_.end()) return top->second;
  }
  return nullptr;
}

bool Engine::parked(Request& request, Inode& inode, const char* entry) noexcept {
  if (frozen_.load() == 0) return false;
  // Looked at before the mutex is taken: somebody who waits for the pool's disk may have a directory's lock. What was frozen
  // since waits for this request, and what moves meanwhile began before that, too.
  std::vector<const Inode*> above;
  inodes.for_each_above(inode, [&](const Inode& at) {
    if (at.root != inode.root) return false;
    above.push_back(&at);
    return true;
  });
  const std::lock_guard guard(freeze_mutex_);
  Freeze* const freeze = freeze_of(inode, entry, above);
  if (freeze != nullptr) freeze->parked.push_back(request.keep());
  return freeze != nullptr;
}

bool Engine::parked_above(Request& request, Inode& directory) noexcept {
  if (frozen_.load() == 0) return false;
  std::set<Inode*> frozen;  // held; looked at without the mutex, as above
  {
    const std::lock_guard guard(freeze_mutex_);
    for (const auto& freeze : freezes_) {
      Inode* const place = freeze->directory;
      if (place != nullptr && place->root == directory.root && frozen.insert(place).second) inodes.hold(*place);
    }
  }
  std::set<const Inode*> below;
  for (Inode* const place : frozen) {
    if (inodes.is_below(*place, directory)) below.insert(place);
    inodes.drop(*place);
  }
  if (below.empty()) return false;
  const std::lock_guard guard(freeze_mutex_);
  const auto found = std::ranges::find_if(freezes_, [&below](const auto& freeze) { return below.contains(freeze->directory); });
  if (found == freezes_.end()) return false;
  (*found)->parked.push_back(request.keep());
  return true;
}

void Engine::freeze(std::span<const Walked> all, Freezes& freezes) noexcept {
  const std::lock_guard guard(freeze_mutex_);
  for (const Walked& walked : all) {
    auto freeze = std::make_unique<Freeze>();
    freeze->top = walked.top;
    freeze->directory = walked.directory;
    freeze->name = walked.name;
    if (freeze->top != nullptr) frozen_tops_[freeze->top] = freeze.get();
    if (freeze->directory != nullptr) frozen_entries_.emplace(freeze->directory, freeze.get());
    freezes.push_back(freeze.get());
    freezes_.push_back(std::move(freeze));
  }
  frozen_ = static_cast<unsigned>(freezes_.size());
}

int Engine::freeze_at(const std::vector<std::string>& paths, Rebinding& change) noexcept {
  constexpr int kTries = 16;  // each lost to a rename or a new directory above a path
  std::vector<Walked>& all = change.walked;
  for (int tries = 0; tries < kTries; ++tries) {
    all.assign(paths.size(), {});
    for (std::size_t i = 0; i < paths.size(); ++i) walk(paths[i], all[i]);
    freeze(all, change.freezes);
    change.all_ended = quiesce(change.pools);
    const bool fits = std::ranges::equal(paths, all, [this](const std::string& path, const Walked& walked) {
      Walked again;
      walk(path, again);
      const bool same = again.directory == walked.directory && again.top == walked.top && again.name == walked.name &&
                        again.error == walked.error;
      drop(again);
      return same;
    });
    if (fits) return 0;
    thaw(change.freezes);
    drop(all);
  }
  return -EBUSY;
}

void Engine::thaw(Freezes& freezes) noexcept {
  std::vector<Kept> parked;
  std::vector<Kept> elsewhere;  // may wait for a disk that holds up only who uses it
  {
    const std::lock_guard guard(freeze_mutex_);
    const auto is_one = [&freezes](const Freeze* freeze) { return std::ranges::find(freezes, freeze) != freezes.end(); };
    for (const auto& freeze : freezes_) {
      if (!is_one(freeze.get())) continue;
      auto& into = freeze->root() == 0 ? parked : elsewhere;
      std::move(freeze->parked.begin(), freeze->parked.end(), std::back_inserter(into));
    }
    std::erase_if(frozen_tops_, [&](const auto& each) { return is_one(each.second); });
    std::erase_if(frozen_entries_, [&](const auto& each) { return is_one(each.second); });
    std::erase_if(freezes_, [&](const auto& each) { return is_one(each.get()); });
    frozen_ = static_cast<unsigned>(freezes_.size());
    freezes.clear();
  }
  for (Kept& kept : elsewhere) {
    crew_.post([this, kept = std::make_shared<Kept>(std::move(kept))] { serve_kept(*kept, *Crew::current()); });
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
