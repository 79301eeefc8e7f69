// A meter with a default lot and short spellings, for the meter's tests.
#pragma once

#include <cstdint>
#include <vector>

#include "lots.h"
#include "tap.h"

namespace vreserve {

inline constexpr std::int64_t kPool = 1'000'000;

inline Policy reservation(std::int64_t bytes) { return {.dedicated_bytes = bytes, .opportunistic_bytes = 0}; }
inline Policy limited(std::int64_t bytes) { return {.opportunistic_bytes = bytes}; }

// A pool with the default lot, without a sample.
struct Pool : Meter {
  explicit Pool(std::int64_t capacity = kPool, std::int64_t margin = 0) {
    set_pool(capacity, margin, 4096);
    start(kDefaultLot, {}, {});
  }
  void start(LotId id, const Policy& policy, std::vector<LotId> parents, std::int64_t bytes = 0) {
    CHECK_EQ(add(id, policy, parents, {.bytes = bytes, .objects = bytes > 0 ? 1 : 0}, kNoLot, true), 0);
  }
  int admit(LotId id, const Policy& policy, std::vector<LotId> parents, LotId from = kNoLot, LotUsage moved = {}) {
    return add(id, policy, parents, moved, from, false);
  }
  int change(std::vector<Delta> deltas, bool force = false) { return apply(deltas, force); }
  std::int64_t charge(LotId id, std::int64_t want) { return charge_up_to(id, want, false, true); }
  void sample(std::int64_t available) { end_sample(begin_sample(), available); }
  LotUsage own(LotId id) const {
    LotUsage usage;
    CHECK(this->usage(id, usage));
    return usage;
  }
  std::int64_t available_below(std::vector<LotId> parents) const { return available(parents); }
};

}  // namespace vreserve
