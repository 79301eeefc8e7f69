#include "fuse_loop.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "device.h"

// libfuse's own names, as fuse_lowlevel.h of version 2.9 has them.
extern "C" {
struct fuse;
struct fuse_session;
struct fuse_chan;
struct fuse_chan_ops {
  int (*receive)(struct fuse_chan** chan, char* buffer, std::size_t size);
  int (*send)(struct fuse_chan* chan, const struct iovec* parts, std::size_t count);
  void (*destroy)(struct fuse_chan* chan);
};
}

namespace vreserve {

namespace {

constexpr int kWakeSignal = SIGURG;  // Device ignores it, and read(2) comes back
constexpr std::size_t kReceivers = 2;
constexpr std::size_t kMostOwn = 65536;
constexpr std::uint64_t kKeptSeconds = 1;  // as long as a name; what is taken away to reclaim shows for no longer
// A race at the edge is over long before; what takes longer is no reason to wait.
constexpr auto kLongestSettle = std::chrono::seconds(1);

struct Libfuse {
  fuse_session* (*get_session)(struct fuse*) = nullptr;
  fuse_chan* (*next_chan)(fuse_session*, fuse_chan*) = nullptr;
  fuse_chan* (*chan_new)(fuse_chan_ops*, int, std::size_t, void*) = nullptr;
  std::size_t (*chan_bufsize)(fuse_chan*) = nullptr;
  int (*chan_fd)(fuse_chan*) = nullptr;
  int (*chan_recv)(fuse_chan**, char*, std::size_t) = nullptr;
  void (*process)(fuse_session*, const char*, std::size_t, fuse_chan*) = nullptr;
  int (*exited)(fuse_session*) = nullptr;
  void (*exit)(fuse_session*) = nullptr;
};

// A thread; written by it alone, but for `thread`.
struct Member {
  std::atomic<std::uint64_t> turn{0};  // odd while a request is being served
  std::atomic<bool> gives_back{false};
  std::atomic<std::uint32_t> opcode{0};
  std::atomic<std::uint64_t> unique{0};
  std::atomic<std::uint64_t> handle{0};  // of READ, WRITE, FLUSH and the like
  std::string onto;  // the new name of a RENAME; guarded by Loop::mutex_
  std::uint64_t looked_in = 0;  // of a LOOKUP in `/.vreserve`; its thread's alone
  std::string looked_up;
  std::atomic<bool> receiving{false};
  std::binary_semaphore turns{0};  // to receive
  std::atomic<pid_t> tid{0};
  std::thread thread;
};

thread_local const Member* current = nullptr;

// libfuse passes times on only when both are set. One alone gets the other beside it, as a time that nobody sets: it means
// that this one stays (`OMITTED_MS` in src/engine/portable/binding.ts).
void name_both_times(char* message, std::size_t size) noexcept {
  constexpr std::uint64_t kOmitted = 1ULL << 40;
  if (size < sizeof(fuse::InHeader) + sizeof(fuse::SetattrIn)) return;
  auto& set = *reinterpret_cast<fuse::SetattrIn*>(message + sizeof(fuse::InHeader));
  const bool accessed = (set.valid & fuse::FATTR_ATIME) != 0;
  const bool changed = (set.valid & fuse::FATTR_MTIME) != 0;
  if (accessed == changed) return;
  set.valid |= fuse::FATTR_ATIME | fuse::FATTR_MTIME;
  (accessed ? set.mtime : set.atime) = kOmitted;
  (accessed ? set.mtimensec : set.atimensec) = 0;
}

// The kernel asks it before every write, and there never are any here.
bool asks_for_capabilities(const char* message, std::size_t size) noexcept {
  constexpr std::string_view name = "security.capability";
  const std::size_t at = sizeof(fuse::InHeader) + sizeof(fuse::GetxattrIn);
  return size > at + name.size() && std::string_view(message + at, name.size()) == name && message[at + name.size()] == 0;
}

// Every request with a handle in the beginning of its body.
bool has_handle(std::uint32_t opcode) noexcept { return opcode == fuse::WRITE || opcode == fuse::FLUSH; }

class Loop {
 public:
  Libfuse lib;
  std::atomic<FuseLoopHost*> host{nullptr};
  std::atomic<bool> runs{false};

  // fuse_loop_mt; returns when the mount is gone.
  int run(struct fuse* fuse) noexcept;
  void stop() noexcept;
  void settle(const std::function<unsigned()>& excused) noexcept;
  [[nodiscard]] bool renames_onto(std::string_view name) noexcept;
  int send(const iovec* parts, std::size_t count) noexcept;

 private:
  void promote() noexcept;  // one more receives; mutex_ must be held
  void wait_to_receive(Member& member) noexcept;
  void work(Member& member) noexcept;
  void serve(Member& member, fuse::InHeader& header, char* message, std::size_t size) noexcept;
  void know_own(fuse::EntryOut& entry) noexcept;
  void rename_own(Member& member, fuse::InHeader& header, char* message, std::size_t& size) noexcept;
  void refuse(std::uint64_t unique, int error) noexcept;
  void interrupt(std::uint64_t unique) noexcept;
  void note(Member& member, const fuse::InHeader& header, std::size_t size) noexcept;

  fuse_session* session_ = nullptr;
  fuse_chan* chan_ = nullptr;   // requests come from it
  fuse_chan* reply_ = nullptr;  // and answers go to this one
  int fd_ = -1;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;  // guards what follows; a leaf
  std::condition_variable changed_;
  std::size_t receivers_ = 0;  // threads that wait for a request, or are about to
  std::vector<Member*> idle_;  // the last to come is the first to go on: its memory is in the caches
  std::size_t running_ = 0;
  bool ending_ = false;
  // Of requests that were interrupted before the thread that has them could say so. A ring.
  std::array<std::uint64_t, 64> early_{};
  std::size_t next_early_ = 0;
  std::vector<std::shared_ptr<Member>> members_;
  // The directories of `/.vreserve` by libfuse's numbers, which are never used twice, and the files in them that are known.
  std::unordered_map<std::uint64_t, std::unordered_set<std::string>> own_;
};

// Never destroyed: its threads outlive the exit of the process's main one.
Loop& loop() noexcept {
  static Loop* const only = new Loop;
  return *only;
}

int send_reply(fuse_chan*, const iovec* parts, std::size_t count) { return loop().send(parts, count); }

// The attributes that an answer carries; null.
fuse::Attr* attributes_in(std::uint32_t opcode, const iovec& part) noexcept {
  switch (opcode) {
    case fuse::LOOKUP:
    case fuse::CREATE:
    case fuse::MKNOD:
    case fuse::MKDIR:
    case fuse::SYMLINK:
    case fuse::LINK:
      return part.iov_len >= sizeof(fuse::EntryOut) ? &static_cast<fuse::EntryOut*>(part.iov_base)->attr : nullptr;
    case fuse::GETATTR:
    case fuse::SETATTR:
      return part.iov_len >= sizeof(fuse::AttrOut) ? &static_cast<fuse::AttrOut*>(part.iov_base)->attr : nullptr;
    default:
      return nullptr;
  }
}

// What Portable says by the device number, which is taken away.
std::uint32_t told_by(fuse::Attr& attr) noexcept {
  return S_ISREG(attr.mode) || S_ISDIR(attr.mode) ? std::exchange(attr.rdev, 0) : 0;
}

void let_keep(std::uint32_t opcode, fuse::Attr& attr) noexcept {
  const bool alone = opcode == fuse::GETATTR || opcode == fuse::SETATTR;
  char* const at = reinterpret_cast<char*>(&attr);
  std::uint64_t& valid = alone ? reinterpret_cast<fuse::AttrOut*>(at - offsetof(fuse::AttrOut, attr))->attr_valid
                               : reinterpret_cast<fuse::EntryOut*>(at - offsetof(fuse::EntryOut, attr))->attr_valid;
  valid = kKeptSeconds;
}

int Loop::send(const iovec* parts, std::size_t count) noexcept {
  FuseLoopHost* const to = host.load();
  const std::uint32_t opcode = current == nullptr ? 0 : current->opcode.load();
  if (fuse::Attr* const attr = count == 2 ? attributes_in(opcode, parts[1]) : nullptr; attr != nullptr) {
    const std::uint32_t told = told_by(*attr);
    if (told == kMayKeep) let_keep(opcode, *attr);
    if (told == kOwn && opcode == fuse::LOOKUP) know_own(*static_cast<fuse::EntryOut*>(parts[1].iov_base));
  }
  fuse::OpenOut* open = nullptr;
  if (count == 2 && opcode == fuse::OPEN && parts[1].iov_len >= sizeof(fuse::OpenOut)) {
    open = static_cast<fuse::OpenOut*>(parts[1].iov_base);
  } else if (count == 2 && opcode == fuse::CREATE && parts[1].iov_len >= sizeof(fuse::EntryOut) + sizeof(fuse::OpenOut)) {
    open = reinterpret_cast<fuse::OpenOut*>(static_cast<char*>(parts[1].iov_base) + sizeof(fuse::EntryOut));
  }
  if (open != nullptr) open->open_flags = to->open_flags(open->fh);
  ssize_t sent = 0;
  do {
    sent = ::writev(fd_, parts, static_cast<int>(count));
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

void Loop::promote() noexcept {
  ++receivers_;
  if (!idle_.empty()) {
    Member* const member = idle_.back();
    idle_.pop_back();
    return member->turns.release();
  }
  auto member = std::make_shared<Member>();
  members_.push_back(member);
  ++running_;
  member->thread = std::thread([this, member] { work(*member); });
}

// More than a few that wait would take turns, each with cold caches: the kernel wakes who waits longest.
void Loop::wait_to_receive(Member& member) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (ending_) return;
    if (receivers_ < kReceivers) {
      ++receivers_;
      return;
    }
    idle_.push_back(&member);
  }
  member.turns.acquire();
}

void Loop::note(Member& member, const fuse::InHeader& header, std::size_t size) noexcept {
  if (header.opcode == fuse::RENAME) {  // two names follow, each with its NUL
    const char* const names = reinterpret_cast<const char*>(&header + 1) + sizeof(fuse::RenameIn);
    const std::string_view both(names, size - sizeof header - sizeof(fuse::RenameIn));
    const std::string_view second = both.substr(both.find('\0') + 1);
    const std::lock_guard guard(mutex_);
    member.onto = second.substr(0, second.find('\0'));
  }
  member.opcode = header.opcode;
  member.unique = header.unique;
  // The handle is the first field of these.
  member.handle = has_handle(header.opcode) ? *reinterpret_cast<const std::uint64_t*>(&header + 1) : 0;
  member.gives_back = may_give_back(header.opcode);
  member.turn.fetch_add(1);
  if (member.handle == 0) return;
  {
    const std::lock_guard guard(mutex_);
    const auto found = std::ranges::find(early_, header.unique);
    if (found == early_.end()) return;
    *found = 0;
  }
  host.load()->interrupted(member.handle, header.opcode);
}

void Loop::work(Member& member) noexcept {
  ::pthread_setname_np(::pthread_self(), "vreserve-fuse");
  sigset_t mask;
  ::sigfillset(&mask);
  ::sigdelset(&mask, kWakeSignal);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  member.tid = static_cast<pid_t>(::syscall(SYS_gettid));
  current = &member;
  const std::size_t size = lib.chan_bufsize(chan_);
  auto* const buffer = static_cast<char*>(std::malloc(size));
  if (buffer == nullptr) std::abort();
  while (!stopping_ && lib.exited(session_) == 0) {
    fuse_chan* from = chan_;
    member.receiving = true;
    const int got = lib.chan_recv(&from, buffer, size);
    member.receiving = false;
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got <= 0) break;
    auto& header = *reinterpret_cast<fuse::InHeader*>(buffer);
    note(member, header, static_cast<std::size_t>(got));
    const bool is_forget = header.opcode == fuse::FORGET || header.opcode == fuse::BATCH_FORGET;
    if (!is_forget) {  // they come in bursts and are quickly done
      const std::lock_guard guard(mutex_);
      if (--receivers_ == 0) promote();
    }
    if (header.opcode == fuse::GETXATTR && asks_for_capabilities(buffer, static_cast<std::size_t>(got))) {
      refuse(header.unique, EOPNOTSUPP);
    } else {
      serve(member, header, buffer, static_cast<std::size_t>(got));
    }
    member.turn.fetch_add(1, std::memory_order_release);
    if (!is_forget) wait_to_receive(member);
  }
  std::free(buffer);
  if (!closed_.exchange(true)) host.load()->closing();
  const std::lock_guard guard(mutex_);
  ending_ = true;
  for (Member* other : idle_) other->turns.release();  // they see the same end
  idle_.clear();
  --running_;
  changed_.notify_all();
}

void Loop::know_own(fuse::EntryOut& entry) noexcept {
  const std::lock_guard guard(mutex_);
  if (!S_ISDIR(entry.attr.mode)) {
    entry.entry_valid = entry.entry_valid_nsec = 0;
    if (!current->looked_up.empty()) own_[current->looked_in].insert(current->looked_up);
    return;
  }
  if (own_.size() >= kMostOwn) own_.clear();  // those that are in use are looked up again within a second
  own_[entry.nodeid];
}

void Loop::rename_own(Member& member, fuse::InHeader& header, char* message, std::size_t& size) noexcept {
  const std::string name(message + sizeof header, ::strnlen(message + sizeof header, size - sizeof header));
  const std::lock_guard guard(mutex_);
  const auto directory = own_.find(header.nodeid);
  member.looked_up.clear();
  if (directory == own_.end()) return;
  member.looked_in = header.nodeid;
  member.looked_up = name;
  if (!directory->second.contains(name)) return;  // it may be a directory, which stays the same
  const int more = std::snprintf(message + sizeof header + name.size(), 32, "%c%llx", kLookedUp,
                                 static_cast<unsigned long long>(header.unique));
  size += static_cast<std::size_t>(more);
  header.len = static_cast<std::uint32_t>(size);
}

void Loop::serve(Member& member, fuse::InHeader& header, char* message, std::size_t size) noexcept {
  if (header.opcode == fuse::LOOKUP) rename_own(member, header, message, size);
  if (header.opcode == fuse::SETATTR) name_both_times(message, size);
  if (header.opcode == fuse::INTERRUPT) interrupt(reinterpret_cast<const fuse::InterruptIn*>(&header + 1)->unique);
  lib.process(session_, message, size, reply_);
}

void Loop::refuse(std::uint64_t unique, int error) noexcept {
  const fuse::OutHeader header{sizeof header, -error, unique};
  const iovec part{const_cast<fuse::OutHeader*>(&header), sizeof header};
  send(&part, 1);
}

void Loop::interrupt(std::uint64_t unique) noexcept {
  std::uint64_t handle = 0;
  std::uint32_t opcode = 0;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& member : members_) {
      if (member->turn.load() % 2 == 0 || member->unique.load() != unique) continue;
      handle = member->handle;
      opcode = member->opcode;
    }
    if (opcode == 0) early_[next_early_++ % early_.size()] = unique;
  }
  if (handle != 0) host.load()->interrupted(handle, opcode);
}

int Loop::run(struct fuse* fuse) noexcept {
  session_ = lib.get_session(fuse);
  chan_ = lib.next_chan(session_, nullptr);
  fd_ = lib.chan_fd(chan_);
  // A process that the daemon has started would keep the mount alive beyond its death, and with it whoever waits for an answer.
  ::fcntl(fd_, F_SETFD, FD_CLOEXEC);
  // Never freed: libfuse gives no way to do it without closing the descriptor.
  static fuse_chan_ops ops{nullptr, send_reply, nullptr};
  reply_ = lib.chan_new(&ops, fd_, lib.chan_bufsize(chan_), nullptr);
  runs = true;
  std::unique_lock lock(mutex_);
  promote();
  changed_.wait(lock, [this] { return running_ == 0; });
  for (const auto& member : members_) member->thread.join();
  members_.clear();
  lock.unlock();
  host.load()->ended();
  // libfuse would unmount what is at the mountpoint now, which may be somebody else's. The process is about to end.
  while (stopping_) ::pause();
  return 0;
}

void Loop::stop() noexcept {
  if (!runs || stopping_.exchange(true)) return;
  const std::lock_guard guard(mutex_);
  if (running_ == 0) return;
  for (bool any = true; any;) {
    any = false;
    for (const auto& member : members_) {
      if (!member->receiving || member->tid == 0) continue;
      // Again and again: a signal that comes just before read(2) is lost.
      ::syscall(SYS_tgkill, ::getpid(), member->tid.load(), kWakeSignal);
      any = true;
    }
    if (any) ::usleep(1000);
  }
  // In one step, since others may still answer: nobody may get the number for another file.
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ::dup3(nothing.get(), fd_, O_CLOEXEC);
}

bool Loop::renames_onto(std::string_view name) noexcept {
  const std::lock_guard guard(mutex_);
  return std::ranges::any_of(members_, [name](const auto& member) {
    return member->turn.load() % 2 == 1 && member->opcode == fuse::RENAME && member->onto == name;
  });
}

void Loop::settle(const std::function<unsigned()>& excused) noexcept {
  std::vector<std::pair<std::shared_ptr<Member>, std::uint64_t>> busy;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& member : members_) {
      const std::uint64_t turn = member->turn.load();
      if (turn % 2 == 1 && member->gives_back) busy.emplace_back(member, turn);
    }
  }
  const auto until = std::chrono::steady_clock::now() + kLongestSettle;
  for (;;) {
    std::erase_if(busy, [](const auto& each) { return each.first->turn.load(std::memory_order_acquire) != each.second; });
    if (busy.size() <= excused() || std::chrono::steady_clock::now() > until) return;
    ::usleep(20);
  }
}

template <typename Function>
bool find(void* library, const char* name, Function& function) noexcept {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

std::string claim_fuse_loop(const std::string& library) noexcept {
  // Symbols are looked for in the order in which libraries became global.
  Dl_info own{};
  if (::dladdr(reinterpret_cast<void*>(&claim_fuse_loop), &own) == 0) return "cannot find its own library";
  if (::dlopen(own.dli_fname, RTLD_LAZY | RTLD_GLOBAL | RTLD_NOLOAD) == nullptr) return ::dlerror();
  void* const handle = ::dlopen(library.c_str(), RTLD_LAZY | RTLD_GLOBAL);
  if (handle == nullptr) return ::dlerror();
  Libfuse& lib = loop().lib;
  const bool whole = find(handle, "fuse_get_session", lib.get_session) &&
                     find(handle, "fuse_session_next_chan", lib.next_chan) &&
                     find(handle, "fuse_chan_new", lib.chan_new) && find(handle, "fuse_chan_bufsize", lib.chan_bufsize) &&
                     find(handle, "fuse_chan_fd", lib.chan_fd) && find(handle, "fuse_chan_recv", lib.chan_recv) &&
                     find(handle, "fuse_session_process", lib.process) && find(handle, "fuse_session_exited", lib.exited) &&
                     find(handle, "fuse_session_exit", lib.exit);
  return whole ? "" : "it is no libfuse 2.9";
}

void set_fuse_loop_host(FuseLoopHost* host) noexcept { loop().host = host; }

bool fuse_loop_renames_onto(std::string_view name) noexcept { return loop().renames_onto(name); }

bool fuse_loop_runs() noexcept { return loop().runs; }

void stop_fuse_loop() noexcept { loop().stop(); }

void settle_fuse_loop(const std::function<unsigned()>& excused) noexcept { loop().settle(excused); }

}  // namespace vreserve

// In the place of libfuse's; see fuse_loop.h.
extern "C" __attribute__((visibility("default"))) int fuse_loop_mt(struct fuse* fuse) {
  return vreserve::loop().run(fuse);
}
