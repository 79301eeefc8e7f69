// A change of the hierarchy: the lots are made, given their policies and parents and put in order at once, and what
// that does to the bytes of each is planned like any other change. A refusal puts back what was there.
#include <cerrno>

#include "lots_state.h"

namespace vreserve {

using meter::Edge;
using meter::Lot;
using meter::Pool;
using meter::Wide;

struct Meter::State::Reshaping {
  State& state;
  const Reshape& what;

  // A lot of the reshape, or one that goes, as it was.
  struct Named {
    Lot* lot;
    bool made;
    bool moved = false;  // its parents have changed: `parents` are the former
    Policy policy;
    std::vector<Edge> parents;
  };
  std::vector<Named> lots;
  std::vector<Named> gone;
  // A lot whose ancestors may change, as it was.
  struct Below {
    Lot* lot;
    int level;
    bool chained;
    std::vector<Lot*> ancestors;
  };
  std::vector<Below> below;

  Refusal run() noexcept {
    Refusal refusal = name_lots();
    if (refusal.error == 0) refusal = name_gone();
    if (refusal.error == 0) refusal = link();
    if (refusal.error == 0) refusal = order();
    if (refusal.error == 0) {
      plan();
      state.settle();
      if (!what.force) refusal = admit();
    }
    refusal.error == 0 ? commit() : undo();
    return refusal;
  }

  Refusal name_lots() noexcept {
    lots.reserve(what.lots.size());
    for (const Shape& shape : what.lots) {
      if (shape.id == kNoLot) return {EINVAL, shape.id};
      Pool* const pool = state.find_pool(shape.pool);
      if (pool == nullptr) return {ENOENT, shape.id};
      const auto [found, made] = state.lots.try_emplace(shape.id);
      Lot& lot = found->second;
      if (lot.step.shaped) return {EINVAL, shape.id};
      if (made) lot.pool = pool;
      if (lot.pool != pool) return {EXDEV, shape.id};
      lot.own.id = shape.id;
      lots.push_back({&lot, made, false, lot.policy, {}});
      state.plan_one(lot);
      lot.step.shaped = true;
    }
    return {};
  }

  Refusal name_gone() noexcept {
    gone.reserve(what.gone.size());
    for (const Gone& each : what.gone) {
      Lot* const lot = state.find(each.id);
      if (lot == nullptr) return {ENOENT, each.id};
      if (each.id == kDefaultLot || lot->step.shaped || lot->step.gone) return {EINVAL, each.id};
      gone.push_back({lot, false, false, lot->policy, {}});
      state.plan_one(*lot);
      lot->step.gone = true;
    }
    for (const Gone& each : what.gone) {
      const Lot* const heir = state.find(each.heir);
      if (heir == nullptr) return {ENOENT, each.heir};
      if (heir->step.gone) return {EINVAL, each.id};
    }
    for (const Delta& move : what.moves) {
      if (state.find(move.lot) == nullptr) return {ENOENT, move.lot};
    }
    return {};
  }

  Refusal link() noexcept {
    for (std::size_t i = 0; i < lots.size(); ++i) {
      std::vector<Edge> parents;
      const LotId missing = state.find_parents(what.lots[i].parents, parents);
      if (missing != kNoLot) return {ENOENT, missing};
      const auto elsewhere = [pool = lots[i].lot->pool](const Edge& edge) { return edge.lot->pool != pool; };
      if (std::any_of(parents.begin(), parents.end(), elsewhere)) return {EXDEV, what.lots[i].id};
      lots[i].lot->set_policy(what.lots[i].policy);
      move(lots[i], std::move(parents));
    }
    for (Named& each : gone) {
      each.lot->set_policy({.sets_aside = false});
      move(each, {});
    }
    for (const Named& each : gone) {
      if (!each.lot->children.empty()) return {EINVAL, each.lot->children.front()->own.id};
    }
    return {};
  }

  void move(Named& named, std::vector<Edge> parents) noexcept {
    Lot& lot = *named.lot;
    const auto same = [](const Edge& a, const Edge& b) { return a.lot == b.lot; };
    if (!named.made && std::equal(parents.begin(), parents.end(), lot.parents.begin(), lot.parents.end(), same)) return;
    named.moved = true;
    hand_up(lot, -lot.unfilled);
    lot.leave();
    named.parents = std::exchange(lot.parents, std::move(parents));
    lot.enter();
    hand_up(lot, lot.unfilled);
  }

  void hand_up(Lot& lot, Wide unfilled) noexcept {
    if (lot.is_root()) lot.pool->roots_growth += unfilled;
    bool first = true;
    for (const Edge& edge : lot.parents) {
      state.plan_one(*edge.lot);
      edge.lot->plan_unfilled(unfilled, std::exchange(first, false));
    }
  }

  // Gives every lot whose parents have changed, and all below, its new ancestors: parents first.
  Refusal order() noexcept {
    std::vector<Lot*> reached;
    const auto reach = [&](Lot* lot) noexcept {
      if (!std::exchange(lot->below, true)) reached.push_back(lot);
    };
    for (const Named& each : lots) {
      if (each.moved) reach(each.lot);
    }
    for (const Named& each : gone) {
      if (each.moved) reach(each.lot);
    }
    for (std::size_t i = 0; i < reached.size(); ++i) {
      for (Lot* const child : reached[i]->children) {
        reach(child);
        ++child->waits_for;
      }
    }
    std::vector<Lot*> ready;
    ready.reserve(reached.size());
    below.reserve(reached.size());
    for (Lot* const lot : reached) {
      if (lot->waits_for == 0) ready.push_back(lot);
    }
    for (std::size_t i = 0; i < ready.size(); ++i) {
      place(*ready[i]);
      for (Lot* const child : ready[i]->children) {
        if (--child->waits_for == 0) ready.push_back(child);
      }
    }
    const bool acyclic = ready.size() == reached.size();
    for (Lot* const lot : reached) {
      lot->below = false;
      lot->waits_for = 0;
    }
    return acyclic ? Refusal{} : Refusal{ELOOP, below_itself()};
  }

  // What the lot itself holds leaves its former ancestors and comes to the new ones.
  void place(Lot& lot) noexcept {
    count_own(lot, -1);
    below.push_back({&lot, lot.level, lot.chained, std::move(lot.ancestors)});
    lot.place();
    count_own(lot, 1);
  }
  void count_own(Lot& lot, int sign) noexcept {
    state.plan_used(lot, Wide{lot.own.bytes} * sign, Wide{lot.own.objects} * sign);
  }

  // In a cycle at least one lot has new parents. The search is long, but only a mistake needs it.
  [[nodiscard]] LotId below_itself() const noexcept {
    for (const Named& each : lots) {
      std::vector<Lot*> reached = each.lot->children;
      std::unordered_map<const Lot*, bool> seen;
      for (std::size_t i = 0; i < reached.size(); ++i) {
        if (reached[i] == each.lot) return each.lot->own.id;
        if (std::exchange(seen[reached[i]], true)) continue;
        reached.insert(reached.end(), reached[i]->children.begin(), reached[i]->children.end());
      }
    }
    return kNoLot;
  }

  void plan() noexcept {
    for (const Named& each : lots) state.plan_line(*each.lot);
    for (const Delta& move : what.moves) {
      Lot& lot = *state.find(move.lot);
      state.plan_seen(lot, meter::counted(lot, move).bytes, move.objects);
    }
    for (const Gone& each : what.gone) {
      Lot& lot = *state.find(each.id);
      const Wide bytes = lot.own.bytes + lot.step.own_bytes;
      const Wide objects = lot.own.objects + lot.step.own_objects;
      state.plan(lot, -bytes, -objects);
      if (Lot& heir = *state.find(each.heir); inherits(heir, lot)) state.plan(heir, bytes, objects);
    }
  }
  // What the kernel enforces lies in a graft, which has gone before the lot does: it is nobody's.
  [[nodiscard]] bool inherits(const Lot& heir, const Lot& from) const noexcept {
    const auto named = std::find_if(gone.begin(), gone.end(), [&from](const Named& each) { return each.lot == &from; });
    return heir.pool == from.pool && !named->policy.by_kernel;
  }

  Refusal admit() noexcept {
    for (const Named& each : lots) {
      const Lot& lot = *each.lot;
      if (each.made || lot.grant >= meter::grant_of(each.policy)) continue;
      const Wide used = lot.used + lot.step.bytes;
      const Wide claimed = lot.claimed() + lot.claimed_growth();
      if ((claimed > used && lot.grant < claimed) || (what.must_cover && lot.grant < used)) return {EINVAL, lot.own.id};
    }
    for (Lot* const lot : state.planned) lot->step.asked = false;
    for (const Named& each : lots) {
      each.lot->step.asked = true;
      for (Lot* const ancestor : each.lot->ancestors) ancestor->step.asked = true;
    }
    if (const Lot* const lot = state.refusing()) return {ENOSPC, lot->own.id};
    return state.has_room() ? Refusal{} : Refusal{ENOSPC, kNoLot};
  }

  void commit() noexcept {
    state.commit();
    for (const Delta& move : what.moves) {
      state.change_pending(*state.find(move.lot), move.pending_bytes, move.pending_objects);
    }
    for (const Gone& each : what.gone) {
      const Lot& lot = *state.find(each.id);
      Lot& heir = *state.find(each.heir);
      if (inherits(heir, lot)) state.change_pending(heir, lot.own.pending_bytes, lot.own.pending_objects);
    }
    for (const Gone& each : what.gone) state.lots.erase(each.id);
  }

  void undo() noexcept {
    state.abandon();
    for (Below& each : below) {
      each.lot->level = each.level;
      each.lot->chained = each.chained;
      each.lot->ancestors = std::move(each.ancestors);
    }
    // A new lot may be the parent of others, so none goes before all have left it.
    const auto each_moved = [this](auto act) noexcept {
      for (Named& each : lots) {
        if (each.moved) act(each);
      }
      for (Named& each : gone) {
        if (each.moved) act(each);
      }
    };
    each_moved([](const Named& each) { each.lot->leave(); });
    each_moved([](Named& each) { each.lot->parents = std::move(each.parents); });
    each_moved([](const Named& each) { each.lot->enter(); });
    for (const Named& each : gone) each.lot->set_policy(each.policy);
    for (const Named& each : lots) {
      const LotId id = each.lot->own.id;
      each.made ? (void)state.lots.erase(id) : each.lot->set_policy(each.policy);
    }
  }
};

Refusal Meter::State::reshape(const Reshape& what) noexcept {
  return Reshaping{.state = *this, .what = what, .lots = {}, .gone = {}, .below = {}}.run();
}

}  // namespace vreserve
