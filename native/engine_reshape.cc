// A change of lots and bindings: what it concerns stands still while it is counted once, under the bindings of now and
// those to come; then the meter has the last word, and only after that is anything changed here.
#include <algorithm>

#include "engine_rebinding.h"

namespace vreserve {

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
  return what.force ? 0 : check_pools(what, change, admission);
}

// As it is with the change made.
bool Engine::is_of_then(LotId id, const Root& root, const ReshapeRequest& what) noexcept {
  const auto spec = std::ranges::find(what.lots, id, &LotSpec::id);
  if (spec == what.lots.end()) return is_of(id, root);
  return spec->pool == root.pool && spec->policy.by_kernel == root.by_kernel;
}

int Engine::check_pools(const ReshapeRequest& what, const Rebinding& change, Admission& admission) noexcept {
  if (!has_pools_) return 0;
  int error = 0;
  const auto check = [&](const std::string& at, LotId own, LotId below, const Binding& binding) {
    const Root& root = inodes.root_at(at);
    if (error != 0 || (is_of_then(own, root, what) && is_of_then(below, root, what))) return;
    // What was nobody's before may stay so.
    if (paths.binding_of(at) == binding && paths.at(at, true).lot == own) return;
    error = binding.includes() ? EXDEV : EBUSY;
    admission.lot = own;
    admission.path = at;
  };
  for (const std::string& top : change.tops) {
    const LotId owner = change.after->at(top, true).lot;
    check(top, owner, owner, change.after->binding_of(top));
    change.after->visit(top, [&](const std::string& at, const PathNode& node) { check(at, node.own, node.below, node.binding); });
  }
  return error;
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
    if (const int error = freeze_at(change.tops, change); error != 0) return -error;
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
  std::vector<Walked> elsewhere;
  // Who waits for the disk of a broken pool may have the lock of an inode there; all of it is counted when it is back.
  const auto concerns = [&](const Inode& inode) {
    return change.pools.contains(inodes.pool_of(inode)) && inodes.root_of(inode).trouble == 0;
  };
  const auto stand_still = [&](Inode& inode) {
    const bool is_frozen = std::ranges::any_of(change.walked, [&](const Walked& walked) {
      return walked.top != nullptr && inodes.is_below(inode, *walked.top);
    });
    if (is_frozen) return;
    inodes.hold(inode);
    elsewhere.emplace_back().top = &inode;
  };
  if (!change.tops.empty()) {
    inodes.for_each_nameless([&](Inode& inode) {
      if (!change.pools.contains(inodes.pool_of(inode))) return;
      inodes.hold(inode);
      change.nameless.push_back(&inode);
      stand_still(inode);
    });
  }
  // What is unlinked and still open goes to the heir, and stands still meanwhile, wherever it was.
  if (!what.gone.empty()) {
    inodes.for_each_held([&](Inode& inode) {
      if (!concerns(inode)) return;
      inode.lock.lock_shared();
      const LotId lot = inode.unlinked ? lot_of(inode) : kNoLot;
      inode.lock.unlock_shared();
      if (!contains(what.gone, lot)) return;
      inodes.hold(inode);
      change.orphans.emplace_back(&inode, lot);
      stand_still(inode);
    });
  }
  if (elsewhere.empty() && change.orphans.empty()) return 0;
  freeze(elsewhere, change.freezes);
  change.all_ended &= quiesce(change.pools);  // and who was closing one gives back to the lot while it is there
  change.walked.insert(change.walked.end(), elsewhere.begin(), elsewhere.end());
  return 0;
}

// What moves from lot to lot, with what is open for writing of it.
int Engine::count_moves(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept {
  const bool is_there =
      std::ranges::any_of(change.walked, [](const Walked& walked) { return walked.top != nullptr && walked.error == 0; });
  if (!is_there || change.tops.empty()) return 0;
  std::map<std::uint32_t, std::unordered_set<ino_t>> written;  // by root
  inodes.for_each_held([&](Inode& inode) {
    if (!change.pools.contains(inodes.pool_of(inode)) || inodes.root_of(inode).trouble != 0) return;
    inode.lock.lock_shared();
    if (!inode.unlinked && inode.open && inode.open->writers > 0) written[inode.root].insert(inode.number);
    inode.lock.unlock_shared();
  });
  std::map<std::uint32_t, std::unordered_map<ino_t, LotId>> straddling;
  {
    const std::shared_lock names(names_mutex_);
    for (const auto& [number, lot] : straddlers_) straddling[number.first][number.second] = lot;
  }
  auto watched = written;
  for (const Inode* const inode : change.nameless) watched[inode->root].insert(inode->number);
  std::map<Root*, std::vector<std::string>> tops;
  for (const std::string& top : change.tops) tops[&inodes.root_at(top)].push_back(top);
  std::map<LotId, Delta> moves;
  const auto move = [&moves](LotId id, std::int64_t sign, const LotCount& count, bool pending) {
    Delta& delta = moves[id];
    delta.lot = id;
    (pending ? delta.pending_bytes : delta.bytes) += sign * count.bytes;
    (pending ? delta.pending_objects : delta.objects) += sign * count.objects;
  };
  for (const auto& [root, paths_in] : tops) {
    const SharedFd fd = inodes.root_fd(*root);
    if (!fd) continue;  // of a broken pool nothing is known to move
    CountProgress progress;
    CountOutcome& counted = change.counted[root->index];
    counted = count_change(fd->get(), paths_in, paths, {*change.after, straddling[root->index], watched[root->index]},
                           count_threads(), progress, root->index == 0 ? "" : root->path);
    if (counted.error != 0) {
      admission.path = counted.error_path;
      return counted.error;
    }
    // What a lot of another pool seems to own is nobody's, and so is what a lot by the kernel owns elsewhere.
    const auto pass = [&, of = root](LotId from, LotId to, const LotCount& count, bool pending) {
      if (is_of(from, *of)) move(from, -1, count, pending);
      if (is_of_then(to, *of, what)) move(to, 1, count, pending);
    };
    for (const CountMove& moved : counted.moves) pass(moved.from, moved.to, moved.count, false);
    for (const auto& [inode, passage] : counted.watched) {
      const bool is_pending = written[root->index].contains(inode);
      if (is_pending && passage.from != passage.to) pass(passage.from, passage.to, {passage.bytes, 1}, true);
    }
    for (const Inode* const inode : change.nameless) {
      const auto seen = counted.watched.find(inode->number);
      if (inode->root != root->index || seen == counted.watched.end()) continue;
      Walked found;  // which gives it a name
      (void)walk(seen->second.path, found);
      drop(found);
    }
  }
  if (charging()) {
    for (const auto& [id, delta] : moves) change.shapes.moves.push_back(delta);
  }
  for (const auto& [root, counted] : change.counted) {
    if (counted.split.empty() || what.force) continue;
    admission.path = counted.split;
    return EXDEV;
  }
  return 0;
}

// Asks the meter, a second time with what is on its way back. Granted, it has happened there.
int Engine::admit(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept {
  Reshape& shapes = change.shapes;
  for (const LotSpec& spec : what.lots) shapes.lots.push_back({spec.id, spec.policy, spec.parents, spec.pool});
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
    fresh_look(nullptr, what.lots.empty() ? kMainPool : what.lots.front().pool);
    refusal = meter.reshape(shapes);
  }
  admission.lot = refusal.lot;
  return refusal.error;
}

void Engine::commit(const ReshapeRequest& what, Rebinding& change) noexcept {
  // Every request that could hold a node that fell away at an earlier change has ended since, where none is left out.
  if (!change.tops.empty() && change.all_ended && counting_ == 0) paths.reclaim();
  for (const auto& [path, binding] : change.bindings) {
    if (binding.lot == kNoLot) paths.unbind(path);
  }
  for (const auto& [path, binding] : change.bindings) {
    if (binding.lot != kNoLot) paths.bind(path, binding);
  }
  {
    const std::unique_lock names(names_mutex_);
    for (const LotId id : what.gone) names_.erase(id);
    for (const auto& [root, counted] : change.counted) {
      for (const ino_t inode : counted.gathered) straddlers_.erase({root, inode});
      for (const Straddler& straddler : counted.straddling_after) straddlers_[{root, straddler.inode}] = straddler.lot;
    }
    // What of them lies elsewhere went to the heir as well.
    for (auto& [inode, lot] : straddlers_) {
      if (const auto heir = change.heirs.find(lot); heir != change.heirs.end()) lot = heir->second;
    }
    has_straddlers_ = !straddlers_.empty();
  }
  for (const LotSpec& spec : what.lots) know(spec);
  // Of no epoch, so that it is asked anew, and stays with the lot that it has, as all that is unlinked.
  for (const auto& [orphan, lot] : change.orphans) {
    const LotId heir = change.heirs.at(lot);
    const bool is_there = pool_of(heir) == inodes.pool_of(*orphan);
    orphan->lot_and_epoch.store(is_there ? heir : kNoLot, std::memory_order_release);
  }
  if (!change.bindings.empty() || !change.orphans.empty()) rebind();
}

std::set<PoolId> Engine::pools_of(const ReshapeRequest& what) noexcept {
  std::set<PoolId> pools;
  const auto at = [&](const std::string& path) { pools.insert(inodes.root_at(normalized(path)).pool); };
  for (const LotSpec& spec : what.lots) pools.insert(spec.pool);
  for (const LotId id : what.gone) {
    pools.insert(pool_of(id));
    for (const BoundPath& bound : paths.bound_to(id)) at(bound.path);
  }
  for (const BoundPath& bound : what.bind) at(bound.path);
  for (const std::string& path : what.unbind) at(path);
  return pools;
}

Admission Engine::reshape(const ReshapeRequest& what) noexcept {
  Rebinding change;
  Admission admission;
  change.pools = pools_of(what);
  const bool binds = !what.bind.empty() || !what.unbind.empty() || !what.gone.empty();
  Change locked;
  // A graft may have come or gone until its pool was locked.
  for (bool known = false; !known;) {
    locked.end();
    if (binds) wait_for_others(change.pools);
    if (!answers(change.pools)) {
      admission.error = EIO;
      return admission;
    }
    locked = begin_change(change.pools);
    const std::set<PoolId> now = pools_of(what);
    known = std::ranges::includes(change.pools, now);
    change.pools.insert(now.begin(), now.end());
  }
  for (const PoolId id : change.pools) sample(id);
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
    if (admission.error != 0) {
      admission.available = meter.available(what.lots.front().parents, what.lots.front().pool);
    }
  }
  if (admission.error == 0) {
    for (const LotSpec& spec : what.lots) {
      LotUsage usage;
      (void)meter.usage(spec.id, usage);
      admission.usages.push_back(usage);
    }
  }
  if (!change.walked.empty()) thaw(change.freezes);
  for (const auto& [orphan, lot] : change.orphans) inodes.drop(*orphan);
  for (Inode* const inode : change.nameless) inodes.drop(*inode);
  drop(change.walked);
  return admission;
}

}  // namespace vreserve
