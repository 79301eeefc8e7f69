// The meter's pool and books: samples, holes, counts, drains and what must never happen; one case each.
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
  CHECK_EQ(pool.admit(2, reservation(100), {}, 1, {.bytes = 10, .objects = 1}), 0);
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
