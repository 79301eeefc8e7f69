// The meter's rules for hierarchies, and the change of them, one case each.
#include <cerrno>
#include <string>

#include "pool.h"
#include "tap.h"

using namespace vreserve;

namespace {

std::string said(const Refusal& refusal) {
  return std::to_string(refusal.error) + " of " + std::to_string(refusal.lot);
}
#define CHECK_REFUSAL(refusal, code, id) CHECK_EQ(said(refusal), said({code, id}))

}  // namespace

TEST("a lot below two roots counts in both, and is promised what its first parent sets aside") {
  Pool pool(10'000);
  CHECK_EQ(pool.admit(2, reservation(1000), {}), 0);
  CHECK_EQ(pool.admit(3, reservation(1000), {}), 0);
  CHECK_EQ(pool.admit(4, reservation(600), {2, 3}), 0);
  CHECK_EQ(pool.pool().set_aside, 2000);
  CHECK_EQ(pool.room(2), 400);
  CHECK_EQ(pool.room(3), 400);  // it holds the promise to its grant, too
  CHECK_EQ(pool.charge(4, 700), 600);
  CHECK_EQ(pool.used(2), 600);
  CHECK_EQ(pool.used(3), 600);
  CHECK_EQ(pool.pool().set_aside, 800);
  CHECK_EQ(pool.pool().used, 600);
  CHECK_EQ(pool.pool().headroom, 10'000 - 600 - 800);
  CHECK_EQ(pool.change({{.lot = 4, .bytes = -600}}), 0);  // both promises are owed again
  CHECK_EQ(pool.pool().set_aside, 2000);
}

TEST("a refund is not refused, even where two promises have nothing to be kept from any more") {
  Pool pool(1000);
  CHECK_EQ(pool.admit(2, reservation(500), {}), 0);
  CHECK_EQ(pool.admit(3, reservation(500), {}), 0);
  CHECK_EQ(pool.admit(4, {}, {2, 3}), 0);
  CHECK_EQ(pool.charge(4, 500), 500);
  CHECK_EQ(pool.charge(1, 1000), 500);
  CHECK_EQ(pool.change({{.lot = 4, .bytes = -500}}), 0);
  CHECK_EQ(pool.pool().headroom, -500);
}

TEST("what is unfilled is set aside by the first parent, and moves with it") {
  Pool pool(10'000);
  pool.start(2, {}, {});
  pool.start(3, reservation(700), {});
  pool.start(4, reservation(500), {2, 3});
  CHECK_EQ(pool.pool().set_aside, 1200);
  CHECK_REFUSAL(pool.place(4, {3, 2}), 0, kNoLot);
  CHECK_EQ(pool.pool().set_aside, 700);
  CHECK_EQ(pool.charge(3, 1000), 200);
  CHECK_REFUSAL(pool.place(4, {2, 3, 2}), 0, kNoLot);  // 3 has 500 of its own again
  CHECK_EQ(pool.pool().set_aside, 1000);
  CHECK_EQ(pool.room(3), 0);  // and claims all of it still
}

TEST("in a diamond a byte counts once") {
  Pool pool;
  CHECK_EQ(pool.admit(2, limited(1000), {}), 0);
  CHECK_EQ(pool.admit(3, {}, {2}), 0);
  CHECK_EQ(pool.admit(4, {}, {2}), 0);
  CHECK_EQ(pool.available_below({3, 4}), 1000);
  CHECK_EQ(pool.admit(5, reservation(1000), {3, 4}), 0);
  CHECK_EQ(pool.pool().set_aside, 1000);
  CHECK_EQ(pool.room(2), 0);
  CHECK_EQ(pool.room(4), 0);
  CHECK_EQ(pool.charge(5, 2000), 1000);
  CHECK_EQ(pool.used(2), 1000);
  CHECK_EQ(pool.used_objects(2), 0);
  CHECK_EQ(pool.change({{.lot = 5, .objects = 1}}), 0);
  CHECK_EQ(pool.used_objects(2), 1);
  CHECK_EQ(pool.remove(4, 3), 0);
  CHECK_EQ(pool.used(2), 1000);
}

TEST("a child's promise comes out of its parent's, and the parent's own files never eat it") {
  Pool pool(1000);
  CHECK_EQ(pool.admit(2, reservation(1000), {}), 0);
  CHECK_EQ(pool.pool().headroom, 0);
  CHECK_EQ(pool.admit(3, reservation(600), {2}), 0);  // nothing more is set aside
  CHECK_EQ(pool.pool().set_aside, 1000);
  CHECK_EQ(pool.charge(2, 1000), 400);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 1}}), ENOSPC);
  CHECK_REFUSAL(pool.change_lots({.lots = {{4, reservation(1), {2}}}}), ENOSPC, 2);
  CHECK_EQ(pool.charge(3, 1000), 600);
}

TEST("the parent's grant, the lot's own, and the pool's headroom: each is named when it refuses") {
  Pool pool(1000);
  CHECK_EQ(pool.admit(2, limited(800), {}), 0);
  CHECK_EQ(pool.charge(1, 300), 300);
  const auto moved = [](LotId id, std::int64_t bytes) {
    return std::vector<Delta>{{.lot = 1, .bytes = -bytes}, {.lot = id, .bytes = bytes}};
  };
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, reservation(801), {2}}}}), ENOSPC, 2);
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, reservation(701), {2}}}}), ENOSPC, kNoLot);
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, reservation(299), {2}}}, .moves = moved(3, 300)}), ENOSPC, 3);
  const std::vector<Delta> object = {{.lot = 3, .objects = 1}};
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, {.max_objects = 0}, {2}}}, .moves = object}), ENOSPC, 3);
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, reservation(300), {2}}}, .moves = moved(3, 300)}), 0, kNoLot);
  CHECK_EQ(pool.room(2), 500);
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, reservation(300), {2}}, {4, limited(200), {2}}}}), 0, kNoLot);
  CHECK_REFUSAL(pool.change_lots({.lots = {{5, reservation(201), {4}}, {6, reservation(900), {}}}}), ENOSPC, 4);
}

TEST("several lots at once, children before their parents, or none of them") {
  Pool pool(1000);
  const std::vector<Shape> three = {{4, reservation(100), {3}}, {3, reservation(200), {2}}, {2, reservation(500), {}}};
  auto four = three;
  four.push_back({5, reservation(501), {}});
  CHECK_REFUSAL(pool.change_lots({.lots = four}), ENOSPC, kNoLot);
  CHECK_EQ(pool.all_usage().size(), 1U);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_REFUSAL(pool.change_lots({.lots = three}), 0, kNoLot);
  CHECK_EQ(pool.pool().set_aside, 500);
  CHECK_EQ(pool.charge(4, 1000), 100);
  CHECK_EQ(pool.used(2), 100);
}

TEST("a lot comes between a parent and its child, with the child's bytes in it, and goes again") {
  Pool pool;
  pool.start(2, limited(1000), {});
  pool.start(3, reservation(400), {2}, 100);
  pool.start(4, {}, {3}, 50);
  const Shape child{3, reservation(400), {5}};
  CHECK_REFUSAL(pool.change_lots({.lots = {child, {5, limited(399), {2}}}}), ENOSPC, 5);
  CHECK_EQ(pool.used(3), 150);
  CHECK_REFUSAL(pool.change_lots({.lots = {child, {5, limited(400), {2}}}}), 0, kNoLot);
  CHECK_EQ(pool.used(5), 150);
  CHECK_EQ(pool.used_objects(5), 2);
  CHECK_EQ(pool.used(2), 150);
  CHECK_EQ(pool.pool().set_aside, 250);
  CHECK_EQ(pool.charge(4, 1000), 250);
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, reservation(400), {2}}}, .gone = {{5, 2}}}), 0, kNoLot);
  CHECK_EQ(pool.used(2), 400);
  CHECK_EQ(pool.used(5), 0);
}

TEST("a lot that would lie below itself is named; lots that are not there, too") {
  Pool pool;
  pool.start(2, {}, {});
  pool.start(3, {}, {2});
  pool.start(4, {}, {3});
  CHECK_REFUSAL(pool.place(2, {4}), ELOOP, 2);
  CHECK_REFUSAL(pool.place(2, {2}), ELOOP, 2);
  CHECK_REFUSAL(pool.change_lots({.lots = {{5, {}, {6}}, {6, {}, {5}}}, .force = true}), ELOOP, 5);
  CHECK_REFUSAL(pool.place(2, {9}), ENOENT, 9);
  CHECK_REFUSAL(pool.change_lots({.gone = {{9, 1}}}), ENOENT, 9);
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, {}, {}}}, .gone = {{2, 9}}}), ENOENT, 9);
  CHECK_REFUSAL(pool.change_lots({.moves = {{.lot = 9}}}), ENOENT, 9);
  CHECK_REFUSAL(pool.change_lots({.gone = {{3, 1}}}), EINVAL, 4);
  CHECK_REFUSAL(pool.change_lots({.gone = {{1, 2}}}), EINVAL, 1);
  CHECK_REFUSAL(pool.change_lots({.gone = {{4, 4}}}), EINVAL, 4);
  CHECK_REFUSAL(pool.change_lots({.gone = {{4, 1}, {4, 1}}}), EINVAL, 4);
  CHECK_REFUSAL(pool.change_lots({.lots = {{4, {}, {}}}, .gone = {{4, 1}}}), EINVAL, 4);
  CHECK_REFUSAL(pool.change_lots({.lots = {{7, {}, {}}, {7, {}, {}}}}), EINVAL, 7);
  CHECK_REFUSAL(pool.change_lots({.lots = {{kNoLot, {}, {}}}}), EINVAL, kNoLot);
  CHECK_EQ(pool.all_usage().size(), 4U);
  CHECK_EQ(pool.charge(4, 10), 10);
  CHECK_EQ(pool.used(2), 10);
  CHECK_REFUSAL(pool.change_lots({.gone = {{3, 1}, {4, 1}}}), 0, kNoLot);  // a whole branch
  CHECK_EQ(pool.own(1).bytes, 10);
  CHECK_EQ(pool.used(2), 0);
}

TEST("only a grant that goes down must cover: what is promised always, what is used when it is asked") {
  Pool pool;
  pool.start(2, limited(1000), {}, 500);
  pool.start(3, reservation(200), {2});
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(699), {}}}}), EINVAL, 2);
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(700), {}}}}), 0, kNoLot);
  CHECK_EQ(pool.charge(3, 200), 200);
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(100), {}}}, .must_cover = true}), EINVAL, 2);
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(100), {}}}}), 0, kNoLot);
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(150), {}}}, .must_cover = true}), 0, kNoLot);
  CHECK_EQ(pool.room(2), 0);
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(0), {}}}, .must_cover = true, .force = true}), 0, kNoLot);
}

TEST("an heir takes what it is given past its grant; lots that take over ask only what is above them") {
  Pool pool;
  pool.start(2, limited(10), {}, 10);
  pool.start(3, {}, {}, 500);
  CHECK_EQ(pool.change({{.lot = 3, .pending_bytes = 7, .pending_objects = 1}}), 0);
  (void)pool.drain();
  CHECK_REFUSAL(pool.change_lots({.gone = {{3, 2}}}), 0, kNoLot);
  CHECK_EQ(pool.own(2).bytes, 510);
  CHECK_EQ(pool.own(2).pending_bytes, 7);
  CHECK_EQ(pool.own(2).pending_objects, 1);
  const auto told = pool.drain();
  CHECK(told.size() == 1 && told[0].usage.id == 2 && told[0].charged_bytes == 500);
  pool.start(4, {.may_grow = false}, {});
  const std::vector<Delta> moves = {{.lot = 2, .bytes = -100}, {.lot = 5, .bytes = 100}};
  const Policy closed{.may_grow = false};
  CHECK_REFUSAL(pool.change_lots({.lots = {{5, closed, {4}}}, .moves = moves}), ENOSPC, 4);
  CHECK_REFUSAL(pool.change_lots({.lots = {{5, closed, {4}}, {4, closed, {}}}, .moves = moves}), 0, kNoLot);
  CHECK_EQ(pool.used(4), 100);
}

TEST("a phase is set without admission, and frees what was set aside") {
  Pool pool(1000);
  pool.start(2, {.dedicated_bytes = 600, .opportunistic_bytes = 0}, {});
  pool.start(3, reservation(400), {2});
  pool.set_phase(2, false, true);
  CHECK_EQ(pool.pool().set_aside, 400);
  CHECK_EQ(pool.charge(1, 1000), 600);
  pool.set_phase(2, true, false);
  CHECK_EQ(pool.pool().headroom, -200);
  CHECK_EQ(pool.charge(3, 1), 0);
  CHECK_EQ(pool.grant(2), 600);
  pool.set_phase(2, true, true);
  CHECK_EQ(pool.charge(3, 400), 400);
}

TEST("a refused change leaves no drift, and an id that goes and comes is told once") {
  Pool pool(1000);
  pool.start(2, limited(10), {}, 5);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = -7}, {.lot = 2, .bytes = 7}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = -7, .objects = 2'000}, {.lot = 1, .bytes = 2'000}}), ENOSPC);
  const std::vector<Delta> moves = {{.lot = 1, .bytes = -7}, {.lot = 3, .bytes = 7}};
  CHECK_REFUSAL(pool.change_lots({.lots = {{3, limited(6), {}}}, .moves = moves}), ENOSPC, 3);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = 1}, {.lot = 2, .bytes = -1}}), 0);
  CHECK_EQ(pool.pool().drift, 0);
  (void)pool.drain();
  CHECK_EQ(pool.charge(2, 1), 1);
  CHECK_REFUSAL(pool.change_lots({.gone = {{2, 1}}}), 0, kNoLot);
  CHECK_REFUSAL(pool.change_lots({.lots = {{2, limited(10), {}}}}), 0, kNoLot);
  CHECK_EQ(pool.charge(2, 1), 1);
  CHECK_EQ(pool.drain().size(), 2U);
}

TAP_MAIN()
