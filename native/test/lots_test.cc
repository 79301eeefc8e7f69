// The meter's rules, one case each.
#include <cerrno>

#include "pool.h"
#include "tap.h"

using namespace vreserve;

TEST("a charge that crosses the grant is cut short; the next gets nothing") {
  Pool pool;
  pool.start(2, limited(100), {});
  CHECK_EQ(pool.charge(2, 60), 60);
  CHECK_EQ(pool.charge(2, 60), 40);
  CHECK_EQ(pool.charge(2, 1), 0);
  CHECK_EQ(pool.own(2).bytes, 100);
  CHECK_EQ(pool.room(2), 0);
  CHECK_EQ(pool.grant(2), 100);
  CHECK_EQ(pool.grant(kDefaultLot), kUnlimited);
}

TEST("apply fits whole or not at all") {
  Pool pool;
  pool.start(2, limited(100), {});
  CHECK_EQ(pool.change({{.lot = 1, .bytes = 10}, {.lot = 2, .bytes = 101, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.own(1).bytes, 0);
  CHECK_EQ(pool.own(2).objects, 0);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 60}, {.lot = 2, .bytes = 41}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 101}, {.lot = 2, .bytes = -1, .objects = 1}}), 0);
  CHECK_EQ(pool.own(2).bytes, 100);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 5}}, true), 0);
  CHECK_EQ(pool.own(2).bytes, 105);
}

TEST("an unknown lot is named as such and nothing happens") {
  Pool pool;
  LotUsage usage;
  CHECK_EQ(pool.change({{.lot = 1, .bytes = 5}, {.lot = 9, .bytes = 5}}), ENOENT);
  CHECK_EQ(pool.own(1).bytes, 0);
  CHECK_EQ(pool.charge(9, 5), 0);
  CHECK_EQ(pool.room(9), 0);
  CHECK(!pool.usage(9, usage));
  pool.set_phase(9, true, true);
  CHECK_EQ(pool.used(9), 0);
  CHECK_EQ(pool.used_objects(9), 0);
  CHECK_EQ(pool.max_objects(9), 0);
  CHECK_EQ(pool.remove(9, 1), ENOENT);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = 7}}), 0);  // no step of the failed change is left over
  CHECK_EQ(pool.pool().used, 7);
}

TEST("what is over its grant may shrink, and stay as it is, but not grow") {
  Pool pool;
  pool.start(2, limited(100), {}, 100);
  CHECK_EQ(pool.set_policy(2, limited(50), true), 0);
  CHECK_EQ(pool.change({{.lot = 2}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = -20}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 1}}), ENOSPC);
  CHECK_EQ(pool.charge(2, 1), 0);
  CHECK_EQ(pool.room(2), 0);
}

TEST("dedicated bytes are set aside: no other lot eats them, and their own lot always gets them") {
  Pool pool;
  CHECK_EQ(pool.admit(2, reservation(600'000), {}), 0);
  CHECK_EQ(pool.pool().set_aside, 600'000);
  CHECK_EQ(pool.pool().headroom, 400'000);
  CHECK_EQ(pool.charge(1, 500'000), 400'000);
  CHECK_EQ(pool.charge(1, 1), 0);
  CHECK_EQ(pool.admit(3, reservation(1), {}), ENOSPC);
  CHECK_EQ(pool.charge(2, 700'000), 600'000);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.pool().free, 0);
}

TEST("the margin is kept from everyone but from what is set aside already") {
  Pool pool(1000, 100);
  CHECK_EQ(pool.admit(2, reservation(901), {}), ENOSPC);
  CHECK_EQ(pool.admit(2, reservation(900), {}), 0);
  CHECK_EQ(pool.pool().headroom, 0);
  pool.set_pool(1000, 500, 4096);
  CHECK_EQ(pool.pool().headroom, -400);
  CHECK_EQ(pool.charge(2, 1000), 900);
}

TEST("a lot takes what is dedicated to it first, then headroom") {
  Pool pool(1000);
  pool.start(2, {.dedicated_bytes = 300, .opportunistic_bytes = 300}, {});
  pool.start(3, reservation(500), {});
  CHECK_EQ(pool.room(2), 500);
  CHECK_EQ(pool.charge(2, 1000), 500);
  CHECK_EQ(pool.pool().headroom, 0);
}

TEST("every ancestor is charged once, and the tightest grant rules") {
  Pool pool;
  pool.start(2, limited(1000), {});
  pool.start(3, limited(300), {2});
  pool.start(4, limited(200), {2});
  pool.start(5, {}, {3, 4, 3});  // a diamond
  CHECK_EQ(pool.room(5), 200);
  CHECK_EQ(pool.charge(5, 150), 150);
  CHECK_EQ(pool.used(2), 150);
  CHECK_EQ(pool.used(3), 150);
  CHECK_EQ(pool.used(4), 150);
  CHECK_EQ(pool.charge(3, 1000), 150);
  CHECK_EQ(pool.used(2), 300);
  CHECK_EQ(pool.charge(5, 1), 0);
  CHECK_EQ(pool.charge(4, 1000), 50);
}

TEST("children draw on what is dedicated to their parents") {
  Pool pool(1000);
  CHECK_EQ(pool.admit(2, reservation(900), {}), 0);
  CHECK_EQ(pool.admit(3, reservation(600), {2}), 0);
  CHECK_EQ(pool.admit(4, reservation(300), {2}), 0);
  CHECK_EQ(pool.pool().set_aside, 900);
  CHECK_EQ(pool.charge(2, 1), 0);  // all is promised to its children
  CHECK_EQ(pool.admit(5, reservation(1), {2}), ENOSPC);
  CHECK_EQ(pool.pool().headroom, 100);
  CHECK_EQ(pool.charge(3, 700), 600);
  CHECK_EQ(pool.charge(4, 400), 300);
  CHECK_EQ(pool.used(2), 900);
}

TEST("a parent cannot take what is promised to its child, nor promise it twice") {
  Pool pool;
  CHECK_EQ(pool.admit(2, reservation(1000), {}), 0);
  CHECK_EQ(pool.admit(3, reservation(600), {2}), 0);
  CHECK_EQ(pool.room(2), 400);
  CHECK_EQ(pool.available_below({2}), 400);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 401}}), ENOSPC);
  CHECK_EQ(pool.charge(2, 300), 300);
  CHECK_EQ(pool.available_below({2}), 100);
  CHECK_EQ(pool.admit(4, reservation(101), {2}), ENOSPC);
  CHECK_EQ(pool.admit(4, reservation(50), {2}), 0);
  CHECK_EQ(pool.set_policy(4, reservation(101), false), ENOSPC);
  CHECK_EQ(pool.set_policy(2, reservation(949), false), EINVAL);
  CHECK_EQ(pool.set_policy(4, reservation(100), false), 0);
  CHECK_EQ(pool.available_below({2}), 0);
  CHECK_EQ(pool.charge(2, 1), 0);
  CHECK_EQ(pool.charge(3, 700), 600);
  CHECK_EQ(pool.charge(4, 700), 100);
  CHECK_EQ(pool.used(2), 1000);
  CHECK_EQ(pool.change({{.lot = 3, .bytes = -10}, {.lot = 2, .bytes = 10}}), ENOSPC);  // 3 keeps the promise of them
}

TEST("a grandchild's promise binds every grant above it, also those without dedicated bytes") {
  Pool pool;
  CHECK_EQ(pool.admit(2, limited(1000), {}), 0);
  CHECK_EQ(pool.admit(3, limited(800), {2}), 0);
  CHECK_EQ(pool.admit(4, reservation(801), {3}), ENOSPC);
  CHECK_EQ(pool.admit(4, reservation(600), {3}), 0);
  CHECK_EQ(pool.charge(3, 1000), 200);
  CHECK_EQ(pool.charge(2, 1000), 200);
  CHECK_EQ(pool.charge(4, 1000), 600);
}

TEST("a move below one parent asks nothing of the parent") {
  Pool pool;
  pool.start(2, limited(100), {});
  pool.start(3, limited(100), {2}, 60);
  pool.start(4, limited(50), {2}, 40);
  CHECK_EQ(pool.change({{.lot = 3, .bytes = -10}, {.lot = 4, .bytes = 10}}), 0);
  CHECK_EQ(pool.change({{.lot = 3, .bytes = -10}, {.lot = 4, .bytes = 10}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 3, .bytes = -10}, {.lot = 4, .bytes = 10}, {.lot = 4, .bytes = -10}}), 0);
  CHECK_EQ(pool.used(2), 90);
}

TEST("a lot that may not grow holds its descendants back, and moves below it go on") {
  Pool pool;
  pool.start(2, {.may_grow = false}, {}, 50);
  pool.start(3, {}, {2}, 10);
  pool.start(4, {}, {2});
  CHECK_EQ(pool.charge(2, 1), 0);
  CHECK_EQ(pool.charge(3, 1), 0);
  CHECK_EQ(pool.room(3), 0);
  CHECK_EQ(pool.change({{.lot = 3, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 3, .bytes = -10, .objects = -1}, {.lot = 4, .bytes = 10, .objects = 1}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = -50, .objects = -1}}), 0);
}

TEST("objects are limited at the lot and at every ancestor") {
  Pool pool;
  pool.start(2, {.max_objects = 3}, {});
  pool.start(3, {.max_objects = 2}, {2});
  CHECK_EQ(pool.change({{.lot = 3, .objects = 2}}), 0);
  CHECK_EQ(pool.change({{.lot = 3, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 2}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 1}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 1}, {.lot = 3, .objects = -1}}), 0);
}

TEST("without headroom an object is created only within dedicated bytes") {
  Pool pool(100'000);
  pool.start(2, reservation(3 * 4096), {});
  pool.start(3, {.dedicated_bytes = 10'000, .sets_aside = false}, {});
  CHECK_EQ(pool.charge(1, 1'000'000), 100'000 - 3 * 4096);
  CHECK_EQ(pool.pool().headroom, 0);
  CHECK_EQ(pool.change({{.lot = 1, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 3, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 2}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 1, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 1}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 1}}), ENOSPC);
  CHECK_EQ(pool.change({{.lot = 2, .objects = -1}, {.lot = 1, .objects = 1}}), 0);  // a move creates nothing
  CHECK_EQ(pool.change({{.lot = 1, .bytes = -1}}), 0);
  CHECK_EQ(pool.change({{.lot = 1, .objects = 1}}), 0);
}

TEST("what is set aside for a child does not pay for its parent's objects") {
  Pool pool(10 * 4096);
  pool.start(2, reservation(10 * 4096), {});
  pool.start(3, reservation(8 * 4096), {2});
  CHECK_EQ(pool.change({{.lot = 2, .objects = 2}}), 0);
  CHECK_EQ(pool.change({{.lot = 2, .objects = 1}}), ENOSPC);
}

TEST("a new lot takes what its path held, or leaves no trace") {
  Pool pool(1000);
  pool.start(2, limited(1000), {});
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 400, .objects = 4, .pending_bytes = 30, .pending_objects = 1}}), 0);
  const LotUsage moved{.bytes = 300, .objects = 3, .pending_bytes = 30, .pending_objects = 1};
  CHECK_EQ(pool.admit(3, reservation(299), {2}, 2, moved), ENOSPC);
  CHECK_EQ(pool.admit(3, reservation(901), {2}, 2, moved), ENOSPC);  // 100 stay in 2, 1000 in all
  CHECK_EQ(pool.own(2).bytes, 400);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.add(2, {}, {}, {}), EEXIST);
  CHECK_EQ(pool.add(3, {}, std::vector<LotId>{7}, {}), ENOENT);
  CHECK_EQ(pool.add(3, {}, std::vector<LotId>{3}, {}), ENOENT);
  CHECK_EQ(pool.admit(3, {}, {7}), ENOENT);
  CHECK_EQ(pool.admit(3, {}, {}, 7), ENOENT);
  CHECK_EQ(pool.admit(3, reservation(900), {2}, 2, moved), 0);
  CHECK_EQ(pool.own(2).bytes, 100);
  CHECK_EQ(pool.own(2).pending_bytes, 0);
  CHECK_EQ(pool.own(3).bytes, 300);
  CHECK_EQ(pool.own(3).objects, 3);
  CHECK_EQ(pool.own(3).pending_objects, 1);
  CHECK_EQ(pool.used(2), 400);
  CHECK_EQ(pool.pool().headroom, 0);
  CHECK_EQ(pool.pool().used, 400);
}

TEST("a lot that may not grow yet takes over what its path holds") {
  Pool pool;
  CHECK_EQ(pool.charge(1, 100), 100);
  Policy later = reservation(200);
  later.may_grow = false;
  CHECK_EQ(pool.admit(2, later, {}, 1, {.bytes = 100}), 0);
  CHECK_EQ(pool.pool().set_aside, 100);
  CHECK_EQ(pool.charge(2, 1), 0);
}

TEST("a new policy admits growth, and never shrinks a grant below what is used") {
  Pool pool(1000);
  CHECK_EQ(pool.admit(2, reservation(400), {}), 0);
  CHECK_EQ(pool.charge(2, 300), 300);
  CHECK_EQ(pool.set_policy(2, reservation(299), false), EINVAL);
  CHECK_EQ(pool.set_policy(2, reservation(1001), false), ENOSPC);
  CHECK_EQ(pool.grant(2), 400);
  CHECK_EQ(pool.set_policy(2, reservation(1000), false), 0);
  CHECK_EQ(pool.pool().headroom, 0);
  CHECK_EQ(pool.charge(1, 1), 0);
  CHECK_EQ(pool.set_policy(2, reservation(300), false), 0);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.set_policy(2, reservation(100), true), 0);
  Policy expired = reservation(150);  // more, though still less than is used
  expired.sets_aside = false;
  CHECK_EQ(pool.set_policy(2, expired, false), 0);
  CHECK_EQ(pool.set_policy(2, reservation(5000), true), 0);
  CHECK_EQ(pool.pool().headroom, -4000);
}

TEST("an expired lot sets nothing aside and writes while there is headroom") {
  Pool pool(1000);
  pool.start(2, {.dedicated_bytes = 600, .opportunistic_bytes = 0, .sets_aside = false}, {});
  CHECK_EQ(pool.pool().headroom, 1000);
  CHECK_EQ(pool.charge(1, 700), 700);
  CHECK_EQ(pool.charge(2, 600), 300);
}

TEST("remove hands everything to the heir, past its grant, and children to the parents") {
  Pool pool;
  pool.start(2, limited(100), {}, 100);
  pool.start(3, reservation(500), {2}, 50);
  pool.start(4, reservation(40), {3}, 10);
  pool.start(5, reservation(60), {3, 2});
  CHECK_EQ(pool.change({{.lot = 3, .pending_bytes = 5, .pending_objects = 1}}), 0);
  CHECK_EQ(pool.used(2), 160);
  CHECK_EQ(pool.pool().set_aside, 440);  // 3 has 440 to give, the 60 of 5 among them
  CHECK_EQ(pool.remove(1, 2), EINVAL);
  CHECK_EQ(pool.remove(3, 3), EINVAL);
  CHECK_EQ(pool.remove(3, 9), ENOENT);
  CHECK_EQ(pool.remove(3, 2), 0);
  CHECK_EQ(pool.own(2).bytes, 150);
  CHECK_EQ(pool.own(2).objects, 2);
  CHECK_EQ(pool.own(2).pending_bytes, 5);
  CHECK_EQ(pool.used(2), 160);
  CHECK_EQ(pool.pool().set_aside, 30 + 60);
  CHECK_EQ(pool.charge(2, 1), 0);
  CHECK_EQ(pool.charge(4, 1), 0);
  CHECK_EQ(pool.remove(2, kDefaultLot), 0);  // a root: its children become roots
  CHECK_EQ(pool.own(kDefaultLot).bytes, 150);
  CHECK_EQ(pool.charge(4, 100), 30);
  CHECK_EQ(pool.charge(5, 100), 60);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.pool().used, 250);
}

TEST("available: what a new lot could be given and fill") {
  Pool pool(1000);
  CHECK_EQ(pool.available_below({}), 1000);
  CHECK_EQ(pool.admit(2, reservation(600), {}), 0);
  CHECK_EQ(pool.admit(3, {.dedicated_bytes = 100, .opportunistic_bytes = 800}, {}), 0);
  CHECK_EQ(pool.available_below({}), 300);
  CHECK_EQ(pool.charge(2, 50), 50);
  CHECK_EQ(pool.available_below({2}), 550);
  CHECK_EQ(pool.available_below({3}), 400);
  CHECK_EQ(pool.available_below({9}), 0);
  CHECK_EQ(pool.admit(4, reservation(400), {3}), 0);
  CHECK_EQ(pool.available_below({}), 0);
  pool.sample(0);
  CHECK_EQ(pool.available_below({}), 0);
  CHECK_EQ(pool.available_below({2}), 550);
}

TAP_MAIN()
