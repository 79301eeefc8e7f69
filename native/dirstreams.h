// Open directories between two READDIRs: the kernel lists without OPENDIR, so the place is found again by offset.
//
// Lock: mutex_ guards the list; a stream in use is not in it. A leaf.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>

#include "sys.h"

namespace vreserve {

struct DirStream {
  std::uint64_t nodeid = 0;
  std::int64_t position = 0;
  Fd fd;
};

class DirStreams {
 public:
  // The stream of the directory that stands at `position`; one without descriptor when there is none.
  [[nodiscard]] DirStream take(std::uint64_t nodeid, std::int64_t position) noexcept {
    const std::lock_guard guard(mutex_);
    for (auto it = streams_.begin(); it != streams_.end(); ++it) {
      if (it->nodeid != nodeid || it->position != position) continue;
      DirStream found = std::move(*it);
      streams_.erase(it);
      return found;
    }
    DirStream none;
    none.nodeid = nodeid;
    return none;
  }
  void give(DirStream&& stream) noexcept {
    DirStream oldest;  // closed after the mutex
    const std::lock_guard guard(mutex_);
    streams_.push_front(std::move(stream));
    if (streams_.size() > kKept) {
      oldest = std::move(streams_.back());
      streams_.pop_back();
    }
  }
  // Closes what is kept.
  void clear() noexcept {
    std::list<DirStream> closed;  // after the mutex
    const std::lock_guard guard(mutex_);
    closed.swap(streams_);
  }

 private:
  static constexpr std::size_t kKept = 32;
  std::mutex mutex_;
  std::list<DirStream> streams_;
};

}  // namespace vreserve
