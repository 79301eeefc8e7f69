// Requests and replies, and the threads that read and serve.
#include "device.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace vreserve {

namespace {

// The header and the fixed part of a WRITE come before its payload.
constexpr std::size_t kBeforePayload = sizeof(fuse::InHeader) + sizeof(fuse::WriteIn);
constexpr std::size_t kLargeWrite = 128U << 10;  // from here on a pipe is cheaper than a second copy
constexpr int kLargeWriteMemory = 4;
constexpr int kWakeSignal = SIGURG;  // ignored by default, so it can never end the process
constexpr auto kPoll = std::chrono::microseconds(50);
constexpr int kPriority = -10;
constexpr unsigned kBacklog = 3;  // so many requests that were there at once want a second reader
constexpr useconds_t kWatchPeriod = 200;
constexpr int kIdlePeriods = 100;   // then the watchdog sleeps until something happens
constexpr int kStuckPeriods = 400;  // all threads wait for disks so long: more are needed
constexpr std::size_t kMostThreads = 512;

void do_nothing(int) {}

char* map_buffer(std::size_t size) noexcept {
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<char*>(memory);
}

// True when the thread sleeps in the kernel. A thread that has just taken a request off the device runs.
bool is_asleep(pid_t tid) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", static_cast<int>(tid));
  const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  char text[256];
  const ssize_t size = fd ? ::read(fd.get(), text, sizeof text - 1) : -1;
  if (size <= 0) return true;  // it has ended
  text[size] = 0;
  const char* const after = std::strrchr(text, ')');
  return after != nullptr && after[1] == ' ' && after[2] == 'S';
}

// A request that waits for the disk as a rule: somebody else reads meanwhile.
bool blocks(std::uint32_t opcode) noexcept {
  switch (opcode) {
    case fuse::FSYNC:
    case fuse::FSYNCDIR:
    case fuse::SYNCFS:
    case fuse::FALLOCATE:
    case fuse::COPY_FILE_RANGE:
    case fuse::COPY_FILE_RANGE_64:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool may_give_back(std::uint32_t opcode) noexcept {
  switch (opcode) {
    case fuse::RELEASE:
    case fuse::UNLINK:
    case fuse::RENAME:
    case fuse::RENAME2:
    case fuse::SETATTR:
    case fuse::OPEN:  // with O_TRUNC
      return true;
    default:
      return false;
  }
}

Request::~Request() {
  pull();  // the pipe must be empty for the next one
  if (answered_) return;
  std::fprintf(stderr, "vreserve: broken invariant: request %u was never answered\n", header_.opcode);
  std::abort();
}

const char* Request::text(std::size_t offset) const noexcept {
  if (offset >= size_ || std::memchr(body_ + offset, 0, size_ - offset) == nullptr) return "";
  return body_ + offset;
}

ssize_t Request::splice_to(int fd, std::size_t size, std::int64_t offset) noexcept {
  size = std::min(size, piped_);
  std::size_t moved = 0;
  while (moved < size) {
    loff_t at = offset + static_cast<std::int64_t>(moved);
    const ssize_t part = ::splice(worker_->pipe_out.get(), nullptr, fd, &at, size - moved, SPLICE_F_MOVE);
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) {
      if (moved == 0 && part < 0) return -errno;
      break;
    }
    moved += static_cast<std::size_t>(part);
    piped_ -= static_cast<std::size_t>(part);
  }
  return static_cast<ssize_t>(moved);
}

void Request::pull() noexcept {
  while (piped_ > 0) {
    const ssize_t part = ::read(worker_->pipe_out.get(), body_ + size_, piped_);
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) {
      std::fprintf(stderr, "vreserve: broken invariant: the pipe lost a part of a write\n");
      std::abort();
    }
    size_ += static_cast<std::size_t>(part);
    piped_ -= static_cast<std::size_t>(part);
  }
}

Kept Request::keep() noexcept {
  pull();
  Kept kept;
  kept.message.resize(sizeof header_ + size_);
  std::memcpy(kept.message.data(), &header_, sizeof header_);
  if (size_ > 0) std::memcpy(kept.message.data() + sizeof header_, body_, size_);
  kept.fd = fd_;
  defer();
  return kept;
}

void Request::reply(const void* data, std::size_t size) noexcept {
  const iovec part{const_cast<void*>(data), size};
  reply(std::span(&part, size == 0 ? 0 : 1));
}

void Request::reply(std::span<const iovec> parts) noexcept {
  answered_ = true;
  unheard_ = !device_.answer(fd_, header_.unique, 0, parts);
}

void Request::fail(int error) noexcept {
  answered_ = true;
  failure_ = error;
  device_.answer(fd_, header_.unique, -error, {});
}

Device::Device() {
  struct sigaction action {};
  action.sa_handler = do_nothing;  // without SA_RESTART: read(2) of the device comes back
  ::sigaction(kWakeSignal, &action, nullptr);
}

Device::~Device() { stop(); }

void Device::serve(Handler handler, std::function<void()> ended) noexcept {
  handler_ = std::move(handler);
  ended_ = std::move(ended);
  const unsigned count =
      options_.threads != 0 ? options_.threads : std::clamp(std::thread::hardware_concurrency() * 4, 8U, 32U);
  running_ = count;
  for (unsigned i = 0; i < count; ++i) add_thread();
  most_readers_ = std::clamp(std::thread::hardware_concurrency(), 1U, count);
  poll_ = std::thread::hardware_concurrency() > 1 ? kPoll : std::chrono::microseconds(0);
  promote();
  for (auto& worker : threads_) worker->thread = std::thread([this, w = worker.get()] { run(*w); });
  watchdog_ = std::thread([this] { watch(); });
}

void Device::add_thread() noexcept {
  const auto clone = [this](bool blocking) -> Fd {
    Fd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC | (blocking ? 0 : O_NONBLOCK)));
    std::uint32_t from = static_cast<std::uint32_t>(fd_.get());
    if (fd && ::ioctl(fd.get(), fuse::kIocClone, &from) != 0) fd.reset();
    return fd;
  };
  auto worker = std::make_shared<Worker>();
  worker->blocking = clone(true);
  if (!worker->blocking) worker->blocking = Fd(::dup(fd_.get()));
  worker->polling = clone(false);
  if (int ends[2]; ::pipe2(ends, O_CLOEXEC) == 0) {
    worker->pipe_out = Fd(ends[0]);
    worker->pipe_in = Fd(ends[1]);
    if (::fcntl(ends[1], F_SETPIPE_SZ, 2 * kMaxWrite) < 0) worker->pipe_in.reset();  // an ordinary user's limit
  }
  worker->buffer = map_buffer(kBuffer) + kPage - kBeforePayload;
  worker->reply_buffer = map_buffer(kMaxWrite + kPage);
  enlist(worker);
  threads_.push_back(std::move(worker));
}

// As many again.
void Device::grow() noexcept {
  for (std::size_t left = threads_.size(); left > 0 && threads_.size() < kMostThreads; --left) {
    unsigned running = running_.load();
    do {
      if (running == 0) return;  // the last one has ended
    } while (!running_.compare_exchange_weak(running, running + 1));
    add_thread();
    Worker* const worker = threads_.back().get();
    try {
      worker->thread = std::thread([this, worker] { run(*worker); });
    } catch (const std::system_error&) {  // the system has no more of them
      delist(*worker);
      if (running_.fetch_sub(1) == 1) ended_();
      return;
    }
  }
}

bool Device::somebody_reads() const noexcept {
  return std::ranges::any_of(threads_, [](const auto& worker) { return worker->reading.load(); });
}

ssize_t Device::take(Worker& worker, int fd, std::size_t& piped) noexcept {
  constexpr std::size_t size = kBuffer - kPage + kBeforePayload;
  piped = 0;
  if (!worker.pipe_in || large_writes_.load(std::memory_order_relaxed) <= 0) {
    return checked(::read(fd, worker.buffer, size));
  }
  const ssize_t whole = checked(::splice(fd, nullptr, worker.pipe_in.get(), nullptr, size, 0));
  if (whole <= 0) return whole;
  // The header and the fixed part of a WRITE; anything else is read whole.
  const auto fixed = std::min<std::size_t>(static_cast<std::size_t>(whole), kBeforePayload);
  std::size_t got = 0;
  std::size_t wanted = fixed;
  while (got < wanted) {
    const ssize_t part = ::read(worker.pipe_out.get(), worker.buffer + got, wanted - got);
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) return -EIO;
    got += static_cast<std::size_t>(part);
    const auto& header = *reinterpret_cast<const fuse::InHeader*>(worker.buffer);
    if (got == fixed && header.opcode != fuse::WRITE) wanted = static_cast<std::size_t>(whole);
  }
  piped = static_cast<std::size_t>(whole) - got;
  return static_cast<ssize_t>(got);
}

ssize_t Device::next_request(Worker& worker, int& fd, std::size_t& piped) noexcept {
  using Clock = std::chrono::steady_clock;
  fd = worker.polling ? worker.polling.get() : worker.blocking.get();
  ssize_t got = take(worker, fd, piped);
  worker.at_once = got > 0 ? worker.at_once + 1 : 0;
  if (got != -EAGAIN) return got;
  const auto until = Clock::now() + poll_;
  do {
    got = take(worker, fd, piped);
    if (got != -EAGAIN) return got;
  } while (!stopping_.load(std::memory_order_relaxed) && Clock::now() < until);
  // One thread sleeps in the kernel, any other waits to be promoted.
  for (int readers = readers_.load(); readers > 1;) {
    if (readers_.compare_exchange_weak(readers, readers - 1)) return -EAGAIN;
  }
  fd = worker.blocking.get();
  return take(worker, fd, piped);
}

bool Device::resume_reading() noexcept {
  int nobody = 0;
  return readers_.compare_exchange_strong(nobody, 1);
}

void Device::promote() noexcept {
  readers_.fetch_add(1);
  promotions_.release();
}

// Nobody reads while the only reader's request blocks: it is not known beforehand which one will.
void Device::watch() noexcept {
  std::uint64_t seen = 0;
  int idle = 0;
  int stuck = 0;
  while (!stopping_.load(std::memory_order_relaxed)) {
    ::usleep(kWatchPeriod);
    const std::uint64_t taken = taken_.load();
    if (taken != seen) {
      seen = taken;
      idle = stuck = 0;
      continue;
    }
    if (readers_.load() == 0) {
      promote();
      idle = 0;
    } else if (!somebody_reads()) {  // the promoted one is not there: all of them are at a request
      idle = 0;
      if (++stuck > kStuckPeriods) {
        stuck = 0;
        grow();
      }
    } else if (++idle > kIdlePeriods) {
      // Everything is quiet: somebody sleeps in read(2), and says when it has a request.
      watching_.store(false);
      if (taken_.load() == seen && !stopping_.load()) watching_.wait(false);
      idle = 0;
    }
  }
}

void Device::begin(Worker& worker, std::uint32_t opcode) noexcept {
  worker.gives_back.store(may_give_back(opcode), std::memory_order_relaxed);
  worker.pool.store(kNoPool, std::memory_order_relaxed);
  worker.turn.store(worker.turn.load(std::memory_order_relaxed) + 1);  // before anything that others may freeze
  worker.reading.store(false);
}

void Device::end(Worker& worker) noexcept {
  worker.turn.store(worker.turn.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void Device::run(Worker& worker) noexcept {
  ::pthread_setname_np(::pthread_self(), "vreserve-data");
  sigset_t mask;
  ::sigfillset(&mask);
  ::sigdelset(&mask, kWakeSignal);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  ::unshare(CLONE_FS);  // the umask becomes this thread's own
  ::umask(0);
  worker.tid = static_cast<pid_t>(::syscall(SYS_gettid));
  // Everybody's I/O waits for these threads; as an ordinary user they stay as they are.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(worker.tid.load()), kPriority);
  bool reads = false;
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (!reads) {
      promotions_.acquire();
      reads = true;
      continue;
    }
    worker.reading.store(true);
    int fd = -1;
    std::size_t piped = 0;
    const ssize_t size = next_request(worker, fd, piped);
    if (size < 0) {
      worker.reading.store(false);
      if (size == -EAGAIN) reads = false;
      if (size == -EINTR || size == -EAGAIN || size == -ENOENT) continue;
      break;  // ENODEV: the mount is gone
    }
    const auto& header = *reinterpret_cast<const fuse::InHeader*>(worker.buffer);
    begin(worker, header.opcode);
    taken_.fetch_add(1);  // before watching_ is looked at: the watchdog does it the other way round
    if (!watching_.load() && !watching_.exchange(true)) watching_.notify_one();
    const int left = readers_.fetch_sub(1) - 1;
    const bool backlog = worker.at_once >= kBacklog && left < static_cast<int>(most_readers_) - 1;
    if ((left == 0 && blocks(header.opcode)) || backlog) {
      worker.at_once = 0;
      promote();
    }
    if (header.opcode == fuse::WRITE && header.len >= kLargeWrite) {
      large_writes_.store(kLargeWriteMemory, std::memory_order_relaxed);
    } else if (large_writes_.load(std::memory_order_relaxed) > 0) {
      large_writes_.fetch_sub(1, std::memory_order_relaxed);
    }
    served_[header.opcode % fuse::kOpcodes].fetch_add(1, std::memory_order_relaxed);
    {
      Request request(*this, fd, header, worker.buffer + sizeof header, static_cast<std::size_t>(size) - sizeof header,
                      &worker, piped);
      handler_(request);
    }
    end(worker);
    reads = resume_reading();
  }
  promotions_.release();  // the next one sees the same end
  worker.reading = false;
  delist(worker);
  worker.ended.store(true, std::memory_order_release);
  if (running_.fetch_sub(1) == 1) ended_();
}

void Device::serve_from(Transport& transport, Handler handler) noexcept {
  transport_ = &transport;
  handler_ = std::move(handler);
}

void Device::serve_one(Worker& worker, const fuse::InHeader& header, char* body, std::size_t size) noexcept {
  begin(worker, header.opcode);
  served_[header.opcode % fuse::kOpcodes].fetch_add(1, std::memory_order_relaxed);
  {
    Request request(*this, -1, header, body, size, &worker);
    handler_(request);
  }
  end(worker);
}

void Device::stop() noexcept {
  stopping_ = true;
  watching_ = true;
  watching_.notify_all();
  if (watchdog_.joinable()) watchdog_.join();
  promotions_.release();
  for (auto& worker : threads_) {
    while (worker->thread.joinable()) {
      const pid_t tid = worker->tid.load();
      // Again and again: a signal that comes between the check and read(2) is lost.
      if (!worker->ended.load(std::memory_order_acquire)) {
        if (tid != 0) ::syscall(SYS_tgkill, ::getpid(), tid, kWakeSignal);
        ::usleep(1000);
        continue;
      }
      worker->thread.join();
    }
    ::munmap(worker->buffer + kBeforePayload - kPage, kBuffer);
    ::munmap(worker->reply_buffer, kMaxWrite + kPage);
  }
  threads_.clear();
  fd_.reset();
}

Enlisted::Enlisted(Device& device) noexcept : device_(device), replies_(new char[kMaxWrite + kPage]) {
  worker_->tid = static_cast<pid_t>(::syscall(SYS_gettid));
  worker_->reply_buffer = replies_.get();
  device_.enlist(worker_);
}

Enlisted::~Enlisted() { device_.delist(*worker_); }

void Device::enlist(std::shared_ptr<Worker> worker) noexcept {
  const std::lock_guard guard(workers_mutex_);
  workers_.push_back(std::move(worker));
}

void Device::delist(const Worker& worker) noexcept {
  const std::lock_guard guard(workers_mutex_);
  std::erase_if(workers_, [&worker](const auto& known) { return known.get() == &worker; });
}

std::vector<Device::UnderWay> Device::under_way() noexcept {
  std::vector<UnderWay> busy;
  const std::lock_guard guard(workers_mutex_);
  for (const auto& worker : workers_) {
    const std::uint64_t turn = worker->turn.load();
    if (turn % 2 == 1) busy.push_back({worker, turn, worker->pool.load()});
  }
  return busy;
}

bool Device::quiesce(const Worker* self, const std::function<bool(std::int64_t)>& concerns) noexcept {
  bool all = true;
  for (const auto& [worker, turn, first] : under_way()) {
    if (worker.get() == self) continue;
    while (worker->turn.load(std::memory_order_acquire) == turn) {
      const std::int64_t pool = worker->pool.load();
      // It may have begun another one since, which is none of ours.
      if (pool != kNoPool && !concerns(pool) && worker->turn.load() == turn) {
        all = false;
        break;
      }
      ::usleep(50);
    }
  }
  return all;
}

void Device::settle(Worker* self, std::int64_t pool) noexcept {
  // A thread that waits here holds nothing and refunds nothing, so two of them never wait for each other.
  const bool gives_back = self != nullptr && self->gives_back.exchange(false);
  if (transport_ != nullptr) transport_->settle(gives_back);
  std::vector<std::shared_ptr<Worker>> others;
  {
    const std::lock_guard guard(workers_mutex_);
    for (const auto& worker : workers_) {
      if (worker.get() != self) others.push_back(worker);
    }
  }
  for (const auto& worker : others) {
    const std::uint64_t turn = worker->turn.load(std::memory_order_acquire);
    if (turn % 2 == 0) {
      // Asleep: it had taken nothing. Running: it polls, or carries a request that it has not yet named.
      while (worker->turn.load(std::memory_order_acquire) == turn && worker->reading.load(std::memory_order_acquire) &&
             !is_asleep(worker->tid.load())) {
        ::sched_yield();
      }
    }
    const std::uint64_t now = worker->turn.load(std::memory_order_acquire);
    const auto is_elsewhere = [&worker, pool] {
      const std::int64_t its = worker->pool.load(std::memory_order_acquire);
      return its != kNoPool && its != pool;
    };
    while (now % 2 == 1 && worker->gives_back.load(std::memory_order_acquire) && !is_elsewhere() &&
           worker->turn.load(std::memory_order_acquire) == now) {
      ::usleep(20);
    }
  }
}

}  // namespace vreserve
