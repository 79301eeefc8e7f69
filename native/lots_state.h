// The meter's lots and its one routine for change: plan what it does, work out what it needs, admit it, commit it.
// Only lots.cc includes this.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "lots.h"

namespace vreserve {

namespace meter {

// Sums over lots. A diamond counts a shared child's need once a path, which can pass 2^63, as can a few sparse files.
using Wide = __int128;

[[noreturn]] inline void broken(const char* what, LotId id) noexcept {
  std::fprintf(stderr, "vreserve: broken invariant: %s (lot %u)\n", what, id);
  std::abort();
}

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

// What a change in preparation does to one lot; all zero outside of it.
struct Step {
  Wide own_bytes = 0;
  Wide own_objects = 0;
  Wide bytes = 0;  // with distinct descendants, as used
  Wide objects = 0;
  Wide children_need = 0;
  Wide need = 0;
  bool planned = false;
};

struct Lot {
  LotUsage own;
  Policy policy;
  Wide used = 0;  // own and each distinct descendant's own, once
  Wide used_objects = 0;
  Wide children_need = 0;  // once a parent edge
  Wide need = 0;
  int level = 0;  // greater than any parent's; stays so when a lot between is removed
  std::vector<Lot*> parents;
  std::vector<Lot*> ancestors;  // distinct, deepest level first: a lot comes after all its descendants
  std::unordered_set<Lot*> children;
  LotChange since;  // the last drain; its usage is not kept
  bool listed = false;  // in State::changed
  Step step;

  [[nodiscard]] Wide dedicated() const noexcept { return policy.sets_aside ? policy.dedicated_bytes : 0; }
  [[nodiscard]] bool is_shared() const noexcept { return parents.size() > 1; }
  // What the lot needs for what it and its children hold or are promised, were nothing dedicated to it.
  [[nodiscard]] Wide base() const noexcept { return Wide{own.bytes} + children_need; }
};

inline bool deeper(const Lot* a, const Lot* b) noexcept { return a->level > b->level; }

}  // namespace meter

// mutex guards every field here and in the lots.
struct Meter::State {
  using Lot = meter::Lot;
  using Step = meter::Step;
  using Wide = meter::Wide;

  mutable std::mutex mutex;
  std::unordered_map<LotId, Lot> lots;
  std::vector<LotId> changed;  // since the last drain; may name lots that are gone
  std::vector<Lot*> planned;
  std::size_t shared = 0;  // lots with several parents

  std::int64_t capacity = 0;
  std::int64_t margin = 0;
  std::int64_t block_size = 0;

  Wide total = 0;       // own bytes of all lots
  Wide drift = 0;       // bytes and objects that were to be given back and that nobody held
  Wide roots_need = 0;  // sums over the roots
  Wide roots_used = 0;

  bool sampled = false;
  std::int64_t sample_available = 0;
  std::uint64_t sample_mark = 0;  // landed_total when the last sample began
  std::uint64_t charged_total = 0;
  std::uint64_t landed_total = 0;  // never more than charged_total
  std::int64_t holes = 0;

  Lot* find(LotId id) noexcept {
    const auto found = lots.find(id);
    return found == lots.end() ? nullptr : &found->second;
  }

  [[nodiscard]] Wide set_aside() const noexcept { return roots_need - roots_used; }
  // Charges that were not there when the last sample began count against it in full.
  [[nodiscard]] Wide sample_free() const noexcept {
    return Wide{sample_available} - static_cast<std::int64_t>(charged_total - sample_mark) - holes;
  }
  [[nodiscard]] Wide free() const noexcept {
    const Wide left = capacity - total;
    return sampled ? std::min(left, sample_free()) : left;
  }
  [[nodiscard]] Wide headroom() const noexcept {
    const Wide left = capacity - roots_need;
    return (sampled ? std::min(left, sample_free() - set_aside()) : left) - margin;
  }
  // What of its grant the lot cannot give to more bytes of its own. Never less than used.
  [[nodiscard]] Wide taken(const Lot& lot) const noexcept { return shared == 0 ? lot.base() : lot.used; }
  // Whether the pool has the growth over roots, and each planned lot's grant what its need grows to.
  [[nodiscard]] bool fits(Wide growth) const noexcept {
    if (growth > 0 && growth > headroom()) return false;
    return shared > 0 || std::none_of(planned.begin(), planned.end(), [](const Lot* lot) {
             return lot->step.need > 0 && lot->need + lot->step.need > meter::grant_of(lot->policy);
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
    total += bytes;
  }
  // A hole that is filled is held against the sample until the next one begins, which may not have seen it.
  void change_holes(std::int64_t bytes) noexcept {
    holes += bytes;
    if (bytes >= 0) return;
    charged_total += static_cast<std::uint64_t>(-bytes);
    landed_total += static_cast<std::uint64_t>(-bytes);
  }
  void charge_held(Wide bytes) noexcept {
    if (bytes > 0) charged_total += static_cast<std::uint64_t>(meter::narrow(bytes));
  }

  // A change: plan() each lot, then need_growth(), then commit() or abandon().
  void plan_one(Lot& lot) noexcept {
    if (lot.step.planned) return;
    lot.step.planned = true;
    planned.push_back(&lot);
  }
  void plan(Lot& lot, Wide bytes, Wide objects) noexcept {
    lot.step.own_bytes += bytes;
    lot.step.own_objects += objects;
    lot.step.bytes += bytes;
    lot.step.objects += objects;
    plan_one(lot);
    for (Lot* const ancestor : lot.ancestors) {
      ancestor->step.bytes += bytes;
      ancestor->step.objects += objects;
      plan_one(*ancestor);
    }
  }
  // A part of a change that the backing dictates. What takes more than the lot holds can only come from changes behind
  // the mount: it takes what there is, and the rest is drift.
  void plan_seen(Lot& lot, Wide bytes, Wide objects) noexcept {
    const Wide most_bytes = lot.own.bytes + lot.step.own_bytes;
    const Wide most_objects = lot.own.objects + lot.step.own_objects;
    const Wide excess_bytes = std::max<Wide>(0, -bytes - most_bytes);
    const Wide excess_objects = std::max<Wide>(0, -objects - most_objects);
    drift += excess_bytes + excess_objects;
    plan(lot, bytes + excess_bytes, objects + excess_objects);
  }
  // By how much the sum of need over roots grows. A lot hands its growth to its parents after all its children have.
  Wide need_growth() noexcept {
    if (!std::is_sorted(planned.begin(), planned.end(), meter::deeper)) {
      std::sort(planned.begin(), planned.end(), meter::deeper);
    }
    for (Lot* const lot : planned) lot->step.children_need = 0;
    Wide growth = 0;
    for (Lot* const lot : planned) {
      const Wide base = lot->base() + lot->step.own_bytes + lot->step.children_need;
      lot->step.need = std::max(lot->dedicated(), base) - lot->need;
      for (Lot* const parent : lot->parents) parent->step.children_need += lot->step.need;
      if (lot->parents.empty()) growth += lot->step.need;
    }
    return growth;
  }
  // newcomer: a lot that takes over what is there already; only its grant is asked.
  bool admitted(Wide growth, const Lot* newcomer = nullptr) const noexcept {
    if (!fits(growth)) return false;
    Wide created = 0;
    for (const Lot* const lot : planned) {
      const Step& step = lot->step;
      created += step.own_objects;
      if (step.bytes <= 0 && step.objects <= 0) continue;
      if (!lot->policy.may_grow && lot != newcomer) return false;
      if (step.bytes > 0 && lot->used + step.bytes > meter::grant_of(lot->policy)) return false;
      if (step.objects > 0 && lot->used_objects + step.objects > lot->policy.max_objects) return false;
    }
    return created <= 0 || headroom() > 0 || std::all_of(planned.begin(), planned.end(), [this](const Lot* lot) {
             return lot->step.own_objects <= 0 || object_is_paid(*lot);
           });
  }
  // With no headroom, a new object's block must come out of what is set aside for the lot itself, not for a child.
  [[nodiscard]] bool object_is_paid(const Lot& lot) const noexcept {
    const Wide bytes = lot.base() + lot.step.own_bytes + lot.step.children_need;
    const Wide objects = lot.used_objects + lot.step.objects;
    return bytes + objects * block_size <= lot.dedicated();
  }
  void commit() noexcept {
    for (Lot* const lot : planned) {
      const Step step = std::exchange(lot->step, {});
      lot->used += step.bytes;
      lot->used_objects += step.objects;
      lot->children_need += step.children_need;
      lot->need += step.need;
      if (lot->parents.empty()) {
        roots_used += step.bytes;
        roots_need += step.need;
      }
      if (step.own_bytes != 0 || step.own_objects != 0) change_own(*lot, step.own_bytes, step.own_objects);
    }
    planned.clear();
  }
  void abandon() noexcept {
    for (Lot* const lot : planned) lot->step = {};
    planned.clear();
  }
  bool finish(bool pass) noexcept {
    pass ? commit() : abandon();
    return pass;
  }

  // The greatest amount up to `most` whose growth of need fits; `need` plans it, gives the growth and falls nowhere.
  template <typename Need>
  std::int64_t greatest_fitting(std::int64_t most, Need need) noexcept {
    if (most <= 0) return 0;
    if (fits(need(most))) return most;
    std::int64_t fitting = 0;
    for (std::int64_t beyond = most; beyond - fitting > 1;) {
      const std::int64_t middle = fitting + (beyond - fitting) / 2;
      (fits(need(middle)) ? fitting : beyond) = middle;
    }
    return fitting;
  }
  // How much of `want` more bytes the lot may have.
  std::int64_t fitting_bytes(Lot& lot, std::int64_t want) noexcept {
    const auto within = [](const Lot& l, Wide taken, std::int64_t most) noexcept {
      return l.policy.may_grow ? meter::narrow(std::min<Wide>(most, meter::grant_of(l.policy) - taken)) : 0;
    };
    want = within(lot, taken(lot), want);
    for (const Lot* const ancestor : lot.ancestors) want = within(*ancestor, ancestor->used, want);
    if (want <= 0) return 0;
    if (lot.parents.empty()) {
      const Wide unfilled = lot.need - lot.base();
      return want <= unfilled ? want : meter::narrow(std::min(Wide{want}, unfilled + std::max<Wide>(0, headroom())));
    }
    plan(lot, 0, 0);
    want = greatest_fitting(want, [&](std::int64_t bytes) noexcept {
      lot.step.own_bytes = bytes;
      return need_growth();
    });
    abandon();
    return want;
  }
  void charge(Lot& lot, std::int64_t bytes) noexcept {
    if (lot.parents.empty()) {  // what plan and commit would do, in a fraction of the time
      const Wide grown = std::max(lot.dedicated(), lot.base() + bytes) - lot.need;
      lot.used += bytes;
      lot.need += grown;
      roots_used += bytes;
      roots_need += grown;
      change_own(lot, bytes, 0);
      return;
    }
    plan(lot, bytes, 0);
    need_growth();
    commit();
  }

  // Sets parents, level and ancestors; the parents do not know of the lot yet. False when a parent is missing. unlink()
  // takes it back.
  bool place(Lot& lot, std::span<const LotId> parents) noexcept {
    std::unordered_set<Lot*> above;
    for (const LotId id : parents) {
      Lot* const parent = find(id);
      if (parent == nullptr) return false;
      if (std::find(lot.parents.begin(), lot.parents.end(), parent) != lot.parents.end()) continue;
      lot.parents.push_back(parent);
      lot.level = std::max(lot.level, parent->level + 1);
      above.insert(parent);
      above.insert(parent->ancestors.begin(), parent->ancestors.end());
    }
    lot.ancestors.assign(above.begin(), above.end());
    std::sort(lot.ancestors.begin(), lot.ancestors.end(), meter::deeper);
    shared += lot.is_shared();
    return true;
  }
  void unlink(Lot& lot) noexcept {
    for (Lot* const parent : lot.parents) parent->children.erase(&lot);
    shared -= lot.is_shared();
  }
  static void forget_ancestor(Lot& lot, Lot& gone) noexcept {
    if (std::erase(lot.ancestors, &gone) == 0) return;
    for (Lot* const child : lot.children) forget_ancestor(*child, gone);
  }
};

}  // namespace vreserve
