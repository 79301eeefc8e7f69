// A change of one lot: what every write asks. Where no lot above has several parents, one walk up answers it and one
// more commits it; elsewhere it is planned like any other change.
#include <cerrno>

#include "lots_state.h"

namespace vreserve {

using meter::Lot;
using meter::narrow;
using meter::Wide;

namespace {

// Calls `visit` for a chained lot and each ancestor, from below, with the growth of the unfilled bytes below it and
// with its own, the root's of which is returned.
template <typename ChainedLot, typename Visit>
Wide climb(ChainedLot& lot, Wide bytes, Visit visit) noexcept {
  Wide growth = 0;
  const auto step = [&](ChainedLot& each) noexcept {
    const Wide below = growth;
    const Wide unfilled = std::max({Wide{0}, each.dedicated - each.used - bytes, each.first_unfilled + below});
    growth = unfilled - each.unfilled;
    visit(each, below, growth);
  };
  step(lot);
  for (Lot* const ancestor : lot.ancestors) step(*ancestor);
  return growth;
}

// Else each lot on the way up is a miss of the cache after the other.
void fetch_ancestors(const Lot& lot) noexcept {
  for (const Lot* const ancestor : lot.ancestors) {
    __builtin_prefetch(&ancestor->used, 1);
    __builtin_prefetch(&ancestor->other_unfilled, 1);
  }
}

// The greatest amount up to `most` that `fits`, which must be true up to some amount and false beyond.
template <typename Fits>
std::int64_t greatest(std::int64_t most, Fits fits) noexcept {
  if (most <= 0) return 0;
  if (fits(most)) return most;
  std::int64_t fitting = 0;
  for (std::int64_t beyond = most; beyond - fitting > 1;) {
    const std::int64_t middle = fitting + (beyond - fitting) / 2;
    (fits(middle) ? fitting : beyond) = middle;
  }
  return fitting;
}

}  // namespace

// Whether all of `bytes` may surely be had: one question a lot, which is enough but where a grant has shrunk.
bool Meter::State::fits_chained(const Lot& lot, Wide bytes) const noexcept {
  bool fits = true;
  const Wide unfilled = climb(lot, bytes, [&](const Lot& each, Wide below, Wide) noexcept {
    fits &= each.may_grow & (each.claimed() + bytes + below <= each.grant);
  });
  return fits && lot.pool->has_room_for(bytes + unfilled);
}

// How many of `bytes` more are too many in a chained lot; 0 or less: none. Exact, because what is claimed and promised
// either stays as it is or grows, from some amount on, with each byte.
Wide Meter::State::excess(const Lot& lot, Wide bytes) const noexcept {
  Wide over = -bytes;
  const Wide unfilled = climb(lot, bytes, [&](const Lot& each, Wide below, Wide) noexcept {
    if (!each.may_grow) over = bytes;
    const Wide claimed = each.claimed() + bytes + below;
    over = std::max({over, each.used + bytes - each.grant, claimed - std::max<Wide>(each.claimed(), each.grant)});
  });
  const Wide promised = bytes + unfilled;
  return promised > 0 ? std::max(over, promised - std::max<Wide>(0, lot.pool->headroom())) : over;
}

std::int64_t Meter::State::fitting_bytes(Lot& lot, std::int64_t want) noexcept {
  if (want <= 0) return 0;
  if (lot.chained) {
    fetch_ancestors(lot);
    if (fits_chained(lot, want)) return want;
    return narrow(want - std::clamp<Wide>(excess(lot, want), 0, want));
  }
  const auto bound = [&](const Lot& each) noexcept {
    want = each.may_grow ? narrow(std::min<Wide>(want, each.grant - each.used)) : 0;
  };
  bound(lot);
  for (const Lot* const ancestor : lot.ancestors) bound(*ancestor);
  // Each sum is convex in the bytes and starts within its limit, or where it may stay: so what fits ends once.
  want = greatest(want, [&](std::int64_t bytes) noexcept {
    unsettle();
    plan(lot, bytes - lot.step.own_bytes, 0);
    settle();
    return has_room() && refusing() == nullptr;
  });
  abandon();
  return want;
}

std::int64_t Meter::State::fitting_dedicated(Lot& newcomer) noexcept {
  Wide most = kUnlimited;
  for (const Lot* const ancestor : newcomer.ancestors) most = std::min(most, ancestor->grant - ancestor->used);
  plan_line(newcomer);
  const std::int64_t bytes = greatest(narrow(most), [&](std::int64_t dedicated) noexcept {
    unsettle();
    newcomer.dedicated = dedicated;
    settle();
    return has_room() && refusing() == nullptr;
  });
  abandon();
  return bytes;
}

bool Meter::State::admits_chained(const Lot& lot, Wide bytes, Wide objects) const noexcept {
  fetch_ancestors(lot);
  if (bytes > 0 && !fits_chained(lot, bytes) && excess(lot, bytes) > 0) return false;
  if (objects <= 0) return true;
  const auto holds = [&](const Lot& each) noexcept {
    return each.may_grow && each.used_objects + objects <= each.max_objects;
  };
  const auto holds_above = [&](const Lot* each) noexcept { return holds(*each); };
  if (!holds(lot) || !std::all_of(lot.ancestors.begin(), lot.ancestors.end(), holds_above)) return false;
  return lot.pool->headroom() > 0 || object_is_paid(lot, lot.claimed() + bytes, lot.used_objects + objects);
}

void Meter::State::charge(Lot& lot, Wide bytes, Wide objects) noexcept {
  if (lot.chained) {
    lot.pool->set_aside += climb(lot, bytes, [&](Lot& each, Wide below, Wide growth) noexcept {
      each.used += bytes;
      each.used_objects += objects;
      each.first_unfilled += below;
      each.unfilled += growth;
    });
  } else {
    plan_used(lot, bytes, objects);
    settle();
    commit();
  }
}

int Meter::State::apply_chained(Lot& lot, const Delta& delta, bool force) noexcept {
  Wide bytes = delta.bytes;
  Wide objects = delta.objects;
  const Wide dropped = drop_drift(lot, bytes, objects);
  if (!force && !admits_chained(lot, bytes, objects)) {
    refuse(lot, narrow(std::max<Wide>(0, bytes)));
    return ENOSPC;
  }
  lot.pool->drift += dropped;
  if (bytes != 0 || objects != 0) {
    charge(lot, bytes, objects);
    change_own(lot, bytes, objects);
    lot.pool->charge_held(bytes);
  }
  change_pending(lot, delta.pending_bytes, delta.pending_objects);
  return 0;
}

}  // namespace vreserve
