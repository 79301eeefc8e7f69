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

void Meter::set_pool(std::int64_t capacity, std::int64_t margin, std::int64_t block_size, PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  meter::Pool& to = state_->pools[pool];
  to.capacity = capacity;
  to.margin = margin;
  to.block_size = block_size;
}

int Meter::remove_pool(PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  const meter::Pool* const gone = s.find_pool(pool);
  if (pool == kMainPool || gone == nullptr) return EINVAL;
  const auto is_in = [gone](const auto& each) { return each.second.pool == gone; };
  if (std::any_of(s.lots.begin(), s.lots.end(), is_in)) return EBUSY;
  s.pools.erase(pool);
  return 0;
}

std::uint64_t Meter::begin_sample(PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  const meter::Pool* const of = state_->find_pool(pool);
  return of == nullptr ? 0 : of->landed_total;
}

void Meter::end_sample(std::uint64_t mark, std::int64_t available_bytes, PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  meter::Pool* const of = state_->find_pool(pool);
  if (of == nullptr) return;
  of->sampled = true;
  of->sample_mark = mark;
  of->sample_available = available_bytes;
}

void Meter::landed(std::int64_t bytes, PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  meter::Pool* const of = state_->find_pool(pool);
  if (of == nullptr) return;
  of->landed_total += static_cast<std::uint64_t>(bytes);
  if (of->landed_total > of->charged_total) broken("more bytes landed than were charged", kNoLot);
}

void Meter::add_holes(std::int64_t bytes, PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  if (meter::Pool* const of = state_->find_pool(pool)) of->change_holes(bytes);
}

void Meter::set_holes(std::int64_t bytes, PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  if (meter::Pool* const of = state_->find_pool(pool)) of->change_holes(bytes - of->holes);
}

int Meter::add(LotId id, const Policy& policy, std::span<const LotId> parents, const LotUsage& usage,
               PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  meter::Pool* const of = s.find_pool(pool);
  if (of == nullptr) return ENOENT;
  const auto [found, made] = s.lots.try_emplace(id);
  if (!made) return EEXIST;
  Lot& lot = found->second;
  const bool itself = std::find(parents.begin(), parents.end(), id) != parents.end();
  if (itself || s.find_parents(parents, lot.parents) != kNoLot) {
    s.lots.erase(found);
    return ENOENT;
  }
  lot.pool = of;
  if (!lot.is_with_parents()) {
    s.lots.erase(found);
    return EXDEV;
  }
  lot.own = usage;
  lot.own.id = id;
  lot.set_policy(policy);
  lot.place();
  lot.enter();
  of->total += usage.bytes;
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

void Meter::measured(LotId id, std::int64_t bytes) noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot* const lot = state_->find(id);
  if (lot == nullptr || !lot->policy.by_kernel || lot->own.bytes == bytes) return;
  const LotChange since = lot->since;
  const std::uint64_t changes = lot->own.changes;
  const Wide more = Wide{bytes} - lot->own.bytes;
  state_->charge(*lot, more, 0);
  state_->change_own(*lot, more, 0);
  lot->since = since;
  lot->own.changes = changes;  // a count leaves these bytes alone
}

bool Meter::by_kernel(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  return lot != nullptr && lot->policy.by_kernel;
}

void Meter::touch(LotId id) noexcept {
  const std::lock_guard lock(state_->mutex);
  if (Lot* const lot = state_->find(id)) ++lot->own.changes;
}

void Meter::forget_drift(PoolId pool) noexcept {
  const std::lock_guard lock(state_->mutex);
  if (meter::Pool* const of = state_->find_pool(pool)) of->drift = 0;
}

int Meter::apply(std::span<const Delta> change, bool force) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  if (change.size() == 1) {
    Lot* const lot = s.find(change.front().lot);
    if (lot != nullptr && lot->policy.by_kernel) force = true;
    if (lot != nullptr && lot->chained) return s.apply_chained(*lot, meter::counted(*lot, change.front()), force);
  }
  for (const Delta& delta : change) {
    Lot* const lot = s.find(delta.lot);
    if (lot == nullptr) {
      s.abandon();
      return ENOENT;
    }
    const Delta counted = meter::counted(*lot, delta);
    s.plan_seen(*lot, counted.bytes, counted.objects);
    lot->pool->net += counted.bytes;
  }
  s.settle();
  if (!force && !s.admitted()) {
    for (const Delta& delta : change) {
      Lot* const lot = s.find(delta.lot);
      if (lot->step.own_bytes <= 0 && lot->step.own_objects <= 0) continue;
      s.refuse(*lot, narrow(std::max<Wide>(0, lot->step.own_bytes)));
      break;
    }
    s.abandon();
    return ENOSPC;
  }
  for (auto& [id, pool] : s.pools) pool.charge_held(pool.net);
  s.commit();
  for (const Delta& delta : change) {
    Lot& lot = *s.find(delta.lot);
    s.change_pending(lot, meter::counted(lot, delta).pending_bytes, delta.pending_objects);
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
  s.charge(*lot, bytes, 0);
  s.change_own(*lot, bytes, 0);
  lot->pool->charge_held(bytes);
  if (pending) lot->own.pending_bytes += bytes;
  return bytes;
}

void Meter::refund_unlanded(LotId id, std::int64_t bytes, bool pending, PoolId pool) noexcept {
  if (bytes <= 0) return;
  const std::lock_guard lock(state_->mutex);
  State& s = *state_;
  meter::Pool* const of = s.find_pool(pool);
  if (of == nullptr) return;
  of->charged_total -= static_cast<std::uint64_t>(bytes);
  if (of->landed_total > of->charged_total) broken("bytes refunded as not landed that had landed", id);
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

std::int64_t Meter::available(std::span<const LotId> parents, PoolId pool) const noexcept {
  const std::lock_guard lock(state_->mutex);
  Lot lot;
  lot.pool = state_->find_pool(pool);
  if (lot.pool == nullptr || state_->find_parents(parents, lot.parents) != kNoLot || !lot.is_with_parents()) return 0;
  lot.place();
  return state_->fitting_dedicated(lot);
}

PoolId Meter::pool_of(LotId id) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const Lot* const lot = state_->find(id);
  for (const auto& [pool, each] : state_->pools) {
    if (lot != nullptr && lot->pool == &each) return pool;
  }
  return kMainPool;
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

PoolUsage Meter::pool(PoolId pool) const noexcept {
  const std::lock_guard lock(state_->mutex);
  const meter::Pool* const of = state_->find_pool(pool);
  if (of == nullptr) return {};
  return {.capacity = of->capacity,
          .free = narrow(std::max<Wide>(0, of->free())),
          .set_aside = narrow(of->set_aside),
          .headroom = narrow(of->headroom()),
          .used = narrow(of->total),
          .margin = of->margin,
          .short_bytes = narrow(std::max<Wide>(0, of->set_aside - of->free())),
          .drift = narrow(of->drift)};
}

}  // namespace vreserve
