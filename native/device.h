// The transport: /dev/fuse, the mount, the handshake, and the threads that read requests and hand them on.
//
// Usually one thread reads: it takes a request, serves it itself, and reads again, polling for some microseconds before
// it sleeps. Nobody else sleeps in read(2), so that the kernel has nobody to wake for nothing, and caches stay warm. A
// follower is promoted to read beside or instead of it when a request is known to block, when requests are there at
// once several times in a row, and by the watchdog when nobody has read for a while. Where all of them wait for disks, the
// watchdog adds as many again: a disk that does not answer holds up who uses it, and nobody else.
//
// Each thread owns a Worker: its buffer, its descriptors of the device, and a word that tells others what it is doing
// (no lock). Two things need that word: to wait until every request that was under way has ended (quiesce), and to
// wait for the requests that give bytes back and were read before a charge that is about to be refused (settle). Both leave
// out what waits for the disk of another pool.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "protocol.h"
#include "sys.h"

namespace vreserve {

class Device;

// A request that is served later: a copy of what the kernel sent.
struct Kept {
  std::vector<char> message;
  int fd = -1;
};

inline constexpr std::size_t kMaxWrite = 1U << 20;  // as much as max_pages_limit allows
inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kBuffer = kMaxWrite + 2 * kPage;  // one request
// A day: only this mount changes what it shows, so what the kernel has cached stays right.
inline constexpr std::uint64_t kCachedSeconds = 86400;

// Of a request that waits for no disk, or has not said yet for which.
inline constexpr std::int64_t kNoPool = -1;

// What a thread that serves requests is doing; written by that thread alone.
struct Worker {
  std::atomic<std::uint64_t> turn{0};   // odd while a request is being served
  std::atomic<bool> gives_back{false};  // the request may refund
  std::atomic<bool> reading{false};     // in read(2) of the device: asleep, or taking a request off it
  std::atomic<std::int64_t> pool{kNoPool};  // whose disk the request may wait for
  std::atomic<bool> ended{false};
  unsigned at_once = 0;  // requests in a row that were there without waiting
  std::atomic<pid_t> tid{0};
  Fd blocking;
  Fd polling;  // the same device without blocking
  Fd pipe_out;  // large writes are taken off the device through a pipe, so that their pages are copied once
  Fd pipe_in;
  char* buffer = nullptr;      // requests; the payload of a WRITE begins on a page
  char* reply_buffer = nullptr;
  std::thread thread;
};

// One request of the kernel. It is answered exactly once: reply(), fail(), or defer() when someone else will.
class Request {
 public:
  // piped: so many bytes more of the body are in the worker's pipe.
  Request(Device& device, int fd, const fuse::InHeader& header, char* body, std::size_t size, Worker* worker,
          std::size_t piped = 0) noexcept
      : device_(device), fd_(fd), header_(header), body_(body), size_(size), worker_(worker), piped_(piped) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request();

  [[nodiscard]] const fuse::InHeader& header() const noexcept { return header_; }
  [[nodiscard]] std::uint64_t nodeid() const noexcept { return header_.nodeid; }
  [[nodiscard]] Worker* worker() const noexcept { return worker_; }
  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] std::span<const char> body() const noexcept { return {body_, size_}; }

  // Bytes of the payload that are still in the pipe, after what body() has.
  [[nodiscard]] std::size_t piped() const noexcept { return piped_; }
  // Moves up to `size` of them to the file, as pwrite does; what was moved, or -errno.
  [[nodiscard]] ssize_t splice_to(int fd, std::size_t size, std::int64_t offset) noexcept;
  // Reads the rest of them into body().
  void pull() noexcept;

  // The fixed part of the body; null when the message is too short for it.
  template <typename T>
  [[nodiscard]] const T* as() const noexcept {
    return size_ >= sizeof(T) ? reinterpret_cast<const T*>(body_) : nullptr;
  }
  // A NUL-terminated string at `offset` of the body; "" when there is none.
  [[nodiscard]] const char* text(std::size_t offset) const noexcept;

  void reply(const void* data, std::size_t size) noexcept;
  void reply(std::span<const iovec> parts) noexcept;
  template <typename T>
  void reply(const T& out) noexcept {
    reply(&out, sizeof out);
  }
  void done() noexcept { reply(nullptr, 0); }
  // error: positive errno.
  void fail(int error) noexcept;
  // error: 0, or -errno as system calls here give it.
  void finish(int error) noexcept { error == 0 ? done() : fail(-error); }
  // FORGET and its like have no answer; a deferred request gets it from elsewhere.
  void defer() noexcept { answered_ = deferred_ = true; }
  // Defers it, and gives a copy that can be served later.
  [[nodiscard]] Kept keep() noexcept;

  // Once it is served: what it was failed with (positive errno), or 0; whether someone else will answer; and whether there
  // was nobody who waited for the answer any more.
  [[nodiscard]] int failure() const noexcept { return failure_; }
  [[nodiscard]] bool deferred() const noexcept { return deferred_; }
  [[nodiscard]] bool unheard() const noexcept { return unheard_; }

 private:
  Device& device_;
  int fd_;
  const fuse::InHeader& header_;
  char* body_;
  std::size_t size_;
  Worker* worker_;
  std::size_t piped_;
  bool answered_ = false;
  bool deferred_ = false;
  bool unheard_ = false;
  int failure_ = 0;
};

struct DeviceOptions {
  std::string mountpoint;
  std::string source;
  bool read_only = false;
  bool allow_other = true;
  bool passthrough = true;
  std::string no_passthrough = "switched off";  // why not, when it is false
  bool suid = false;
  bool dev = false;
  bool exec = true;
  unsigned threads = 0;
};

struct DeviceInfo {
  std::uint64_t flags = 0;  // what both sides agreed on
  std::uint32_t kernel_minor = 0;
  bool passthrough = false;
  std::string passthrough_reason;
};

// Who takes the answers where requests do not come off the device.
class Transport {
 public:
  Transport() = default;
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // error: 0 or -errno.
  virtual void answer(std::uint64_t unique, int error, std::span<const iovec> parts) noexcept = 0;
  // As Device::settle, for requests that no worker has begun. gives_back: whether the request that waits may refund itself.
  virtual void settle(bool gives_back) noexcept = 0;
};

class Device {
 public:
  using Handler = std::function<void(Request&)>;

  Device();
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Mounts and shakes hands. 0 or -errno, with a sentence in `why`. probe: an open regular file of the backing, to find
  // out whether passthrough works, or -1.
  [[nodiscard]] int mount(const DeviceOptions& options, int probe, std::string& why) noexcept;
  // Starts the threads. `handler` runs on them; `ended` runs once, on the last of them, when the mount is gone.
  void serve(Handler handler, std::function<void()> ended) noexcept;
  // Instead of both: requests come from elsewhere, one by one, and are served on the threads of workers that are enlisted.
  void serve_from(Transport& transport, Handler handler) noexcept;
  void serve_one(Worker& worker, const fuse::InHeader& header, char* body, std::size_t size) noexcept;
  // Ends the threads as soon as each is through with its request, and closes the device, which ends the mount.
  void stop() noexcept;

  [[nodiscard]] const DeviceInfo& info() const noexcept { return info_; }
  [[nodiscard]] const DeviceOptions& options() const noexcept { return options_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  // Passthrough: the kernel's id for an open file; 0 when it refuses.
  [[nodiscard]] std::uint32_t backing_open(int fd) noexcept;
  void backing_close(std::uint32_t id) noexcept;

  // False: nobody waits for the answer any more.
  bool answer(int fd, std::uint64_t unique, int error, std::span<const iovec> parts) noexcept;
  // The kernel asks anew for the inode's attributes. May be called while one of its requests is being served.
  void invalidate_attributes(std::uint64_t nodeid) noexcept;

  // The kernel forgets the entry `name` of a directory, and asks anew for what it knew of the directory. Waits for the
  // directory's lock, which a request that is being served may hold: no lock and no turn may be held.
  void invalidate_entry(std::uint64_t directory, const std::string& name) noexcept;

  // Registers a thread that serves requests without reading them off the device (a Worker without buffers).
  void enlist(std::shared_ptr<Worker> worker) noexcept;
  void delist(const Worker& worker) noexcept;
  // Returns when every request that was being served at the call has ended, or waits for the disk of a pool that is no concern
  // (asked again and again). `self` (may be null) is left out. True: all have ended.
  bool quiesce(const Worker* self, const std::function<bool(std::int64_t pool)>& concerns) noexcept;
  // Returns when every request in the pool that may refund and was read off the device before the call has ended.
  void settle(Worker* self, std::int64_t pool) noexcept;
  // What is being served.
  struct UnderWay {
    std::shared_ptr<const Worker> worker;
    std::uint64_t turn = 0;
    std::int64_t pool = kNoPool;
  };
  [[nodiscard]] std::vector<UnderWay> under_way() noexcept;

  [[nodiscard]] std::uint64_t served(std::uint32_t opcode) const noexcept {
    return served_[opcode % fuse::kOpcodes].load(std::memory_order_relaxed);
  }

 private:
  [[nodiscard]] int mount_as_root(std::string& why) noexcept;
  [[nodiscard]] int mount_as_user(std::string& why) noexcept;
  [[nodiscard]] int shake_hands(int probe, std::string& why) noexcept;
  void run(Worker& worker) noexcept;
  // Bytes of one request in the buffer, or -errno; `piped` more of it are in the worker's pipe.
  [[nodiscard]] ssize_t next_request(Worker& worker, int& fd, std::size_t& piped) noexcept;
  [[nodiscard]] ssize_t take(Worker& worker, int fd, std::size_t& piped) noexcept;
  // Whether the thread has the reading position again after a request; otherwise it is a follower.
  [[nodiscard]] bool resume_reading() noexcept;
  void promote() noexcept;
  void watch() noexcept;
  // Only the thread that runs watch() changes threads_ while serving.
  void add_thread() noexcept;
  void grow() noexcept;
  [[nodiscard]] bool somebody_reads() const noexcept;
  void begin(Worker& worker, std::uint32_t opcode) noexcept;
  void end(Worker& worker) noexcept;

  DeviceOptions options_;
  DeviceInfo info_;
  Fd fd_;
  Transport* transport_ = nullptr;  // null: the device; fixed while serving
  Handler handler_;
  std::function<void()> ended_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> running_{0};
  unsigned most_readers_ = 1;
  std::chrono::microseconds poll_{0};
  std::atomic<int> readers_{0};  // threads that read, and followers that were promoted to
  std::counting_semaphore<> promotions_{0};
  std::atomic<std::uint64_t> taken_{0};  // requests; tells the watchdog of progress
  std::atomic<bool> watching_{false};
  std::thread watchdog_;
  std::atomic<int> large_writes_{0};  // above 0: the last requests were large writes, so the next is expected to be one
  std::array<std::atomic<std::uint64_t>, fuse::kOpcodes> served_{};
  std::vector<std::shared_ptr<Worker>> threads_;
  std::mutex workers_mutex_;  // guards workers_; a leaf
  std::vector<std::shared_ptr<Worker>> workers_;
};

// A request that may give bytes back to a lot.
[[nodiscard]] bool may_give_back(std::uint32_t opcode) noexcept;

// Registers this thread, for as long as the object lives, as one that serves kept requests.
class Enlisted {
 public:
  explicit Enlisted(Device& device) noexcept;
  ~Enlisted();
  Enlisted(const Enlisted&) = delete;
  Enlisted& operator=(const Enlisted&) = delete;

  [[nodiscard]] Worker& worker() noexcept { return *worker_; }

 private:
  Device& device_;
  std::unique_ptr<char[]> replies_;
  std::shared_ptr<Worker> worker_ = std::make_shared<Worker>();
};

// Marks the worker's turn for as long as it lives, for threads that serve requests outside Device::run.
class Turn {
 public:
  explicit Turn(Worker& worker) noexcept : worker_(worker) {
    worker_.pool = kNoPool;
    worker_.turn.fetch_add(1);
  }
  ~Turn() { worker_.turn.fetch_add(1); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Worker& worker_;
};

}  // namespace vreserve
