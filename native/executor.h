// One thread that runs tasks in the order in which they came, until it is ended.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace vreserve {

class Executor {
 public:
  Executor() : thread_([this] { run(); }) {}
  ~Executor() { end(); }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Does nothing once it is ended.
  void post(std::function<void()> task) {
    {
      const std::lock_guard guard(mutex_);
      if (ending_) return;
      tasks_.push_back(std::move(task));
    }
    wakes_.notify_one();
  }

  // Returns when what was posted before is done. Not to be called by a task.
  void end() {
    {
      const std::lock_guard guard(mutex_);
      ending_ = true;
    }
    wakes_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wakes_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;  // guards tasks_ and ending_; a leaf
  std::condition_variable wakes_;
  std::deque<std::function<void()>> tasks_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace vreserve
