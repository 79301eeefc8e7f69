// Random lots, policies and reshapes for a model: most of them possible, some with every mistake that can be made.
#pragma once

#include <random>

#include "lots_model.h"

namespace vreserve {

inline constexpr LotId kUnknown = kIds - 1;  // no lot ever has it

class RandomModel {
 protected:
  RandomModel(std::uint64_t seed, std::int64_t most_parents) : random_(seed), most_parents_(most_parents) {}

  std::int64_t pick(std::int64_t below) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(below));
  }
  LotId pick_of(const std::vector<LotId>& ids) {
    return ids[static_cast<std::size_t>(pick(static_cast<std::int64_t>(ids.size())))];
  }
  LotId some_lot() { return pick_of(model_.ids()); }
  // `made`: lots of the same reshape, too.
  std::vector<LotId> some_parents(const std::vector<LotId>& made) {
    auto ids = model_.ids();
    ids.insert(ids.end(), made.begin(), made.end());
    std::vector<LotId> parents;
    for (std::int64_t n = pick(most_parents_ + 1); n > 0; --n) parents.push_back(pick_of(ids));
    if (pick(100) == 0) parents.push_back(kUnknown);
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
  Reshape some_reshape() {
    Reshape what{.must_cover = pick(2) == 0, .force = pick(6) == 0};
    std::vector<LotId> made;
    add_shapes(what, made);
    if (pick(3) == 0) add_gone(what);
    if (pick(2) == 0) add_moves(what, made);
    std::shuffle(what.lots.begin(), what.lots.end(), random_);
    return what;
  }

  std::mt19937_64 random_;
  Model model_;

 private:
  void add_shapes(Reshape& what, std::vector<LotId>& made) {
    std::vector<LotId> unused;
    for (LotId id = 2; id < kUnknown; ++id) {
      if (!model_.has(id)) unused.push_back(id);
    }
    for (std::int64_t n = pick(3); n > 0 && !unused.empty(); --n) {
      made.push_back(unused.back());
      unused.pop_back();
    }
    for (const LotId id : made) what.lots.push_back({id, some_policy(), some_parents(made)});
    for (std::int64_t n = pick(3); n > 0; --n) {
      const LotId id = some_lot();
      const bool twice = std::any_of(what.lots.begin(), what.lots.end(), [id](const Shape& s) { return s.id == id; });
      if (twice && pick(20) != 0) continue;
      what.lots.push_back({id, pick(2) == 0 ? some_policy() : model_.lots[id].policy, model_.lots[id].parents});
      auto& parents = what.lots.back().parents;
      if (pick(2) == 0) {
        parents = some_parents(made);
      } else if (pick(2) == 0) {
        std::shuffle(parents.begin(), parents.end(), random_);
      }
    }
    if (made.empty() || pick(2) == 0) return;
    const LotId child = some_lot();  // a lot comes between it and its parents
    what.lots.erase(what.lots.begin() + 1, what.lots.end());
    what.lots[0].parents = model_.lots[child].parents;
    what.lots.push_back({child, model_.lots[child].policy, {what.lots[0].id}});
    made.resize(1);
  }
  void add_gone(Reshape& what) {
    const LotId id = pick(30) == 0 ? kUnknown : some_lot();
    if (id == kDefaultLot && pick(4) != 0) return;
    what.gone.push_back({id, pick(30) == 0 ? kUnknown : some_lot()});
    if (id == kUnknown) return;
    if (pick(10) != 0) std::erase_if(what.lots, [id](const Shape& shape) { return shape.id == id; });
    const auto replace = [&](std::vector<LotId>& parents) {
      if (std::erase(parents, id) > 0) {
        parents.insert(parents.begin(), model_.lots[id].parents.begin(), model_.lots[id].parents.end());
      }
    };
    for (Shape& shape : what.lots) replace(shape.parents);
    for (const LotId child : model_.ids()) {
      const auto is_child = [child](const Shape& shape) { return shape.id == child; };
      if (!model_.is_parent(id, child) || std::any_of(what.lots.begin(), what.lots.end(), is_child)) continue;
      if (pick(15) == 0) {
        what.gone.push_back({child, some_lot()});
        continue;
      }
      if (pick(15) == 0) continue;
      what.lots.push_back({child, model_.lots[child].policy, model_.lots[child].parents});
      replace(what.lots.back().parents);
    }
  }
  void add_moves(Reshape& what, const std::vector<LotId>& made) {
    Model held = model_;
    auto takers = model_.ids();
    takers.insert(takers.end(), made.begin(), made.end());
    for (std::int64_t n = 1 + pick(3); n > 0; --n) {
      const LotId from = some_lot();
      const LotId to = pick(100) == 0 ? kUnknown : pick_of(takers);
      LotUsage& left = held.lots[from].own;
      const Delta part{to, pick(left.bytes + 1), pick(left.objects + 1), pick(5) - 2, pick(3) - 1};
      what.moves.push_back({from, -part.bytes, -part.objects, -part.pending_bytes, -part.pending_objects});
      what.moves.push_back(part);
      left.bytes -= part.bytes;
      left.objects -= part.objects;
    }
  }

  std::int64_t most_parents_;
};

}  // namespace vreserve
