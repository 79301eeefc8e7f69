// The meter against the model: random hierarchies, random operations, fixed seeds, and all that can be seen compared.
#include <map>

#include "lots_random.h"
#include "tap.h"

using namespace vreserve;

namespace {

bool same(const LotUsage& a, const LotUsage& b) {
  return a.id == b.id && a.bytes == b.bytes && a.objects == b.objects && a.pending_bytes == b.pending_bytes &&
         a.pending_objects == b.pending_objects && a.changes == b.changes;
}

// The same operations on both, and every answer compared.
class Pair : RandomModel {
 public:
  // A third of the seeds give each lot one parent at most.
  explicit Pair(std::uint64_t seed) : RandomModel(seed, seed % 3 == 0 ? 1 : 3) {
    model_.capacity = 5'000 + pick(10'000);
    model_.margin = pick(300);
    model_.block = 1 + pick(30);
    meter_.set_pool(static_cast<std::int64_t>(model_.capacity), static_cast<std::int64_t>(model_.margin),
                    static_cast<std::int64_t>(model_.block));
    start(kDefaultLot, {}, {});
    for (LotId id = 2; id < 5; ++id) start(id, some_policy(), some_parents({}));
  }

  std::map<int, int> answers;  // of reshape, by error

  void step() {
    switch (pick(16)) {
      case 0:
      case 1:
      case 2:
      case 3: return reshape();
      case 4: return sample();
      case 5: return land();
      case 6: return change_holes();
      case 7: return pick(3) == 0 ? set_usage() : set_phase();
      case 8: return pick(4) == 0 ? drain() : apply();
      case 9:
      case 10:
      case 11: return apply();
      default: return charge();
    }
  }

  void compare() {
    const Sums sums = model_.sums();
    const PoolUsage pool = meter_.pool();
    CHECK(pool.set_aside == sums.set_aside);
    CHECK(pool.headroom == model_.headroom(sums));
    CHECK(pool.free == std::max<Wide>(0, model_.free()));
    CHECK(pool.used == model_.total());
    CHECK(pool.short_bytes == std::max<Wide>(0, sums.set_aside - model_.free()));
    CHECK_EQ(pool.drift, 0);
    CHECK_EQ(meter_.all_usage().size(), model_.ids().size());
    for (LotId id = 1; id < kIds; ++id) {
      LotUsage own;
      CHECK_EQ(meter_.usage(id, own), model_.has(id));
      if (!model_.has(id)) continue;
      CHECK(same(own, model_.lots[id].own));
      CHECK(meter_.used(id) == sums.used[id]);
      CHECK(meter_.used_objects(id) == sums.used_objects[id]);
      CHECK(meter_.grant(id) == Model::grant(model_.lots[id].policy));
      CHECK_EQ(meter_.max_objects(id), model_.lots[id].policy.max_objects);
    }
    const LotId id = some_lot();
    const std::int64_t room = meter_.room(id);
    CHECK(room == 0 || model_.admits(charged(id, room)));
    CHECK(!model_.admits(charged(id, room + 1)));
    compare_available();
  }

 private:
  Model charged(LotId id, std::int64_t bytes) const {
    Model after = model_;
    after.lots[id].own.bytes += bytes;
    return after;
  }
  void hold(Wide bytes) {
    if (bytes > 0) model_.outstanding.push_back({static_cast<std::int64_t>(bytes)});
  }

  void start(LotId id, const Policy& policy, std::vector<LotId> parents) {
    const LotUsage usage{.bytes = pick(300), .objects = pick(5), .pending_bytes = pick(9), .changes = 7};
    const bool missing = std::find(parents.begin(), parents.end(), kUnknown) != parents.end();
    CHECK_EQ(meter_.add(id, policy, parents, usage), missing ? ENOENT : 0);
    if (missing) return;
    ModelLot& lot = model_.lots[id];
    lot.here = true;
    lot.policy = policy;
    for (const LotId parent : parents) {
      if (!model_.is_parent(parent, id)) lot.parents.push_back(parent);
    }
    lot.own = usage;
    lot.own.id = id;
    CHECK_EQ(meter_.add(id, policy, parents, usage), EEXIST);
  }

  void reshape() {
    const Reshape what = some_reshape();
    Model after = model_;
    auto expected = model_.errors(what, after);
    if (expected.empty() && !what.force) expected = model_.refusals(what, after);
    const Refusal refusal = meter_.reshape(what);
    ++answers[refusal.error];
    const auto matches = [&](const Refusal& each) { return each.error == refusal.error && each.lot == refusal.lot; };
    CHECK(expected.empty() ? refusal.error == 0 && refusal.lot == kNoLot
                           : std::any_of(expected.begin(), expected.end(), matches));
    if (expected.empty()) model_ = after;
  }
  void set_phase() {
    const LotId id = pick(20) == 0 ? kUnknown : some_lot();
    const bool sets_aside = pick(3) != 0;
    const bool may_grow = pick(5) != 0;
    meter_.set_phase(id, sets_aside, may_grow);
    if (id == kUnknown) return;
    model_.lots[id].policy.sets_aside = sets_aside;
    model_.lots[id].policy.may_grow = may_grow;
  }

  void set_usage() {
    const LotId id = some_lot();
    Model after = model_;
    after.lots[id].own.bytes = pick(1'000);
    after.lots[id].own.objects = pick(20);
    meter_.set_usage(id, after.lots[id].own.bytes, after.lots[id].own.objects);
    after.note(model_);
    after.lots[id].since = model_.lots[id].since;
    model_ = after;
  }

  void drain() {
    Mask told = 0;
    for (const LotChange& change : meter_.drain()) {
      const LotId id = change.usage.id;
      CHECK(model_.has(id) && model_.lots[id].listed && !(told & bit(id)));
      told |= bit(id);
      const ModelLot& lot = model_.lots[id];
      CHECK(same(change.usage, lot.own));
      CHECK_EQ(change.charged_bytes, lot.since.charged_bytes);
      CHECK_EQ(change.refunded_bytes, lot.since.refunded_bytes);
      CHECK_EQ(change.refusals, lot.since.refusals);
      CHECK_EQ(change.refused_bytes, lot.since.refused_bytes);
    }
    for (const LotId id : model_.ids()) {
      CHECK_EQ(model_.lots[id].listed, (told & bit(id)) != 0);
      model_.lots[id].listed = false;
      model_.lots[id].since = {};
    }
  }
  void refused(LotId id, std::int64_t bytes) {
    model_.lots[id].listed = true;
    ++model_.lots[id].since.refusals;
    model_.lots[id].since.refused_bytes += std::max<std::int64_t>(0, bytes);
  }

  void apply() {
    std::vector<Delta> change;
    Model after = model_;
    Wide net = 0;
    for (std::int64_t n = pick(2) == 0 ? 1 : 1 + pick(4); n > 0; --n) {
      const LotId id = some_lot();
      LotUsage& own = after.lots[id].own;
      Delta delta{.lot = id};
      const bool takes = pick(2) == 0;
      delta.bytes = pick(5) == 0 ? 0 : takes ? pick(800) : -pick(own.bytes + 1);
      delta.objects = takes != (pick(8) == 0) ? pick(4) : -pick(own.objects + 1);
      delta.pending_bytes = pick(3) - 1;
      own.bytes += delta.bytes;
      own.objects += delta.objects;
      after.add_pending(id, delta.pending_bytes, 0);
      net += delta.bytes;
      change.push_back(delta);
    }
    const bool force = pick(20) == 0;
    const int expected = force || model_.admits(after) ? 0 : ENOSPC;
    CHECK_EQ(meter_.apply(change, force), expected);
    if (expected == 0) {
      after.note(model_);
      model_ = after;
      return hold(net);
    }
    for (const Delta& delta : change) {
      const std::int64_t bytes = after.lots[delta.lot].own.bytes - model_.lots[delta.lot].own.bytes;
      if (bytes <= 0 && after.lots[delta.lot].own.objects <= model_.lots[delta.lot].own.objects) continue;
      return refused(delta.lot, bytes);
    }
  }

  void charge() {
    const LotId id = some_lot();
    const std::int64_t want = 1 + pick(1'500);
    const bool pending = pick(2) == 0;
    const bool final = pick(2) == 0;
    const std::int64_t got = meter_.charge_up_to(id, want, pending, final);
    CHECK(got >= 0 && got <= want);
    CHECK(got == 0 || model_.admits(charged(id, got)));
    CHECK(got == want || !model_.admits(charged(id, got + 1)));
    if (got == 0 && final) refused(id, want);
    const std::int64_t back = pick(2) == 0 ? pick(got + 1) : 0;
    meter_.refund_unlanded(id, back, pending);
    for (const std::int64_t bytes : {got, -back}) {
      const Model before = model_;
      model_.lots[id].own.bytes += bytes;
      if (pending) model_.lots[id].own.pending_bytes += bytes;
      model_.note(before);
    }
    hold(got - back);
  }

  void land() {
    if (model_.outstanding.empty()) return;
    const auto number = static_cast<std::size_t>(pick(static_cast<std::int64_t>(model_.outstanding.size())));
    auto& charge = model_.outstanding[number];
    if (charge.landed) return;
    charge.landed = true;
    meter_.landed(charge.bytes);
  }

  void sample() {
    const auto mark = meter_.begin_sample();
    std::vector<Outstanding> kept;
    for (const auto& charge : model_.outstanding) {
      if (!charge.landed) kept.push_back(charge);
    }
    for (std::int64_t n = pick(4); n > 0; --n) {  // while statfs runs
      const auto before = static_cast<std::ptrdiff_t>(model_.outstanding.size());
      pick(2) == 0 ? charge() : change_holes();
      kept.insert(kept.end(), model_.outstanding.begin() + before, model_.outstanding.end());
    }
    model_.available = 2'000 + pick(15'000);
    model_.sampled = true;
    model_.outstanding = kept;
    meter_.end_sample(mark, static_cast<std::int64_t>(model_.available));
  }

  void change_holes() {
    const std::int64_t bytes = pick(2) == 0 ? pick(300) : -pick(static_cast<std::int64_t>(model_.holes) + 1);
    model_.holes += bytes;
    if (bytes < 0) model_.outstanding.push_back({-bytes, true});
    meter_.add_holes(bytes);
  }

  void compare_available() {
    auto parents = some_parents({});
    std::erase(parents, kUnknown);
    const std::int64_t bytes = meter_.available(parents);
    CHECK(bytes >= 0);
    const Sums now = model_.sums();
    Model after = model_;
    after.lots[kUnknown].here = true;
    for (const LotId parent : parents) {
      if (!after.is_parent(parent, kUnknown)) after.lots[kUnknown].parents.push_back(parent);
    }
    const auto fits = [&](std::int64_t dedicated) {
      after.lots[kUnknown].policy.dedicated_bytes = dedicated;
      const Sums then = after.sums();
      for (const LotId id : model_.ids()) {
        if (!(after.above(kUnknown) & bit(id))) continue;
        if (dedicated > Model::grant(model_.lots[id].policy) - now.used[id]) return false;
        if (after.refuses(id, now, then, true)) return false;
      }
      return model_.fits_pool(now, after, then);
    };
    CHECK(bytes == 0 || fits(bytes));
    CHECK(!fits(bytes + 1));
  }

  Meter meter_;
};

void run(std::uint64_t first_seed, int rounds, int steps) {
  std::map<int, int> answers;
  for (int round = 0; round < rounds; ++round) {
    Pair pair(first_seed + static_cast<std::uint64_t>(round));
    for (int step = 0; step < steps; ++step) {
      pair.step();
      pair.compare();
      if (tap::failures > 0) {
        std::printf("# seed %llu, step %d\n", static_cast<unsigned long long>(first_seed) + round, step);
        return;
      }
    }
    for (const auto& [error, count] : pair.answers) answers[error] += count;
  }
  for (const int error : {0, ENOSPC, EINVAL, ENOENT, ELOOP}) CHECK(answers[error] > 0);
}

}  // namespace

TEST("many short histories agree with the model") { run(1, 60, 60); }
TEST("long histories agree with the model") { run(1'000, 6, 10'000); }

TAP_MAIN()
