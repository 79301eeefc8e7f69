// The meter's rules, one case each.
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <string>

#include "pool.h"
#include "tap.h"

using namespace vreserve;

namespace {

// True when `call` ends its process by SIGABRT after saying that an invariant is broken.
bool aborts(const std::function<void()>& call) {
  int ends[2];
  if (::pipe(ends) != 0) return false;
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::signal(SIGABRT, SIG_DFL);
    call();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, static_cast<std::size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && said.starts_with("vreserve: broken invariant: ");
}

}  // namespace

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
  CHECK_EQ(pool.set_policy(9, {}, true), ENOENT);
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

TEST("a sample bounds what the pool gives; charges that had not landed at its mark are held against it") {
  Pool pool;
  pool.sample(1000);
  CHECK_EQ(pool.pool().headroom, 1000);
  CHECK_EQ(pool.charge(1, 300), 300);
  CHECK_EQ(pool.pool().free, 700);
  pool.landed(100);
  CHECK_EQ(pool.pool().free, 700);
  const auto mark = pool.begin_sample();
  pool.landed(150);  // too late for this sample
  CHECK_EQ(pool.charge(1, 10), 10);
  pool.end_sample(mark, 900);
  CHECK_EQ(pool.pool().free, 900 - 200 - 10);
  pool.landed(60);
  pool.sample(690);
  CHECK_EQ(pool.pool().free, 690);
  CHECK_EQ(pool.charge(1, 1000), 690);
  CHECK_EQ(pool.charge(1, 1), 0);
}

TEST("a refund that never landed frees the sample at once; one that had landed waits for the next") {
  Pool pool;
  pool.sample(1000);
  CHECK_EQ(pool.charge(1, 400), 400);
  pool.refund_unlanded(1, 150, false);
  CHECK_EQ(pool.own(1).bytes, 250);
  CHECK_EQ(pool.pool().free, 750);
  pool.landed(250);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = -250}}), 0);
  CHECK_EQ(pool.pool().free, 750);
  pool.sample(1000);
  CHECK_EQ(pool.pool().free, 1000);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = 30}}), 0);
  pool.refund_unlanded(7, 30, false);  // its lot went meanwhile
  CHECK_EQ(pool.pool().free, 1000);
}

TEST("a move holds nothing against the sample, a growth in the same change does") {
  Pool pool;
  pool.start(2, {}, {}, 500);
  pool.sample(1000);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = -500}, {.lot = 1, .bytes = 500}}), 0);
  CHECK_EQ(pool.pool().free, 1000);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 50}, {.lot = 1, .bytes = -20}}), 0);
  CHECK_EQ(pool.pool().free, 970);
}

TEST("holes are kept free; when they go, the sample pays until the next one begins") {
  Pool pool;
  pool.sample(1000);
  pool.add_holes(300);
  CHECK_EQ(pool.pool().free, 700);
  const auto mark = pool.begin_sample();
  pool.add_holes(-100);
  CHECK_EQ(pool.pool().free, 700);
  pool.end_sample(mark, 1000);
  CHECK_EQ(pool.pool().free, 700);
  pool.sample(900);
  CHECK_EQ(pool.pool().free, 700);
}

TEST("when the backing is short of what is promised, the pool says by how much") {
  Pool pool;
  CHECK_EQ(pool.admit(2, reservation(1000), {}), 0);
  pool.sample(1500);
  CHECK_EQ(pool.pool().short_bytes, 0);
  pool.sample(400);
  CHECK_EQ(pool.pool().short_bytes, 600);
  CHECK_EQ(pool.pool().headroom, -600);
  CHECK_EQ(pool.charge(2, 1000), 1000);
  CHECK_EQ(pool.pool().free, 0);
  CHECK_EQ(pool.pool().short_bytes, 600);
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

TEST("while a lot has several parents only what is used is held to the grant") {
  Pool pool;
  CHECK_EQ(pool.admit(2, limited(1000), {}), 0);
  CHECK_EQ(pool.admit(3, {}, {2}), 0);
  CHECK_EQ(pool.admit(4, {}, {2}), 0);
  CHECK_EQ(pool.available_below({3, 4}), 1000);
  CHECK_EQ(pool.admit(5, reservation(1000), {3, 4}), 0);  // 2 needs it twice, and has room for it once
  CHECK_EQ(pool.room(2), 1000);
  CHECK_EQ(pool.set_policy(2, limited(900), false), 0);
  CHECK_EQ(pool.charge(5, 2000), 900);
  CHECK_EQ(pool.remove(4, 3), 0);  // 5 goes to 3 and 2
  CHECK_EQ(pool.remove(3, 2), 0);
  CHECK_EQ(pool.set_policy(2, limited(1000), false), 0);
  CHECK_EQ(pool.room(2), 0);
  CHECK_EQ(pool.charge(5, 2000), 100);
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

TEST("add moves what the path held, or leaves no trace") {
  Pool pool(1000);
  pool.start(2, limited(1000), {});
  CHECK_EQ(pool.change({{.lot = 2, .bytes = 400, .objects = 4, .pending_bytes = 30, .pending_objects = 1}}), 0);
  const LotUsage moved{.bytes = 300, .objects = 3, .pending_bytes = 30, .pending_objects = 1};
  CHECK_EQ(pool.admit(3, reservation(299), {2}, 2, moved), ENOSPC);
  CHECK_EQ(pool.admit(3, reservation(901), {2}, 2, moved), ENOSPC);  // 100 stay in 2, 1000 in all
  CHECK_EQ(pool.own(2).bytes, 400);
  CHECK_EQ(pool.pool().set_aside, 0);
  CHECK_EQ(pool.admit(2, {}, {}), EEXIST);
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

TEST("set_policy admits growth, and never shrinks a grant below what is used") {
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
  CHECK_EQ(pool.pool().set_aside, 500);  // 2 needs 100 + 500 + 60 and uses 160
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

TEST("a count overwrites usage, whatever the grant") {
  Pool pool;
  pool.start(2, limited(100), {});
  pool.start(3, limited(100), {2}, 10);
  CHECK_EQ(pool.change({{.lot = 3, .pending_bytes = 4}}), 0);
  (void)pool.drain();
  pool.set_usage(3, 500, 7);
  CHECK_EQ(pool.used(2), 500);
  CHECK_EQ(pool.own(3).objects, 7);
  CHECK_EQ(pool.own(3).pending_bytes, 4);
  const auto drained = pool.drain();
  CHECK(drained.size() == 1 && drained[0].usage.bytes == 500 && drained[0].charged_bytes == 0);
  pool.set_usage(3, 5, 1);
  CHECK_EQ(pool.used(2), 5);
}

TEST("drain tells each lot that changed or was refused, once") {
  Pool pool;
  pool.start(2, limited(100), {}, 10);
  CHECK_EQ(pool.drain().size(), 0U);
  CHECK_EQ(pool.charge_up_to(2, 80, true, true), 80);
  CHECK_EQ(pool.charge_up_to(2, 500, false, true), 10);
  CHECK_EQ(pool.charge_up_to(2, 7, false, false), 0);
  CHECK_EQ(pool.charge_up_to(2, 8, false, true), 0);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = -0}, {.lot = 2, .bytes = 3}}), ENOSPC);
  pool.refund_unlanded(2, 20, true);
  const auto changed = pool.own(2).changes;
  const auto first = pool.drain();
  CHECK_EQ(first.size(), 1U);
  CHECK_EQ(first[0].usage.id, 2U);
  CHECK_EQ(first[0].usage.bytes, 80);
  CHECK_EQ(first[0].usage.pending_bytes, 60);
  CHECK_EQ(first[0].charged_bytes, 90);
  CHECK_EQ(first[0].refunded_bytes, 20);
  CHECK_EQ(first[0].refusals, 2);
  CHECK_EQ(first[0].refused_bytes, 11);
  CHECK_EQ(pool.drain().size(), 0U);
  CHECK_EQ(pool.change({{.lot = 2, .pending_bytes = -60}}), 0);
  CHECK_EQ(pool.own(2).changes, changed);
  CHECK_EQ(pool.drain().size(), 1U);
  CHECK_EQ(pool.change({{.lot = 2, .bytes = -1}}), 0);
  CHECK(pool.own(2).changes > changed);
  CHECK_EQ(pool.remove(2, 1), 0);
  const auto last = pool.drain();  // of the heir only
  CHECK(last.size() == 1 && last[0].usage.id == 1 && last[0].charged_bytes == 79);
  CHECK_EQ(pool.all_usage().size(), 1U);
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

TEST("what is given back and nobody held is drift, and ends nothing") {
  Pool pool;
  CHECK_EQ(pool.charge(1, 5), 5);
  CHECK_EQ(pool.change({{.lot = 1, .bytes = -7, .objects = -2}}), 0);
  CHECK_EQ(pool.pool().drift, 4);
  CHECK_EQ(pool.pool().used, 0);
  LotUsage usage;
  CHECK(pool.usage(1, usage));
  CHECK_EQ(usage.bytes, 0);
  CHECK_EQ(usage.objects, 0);
  // More is found below a path than the giving lot is known to hold.
  CHECK_EQ(pool.add(2, reservation(100), {}, {.id = 2, .bytes = 10, .objects = 1}, 1, false), 0);
  CHECK_EQ(pool.pool().used, 10);
  CHECK_EQ(pool.pool().drift, 15);
}

TEST("a broken invariant ends the process and says so") {
  Pool pool;
  CHECK_EQ(pool.charge(1, 5), 5);
  CHECK(aborts([&] { pool.refund_unlanded(1, 6, false); }));
  CHECK(aborts([&] { pool.landed(6); }));
  CHECK(aborts([&] { pool.landed(5), pool.refund_unlanded(1, 1, false); }));
  CHECK(!aborts([&] { (void)pool.change({{.lot = 1, .bytes = -5}}); }));
}

TAP_MAIN()
