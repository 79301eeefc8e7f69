// The meter against a slow and obvious model: random hierarchies, random operations, fixed seeds.
#include <algorithm>
#include <cerrno>
#include <map>
#include <random>
#include <set>

#include "pool.h"
#include "tap.h"

using namespace vreserve;

namespace {

using Wide = __int128;

struct ModelLot {
  Policy policy;
  std::set<LotId> parents;
  Wide bytes = 0;
  Wide objects = 0;
};

// A charge that has not landed, or landed after the last sample began.
struct Outstanding {
  std::int64_t bytes = 0;
  bool landed = false;
};

// Works everything out from the own bytes, by the words of the rules, each time it is asked.
struct Model {
  std::map<LotId, ModelLot> lots;
  Wide capacity = 0;
  Wide margin = 0;
  Wide block = 0;
  bool sampled = false;
  Wide available = 0;
  Wide holes = 0;
  std::vector<Outstanding> outstanding;

  std::set<LotId> children(LotId id) const {
    std::set<LotId> found;
    for (const auto& [other, lot] : lots) {
      if (lot.parents.contains(id)) found.insert(other);
    }
    return found;
  }
  void collect(LotId id, std::set<LotId>& into) const {
    into.insert(id);
    for (const LotId child : children(id)) collect(child, into);
  }
  Wide used(LotId id) const {
    std::set<LotId> below;
    collect(id, below);
    Wide sum = 0;
    for (const LotId lot : below) sum += lots.at(lot).bytes;
    return sum;
  }
  Wide used_objects(LotId id) const {
    std::set<LotId> below;
    collect(id, below);
    Wide sum = 0;
    for (const LotId lot : below) sum += lots.at(lot).objects;
    return sum;
  }
  static Wide dedicated(const ModelLot& lot) { return lot.policy.sets_aside ? lot.policy.dedicated_bytes : 0; }
  Wide base(LotId id) const {
    Wide sum = lots.at(id).bytes;
    for (const LotId child : children(id)) sum += need(child);
    return sum;
  }
  Wide need(LotId id) const { return std::max(dedicated(lots.at(id)), base(id)); }
  Wide roots_need() const {
    Wide sum = 0;
    for (const auto& [id, lot] : lots) sum += lot.parents.empty() ? need(id) : 0;
    return sum;
  }
  Wide set_aside() const {
    Wide sum = 0;
    for (const auto& [id, lot] : lots) sum += lot.parents.empty() ? need(id) - used(id) : 0;
    return sum;
  }
  Wide headroom() const {
    Wide room = capacity - roots_need();
    if (sampled) {
      Wide free = available - holes;
      for (const auto& charge : outstanding) free -= charge.bytes;
      room = std::min(room, free - set_aside());
    }
    return room - margin;
  }
  static Wide grant(const Policy& policy) {
    return std::min<Wide>(kUnlimited, Wide{policy.dedicated_bytes} + policy.opportunistic_bytes);
  }

  // Whether the needs of `after` fit the pool, and, while no lot has several parents, the grants.
  bool fits(const Model& after) const {
    const Wide growth = after.roots_need() - roots_need();
    if (growth > 0 && growth > headroom()) return false;
    for (const auto& [id, lot] : after.lots) {
      if (lot.parents.size() > 1) return true;
    }
    for (const auto& [id, lot] : after.lots) {
      const Wide now = after.need(id);
      if (now > (lots.contains(id) ? need(id) : 0) && now > grant(lot.policy)) return false;
    }
    return true;
  }
  // Whether `after` may follow this state. newcomer: the lot that `after` has and this has not.
  bool admits(const Model& after, LotId newcomer = kNoLot) const {
    if (!fits(after)) return false;
    Wide created = 0;
    bool paid = true;
    for (const auto& [id, lot] : after.lots) {
      const bool old = lots.contains(id);
      const Wide bytes = after.used(id) - (old ? used(id) : 0);
      const Wide objects = after.used_objects(id) - (old ? used_objects(id) : 0);
      if ((bytes > 0 || objects > 0) && !lot.policy.may_grow && id != newcomer) return false;
      if (bytes > 0 && after.used(id) > grant(lot.policy)) return false;
      if (objects > 0 && after.used_objects(id) > lot.policy.max_objects) return false;
      const Wide own = lot.objects - (old ? lots.at(id).objects : 0);
      created += own;
      if (own > 0 && after.base(id) + after.used_objects(id) * block > dedicated(lot)) paid = false;
    }
    return created <= 0 || headroom() > 0 || paid;
  }
};

// The same operations on both, and every answer compared.
class Pair {
 public:
  // Half of the seeds give each lot one parent at most.
  explicit Pair(std::uint64_t seed) : random_(seed), most_parents_(seed % 2 == 0 ? 1 : 3) {
    model_.capacity = 5'000 + pick(10'000);
    model_.margin = pick(300);
    model_.block = 1 + pick(30);
    meter_.set_pool(static_cast<std::int64_t>(model_.capacity), static_cast<std::int64_t>(model_.margin),
                    static_cast<std::int64_t>(model_.block));
    CHECK_EQ(meter_.add(kDefaultLot, {}, {}, {}, kNoLot, true), 0);
    model_.lots[kDefaultLot];
  }

  void step() {
    switch (pick(13)) {
      case 0: return add();
      case 1: return set_policy();
      case 2: return pick(3) == 0 ? remove() : add();
      case 3: return sample();
      case 4: return land();
      case 5: return change_holes();
      case 6: return pick(4) == 0 ? set_usage() : apply();
      case 7:
      case 8:
      case 9: return apply();
      default: return charge();
    }
  }

  void compare() {
    const PoolUsage pool = meter_.pool();
    CHECK(pool.set_aside == model_.set_aside());
    CHECK(pool.headroom == model_.headroom());
    for (const auto& [id, lot] : model_.lots) {
      LotUsage own;
      CHECK(meter_.usage(id, own));
      CHECK(own.bytes == lot.bytes && own.objects == lot.objects);
      CHECK(meter_.used(id) == model_.used(id));
    }
    const LotId id = some_lot();
    const std::int64_t room = meter_.room(id);
    CHECK(room == 0 || model_.admits(charged(id, room)));
    CHECK(!model_.admits(charged(id, room + 1)));
    compare_available();
  }

 private:
  std::int64_t pick(std::int64_t below) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(below));
  }
  LotId some_lot() {
    auto it = model_.lots.begin();
    std::advance(it, pick(static_cast<std::int64_t>(model_.lots.size())));
    return it->first;
  }
  std::vector<LotId> some_parents() {
    std::vector<LotId> parents;
    for (std::int64_t n = pick(most_parents_ + 1); n > 0; --n) parents.push_back(some_lot());
    return parents;
  }
  Policy some_policy() {
    Policy policy;
    policy.dedicated_bytes = pick(2) * pick(3'000);
    if (pick(2) == 0) policy.opportunistic_bytes = pick(3'000);
    if (pick(3) == 0) policy.max_objects = pick(40);
    policy.sets_aside = pick(5) != 0;
    policy.may_grow = pick(8) != 0;
    return policy;
  }
  Model charged(LotId id, std::int64_t bytes) const {
    Model after = model_;
    after.lots[id].bytes += bytes;
    return after;
  }
  void hold(Wide bytes) {
    if (bytes > 0) model_.outstanding.push_back({static_cast<std::int64_t>(bytes)});
  }

  void add() {
    if (model_.lots.size() >= 14) return;
    const LotId id = next_id_++;
    const LotId from = pick(2) == 0 ? some_lot() : kNoLot;
    const auto parents = some_parents();
    const Policy policy = some_policy();
    LotUsage usage;
    if (from != kNoLot) {
      usage.bytes = pick(static_cast<std::int64_t>(model_.lots[from].bytes) + 1);
      usage.objects = pick(static_cast<std::int64_t>(model_.lots[from].objects) + 1);
    }
    const bool force = pick(10) == 0;
    Model after = model_;
    after.lots[id] = {policy, {parents.begin(), parents.end()}, usage.bytes, usage.objects};
    if (from != kNoLot) {
      after.lots[from].bytes -= usage.bytes;
      after.lots[from].objects -= usage.objects;
    }
    const int expected = force || model_.admits(after, id) ? 0 : ENOSPC;
    CHECK_EQ(meter_.add(id, policy, parents, usage, from, force), expected);
    if (expected == 0) model_ = after;
  }

  void set_policy() {
    const LotId id = some_lot();
    const Policy policy = some_policy();
    const bool force = pick(3) == 0;
    Model after = model_;
    after.lots[id].policy = policy;
    const Wide grant = Model::grant(policy);
    const bool trees = std::none_of(model_.lots.begin(), model_.lots.end(),
                                    [](const auto& each) { return each.second.parents.size() > 1; });
    int expected = 0;
    if (grant < Model::grant(model_.lots[id].policy) && grant < (trees ? model_.base(id) : model_.used(id))) {
      expected = EINVAL;
    } else if (!model_.fits(after)) {
      expected = ENOSPC;
    }
    if (force) expected = 0;
    CHECK_EQ(meter_.set_policy(id, policy, force), expected);
    if (expected == 0) model_ = after;
  }

  void remove() {
    const LotId id = some_lot();
    const LotId heir = some_lot();
    const int expected = id == kDefaultLot || id == heir ? EINVAL : 0;
    CHECK_EQ(meter_.remove(id, heir), expected);
    if (expected != 0) return;
    const ModelLot gone = model_.lots[id];
    for (const LotId child : model_.children(id)) {
      model_.lots[child].parents.erase(id);
      model_.lots[child].parents.insert(gone.parents.begin(), gone.parents.end());
    }
    model_.lots.erase(id);
    model_.lots[heir].bytes += gone.bytes;
    model_.lots[heir].objects += gone.objects;
  }

  void set_usage() {
    const LotId id = some_lot();
    auto& lot = model_.lots[id];
    lot.bytes = pick(1'000);
    lot.objects = pick(20);
    meter_.set_usage(id, static_cast<std::int64_t>(lot.bytes), static_cast<std::int64_t>(lot.objects));
  }

  void apply() {
    std::vector<Delta> change;
    Model after = model_;
    Wide net = 0;
    for (std::int64_t n = 1 + pick(4); n > 0; --n) {
      const LotId id = some_lot();
      auto& lot = after.lots[id];
      Delta delta{.lot = id};
      const bool takes = pick(2) == 0;
      delta.bytes = takes ? pick(800) : -pick(static_cast<std::int64_t>(lot.bytes) + 1);
      delta.objects = takes ? pick(4) : -pick(static_cast<std::int64_t>(lot.objects) + 1);
      lot.bytes += delta.bytes;
      lot.objects += delta.objects;
      net += delta.bytes;
      change.push_back(delta);
    }
    const bool force = pick(20) == 0;
    const int expected = force || model_.admits(after) ? 0 : ENOSPC;
    CHECK_EQ(meter_.apply(change, force), expected);
    if (expected != 0) return;
    model_ = after;
    hold(net);
  }

  void charge() {
    const LotId id = some_lot();
    const std::int64_t want = 1 + pick(1'500);
    const std::int64_t got = meter_.charge_up_to(id, want, pick(2) == 0, true);
    CHECK(got >= 0 && got <= want);
    CHECK(got == 0 || model_.admits(charged(id, got)));
    CHECK(got == want || !model_.admits(charged(id, got + 1)));
    const std::int64_t back = pick(2) == 0 ? pick(got + 1) : 0;
    meter_.refund_unlanded(id, back, false);
    model_.lots[id].bytes += got - back;
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
    const auto parents = some_parents();
    const std::int64_t bytes = meter_.available(parents);
    CHECK(bytes >= 0);
    Wide most = kUnlimited;
    std::set<LotId> above;
    for (const auto& [id, lot] : model_.lots) {
      std::set<LotId> below;
      model_.collect(id, below);
      for (const LotId parent : parents) {
        if (below.contains(parent)) most = std::min(most, Model::grant(lot.policy) - model_.used(id));
      }
    }
    const auto fits = [&](Wide dedicated) {
      Model after = model_;
      after.lots[next_id_] = {{.dedicated_bytes = static_cast<std::int64_t>(dedicated)},
                              {parents.begin(), parents.end()}};
      return model_.fits(after);
    };
    CHECK(bytes == 0 || (bytes <= most && fits(bytes)));
    CHECK(bytes >= most || !fits(Wide{bytes} + 1));
  }

  std::mt19937_64 random_;
  std::int64_t most_parents_;
  Model model_;
  Meter meter_;
  LotId next_id_ = 2;
};

void run(std::uint64_t first_seed, int rounds, int steps) {
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
  }
}

}  // namespace

TEST("many short histories agree with the model") { run(1, 60, 60); }
TEST("a few long histories agree with the model") { run(1'000, 3, 500); }

TAP_MAIN()
