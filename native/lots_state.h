// The meter's lots, and how a change of them is planned, admitted and committed. Only lots*.cc include this.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "lots.h"

namespace vreserve {

namespace meter {

using Wide = __int128;  // sums over lots: a few sparse files pass 2^63

[[noreturn]] void broken(const char* what, LotId id) noexcept;

inline std::int64_t narrow(Wide value) noexcept {
  return static_cast<std::int64_t>(std::clamp<Wide>(value, std::numeric_limits<std::int64_t>::min(), kUnlimited));
}

inline std::int64_t checked_own(Wide value, const char* what, LotId id) noexcept {
  if (value < 0 || value > kUnlimited) broken(what, id);
  return static_cast<std::int64_t>(value);
}

inline std::int64_t grant_of(const Policy& policy) noexcept {
  return narrow(Wide{policy.dedicated_bytes} + policy.opportunistic_bytes);
}

// What one pool has, and what a change in preparation does to it.
struct Pool {
  std::int64_t capacity = 0;
  std::int64_t margin = 0;
  std::int64_t block_size = 0;

  Wide total = 0;      // own bytes of all its lots
  Wide set_aside = 0;  // unfilled bytes of its roots
  Wide drift = 0;      // bytes and objects that were to be given back and that nobody held

  bool sampled = false;
  std::int64_t sample_available = 0;
  std::uint64_t sample_mark = 0;  // landed_total when the last sample began
  std::uint64_t charged_total = 0;
  std::uint64_t landed_total = 0;  // never more than charged_total
  std::int64_t holes = 0;

  // Of the change in preparation; as new outside of one.
  Wide planned_drift = 0;
  Wide roots_growth = 0;  // of the unfilled bytes of roots, because others are roots now
  Wide growth = 0;        // of promised, as settled
  Wide net = 0;           // own bytes of all lots

  // Charges that were not there when the last sample began count against it in full.
  [[nodiscard]] Wide sample_free() const noexcept {
    return Wide{sample_available} - static_cast<std::int64_t>(charged_total - sample_mark) - holes;
  }
  [[nodiscard]] Wide free() const noexcept {
    const Wide left = capacity - total;
    return sampled ? std::min(left, sample_free()) : left;
  }
  [[nodiscard]] Wide headroom() const noexcept { return free() - set_aside - margin; }
  [[nodiscard]] bool has_room_for(Wide bytes) const noexcept { return bytes <= 0 || bytes <= headroom(); }

  // A hole that is filled is held against the sample until the next one begins, which may not have seen it.
  void change_holes(std::int64_t bytes) noexcept {
    holes += bytes;
    if (bytes >= 0) return;
    charged_total += static_cast<std::uint64_t>(-bytes);
    landed_total += static_cast<std::uint64_t>(-bytes);
  }
  void charge_held(Wide bytes) noexcept {
    if (bytes > 0) charged_total += static_cast<std::uint64_t>(narrow(bytes));
  }
  void abandon() noexcept { planned_drift = roots_growth = growth = net = 0; }
};

// What a change in preparation does to one lot; as new outside of one.
struct Step {
  Wide own_bytes = 0;
  Wide own_objects = 0;
  Wide bytes = 0;  // with distinct descendants, as used
  Wide objects = 0;
  Wide first_unfilled = 0;
  Wide other_unfilled = 0;
  Wide unfilled = 0;
  bool planned = false;
  bool asked = true;    // whether the lot's own limits are asked
  bool shaped = false;  // a reshape says what it is to be: it may take over what is there
  bool gone = false;
};

struct Lot;

struct Edge {
  Lot* lot = nullptr;     // the parent
  std::size_t place = 0;  // of the child in the parent's children
};

// What a charge below a lot reads and writes comes first: a deep one visits many lots, each a miss of the cache.
struct alignas(64) Lot {
  Wide used = 0;  // own and each distinct descendant's own, once
  Wide first_unfilled = 0;  // of the children whose first parent this is
  Wide unfilled = 0;
  std::int64_t dedicated = 0;  // as set aside
  std::int64_t grant = 0;
  Wide other_unfilled = 0;  // of the other children
  Wide used_objects = 0;
  std::int64_t max_objects = 0;
  bool may_grow = true;
  bool chained = true;  // neither it nor any ancestor has several parents
  bool listed = false;  // in State::changed
  int level = 0;        // the longest way up to a root
  Pool* pool = nullptr;
  LotUsage own;
  LotChange since;                // the last drain; its usage is not kept
  std::vector<Lot*> ancestors;    // distinct, deepest level first: a lot comes after all its descendants
  std::vector<Edge> parents;      // distinct, as given
  std::vector<Lot*> children;     // in no order
  Policy policy;                  // set by set_policy(), with what follows from it
  Step step;
  std::size_t waits_for = 0;      // while a reshape orders lots: its parents that come before it
  bool below = false;             // while a reshape orders lots: its ancestors may change

  [[nodiscard]] Wide claimed() const noexcept { return used + first_unfilled + other_unfilled; }
  [[nodiscard]] Wide claimed_growth() const noexcept { return step.bytes + step.first_unfilled + step.other_unfilled; }
  [[nodiscard]] bool is_root() const noexcept { return parents.empty(); }
  [[nodiscard]] bool is_with_parents() const noexcept {
    return std::all_of(parents.begin(), parents.end(), [this](const Edge& edge) { return edge.lot->pool == pool; });
  }

  void set_policy(const Policy& to) noexcept {
    policy = to;
    dedicated = to.sets_aside ? to.dedicated_bytes : 0;
    grant = grant_of(to);
    max_objects = to.max_objects;
    may_grow = to.may_grow;
  }
  void plan_unfilled(Wide growth, bool first) noexcept {
    (first ? step.first_unfilled : step.other_unfilled) += growth;
  }
  // Sets level, chained and ancestors from the parents.
  void place() noexcept;
  // Adds and removes the lot as its parents' child.
  void enter() noexcept;
  void leave() noexcept;
};

inline bool deeper(const Lot* a, const Lot* b) noexcept { return a->level > b->level; }

// The part of a change that the meter counts: of a lot by the kernel no bytes.
inline Delta counted(const Lot& lot, Delta delta) noexcept {
  if (lot.policy.by_kernel) delta.bytes = delta.pending_bytes = 0;
  return delta;
}

}  // namespace meter

// mutex guards every field here and in the lots.
struct Meter::State {
  using Lot = meter::Lot;
  using Step = meter::Step;
  using Wide = meter::Wide;

  mutable std::mutex mutex;
  std::unordered_map<LotId, Lot> lots;
  std::vector<LotId> changed;  // since the last drain; may name lots that are gone, and one that came again twice
  std::vector<Lot*> planned;

  std::map<PoolId, meter::Pool> pools{{kMainPool, {}}};

  Lot* find(LotId id) noexcept {
    const auto found = lots.find(id);
    return found == lots.end() ? nullptr : &found->second;
  }

  // Appends the parents, once each. The first that is missing, or kNoLot.
  [[nodiscard]] LotId find_parents(std::span<const LotId> parents, std::vector<meter::Edge>& into) noexcept;

  [[nodiscard]] meter::Pool* find_pool(PoolId id) noexcept {
    const auto found = pools.find(id);
    return found == pools.end() ? nullptr : &found->second;
  }
  // Of the change in preparation, once it is settled.
  [[nodiscard]] bool has_room() const noexcept {
    return std::all_of(pools.begin(), pools.end(), [](const auto& each) {
      return each.second.has_room_for(each.second.growth + each.second.roots_growth);
    });
  }

  void list(Lot& lot) noexcept {
    if (lot.listed) return;
    lot.listed = true;
    changed.push_back(lot.own.id);
  }
  void refuse(Lot& lot, std::int64_t bytes) noexcept {
    list(lot);
    ++lot.since.refusals;
    lot.since.refused_bytes = meter::narrow(Wide{lot.since.refused_bytes} + bytes);
  }
  void change_own(Lot& lot, Wide bytes, Wide objects) noexcept {
    list(lot);
    ++lot.own.changes;
    lot.own.bytes = meter::checked_own(lot.own.bytes + bytes, "own bytes", lot.own.id);
    lot.own.objects = meter::checked_own(lot.own.objects + objects, "own objects", lot.own.id);
    auto& moved = bytes > 0 ? lot.since.charged_bytes : lot.since.refunded_bytes;
    moved = meter::narrow(moved + (bytes > 0 ? bytes : -bytes));
    lot.pool->total += bytes;
  }
  void change_pending(Lot& lot, std::int64_t bytes, std::int64_t objects) noexcept {
    if (bytes == 0 && objects == 0) return;
    lot.own.pending_bytes += bytes;
    lot.own.pending_objects += objects;
    list(lot);
  }

  // lots_change.cc: a change of any lots. plan what it does to each, settle(), then commit() or abandon().
  void plan_one(Lot& lot) noexcept;
  void plan_line(Lot& lot) noexcept;  // it and its ancestors
  void plan_used(Lot& lot, Wide bytes, Wide objects) noexcept;
  void plan(Lot& lot, Wide bytes, Wide objects) noexcept;
  // A part of a change that the backing dictates. What takes more than the lot holds can only come from changes behind
  // the mount: it takes what there is, and the rest is drift, which is returned.
  static Wide drop_drift(const Lot& lot, Wide& bytes, Wide& objects) noexcept;
  void plan_seen(Lot& lot, Wide bytes, Wide objects) noexcept;
  // Works out what the plan does to unfilled bytes, and by how much promised grows in each pool. Once a plan, or after
  // unsettle().
  void settle() noexcept;
  void unsettle() noexcept;
  [[nodiscard]] Lot* refusing() const noexcept;  // the deepest that has not, or null
  [[nodiscard]] bool admitted() const noexcept;
  // With no headroom, a new object's block must come out of what is set aside for the lot itself, not for a child.
  [[nodiscard]] static bool object_is_paid(const Lot& lot, Wide claimed, Wide objects) noexcept {
    return claimed + objects * lot.pool->block_size <= lot.dedicated;
  }
  void commit() noexcept;
  void abandon() noexcept;

  // lots_charge.cc: a change of one lot, in a fraction of the time where it is chained.
  [[nodiscard]] std::int64_t fitting_bytes(Lot& lot, std::int64_t want) noexcept;
  [[nodiscard]] std::int64_t fitting_dedicated(Lot& newcomer) noexcept;  // it is nobody's child yet
  [[nodiscard]] bool fits_chained(const Lot& lot, Wide bytes) const noexcept;
  [[nodiscard]] Wide excess(const Lot& lot, Wide bytes) const noexcept;
  [[nodiscard]] bool admits_chained(const Lot& lot, Wide bytes, Wide objects) const noexcept;
  // Changes what is used, without admission, and brings the unfilled bytes up to date with that and the lot's policy.
  // Its own bytes and objects are the caller's to change.
  void charge(Lot& lot, Wide bytes, Wide objects) noexcept;

  // apply() of one part; the same answer as from a plan of it.
  [[nodiscard]] int apply_chained(Lot& lot, const Delta& delta, bool force) noexcept;

  // lots_reshape.cc
  struct Reshaping;
  [[nodiscard]] Refusal reshape(const Reshape& what) noexcept;
};

}  // namespace vreserve
