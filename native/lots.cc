// The meter: every call takes the mutex, plans one change on the state and commits it or leaves no trace.
#include "lots.h"

#include <cerrno>

#include "lots_state.h"

namespace vreserve {

using meter::broken;
using meter::grant_of;
using meter::Lot;
using meter::narrow;
using meter::Wide;

Meter::Meter() : state_(std::make_unique<State>()) {}
Meter::~Meter() = default;

void Meter::set_pool(std::int64_t capacity, std::int64_t margin, std::int64_t block_size) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->capacity = capacity;
  state_->margin = margin;
  state_->block_size = block_size;
}

std::uint64_t Meter::begin_sample() noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->landed_total;
}

void Meter::end_sample(std::uint64_t mark, std::int64_t available_bytes) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->sampled = true;
  state_->sample_mark = mark;
  state_->sample_available = available_bytes;
}

void Meter::landed(std::int64_t bytes) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->landed_total += static_cast<std::uint64_t>(bytes);
  if (state_->landed_total > state_->charged_total) broken("more bytes landed than were charged", kNoLot);
}

void Meter::add_holes(std::int64_t bytes) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->change_holes(bytes);
}

void Meter::set_holes(std::int64_t bytes) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->change_holes(bytes - state_->holes);
}

int Meter::add(LotId id, const Policy& policy, std::span<const LotId> parents, const LotUsage& usage, LotId from,
               bool force) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  if (s.find(id) != nullptr) return EEXIST;
  Lot* const giver = s.find(from);
  if (from != kNoLot && giver == nullptr) return ENOENT;
  Lot& lot = s.lots[id];
  lot.policy = policy;
  lot.own.id = id;
  lot.own.changes = usage.changes;
  if (!s.place(lot, parents)) {
    s.lots.erase(id);
    return ENOENT;
  }
  for (Lot* const parent : lot.parents) parent->children.insert(&lot);
  s.plan(lot, usage.bytes, usage.objects);
  if (giver != nullptr) s.plan_seen(*giver, -Wide{usage.bytes}, -Wide{usage.objects});
  const Wide growth = s.need_growth();
  if (!s.finish(force || s.admitted(growth, &lot))) {
    s.unlink(lot);
    s.lots.erase(id);
    return ENOSPC;
  }
  lot.own.pending_bytes = usage.pending_bytes;
  lot.own.pending_objects = usage.pending_objects;
  if (giver != nullptr) {
    giver->own.pending_bytes -= usage.pending_bytes;
    giver->own.pending_objects -= usage.pending_objects;
  } else if (lot.listed) {  // what it starts with is no news
    s.changed.pop_back();
    lot.listed = false;
    lot.own.changes = usage.changes;
    lot.since = {};
  }
  return 0;
}

int Meter::set_policy(LotId id, const Policy& policy, bool force) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  Lot* const lot = s.find(id);
  if (lot == nullptr) return ENOENT;
  const std::int64_t grant = grant_of(policy);
  if (!force && grant < grant_of(lot->policy) && grant < s.taken(*lot)) return EINVAL;
  const Policy before = std::exchange(lot->policy, policy);
  s.plan(*lot, 0, 0);
  const Wide growth = s.need_growth();
  if (s.finish(force || s.fits(growth))) return 0;
  lot->policy = before;
  return ENOSPC;
}

int Meter::remove(LotId id, LotId heir_id) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  Lot* const gone = s.find(id);
  Lot* const heir = s.find(heir_id);
  if (gone == nullptr || heir == nullptr) return ENOENT;
  if (id == kDefaultLot || gone == heir) return EINVAL;

  s.plan(*gone, -Wide{gone->own.bytes}, -Wide{gone->own.objects});
  s.plan(*heir, gone->own.bytes, gone->own.objects);
  s.need_growth();
  s.commit();
  heir->own.pending_bytes += gone->own.pending_bytes;
  heir->own.pending_objects += gone->own.pending_objects;

  // The lot is empty now, so nobody's used changes; its children's need goes past it to its parents.
  s.unlink(*gone);
  if (gone->parents.empty()) {
    s.roots_need -= gone->need;
    s.roots_used -= gone->used;
  }
  for (Lot* const parent : gone->parents) parent->children_need -= gone->need;
  for (Lot* const child : gone->children) {
    s.shared -= child->is_shared();
    std::erase(child->parents, gone);
    for (Lot* const parent : gone->parents) {
      if (!parent->children.insert(child).second) continue;
      child->parents.push_back(parent);
      parent->children_need += child->need;
    }
    s.shared += child->is_shared();
    if (child->parents.empty()) {
      s.roots_need += child->need;
      s.roots_used += child->used;
    }
    State::forget_ancestor(*child, *gone);
  }
  for (Lot* const ancestor : gone->ancestors) s.plan_one(*ancestor);
  s.need_growth();
  s.commit();
  s.lots.erase(id);
  return 0;
}

void Meter::set_usage(LotId id, std::int64_t bytes, std::int64_t objects) noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot* const lot = state_->find(id);
  if (lot == nullptr) return;
  const LotChange since = lot->since;
  state_->plan(*lot, Wide{bytes} - lot->own.bytes, Wide{objects} - lot->own.objects);
  state_->need_growth();
  state_->commit();
  lot->since = since;
}

void Meter::touch(LotId id) noexcept {
  const std::lock_guard lock(state_->mutex);
  if (Lot* const lot = state_->find(id)) ++lot->own.changes;
}

void Meter::forget_drift() noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->drift = 0;
}

int Meter::apply(std::span<const Delta> change, bool force) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  Wide net = 0;
  for (const Delta& delta : change) {
    Lot* const lot = s.find(delta.lot);
    if (lot == nullptr) {
      s.abandon();
      return ENOENT;
    }
    s.plan_seen(*lot, delta.bytes, delta.objects);
    net += delta.bytes;
  }
  const Wide growth = s.need_growth();
  if (!force && !s.admitted(growth)) {
    for (const Delta& delta : change) {
      Lot* const lot = s.find(delta.lot);
      if (lot->step.own_bytes <= 0 && lot->step.own_objects <= 0) continue;
      s.refuse(*lot, narrow(std::max<Wide>(0, lot->step.own_bytes)));
      break;
    }
    s.abandon();
    return ENOSPC;
  }
  s.commit();
  s.charge_held(net);
  for (const Delta& delta : change) {
    if (delta.pending_bytes == 0 && delta.pending_objects == 0) continue;
    Lot* const lot = s.find(delta.lot);
    lot->own.pending_bytes += delta.pending_bytes;
    lot->own.pending_objects += delta.pending_objects;
    s.list(*lot);
  }
  return 0;
}

std::int64_t Meter::charge_up_to(LotId id, std::int64_t want, bool pending, bool final, std::int64_t least) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  Lot* const lot = s.find(id);
  if (lot == nullptr || want <= 0) return 0;
  const std::int64_t bytes = s.fitting_bytes(*lot, want);
  if (bytes < least) {
    if (final) s.refuse(*lot, want);
    return 0;
  }
  s.charge(*lot, bytes);
  s.charge_held(bytes);
  if (pending) lot->own.pending_bytes += bytes;
  return bytes;
}

void Meter::refund_unlanded(LotId id, std::int64_t bytes, bool pending) noexcept {
  if (bytes <= 0) return;
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  s.charged_total -= static_cast<std::uint64_t>(bytes);
  if (s.landed_total > s.charged_total) broken("bytes refunded as not landed that had landed", id);
  Lot* const lot = s.find(id);
  if (lot == nullptr) return;
  s.charge(*lot, -bytes);
  if (pending) lot->own.pending_bytes -= bytes;
}

std::int64_t Meter::room(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot* const lot = state_->find(id);
  return lot == nullptr ? 0 : state_->fitting_bytes(*lot, kUnlimited);
}

std::int64_t Meter::grant(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  return lot == nullptr ? 0 : grant_of(lot->policy);
}

std::int64_t Meter::available(std::span<const LotId> parents) const noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  Lot lot;
  if (!s.place(lot, parents)) return 0;
  Wide most = kUnlimited;
  for (const Lot* const ancestor : lot.ancestors) most = std::min(most, grant_of(ancestor->policy) - ancestor->used);
  s.plan(lot, 0, 0);
  const std::int64_t bytes = s.greatest_fitting(narrow(most), [&](std::int64_t dedicated) noexcept {
    lot.policy.dedicated_bytes = dedicated;
    return s.need_growth();
  });
  s.abandon();
  s.unlink(lot);
  return bytes;
}

bool Meter::usage(LotId id, LotUsage& out) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  if (lot != nullptr) out = lot->own;
  return lot != nullptr;
}

std::int64_t Meter::used(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  return lot == nullptr ? 0 : narrow(lot->used);
}

std::vector<LotUsage> Meter::all_usage() const noexcept {
  const std::lock_guard lock(state_->mutex);
  std::vector<LotUsage> all;
  all.reserve(state_->lots.size());
  for (const auto& [id, lot] : state_->lots) all.push_back(lot.own);
  return all;
}

std::vector<LotChange> Meter::drain() noexcept {
  const std::lock_guard lock(state_->mutex);
  std::vector<LotChange> drained;
  drained.reserve(state_->changed.size());
  for (const LotId id : state_->changed) {
    Lot* const lot = state_->find(id);
    if (lot == nullptr) continue;
    lot->listed = false;
    drained.push_back(std::exchange(lot->since, {}));
    drained.back().usage = lot->own;
  }
  state_->changed.clear();
  return drained;
}

PoolUsage Meter::pool() const noexcept {
  const std::lock_guard lock(state_->mutex);
  const State& s = *state_;
  return {.capacity = s.capacity,
          .free = narrow(std::max<Wide>(0, s.free())),
          .set_aside = narrow(s.set_aside()),
          .headroom = narrow(s.headroom()),
          .used = narrow(s.total),
          .margin = s.margin,
          .short_bytes = narrow(std::max<Wide>(0, s.set_aside() - s.free())),
          .drift = narrow(s.drift)};
}

}  // namespace vreserve
