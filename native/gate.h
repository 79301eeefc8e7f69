// What may still be written to a blob, and whether anything is being written: open, then sealed while somebody decides, then
// open again or sealed for good.
//
// Locks: mutex_ guards everything here. A leaf.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace vreserve {

// Waiting: what is kept of a change that comes while it is being decided.
template <typename Waiting>
class Gate {
 public:
  enum class Passage : std::uint8_t { open, waits, shut };

  struct Use {
    bool written = false;  // something was written, or was to be
    int failed = 0;        // errno of the first write that failed
  };

  // A change begins: `open`, and leave() must follow; `waits`: what `keep` gave is kept until it is decided; `shut`: sealed.
  template <typename Keep>
  [[nodiscard]] Passage enter(Keep keep) noexcept {
    const std::lock_guard guard(mutex_);
    switch (state_) {
      case State::open:
        ++under_way_;
        return Passage::open;
      case State::asked:
        waiting_.push_back(keep());
        return Passage::waits;
      default:
        return Passage::shut;
    }
  }

  // It has ended. failed: an errno, or 0.
  void leave(bool written, int failed) noexcept {
    {
      const std::lock_guard guard(mutex_);
      use_.written = use_.written || written;
      if (use_.failed == 0) use_.failed = failed;
      if (--under_way_ != 0) return;
    }
    still_.notify_all();
  }

  // The content is not what was meant, whatever else is written.
  void fail(int error) noexcept {
    const std::lock_guard guard(mutex_);
    if (use_.failed == 0) use_.failed = error;
  }

  // No change begins any more until it is decided; returns when none is under way. False: it was sealed already.
  [[nodiscard]] bool seal(Use& use) noexcept {
    std::unique_lock lock(mutex_);
    if (state_ != State::open) return false;
    state_ = State::asked;
    still_.wait(lock, [this] { return under_way_ == 0; });
    use = use_;
    return true;
  }

  // What was to be decided after seal(); gives what waited for it.
  [[nodiscard]] std::vector<Waiting> decide(bool open) noexcept {
    const std::lock_guard guard(mutex_);
    state_ = open ? State::open : State::sealed;
    return std::exchange(waiting_, {});
  }

  // Returns when no change is under way.
  [[nodiscard]] Use settle() noexcept {
    std::unique_lock lock(mutex_);
    still_.wait(lock, [this] { return under_way_ == 0; });
    return use_;
  }

  [[nodiscard]] bool is_open() noexcept {
    const std::lock_guard guard(mutex_);
    return state_ == State::open;
  }

 private:
  enum class State : std::uint8_t { open, asked, sealed };

  std::mutex mutex_;
  std::condition_variable still_;
  State state_ = State::open;
  std::uint32_t under_way_ = 0;
  Use use_;
  std::vector<Waiting> waiting_;
};

}  // namespace vreserve
