// What becomes of a pool whose disk does not answer.
//
// Who waits for a disk cannot be woken. So nobody waits for another pool's but who uses it: requests on their own threads
// (of which the device has enough), the thread that watches the pool, and changes of what lies in it, under the pool's own
// mutex. Before the last two begin, the disk is asked on a thread of its own (`ask`), which is left behind where it does not
// come back. A pool whose watching thread has waited too long for it is broken, and nothing of it is touched until that thread
// comes back and every request in it has ended; then it is counted, and served.
#include <algorithm>
#include <semaphore>
#include <system_error>
#include <thread>

#include "ops.h"
#include "pool_disk.h"

namespace vreserve {

namespace {

constexpr std::int64_t kSilentMs = 10'000;
constexpr auto kAnswerPatience = std::chrono::seconds(2);
constexpr const char* kSilent = "its disk does not answer";

}  // namespace

bool Engine::ask(PoolId id, std::function<void()> question) noexcept {
  if (id == kMainPool) {  // without it there is no mount
    question();
    return true;
  }
  const auto pool = find_pool(id);
  if (pool == nullptr || pool->is_broken || pool->unanswered > 0) return false;
  struct Answer {
    std::atomic<int> state{0};  // 1: it was given, 2: nobody waits for it any more
    std::binary_semaphore given{0};
  };
  const auto answer = std::make_shared<Answer>();
  try {
    std::thread([pool, answer, question = std::move(question)] {
      question();
      int waits = 0;
      if (!answer->state.compare_exchange_strong(waits, 1)) --pool->unanswered;
      answer->given.release();
    }).detach();
  } catch (const std::system_error&) {  // the system has no more threads
    return false;
  }
  if (answer->given.try_acquire_for(kAnswerPatience)) return true;
  ++pool->unanswered;
  int waits = 0;
  if (answer->state.compare_exchange_strong(waits, 2)) return false;
  --pool->unanswered;
  return true;
}

bool Engine::answers(const std::set<PoolId>& pools) noexcept {
  return std::ranges::all_of(pools, [this](PoolId id) {
    const SharedFd fd = id == kMainPool ? nullptr : pool_fd(id);
    if (!fd) return true;  // of a broken one nothing is asked
    return ask(id, [fd] {
      struct statfs fs {};
      const Fd directory(::openat(fd->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      (void)::fstatfs(fd->get(), &fs);
    });
  });
}

void Engine::oversee() noexcept {
  std::map<PoolId, std::shared_ptr<PoolBacking>> pools;
  {
    const std::shared_lock guard(pools_mutex_);
    pools = pools_;
  }
  for (const auto& [id, pool] : pools) {
    const auto is_silent = [&pool = *pool] {
      const std::int64_t since = pool.looks_since;
      return !pool.is_broken && since != 0 && steady_ms() - since > kSilentMs;
    };
    if (!is_silent()) continue;
    // Who has it is at work, and waits for no disk, or the pool is broken already.
    const std::unique_lock lock(pool->mutex, std::try_to_lock);
    if (!lock || !is_silent()) continue;
    pool->is_silent = true;
    stop_serving(*pool, kSilent);
  }
}

// A look has come back, or comes back now. The mutex must be held by `lock`; not meanwhile.
void Engine::look_again(std::unique_lock<std::mutex>& lock, PoolBacking& pool) noexcept {
  const auto busy = device.under_way();
  const auto is_in = [&pool](const Device::UnderWay& each) { return each.pool == static_cast<std::int64_t>(pool.spec.id); };
  if (pool.unanswered > 0 || std::ranges::any_of(busy, is_in)) return;
  Look look;
  look_at(lock, pool, true, !options_.device.read_only, look);
  if (pool.ending) return;
  if (!look.broken.empty()) {
    give_up(pool, look.broken);
  } else {
    (void)serve_again(pool);
  }
}

bool Engine::quiesce(const std::set<PoolId>& pools, const Worker* self) noexcept {
  return device.quiesce(self, [this, &pools](std::int64_t pool) {
    const auto id = static_cast<PoolId>(pool);
    if (!pools.contains(id)) return false;
    const auto other = id == kMainPool ? nullptr : find_pool(id);
    return other == nullptr || !other->is_broken;
  });
}

void Engine::wait_for_others(std::set<PoolId> pools) noexcept {
  pools.erase(kMainPool);
  if (mounted_ && !pools.empty()) quiesce(pools);
}

std::set<PoolId> Engine::all_pools() noexcept {
  std::set<PoolId> all{kMainPool};
  const std::shared_lock guard(pools_mutex_);
  for (const auto& [id, pool] : pools_) all.insert(id);
  return all;
}

Engine::Change Engine::begin_change(const std::set<PoolId>& pools) noexcept {
  Change change;
  // The main one comes last, so that nobody has it who waits for another.
  for (const PoolId id : pools) {
    const auto pool = id == kMainPool ? nullptr : find_pool(id);
    if (pool == nullptr) continue;
    change.pools.push_back(pool);
    change.locks.emplace_back(pool->bind_mutex);
  }
  if (pools.contains(kMainPool)) change.locks.emplace_back(bind_mutex_);
  return change;
}

}  // namespace vreserve
