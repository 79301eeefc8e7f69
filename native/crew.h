// Threads that serve requests which no thread of the device has read: as many as there are tasks that do not end, so that
// one that waits for a slow disk holds up no other.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <vector>

#include "device.h"

namespace vreserve {

class Crew {
 public:
  using Task = std::function<void()>;

  explicit Crew(Device& device) noexcept : device_(device) {}
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  void post(Task task) noexcept;
  // The worker of the calling thread; null on a thread that is not of a crew.
  [[nodiscard]] static Worker* current() noexcept;

 private:
  struct Member {
    std::shared_ptr<Worker> worker = std::make_shared<Worker>();
    std::binary_semaphore wakes{0};
    Task task;  // handed over with the wake-up; none: the end
  };

  void run(Member& member) noexcept;
  // What is to be done next, or waits for it; none: the end.
  [[nodiscard]] Task next(Member& member) noexcept;

  Device& device_;
  std::mutex mutex_;  // guards everything here; a leaf
  std::deque<Task> tasks_;
  std::vector<Member*> idle_;  // the last to come is the first to go on: its memory is in the caches
  bool ending_ = false;
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace vreserve
