// The meter's rules as a slow and obvious model: everything is worked out from the own bytes each time it is asked.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "lots.h"

namespace vreserve {

using Wide = __int128;
using Mask = std::uint32_t;  // a set of lots
inline constexpr LotId kIds = 16;  // the model's lots have smaller ids

inline constexpr Mask bit(LotId id) { return Mask{1} << id; }

struct ModelLot {
  bool here = false;
  Policy policy;
  std::vector<LotId> parents;
  LotUsage own;
  LotChange since;
  bool listed = false;
};

// A charge that has not landed, or landed after the last sample began.
struct Outstanding {
  std::int64_t bytes = 0;
  bool landed = false;
};

// What the rules say of each lot, with its descendants.
struct Sums {
  std::array<Wide, kIds> used{};
  std::array<Wide, kIds> used_objects{};
  std::array<Wide, kIds> unfilled{};
  std::array<Wide, kIds> claimed{};
  Wide set_aside = 0;
};

struct Model {
  std::array<ModelLot, kIds> lots;
  Wide capacity = 0;
  Wide margin = 0;
  Wide block = 0;
  bool sampled = false;
  Wide available = 0;
  Wide holes = 0;
  std::vector<Outstanding> outstanding;

  bool has(LotId id) const { return id < kIds && lots[id].here; }
  std::vector<LotId> ids() const {
    std::vector<LotId> found;
    for (LotId id = 0; id < kIds; ++id) {
      if (lots[id].here) found.push_back(id);
    }
    return found;
  }
  bool is_parent(LotId parent, LotId child) const {
    const auto& parents = lots[child].parents;
    return lots[child].here && std::find(parents.begin(), parents.end(), parent) != parents.end();
  }
  // The lots below, in a graph that may have cycles; itself only then.
  Mask below(LotId id) const {
    Mask found = 0;
    for (Mask before = 1; before != found;) {
      before = found;
      for (const LotId child : ids()) {
        for (const LotId parent : lots[child].parents) {
          if (parent == id || (parent < kIds && (found & bit(parent)))) found |= bit(child);
        }
      }
    }
    return found;
  }
  Mask above(LotId id) const {
    Mask found = 0;
    for (const LotId other : ids()) found |= below(other) & bit(id) ? bit(other) : 0;
    return found;
  }
  int depth(LotId id) const {
    int deepest = 0;
    for (const LotId parent : lots[id].parents) deepest = std::max(deepest, depth(parent) + 1);
    return deepest;
  }

  Wide dedicated(LotId id) const { return lots[id].policy.sets_aside ? lots[id].policy.dedicated_bytes : 0; }
  Wide unfilled(LotId id, const Sums& sums) const {
    Wide children = 0;
    for (const LotId child : ids()) {
      if (is_parent(id, child) && lots[child].parents[0] == id) children += unfilled(child, sums);
    }
    return std::max({Wide{0}, dedicated(id) - sums.used[id], children});
  }
  Sums sums() const {
    Sums sums;
    const auto here = ids();
    for (const LotId id : here) {
      const Mask counted = below(id) | bit(id);
      for (const LotId other : here) {
        if (!(counted & bit(other))) continue;
        sums.used[id] += lots[other].own.bytes;
        sums.used_objects[id] += lots[other].own.objects;
      }
    }
    for (const LotId id : here) sums.unfilled[id] = unfilled(id, sums);
    for (const LotId id : here) {
      sums.claimed[id] = sums.used[id];
      for (const LotId child : here) sums.claimed[id] += is_parent(id, child) ? sums.unfilled[child] : 0;
      if (lots[id].parents.empty()) sums.set_aside += sums.unfilled[id];
    }
    return sums;
  }
  Wide total() const {
    Wide sum = 0;
    for (const LotId id : ids()) sum += lots[id].own.bytes;
    return sum;
  }
  Wide free() const {
    Wide room = capacity - total();
    if (!sampled) return room;
    Wide backing = available - holes;
    for (const auto& charge : outstanding) backing -= charge.bytes;
    return std::min(room, backing);
  }
  Wide headroom(const Sums& now) const { return free() - now.set_aside - margin; }
  static Wide grant(const Policy& policy) {
    return std::min<Wide>(kUnlimited, Wide{policy.dedicated_bytes} + policy.opportunistic_bytes);
  }

  bool fits_pool(const Sums& now, const Model& after, const Sums& then) const {
    const Wide growth = after.total() + then.set_aside - total() - now.set_aside;
    return growth <= 0 || growth <= headroom(now);
  }
  // Whether the lot itself refuses to go from `now` to `then`.
  bool refuses(LotId id, const Sums& now, const Sums& then, bool takes_over) const {
    const Policy& policy = lots[id].policy;
    const bool bytes = then.used[id] > now.used[id];
    const bool objects = then.used_objects[id] > now.used_objects[id];
    if ((bytes || objects) && !policy.may_grow && !takes_over) return true;
    if (bytes && then.used[id] > grant(policy)) return true;
    if (objects && then.used_objects[id] > policy.max_objects) return true;
    return then.claimed[id] > now.claimed[id] && then.claimed[id] > grant(policy);
  }
  // Whether bytes and objects may become those of `after`, which has the same lots.
  bool admits(const Model& after) const {
    const Sums now = sums();
    const Sums then = after.sums();
    bool grows = false;
    bool paid = true;
    Wide created = 0;
    for (const LotId id : ids()) {
      const Wide objects = after.lots[id].own.objects - Wide{lots[id].own.objects};
      grows = grows || objects > 0 || after.lots[id].own.bytes > lots[id].own.bytes;
      created += objects;
      if (objects > 0 && then.claimed[id] + then.used_objects[id] * block > dedicated(id)) paid = false;
    }
    if (!grows) return true;
    for (const LotId id : ids()) {
      if (refuses(id, now, then, false)) return false;
    }
    return fits_pool(now, after, then) && (created <= 0 || headroom(now) > 0 || paid);
  }

  // What the journal is told of the way from `before` to this.
  void note(const Model& before) {
    for (const LotId id : ids()) {
      ModelLot& lot = lots[id];
      const LotUsage was = before.has(id) ? before.lots[id].own : LotUsage{.id = id};
      const std::int64_t grown = lot.own.bytes - was.bytes;
      const bool changed = grown != 0 || lot.own.objects != was.objects;
      lot.own.changes += changed;
      lot.since.charged_bytes += std::max<std::int64_t>(0, grown);
      lot.since.refunded_bytes += std::max<std::int64_t>(0, -grown);
      if (changed) lot.listed = true;
    }
  }
  void add_pending(LotId id, std::int64_t bytes, std::int64_t objects) {
    lots[id].own.pending_bytes += bytes;
    lots[id].own.pending_objects += objects;
    if (bytes != 0 || objects != 0) lots[id].listed = true;
  }

  // All the ways to refuse the reshape for what it says; empty: it can be done. Then `after` is what it makes.
  std::vector<Refusal> errors(const Reshape& what, Model& after) const {
    std::vector<Refusal> found;
    Mask named = 0;
    Mask gone = 0;
    for (const Shape& shape : what.lots) {
      if (named & bit(shape.id)) found.push_back({EINVAL, shape.id});
      named |= bit(shape.id);
      after.lots[shape.id].here = true;
      after.lots[shape.id].own.id = shape.id;
      after.lots[shape.id].policy = shape.policy;
      after.lots[shape.id].parents.clear();
      for (const LotId parent : shape.parents) {
        if (!after.is_parent(parent, shape.id)) after.lots[shape.id].parents.push_back(parent);
      }
    }
    for (const Gone& each : what.gone) {
      if (!after.has(each.id)) found.push_back({ENOENT, each.id});
      if (each.id == kDefaultLot || ((named | gone) & bit(each.id))) found.push_back({EINVAL, each.id});
      gone |= bit(each.id);
    }
    for (const Gone& each : what.gone) {
      if (!after.has(each.heir)) found.push_back({ENOENT, each.heir});
      if (gone & bit(each.heir)) found.push_back({EINVAL, each.id});
    }
    for (const Delta& move : what.moves) {
      if (!after.has(move.lot)) found.push_back({ENOENT, move.lot});
    }
    for (const LotId id : after.ids()) {
      if (gone & bit(id)) continue;
      for (const LotId parent : after.lots[id].parents) {
        if (!after.has(parent)) found.push_back({ENOENT, parent});
        if (after.has(parent) && (gone & bit(parent))) found.push_back({EINVAL, id});
      }
      if (after.below(id) & bit(id)) found.push_back({ELOOP, id});
    }
    if (found.empty()) move(what, after);
    return found;
  }
  void move(const Reshape& what, Model& after) const {
    for (const Delta& move : what.moves) {
      after.lots[move.lot].own.bytes += move.bytes;
      after.lots[move.lot].own.objects += move.objects;
      after.add_pending(move.lot, move.pending_bytes, move.pending_objects);
    }
    for (const Gone& each : what.gone) {
      const LotUsage left = after.lots[each.id].own;
      after.lots[each.heir].own.bytes += left.bytes;
      after.lots[each.heir].own.objects += left.objects;
      after.add_pending(each.heir, left.pending_bytes, left.pending_objects);
      after.lots[each.id] = {};
    }
    after.note(*this);
  }
  // All the refusals that admission may give.
  std::vector<Refusal> refusals(const Reshape& what, const Model& after) const {
    const Sums now = sums();
    const Sums then = after.sums();
    std::vector<Refusal> found;
    Mask shaped = 0;
    Mask asked = 0;
    for (const Shape& shape : what.lots) {
      const LotId id = shape.id;
      shaped |= bit(id);
      asked |= bit(id) | after.above(id);
      const Wide after_grant = grant(shape.policy);
      if (!has(id) || after_grant >= grant(lots[id].policy)) continue;
      const bool promised = then.claimed[id] > then.used[id] && after_grant < then.claimed[id];
      if (promised || (what.must_cover && after_grant < then.used[id])) found.push_back({EINVAL, id});
    }
    if (!found.empty()) return found;
    int deepest = 0;
    for (const LotId id : after.ids()) {
      if (!(asked & bit(id)) || !after.refuses(id, now, then, shaped & bit(id))) continue;
      const int depth = after.depth(id);
      if (depth > deepest) found.clear();
      deepest = std::max(deepest, depth);
      if (depth == deepest) found.push_back({ENOSPC, id});
    }
    if (found.empty() && !fits_pool(now, after, then)) found.push_back({ENOSPC, kNoLot});
    return found;
  }
};

}  // namespace vreserve
