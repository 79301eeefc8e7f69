// A small view of blobs, `/.vreserve/store`, for running a mount without Node: it answers on a thread of its own, and makes the
// files that hold the data through the mount, as a store does.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "../engine.h"

namespace vreserve {

class StoreView {
 public:
  StoreView(Engine& engine, std::string mountpoint, std::string backing)
      : engine_(engine), mountpoint_(std::move(mountpoint)), backing_(std::move(backing)), thread_([this] { run(); }) {}
  ~StoreView() { end(); }
  StoreView(const StoreView&) = delete;
  StoreView& operator=(const StoreView&) = delete;

  void ask(VirtualQuestion&& question) {
    {
      const std::lock_guard guard(mutex_);
      questions_.push_back(std::move(question));
    }
    wakes_.notify_one();
  }
  void end() {
    {
      const std::lock_guard guard(mutex_);
      ending_ = true;
    }
    wakes_.notify_one();
    if (thread_.joinable()) thread_.join();
  }
  // Handles that were given and not released.
  [[nodiscard]] std::size_t open() {
    const std::lock_guard guard(mutex_);
    return open_;
  }

 private:
  struct Stored {
    std::string real;
    std::int64_t size = 0;
  };
  struct Handle {
    std::string path;
    std::string real;
    bool upload = false;
    bool decided = false;  // committed, or refused
    bool committed = false;
  };

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wakes_.wait(lock, [this] { return ending_ || !questions_.empty(); });
      if (questions_.empty()) return;
      const VirtualQuestion question = std::move(questions_.front());
      questions_.pop_front();
      if (question.op == VirtualOp::interrupt) {
        // It was answered already: what was given is given back.
        if (const auto given = given_.find(question.token); given != given_.end()) {
          drop(given->second);
          given_.erase(given);
        }
        open_ = handles_.size();
        continue;
      }
      lock.unlock();
      const VirtualAnswer answer = answer_to(question);
      lock.lock();
      open_ = handles_.size();
      lock.unlock();
      engine_.virtuals.answer(question.token, answer);
      lock.lock();
    }
  }

  VirtualAnswer answer_to(const VirtualQuestion& question) {
    VirtualAnswer answer;
    switch (question.op) {
      case VirtualOp::lookup:
        if (question.path == "store") {
          answer.kind = VirtualKind::directory;
          answer.mode = 01777;
          answer.takes_files = true;
        } else if (const auto found = stored_.find(question.path); found != stored_.end()) {
          answer.kind = VirtualKind::blob;
          answer.mode = 0666;
          answer.size = found->second.size;
        } else {
          answer.error = ENOENT;
        }
        break;
      case VirtualOp::list:
        for (const auto& [path, blob] : stored_) answer.names.push_back({path.substr(6), VirtualKind::blob});
        break;
      case VirtualOp::create:
        if (stored_.contains(question.path)) {
          answer.error = EEXIST;
        } else {
          begin(question, answer);
          answer.kind = VirtualKind::blob;
          answer.mode = 0666;
          answer.has_node = true;
        }
        break;
      case VirtualOp::open:
        open(question, answer);
        break;
      case VirtualOp::flush:
        flush(question, answer);
        break;
      case VirtualOp::release:
        release(question);
        break;
      case VirtualOp::unlink:
        answer.error = remove(question.path) ? 0 : ENOENT;
        break;
      default:
        answer.error = ENODATA;
    }
    return answer;
  }

  void begin(const VirtualQuestion& question, VirtualAnswer& answer) {
    const std::string real = "/.vreserve/blobs/" + std::to_string(++last_real_);
    const int fd = ::open((mountpoint_ + real).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
      answer.error = errno;
      return;
    }
    ::close(fd);
    give(question, answer, {question.path, real, true});
  }

  void give(const VirtualQuestion& question, VirtualAnswer& answer, Handle handle) {
    answer.handle = ++last_handle_;
    answer.real = handle.real;
    handles_[answer.handle] = std::move(handle);
    given_[question.token] = answer.handle;
    if (given_.size() > 1000) given_.erase(given_.begin());
  }

  void open(const VirtualQuestion& question, VirtualAnswer& answer) {
    const auto found = stored_.find(question.path);
    if (found == stored_.end()) {
      answer.error = ENOENT;
    } else if (!question.for_writing) {
      give(question, answer, {question.path, found->second.real});
    } else if (question.truncate) {
      begin(question, answer);
    } else {
      answer.error = EOPNOTSUPP;
    }
  }

  void flush(const VirtualQuestion& question, VirtualAnswer& answer) {
    const auto found = handles_.find(question.handle);
    if (found == handles_.end()) {
      answer.error = EBADF;
    } else if (question.failed != 0) {
      found->second.decided = true;
      answer.error = question.failed;
    } else if (!question.written) {
      answer.again = true;
    } else {
      commit(found->second);
    }
  }

  void release(const VirtualQuestion& question) {
    const auto found = handles_.find(question.handle);
    if (found == handles_.end()) return;
    Handle& handle = found->second;
    if (handle.upload && !handle.decided && question.opened && question.failed == 0) commit(handle);
    drop(question.handle);
  }

  void drop(std::uint64_t id) {
    const auto found = handles_.find(id);
    if (found == handles_.end()) return;
    if (found->second.upload && !found->second.committed) ::unlink((mountpoint_ + found->second.real).c_str());
    handles_.erase(found);
  }

  void commit(Handle& handle) {
    struct stat st {};
    handle.decided = true;
    // Through the mount, whose attributes must be right by now.
    if (::stat((mountpoint_ + handle.real).c_str(), &st) != 0 && ::stat((backing_ + handle.real).c_str(), &st) != 0) return;
    handle.committed = true;
    const Stored former = std::exchange(stored_[handle.path], {handle.real, st.st_size});
    if (!former.real.empty()) ::unlink((mountpoint_ + former.real).c_str());
  }

  bool remove(const std::string& path) {
    const auto found = stored_.find(path);
    if (found == stored_.end()) return false;
    ::unlink((mountpoint_ + found->second.real).c_str());
    stored_.erase(found);
    return true;
  }

  Engine& engine_;
  const std::string mountpoint_;
  const std::string backing_;
  // Of the thread alone.
  std::map<std::string, Stored> stored_;
  std::map<std::uint64_t, Handle> handles_;
  std::map<std::uint64_t, std::uint64_t> given_;  // handles, by the token of the question
  std::uint64_t last_real_ = 0;
  std::uint64_t last_handle_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wakes_;
  std::deque<VirtualQuestion> questions_;
  std::size_t open_ = 0;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace vreserve
