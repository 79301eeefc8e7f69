// The meter's interface: every call takes the mutex and makes one change of the state, or leaves no trace.
#include "lots.h"

#include <cerrno>

#include "lots_state.h"

namespace vreserve {

using meter::broken;
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

int Meter::add(LotId id, const Policy& policy, std::span<const LotId> parents, const LotUsage& usage) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  const auto [found, made] = s.lots.try_emplace(id);
  if (!made) return EEXIST;
  Lot& lot = found->second;
  const bool itself = std::find(parents.begin(), parents.end(), id) != parents.end();
  if (itself || s.find_parents(parents, lot.parents) != kNoLot) {
    s.lots.erase(found);
    return ENOENT;
  }
  lot.own = usage;
  lot.own.id = id;
  lot.set_policy(policy);
  lot.place();
  lot.enter();
  s.total += usage.bytes;
  s.charge(lot, usage.bytes, usage.objects);
  return 0;
}

Refusal Meter::reshape(const Reshape& what) noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->reshape(what);
}

void Meter::set_phase(LotId id, bool sets_aside, bool may_grow) noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot* const lot = state_->find(id);
  if (lot == nullptr) return;
  Policy policy = lot->policy;
  policy.sets_aside = sets_aside;
  policy.may_grow = may_grow;
  lot->set_policy(policy);
  state_->charge(*lot, 0, 0);
}

void Meter::set_usage(LotId id, std::int64_t bytes, std::int64_t objects) noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot* const lot = state_->find(id);
  if (lot == nullptr) return;
  const LotChange since = lot->since;
  const Wide more_bytes = Wide{bytes} - lot->own.bytes;
  const Wide more_objects = Wide{objects} - lot->own.objects;
  if (more_bytes == 0 && more_objects == 0) return;
  state_->charge(*lot, more_bytes, more_objects);
  state_->change_own(*lot, more_bytes, more_objects);
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
  if (change.size() == 1) {
    Lot* const lot = s.find(change.front().lot);
    if (lot != nullptr && lot->chained) return s.apply_chained(*lot, change.front(), force);
  }
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
  const Wide growth = s.settle();
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
  for (const Delta& delta : change) s.change_pending(*s.find(delta.lot), delta.pending_bytes, delta.pending_objects);
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
  s.charge(*lot, bytes, 0);
  s.change_own(*lot, bytes, 0);
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
  s.charge(*lot, -Wide{bytes}, 0);
  s.change_own(*lot, -Wide{bytes}, 0);
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
  return lot == nullptr ? 0 : lot->grant;
}

std::int64_t Meter::max_objects(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  return lot == nullptr ? 0 : lot->max_objects;
}

std::int64_t Meter::available(std::span<const LotId> parents) const noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot lot;
  if (state_->find_parents(parents, lot.parents) != kNoLot) return 0;
  lot.place();
  return state_->fitting_dedicated(lot);
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

std::int64_t Meter::used_objects(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  return lot == nullptr ? 0 : narrow(lot->used_objects);
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
    if (lot == nullptr || !lot->listed) continue;
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
          .set_aside = narrow(s.set_aside),
          .headroom = narrow(s.headroom()),
          .used = narrow(s.total),
          .margin = s.margin,
          .short_bytes = narrow(std::max<Wide>(0, s.set_aside - s.free())),
          .drift = narrow(s.drift)};
}

}  // namespace vreserve
