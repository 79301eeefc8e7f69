// Counting the backing, before the mount and beside its writers.
#include <algorithm>

#include "engine.h"

namespace vreserve {

unsigned Engine::count_threads() noexcept { return std::clamp(std::thread::hardware_concurrency(), 2U, 16U); }

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
    if (still && walk("/", walked) == 0) {
      freeze(std::span(&walked, 1));
      device.quiesce(nullptr);
    }
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

}  // namespace vreserve
