// A change of lots and bindings: what it concerns stands still while it is counted once, under the bindings of now and
// those to come; then the meter has the last word, and only after that is anything changed here.
#include <algorithm>
#include <map>

#include "engine.h"

namespace vreserve {

// A reshape under way, under bind_mutex_ from beginning to end.
struct Engine::Rebinding {
  std::map<std::string, Binding> bindings;  // of the paths where one changes, as they are to be
  std::vector<std::string> tops;            // the topmost of those
  std::vector<Walked> walked;               // frozen: each of the tops, then orphans that lie elsewhere
  std::unique_ptr<Paths> after;             // an excerpt, with the changes
  CountOutcome counted;
  std::unordered_map<LotId, LotId> heirs;         // of the lots that go
  std::vector<std::pair<Inode*, LotId>> orphans;  // held: unlinked, open, and of that lot, which goes
  Reshape shapes;                                 // for the meter
};

namespace {

bool contains(const std::vector<LotId>& lots, LotId id) noexcept { return std::ranges::find(lots, id) != lots.end(); }

}  // namespace

// Which bindings change, and below which paths.
int Engine::plan(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept {
  for (const LotId id : what.gone) {
    for (const BoundPath& bound : paths.bound_to(id)) change.bindings[bound.path] = {};
  }
  for (const std::string& path : what.unbind) change.bindings[normalized(path)] = {};
  for (const BoundPath& bound : what.bind) {
    const LotId id = bound.binding.lot;
    const bool comes = std::ranges::any_of(what.lots, [id](const LotSpec& spec) { return spec.id == id; });
    if (LotUsage known; contains(what.gone, id) || !(comes || meter.usage(id, known))) {
      admission.lot = id;
      return ENOENT;
    }
    change.bindings[normalized(bound.path)] = bound.binding;
  }
  if (const auto root = change.bindings.find("/"); root != change.bindings.end() && root->second.lot == kNoLot) {
    root->second.lot = kDefaultLot;
  }
  std::erase_if(change.bindings, [this](const auto& entry) { return paths.binding_of(entry.first) == entry.second; });
  for (const auto& [path, binding] : change.bindings) change.tops.push_back(path);
  change.tops = topmost(std::move(change.tops));
  if (change.tops.empty()) return 0;
  change.after = paths.excerpt(change.tops);
  for (const auto& [path, binding] : change.bindings) change.after->bind(path, binding);
  return 0;
}

// Whether a real `.vreserve` is in the directory, which would be out of reach were it a lot's own.
bool Engine::hides_own_name(const std::string& path) noexcept {
  Walked own;
  walk(path, own);
  bool hides = false;
  if (own.top != nullptr && own.top->is_directory()) {
    int ignored = 0;
    struct stat st {};
    const SharedFd fd = inodes.directory(*own.top, ignored);
    hides = fd && ::fstatat(fd->get(), ".vreserve", &st, AT_SYMLINK_NOFOLLOW) == 0;
  }
  drop(own);
  return hides;
}

// Freezes what is concerned, and looks at what is in the way.
int Engine::hold_still(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept {
  if (!change.tops.empty()) {
    if (const int error = freeze_at(change.tops, change.walked); error != 0) return -error;
    for (std::size_t i = 0; i < change.tops.size() && !what.force; ++i) {
      // Where only bindings go, nothing is there that could be in the way.
      const bool binds = std::ranges::any_of(change.bindings, [&top = change.tops[i]](const auto& entry) {
        return entry.second.lot != kNoLot && is_at_or_below(entry.first, top);
      });
      if (!binds || change.walked[i].error == 0) continue;
      admission.path = change.tops[i];
      return -change.walked[i].error;
    }
    for (const auto& [path, binding] : change.bindings) {
      if (what.force || !binding.includes() || path == "/" || !hides_own_name(path)) continue;
      admission.path = path + "/.vreserve";
      return EEXIST;
    }
  }
  if (what.gone.empty()) return 0;
  // What is unlinked and still open goes to the heir, and stands still meanwhile, wherever it was.
  std::vector<Walked> elsewhere;
  inodes.for_each_held([&](Inode& inode) {
    inode.lock.lock_shared();
    const LotId lot = inode.unlinked ? lot_of(inode) : kNoLot;
    inode.lock.unlock_shared();
    if (!contains(what.gone, lot)) return;
    inodes.hold(inode);
    change.orphans.emplace_back(&inode, lot);
    const bool is_frozen = std::ranges::any_of(change.walked, [&](const Walked& walked) {
      return walked.top != nullptr && inodes.is_below(inode, *walked.top);
    });
    if (is_frozen) return;
    inodes.hold(inode);
    elsewhere.emplace_back().top = &inode;
  });
  freeze(elsewhere);
  device.quiesce(nullptr);  // and who was closing one gives back to the lot while it is there
  change.walked.insert(change.walked.end(), elsewhere.begin(), elsewhere.end());
  return 0;
}

// What moves from lot to lot, with what is open for writing of it.
int Engine::count_moves(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept {
  const bool is_there =
      std::ranges::any_of(change.walked, [](const Walked& walked) { return walked.top != nullptr && walked.error == 0; });
  if (!is_there || change.tops.empty()) return 0;
  std::unordered_set<ino_t> written;
  inodes.for_each_held([&](Inode& inode) {
    inode.lock.lock_shared();
    if (!inode.unlinked && inode.open && inode.open->writers > 0) written.insert(inode.number);
    inode.lock.unlock_shared();
  });
  std::unordered_map<ino_t, LotId> straddling;
  {
    const std::shared_lock names(names_mutex_);
    straddling = straddlers_;
  }
  CountProgress progress;
  CountOutcome& counted = change.counted;
  counted = count_change(inodes.root_fd(), change.tops, paths, {*change.after, straddling, written}, count_threads(),
                         progress);
  if (counted.error != 0) {
    admission.path = counted.error_path;
    return counted.error;
  }
  std::map<LotId, Delta> moves;
  const auto move = [&moves](LotId id, std::int64_t sign, const LotCount& count, bool pending) {
    Delta& delta = moves[id];
    delta.lot = id;
    (pending ? delta.pending_bytes : delta.bytes) += sign * count.bytes;
    (pending ? delta.pending_objects : delta.objects) += sign * count.objects;
  };
  for (const CountMove& moved : counted.moves) {
    move(moved.from, -1, moved.count, false);
    move(moved.to, 1, moved.count, false);
  }
  for (const auto& [inode, passage] : counted.watched) {
    if (passage.from == passage.to) continue;
    move(passage.from, -1, {passage.bytes, 1}, true);
    move(passage.to, 1, {passage.bytes, 1}, true);
  }
  if (charging()) {
    for (const auto& [id, delta] : moves) change.shapes.moves.push_back(delta);
  }
  if (counted.split.empty() || what.force) return 0;
  admission.path = counted.split;
  return EXDEV;
}

// Asks the meter, a second time with what is on its way back. Granted, it has happened there.
int Engine::admit(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept {
  Reshape& shapes = change.shapes;
  for (const LotSpec& spec : what.lots) shapes.lots.push_back({spec.id, spec.policy, spec.parents});
  for (const LotId id : what.gone) {
    LotId heir = kDefaultLot;  // the owner of the first path that the lot was bound to
    for (const BoundPath& bound : paths.bound_to(id)) {
      if (bound.binding.exclude) continue;
      heir = change.after->at(bound.path, true).lot;
      break;
    }
    change.heirs[id] = heir;
    shapes.gone.push_back({id, heir});
  }
  shapes.must_cover = what.must_cover;
  shapes.force = what.force;
  Refusal refusal = meter.reshape(shapes);
  if (refusal.error == ENOSPC) {
    fresh_look(nullptr);
    refusal = meter.reshape(shapes);
  }
  admission.lot = refusal.lot;
  return refusal.error;
}

void Engine::commit(const ReshapeRequest& what, Rebinding& change) noexcept {
  // Every request that could hold a node that fell away at an earlier change has ended since.
  if (!change.tops.empty() && counting_ == 0) paths.reclaim();
  for (const auto& [path, binding] : change.bindings) {
    if (binding.lot == kNoLot) paths.unbind(path);
  }
  for (const auto& [path, binding] : change.bindings) {
    if (binding.lot != kNoLot) paths.bind(path, binding);
  }
  {
    const std::unique_lock names(names_mutex_);
    for (const LotId id : what.gone) names_.erase(id);
    for (const LotSpec& spec : what.lots) names_[spec.id] = spec.name;
    for (const ino_t inode : change.counted.gathered) straddlers_.erase(inode);
    for (const Straddler& straddler : change.counted.straddling_after) straddlers_[straddler.inode] = straddler.lot;
    // What of them lies elsewhere went to the heir as well.
    for (auto& [inode, lot] : straddlers_) {
      if (const auto heir = change.heirs.find(lot); heir != change.heirs.end()) lot = heir->second;
    }
    has_straddlers_ = !straddlers_.empty();
  }
  // Of no epoch, so that it is asked anew, and stays with the lot that it has, as all that is unlinked.
  for (const auto& [orphan, lot] : change.orphans) {
    orphan->lot_and_epoch.store(change.heirs.at(lot), std::memory_order_release);
  }
  if (!change.bindings.empty() || !change.orphans.empty()) rebind();
}

Admission Engine::reshape(const ReshapeRequest& what) noexcept {
  const std::lock_guard guard(bind_mutex_);
  sample();
  Rebinding change;
  Admission admission;
  admission.error = plan(what, change, admission);
  if (admission.error == 0) admission.error = hold_still(what, change, admission);
  if (admission.error == 0) admission.error = count_moves(what, change, admission);
  if (admission.error == 0) admission.error = admit(what, change, admission);
  if (admission.error == 0) commit(what, change);
  if (!what.lots.empty()) {
    LotUsage first;
    (void)meter.usage(what.lots.front().id, first);
    admission.held = first.bytes;
    for (const Delta& moved : change.shapes.moves) {
      if (admission.error != 0 && moved.lot == what.lots.front().id) admission.held += moved.bytes;
    }
    if (admission.error != 0) admission.available = meter.available(what.lots.front().parents);
  }
  if (admission.error == 0) {
    for (const LotSpec& spec : what.lots) {
      LotUsage usage;
      (void)meter.usage(spec.id, usage);
      admission.usages.push_back(usage);
    }
  }
  if (!change.walked.empty()) thaw();
  for (const auto& [orphan, lot] : change.orphans) inodes.drop(*orphan);
  drop(change.walked);
  return admission;
}

}  // namespace vreserve
