// Counting the backing, before the mount and beside its writers.
#include <algorithm>

#include "engine.h"

namespace vreserve {

unsigned Engine::count_threads() noexcept { return std::clamp(std::thread::hardware_concurrency(), 2U, 16U); }

CountOutcome Engine::count_root(Root& root, CountProgress& progress) noexcept {
  CountOutcome outcome;
  if (root.index == 0) return count_tree(inodes.root_fd(), "/", paths, count_threads(), progress);
  if (const SharedFd fd = inodes.root_fd(root); fd) {
    outcome = count_tree(fd->get(), root.path, paths, count_threads(), progress, root.path);
  }
  for (Straddler& straddler : outcome.straddling) straddler.root = root.index;
  return outcome;
}

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
    const auto pool = has_pools_ ? find_pool(pool_of(usage.id)) : nullptr;
    if (pool != nullptr && pool->is_broken) continue;  // it is not known what it holds
    if (const auto found = outcome.lots.find(usage.id); found != outcome.lots.end()) lot.counted = found->second;
    lot.recorded = {usage.bytes, usage.objects};
    if (meter.by_kernel(usage.id)) lot.counted.bytes = usage.bytes;  // the quota counts them
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
      if (inodes.root_of(inode).trouble != 0) return;  // whoever waits for its disk may have the lock
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
  std::map<PoolId, std::int64_t> holes;
  // All roots, but for what is broken. What a lot of another pool seems to own is nobody's.
  const auto count_all = [&] {
    CountOutcome all;
    std::vector<Root*> roots = inodes.all_grafts();
    roots.insert(roots.begin(), &inodes.backing());
    for (Root* const root : roots) {
      if (root->trouble != 0) continue;
      CountOutcome outcome = count_root(*root, progress);
      if (root->trouble != 0) continue;  // it broke meanwhile
      if (all.error == 0) {
        all.error = outcome.error;
        all.error_path = outcome.error_path;
      }
      for (const auto& [id, count] : outcome.lots) {
        if (!is_of(id, *root)) continue;
        all.lots[id].bytes += count.bytes;
        all.lots[id].objects += count.objects;
      }
      holes[root->pool] += root->by_kernel ? 0 : outcome.hole_bytes;
      all.straddling.insert(all.straddling.end(), outcome.straddling.begin(), outcome.straddling.end());
    }
    return all;
  };
  for (int round = 0; round < 3; ++round) {
    holes.clear();
    const bool still = round == 2 && mounted_;  // the last one with every writer parked
    const std::set<PoolId> pools = all_pools();
    wait_for_others(pools);
    if (!answers(pools)) {
      report.error = EIO;
      report.path = "a pool whose disk does not answer";
      break;
    }
    Change binding;
    if (still) binding = begin_change(pools);
    progress.files = progress.directories = progress.bytes = 0;
    std::vector<Walked> walked;  // each root
    Freezes frozen;
    if (still) {
      (void)walk("/", walked.emplace_back());
      for (Root* const root : inodes.all_grafts()) {
        inodes.hold(*root->inode);
        walked.emplace_back().top = root->inode;
      }
      freeze(walked, frozen);
      quiesce(pools);
    }
    // What was charged before and is not done yet is done before the walk; what changes after it shows in `changes`.
    const std::vector<LotUsage> before = meter.all_usage();
    if (mounted_) quiesce(pools);
    CountOutcome outcome = count_all();
    held_unlinked(outcome);
    if (mounted_) quiesce(pools);
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
        for (const Straddler& straddler : outcome.straddling) {
          straddlers_[{straddler.root, straddler.inode}] = straddler.lot;
        }
        has_straddlers_ = !straddlers_.empty();
      }
      if (!mounted_ || repair) {
        for (const CountedLot& lot : report.lots) {
          if (lot.counted.bytes != lot.recorded.bytes || lot.counted.objects != lot.recorded.objects) {
            meter.set_usage(lot.id, lot.counted.bytes, lot.counted.objects);
          }
        }
      }
      for (const auto& [pool, bytes] : holes) {
        if (!mounted_ || repair) meter.forget_drift(pool);
        meter.set_holes(bytes, pool);
      }
    }
    if (still) {
      thaw(frozen);
      drop(walked);
    }
    if (outcome.error != 0 || exact) break;
  }
  counting_.fetch_sub(1);
  return report;
}

bool Engine::count_pool(PoolId id, CountProgress& progress) noexcept {
  std::unordered_map<LotId, LotCount> counted;
  std::vector<Straddler> straddling;
  std::int64_t holes = 0;
  progress.files = progress.directories = progress.bytes = 0;
  for (Root* const root : inodes.all_grafts()) {
    if (root->pool != id) continue;
    const CountOutcome outcome = count_root(*root, progress);
    if (outcome.error != 0) return false;
    for (const auto& [lot, count] : outcome.lots) {
      counted[lot].bytes += count.bytes;
      counted[lot].objects += count.objects;
    }
    holes += root->by_kernel ? 0 : outcome.hole_bytes;
    straddling.insert(straddling.end(), outcome.straddling.begin(), outcome.straddling.end());
    inodes.for_each_held([&](Inode& inode) {
      if (inode.root != root->index) return;
      inode.lock.lock_shared();
      if (inode.unlinked) {
        LotCount& lot = counted[lot_of(inode)];
        lot.bytes += inode.size;
        ++lot.objects;
      }
      inode.lock.unlock_shared();
    });
    const std::unique_lock names(names_mutex_);
    std::erase_if(straddlers_, [root](const auto& each) { return each.first.first == root->index; });
  }
  for (const LotUsage& usage : meter.all_usage()) {
    if (pool_of(usage.id) != id) continue;
    const LotCount& count = counted[usage.id];
    meter.set_usage(usage.id, meter.by_kernel(usage.id) ? usage.bytes : count.bytes, count.objects);
  }
  meter.forget_drift(id);
  meter.set_holes(holes, id);
  const std::unique_lock names(names_mutex_);
  for (const Straddler& straddler : straddling) straddlers_[{straddler.root, straddler.inode}] = straddler.lot;
  has_straddlers_ = !straddlers_.empty();
  return true;
}

}  // namespace vreserve
