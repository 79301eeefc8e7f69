// A reader-writer lock of four bytes, for a table of a million inodes. Writers wait for readers and are not starved:
// a waiting writer holds new readers back.
#pragma once

#include <atomic>
#include <cstdint>

namespace vreserve {

class InodeLock {
 public:
  void lock() noexcept {
    for (;;) {
      std::uint32_t seen = state_.load(std::memory_order_relaxed);
      if (seen == 0) {
        if (state_.compare_exchange_weak(seen, kWriter, std::memory_order_acquire, std::memory_order_relaxed)) return;
        continue;
      }
      if ((seen & kWaiting) == 0) {
        if (!state_.compare_exchange_weak(seen, seen | kWaiting, std::memory_order_relaxed)) continue;
        seen |= kWaiting;
      }
      state_.wait(seen, std::memory_order_relaxed);
    }
  }
  void unlock() noexcept { release(kWriter); }
  void lock_shared() noexcept {
    for (;;) {
      std::uint32_t seen = state_.load(std::memory_order_relaxed);
      if ((seen & kWriter) == 0 && (seen & kWaiting) == 0) {
        if (state_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed)) return;
        continue;
      }
      if ((seen & kWaiting) == 0) {
        if (!state_.compare_exchange_weak(seen, seen | kWaiting, std::memory_order_relaxed)) continue;
        seen |= kWaiting;
      }
      state_.wait(seen, std::memory_order_relaxed);
    }
  }
  void unlock_shared() noexcept { release(1); }

 private:
  static constexpr std::uint32_t kWriter = 1U << 31;
  static constexpr std::uint32_t kWaiting = 1U << 30;

  // The last holder clears the waiters' mark and wakes them all; they try again.
  void release(std::uint32_t share) noexcept {
    std::uint32_t seen = state_.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint32_t left = (seen & ~kWaiting) - share;
      const std::uint32_t next = left == 0 ? 0 : (left | (seen & kWaiting));
      if (state_.compare_exchange_weak(seen, next, std::memory_order_release, std::memory_order_relaxed)) {
        if (left == 0 && (seen & kWaiting) != 0) state_.notify_all();
        return;
      }
    }
  }

  std::atomic<std::uint32_t> state_{0};
};

// Holds the lock exclusively for as long as it lives.
class InodeGuard {
 public:
  explicit InodeGuard(InodeLock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~InodeGuard() { lock_.unlock(); }
  InodeGuard(const InodeGuard&) = delete;
  InodeGuard& operator=(const InodeGuard&) = delete;

 private:
  InodeLock& lock_;
};

}  // namespace vreserve
