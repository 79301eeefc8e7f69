// A meter with a default lot and short spellings, for the meter's tests.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "lots.h"
#include "tap.h"

namespace vreserve {

inline constexpr std::int64_t kPool = 1'000'000;

inline Policy reservation(std::int64_t bytes) { return {.dedicated_bytes = bytes, .opportunistic_bytes = 0}; }
inline Policy limited(std::int64_t bytes) { return {.opportunistic_bytes = bytes}; }

// A pool with the default lot, without a sample. It remembers the hierarchy, so that a test can say what changes only.
struct Pool : Meter {
  explicit Pool(std::int64_t capacity = kPool, std::int64_t margin = 0) {
    set_pool(capacity, margin, 4096);
    start(kDefaultLot, {}, {});
  }
  void start(LotId id, const Policy& policy, std::vector<LotId> parents, std::int64_t bytes = 0) {
    CHECK_EQ(add(id, policy, parents, {.bytes = bytes, .objects = bytes > 0 ? 1 : 0}), 0);
    shapes[id] = {id, policy, std::move(parents)};
  }
  Refusal change_lots(const Reshape& what) {
    const Refusal refusal = reshape(what);
    if (refusal.error != 0) return refusal;
    for (const Shape& shape : what.lots) shapes[shape.id] = shape;
    for (const Gone& each : what.gone) shapes.erase(each.id);
    return refusal;
  }
  int admit(LotId id, const Policy& policy, std::vector<LotId> parents, LotId from = kNoLot, LotUsage moved = {}) {
    Reshape what{.lots = {{id, policy, std::move(parents)}}};
    if (from != kNoLot) {
      what.moves = {{from, -moved.bytes, -moved.objects, -moved.pending_bytes, -moved.pending_objects},
                    {id, moved.bytes, moved.objects, moved.pending_bytes, moved.pending_objects}};
    }
    return change_lots(what).error;
  }
  Refusal place(LotId id, std::vector<LotId> parents, bool force = false) {
    return change_lots({.lots = {{id, shapes.at(id).policy, std::move(parents)}}, .force = force});
  }
  // What goes below what is used is refused, as for a reservation.
  int set_policy(LotId id, const Policy& policy, bool force = false) {
    return change_lots({.lots = {{id, policy, shapes.at(id).parents}}, .must_cover = true, .force = force}).error;
  }
  // Children become children of its parents, which take its place in their order.
  int remove(LotId id, LotId heir) {
    Reshape what{.gone = {{id, heir}}, .force = true};
    for (const auto& [child, shape] : shapes) {
      Shape moved{child, shape.policy, {}};
      for (const LotId parent : shape.parents) {
        const auto& up = parent == id ? shapes[id].parents : std::vector{parent};
        moved.parents.insert(moved.parents.end(), up.begin(), up.end());
      }
      if (moved.parents != shape.parents) what.lots.push_back(moved);
    }
    return change_lots(what).error;
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

  std::map<LotId, Shape> shapes;
};

}  // namespace vreserve
