// The meter with several pools: each has sums, samples and a headroom of its own; one case each.
#include <cerrno>

#include "pool.h"
#include "tap.h"

using namespace vreserve;

namespace {

constexpr PoolId kFast = 7;

// The main pool with 1,000,000 bytes, another with 1000, and lots 20 and 21 (below it) there.
struct Pools : Pool {
  Pools() {
    set_pool(1000, 100, 512, kFast);
    CHECK_EQ(add(20, reservation(300), {}, {}, kFast), 0);
    const LotId parent = 20;
    CHECK_EQ(add(21, limited(50), std::span(&parent, 1), {.bytes = 10, .objects = 1}, kFast), 0);
  }
  Refusal shape(LotId id, const Policy& policy, std::vector<LotId> parents, PoolId pool) {
    return reshape({.lots = {{id, policy, std::move(parents), pool}}});
  }
};

}  // namespace

TEST("a lot sets aside and charges in its own pool alone") {
  Pools pools;
  CHECK_EQ(pools.pool(kFast).used, 10);
  CHECK_EQ(pools.pool(kFast).set_aside, 290);
  CHECK_EQ(pools.pool(kFast).headroom, 1000 - 10 - 290 - 100);
  CHECK_EQ(pools.pool().used, 0);
  CHECK_EQ(pools.pool().set_aside, 0);
  CHECK_EQ(pools.charge(21, 1000), 40);
  CHECK_EQ(pools.charge(1, 777), 777);
  CHECK_EQ(pools.pool(kFast).used, 50);
  CHECK_EQ(pools.pool().used, 777);
  CHECK_EQ(pools.pool_of(21), kFast);
  CHECK_EQ(pools.pool_of(1), kMainPool);
  CHECK_EQ(pools.pool(99).capacity, 0);
}

TEST("what one pool lacks the other does not give") {
  Pools pools;
  CHECK_EQ(pools.shape(22, reservation(601), {}, kFast).error, ENOSPC);
  CHECK_EQ(pools.available({}, kFast), 600);
  CHECK_EQ(pools.available({}), kPool);
  CHECK_EQ(pools.shape(22, reservation(600), {}, kFast).error, 0);
  CHECK_EQ(pools.shape(23, limited(kUnlimited), {}, kFast).error, 0);
  CHECK_EQ(pools.charge(23, 5), 0);
  CHECK_EQ(pools.change({{.lot = 23, .objects = 1}}), ENOSPC);
  CHECK_EQ(pools.change({{.lot = 22, .objects = 1}}), 0);  // paid from what is set aside
  CHECK_EQ(pools.change({{.lot = 1, .bytes = 5, .objects = 1}}), 0);
}

TEST("a change of lots of several pools passes if it passes in each") {
  Pools pools;
  const Reshape what{.lots = {{30, reservation(400), {}, kMainPool}, {31, reservation(700), {}, kFast}}};
  CHECK_EQ(pools.reshape(what).error, ENOSPC);
  CHECK_EQ(pools.pool().set_aside, 0);
  CHECK_EQ(pools.pool(kFast).set_aside, 290);
  CHECK_EQ(pools.reshape({.lots = {{30, reservation(400), {}, kMainPool}, {31, reservation(500), {}, kFast}}}).error, 0);
  CHECK_EQ(pools.pool().set_aside, 400);
  CHECK_EQ(pools.pool(kFast).set_aside, 790);
  CHECK_EQ(pools.change({{.lot = 30, .bytes = 1}, {.lot = 31, .bytes = 501}}), ENOSPC);
  CHECK_EQ(pools.change({{.lot = 30, .bytes = 1}, {.lot = 31, .bytes = 500}}), 0);
  CHECK_EQ(pools.pool(kFast).used, 510);
  CHECK_EQ(pools.pool().used, 1);
}

TEST("samples, what has landed, and holes are each pool's own") {
  Pools pools;
  pools.sample(5000);
  pools.end_sample(pools.begin_sample(kFast), 500, kFast);
  CHECK_EQ(pools.charge(1, 1000), 1000);
  CHECK_EQ(pools.charge(21, 40), 40);
  CHECK_EQ(pools.pool().free, 4000);
  CHECK_EQ(pools.pool(kFast).free, 460);
  pools.landed(1000);
  pools.sample(5000);
  pools.landed(30, kFast);
  pools.end_sample(pools.begin_sample(kFast), 500, kFast);
  CHECK_EQ(pools.pool(kFast).free, 490);
  pools.refund_unlanded(21, 10, false, kFast);
  CHECK_EQ(pools.pool(kFast).free, 500);
  pools.add_holes(60, kFast);
  CHECK_EQ(pools.pool(kFast).free, 440);
  CHECK_EQ(pools.pool().free, 5000);
  pools.set_holes(20, kFast);
  pools.end_sample(pools.begin_sample(kFast), 500, kFast);
  CHECK_EQ(pools.pool(kFast).free, 480);
  CHECK_EQ(pools.change({{.lot = 21, .bytes = -1000}}), 0);
  CHECK_EQ(pools.pool(kFast).drift, 1000 - 40);
  CHECK_EQ(pools.pool().drift, 0);
  pools.forget_drift(kFast);
  CHECK_EQ(pools.pool(kFast).drift, 0);
}

TEST("a lot and its parents are in one pool, and it stays there") {
  Pools pools;
  pools.start(2, {}, {});
  CHECK_EQ(pools.shape(40, {}, {20}, kMainPool).error, EXDEV);
  CHECK_EQ(pools.shape(40, {}, {2}, kFast).error, EXDEV);
  CHECK_EQ(pools.shape(21, limited(50), {20}, kMainPool).error, EXDEV);
  CHECK_EQ(pools.shape(2, {}, {20}, kMainPool).error, EXDEV);
  CHECK_EQ(pools.shape(40, {}, {}, 8).error, ENOENT);
  const LotId parent = 2;
  CHECK_EQ(pools.add(41, {}, std::span(&parent, 1), {}, kFast), EXDEV);
  CHECK_EQ(pools.add(41, {}, {}, {}, 8), ENOENT);
  LotUsage usage;
  CHECK(!pools.usage(40, usage));
  CHECK(!pools.usage(41, usage));
  CHECK_EQ(pools.pool(kFast).set_aside, 290);
  CHECK_EQ(pools.shape(40, {}, {20}, kFast).error, 0);
}

TEST("what a lot held is nobody's where its heir is in another pool") {
  Pools pools;
  CHECK_EQ(pools.change({{.lot = 21, .pending_bytes = 10, .pending_objects = 1}}), 0);
  CHECK_EQ(pools.reshape({.gone = {{21, 1}, {20, 1}}, .force = true}).error, 0);
  CHECK_EQ(pools.own(1).bytes, 0);
  CHECK_EQ(pools.own(1).pending_bytes, 0);
  CHECK_EQ(pools.pool(kFast).used, 0);
  CHECK_EQ(pools.pool(kFast).set_aside, 0);
  CHECK_EQ(pools.pool().used, 0);
}

TEST("a pool goes when no lot is in it") {
  Pools pools;
  CHECK_EQ(pools.remove_pool(kFast), EBUSY);
  CHECK_EQ(pools.remove_pool(kMainPool), EINVAL);
  CHECK_EQ(pools.remove_pool(8), EINVAL);
  CHECK_EQ(pools.reshape({.gone = {{21, 1}, {20, 1}}, .force = true}).error, 0);
  CHECK_EQ(pools.remove_pool(kFast), 0);
  CHECK_EQ(pools.shape(40, {}, {}, kFast).error, ENOENT);
  pools.landed(5, kFast);  // late, and of no matter
  pools.add_holes(5, kFast);
  CHECK_EQ(pools.pool(kFast).used, 0);
}

TAP_MAIN()

TEST("where the kernel enforces, objects are charged and bytes are measured") {
  Pools pools;
  Policy by_kernel = reservation(100);
  by_kernel.by_kernel = true;
  CHECK_EQ(pools.shape(22, by_kernel, {}, kFast).error, 0);
  CHECK_EQ(pools.pool(kFast).set_aside, 290 + 100);
  CHECK_EQ(pools.change({{.lot = 22, .bytes = 5000, .objects = 3, .pending_bytes = 5000}}), 0);  // the quota would have refused it
  LotUsage held;
  CHECK(pools.usage(22, held) && held.bytes == 0 && held.objects == 3 && held.pending_bytes == 0);
  pools.measured(22, 60);
  CHECK_EQ(pools.used(22), 60);
  CHECK_EQ(pools.pool(kFast).set_aside, 290 + 40);
  CHECK_EQ(pools.room(22), 40);
  pools.measured(21, 60);
  CHECK_EQ(pools.used(21), 10);  // another is charged for what it holds
  CHECK_EQ(pools.charge(21, 40), 40);  // what is set aside stays
  pools.measured(22, 0);
  CHECK_EQ(pools.pool(kFast).set_aside, 250 + 100);
  // Its own bytes are admitted as any others.
  by_kernel.dedicated_bytes = 800;
  CHECK_EQ(pools.shape(22, by_kernel, {}, kFast).error, ENOSPC);
}

TEST("what the kernel enforced is nobody's when its lot goes") {
  Pools pools;
  Policy by_kernel = reservation(100);
  by_kernel.by_kernel = true;
  const std::int64_t before = pools.used(1);
  CHECK_EQ(pools.shape(30, by_kernel, {}, kMainPool).error, 0);
  CHECK_EQ(pools.change({{.lot = 30, .objects = 1}}), 0);
  pools.measured(30, 60);
  CHECK_EQ(pools.reshape({.gone = {{30, 1}}}).error, 0);
  CHECK_EQ(pools.used(1), before);
  CHECK_EQ(pools.pool().set_aside, 0);
}
