// A pool beside the main one, as the engine has it: where it is, what was asked for it, and who watches it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "count.h"
#include "lots.h"
#include "view.h"

namespace vreserve {

struct PoolSpec {
  PoolId id = kMainPool;
  std::string name;
  std::string directory;  // real path
  std::string mark;       // what `.vreserve/pool` in it must hold, by which it is known again
  bool known = false;     // it has had its mark
  std::int64_t capacity = -1;  // < 0: the default
  std::int64_t margin = -1;
};

struct PoolBacking {
  PoolSpec spec;

  // One change of bindings, or of grafts, in the pool at a time.
  std::mutex bind_mutex;

  // Guarded by mutex, which the watching thread holds whenever it changes anything; never across a call that may wait for
  // the pool's disk, but while a pool that is back is opened and counted.
  std::mutex mutex;
  std::condition_variable wakes;
  View view;
  Fd lock;      // of `.vreserve/lock`
  dev_t device = 0;  // of the directory, and its number: what the path must lead to
  ino_t number = 0;
  bool stacked = false;
  bool lets_go_again = false;  // requests that were under way when it broke may have opened something since
  bool has_ended = false;  // the thread touches nothing any more

  // Guarded by Engine::pools_mutex_.
  SharedFd fd;  // O_PATH, of the view; null while its directory is not to be had
  std::int64_t capacity = -1;  // as asked for
  std::int64_t margin = -1;
  std::string broken;      // why; empty: it is served
  std::string io_reason;   // why not passthrough
  std::string filesystem;

  std::atomic<bool> is_broken{false};
  // Broken since its disk does not answer: nothing of it has been closed. Changed under the mutex.
  std::atomic<bool> is_silent{false};
  std::atomic<std::int64_t> looks_since{0};  // steady milliseconds; 0: the watching thread waits for no disk
  std::atomic<int> unanswered{0};            // questions that were given up, and are not over yet
  std::atomic<bool> passthrough{false};
  std::atomic<bool> ending{false};
  CountProgress progress;           // of the count when it is back
  std::thread watcher;
};

}  // namespace vreserve
