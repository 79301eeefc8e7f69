// A change of any lots: planned at each lot and its ancestors, settled upwards, admitted, then committed or abandoned.
#include <cstdio>
#include <cstdlib>

#include "lots_state.h"

namespace vreserve {

void meter::broken(const char* what, LotId id) noexcept {
  std::fprintf(stderr, "vreserve: broken invariant: %s (lot %u)\n", what, id);
  std::abort();
}

void meter::Lot::place() noexcept {
  ancestors.clear();
  level = 0;
  chained = parents.size() <= 1;
  if (is_root()) return;
  if (chained) {  // one walk for adding 100,000 lots: no set, no sort
    Lot* const parent = parents.front().lot;
    level = parent->level + 1;
    chained = parent->chained;
    ancestors.reserve(parent->ancestors.size() + 1);
    ancestors.push_back(parent);
    ancestors.insert(ancestors.end(), parent->ancestors.begin(), parent->ancestors.end());
    return;
  }
  for (const Edge& edge : parents) {
    level = std::max(level, edge.lot->level + 1);
    ancestors.push_back(edge.lot);
    ancestors.insert(ancestors.end(), edge.lot->ancestors.begin(), edge.lot->ancestors.end());
  }
  std::sort(ancestors.begin(), ancestors.end(),
            [](const Lot* a, const Lot* b) { return a->level != b->level ? deeper(a, b) : a->own.id < b->own.id; });
  ancestors.erase(std::unique(ancestors.begin(), ancestors.end()), ancestors.end());
}

void meter::Lot::enter() noexcept {
  for (Edge& edge : parents) {
    edge.place = edge.lot->children.size();
    edge.lot->children.push_back(this);
  }
}

void meter::Lot::leave() noexcept {
  for (const Edge& edge : parents) {
    auto& siblings = edge.lot->children;
    Lot* const last = siblings.back();  // it takes the place that becomes free
    siblings[edge.place] = last;
    siblings.pop_back();
    for (Edge& other : last->parents) {
      if (other.lot == edge.lot) other.place = edge.place;
    }
  }
}

LotId Meter::State::find_parents(std::span<const LotId> parents, std::vector<meter::Edge>& into) noexcept {
  into.reserve(parents.size());
  for (const LotId id : parents) {
    Lot* const parent = find(id);
    if (parent == nullptr) return id;
    const auto same = [parent](const meter::Edge& edge) { return edge.lot == parent; };
    if (std::none_of(into.begin(), into.end(), same)) into.push_back({.lot = parent});
  }
  return kNoLot;
}

void Meter::State::plan_one(Lot& lot) noexcept {
  if (lot.step.planned) return;
  lot.step.planned = true;
  planned.push_back(&lot);
}

void Meter::State::plan_line(Lot& lot) noexcept {
  plan_one(lot);
  for (Lot* const ancestor : lot.ancestors) plan_one(*ancestor);
}

void Meter::State::plan_used(Lot& lot, Wide bytes, Wide objects) noexcept {
  plan_line(lot);
  lot.step.bytes += bytes;
  lot.step.objects += objects;
  for (Lot* const ancestor : lot.ancestors) {
    ancestor->step.bytes += bytes;
    ancestor->step.objects += objects;
  }
}

void Meter::State::plan(Lot& lot, Wide bytes, Wide objects) noexcept {
  lot.step.own_bytes += bytes;
  lot.step.own_objects += objects;
  plan_used(lot, bytes, objects);
}

meter::Wide Meter::State::drop_drift(const Lot& lot, Wide& bytes, Wide& objects) noexcept {
  const Wide excess_bytes = std::max<Wide>(0, -bytes - lot.own.bytes - lot.step.own_bytes);
  const Wide excess_objects = std::max<Wide>(0, -objects - lot.own.objects - lot.step.own_objects);
  bytes += excess_bytes;
  objects += excess_objects;
  return excess_bytes + excess_objects;
}

void Meter::State::plan_seen(Lot& lot, Wide bytes, Wide objects) noexcept {
  lot.pool->planned_drift += drop_drift(lot, bytes, objects);
  plan(lot, bytes, objects);
}

// A lot hands its growth to its parents after all its children have handed it theirs.
void Meter::State::settle() noexcept {
  if (!std::is_sorted(planned.begin(), planned.end(), meter::deeper)) {
    std::sort(planned.begin(), planned.end(), meter::deeper);
  }
  for (auto& [id, pool] : pools) pool.growth = 0;
  for (Lot* const lot : planned) {
    Step& step = lot->step;
    const Wide promised = lot->dedicated - lot->used - step.bytes;
    step.unfilled = std::max({Wide{0}, promised, lot->first_unfilled + step.first_unfilled}) - lot->unfilled;
    bool first = true;
    for (const meter::Edge& edge : lot->parents) edge.lot->plan_unfilled(step.unfilled, std::exchange(first, false));
    lot->pool->growth += step.own_bytes + (lot->is_root() ? step.unfilled : 0);
  }
}

void Meter::State::unsettle() noexcept {
  for (Lot* const lot : planned) lot->step.first_unfilled = lot->step.other_unfilled = 0;
}

meter::Lot* Meter::State::refusing() const noexcept {
  const auto refuses = [](const Lot* lot) noexcept {
    const Step& step = lot->step;
    if (!step.asked) return false;
    const bool grows = step.bytes > 0 || step.objects > 0;
    if (grows && !lot->may_grow && !step.shaped) return true;
    if (step.bytes > 0 && lot->used + step.bytes > lot->grant) return true;
    if (step.objects > 0 && lot->used_objects + step.objects > lot->max_objects) return true;
    const Wide growth = lot->claimed_growth();
    return growth > 0 && lot->claimed() + growth > lot->grant;
  };
  const auto found = std::find_if(planned.begin(), planned.end(), refuses);
  return found == planned.end() ? nullptr : *found;
}

bool Meter::State::admitted() const noexcept {
  Wide created = 0;
  bool grows = false;
  for (const Lot* const lot : planned) {
    created += lot->step.own_objects;
    grows = grows || lot->step.own_bytes > 0 || lot->step.own_objects > 0;
  }
  if (!grows) return true;
  if (!has_room() || refusing() != nullptr) return false;
  const auto paid = [](const Lot* lot) noexcept {
    return lot->step.own_objects <= 0 || lot->pool->headroom() > 0 ||
           object_is_paid(*lot, lot->claimed() + lot->claimed_growth(), lot->used_objects + lot->step.objects);
  };
  return created <= 0 || std::all_of(planned.begin(), planned.end(), paid);
}

void Meter::State::commit() noexcept {
  for (Lot* const lot : planned) {
    const Step step = std::exchange(lot->step, {});
    lot->used += step.bytes;
    lot->used_objects += step.objects;
    lot->first_unfilled += step.first_unfilled;
    lot->other_unfilled += step.other_unfilled;
    lot->unfilled += step.unfilled;
    if (lot->is_root()) lot->pool->set_aside += step.unfilled;
    if (step.own_bytes != 0 || step.own_objects != 0) change_own(*lot, step.own_bytes, step.own_objects);
  }
  planned.clear();
  for (auto& [id, pool] : pools) {
    pool.drift += pool.planned_drift;
    pool.set_aside += pool.roots_growth;
    pool.abandon();
  }
}

void Meter::State::abandon() noexcept {
  for (Lot* const lot : planned) lot->step = {};
  planned.clear();
  for (auto& [id, pool] : pools) pool.abandon();
}

}  // namespace vreserve
