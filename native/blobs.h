// Blobs: files of /.vreserve whose data are those of a real file, which the control plane names when one is made or opened.
//
// Every lookup of a blob makes a node, so all opens of one node are opens of one file, by one process or by others that got
// it from there (/proc/PID/fd): they share one handle of the control plane and one real file, opened once. What is read and
// written with the handle is served as with any real file, by the operations of ops.h. A node is open for reading, and then
// passthrough where there is that, or for writing, and then never: what the kernel writes by itself could not be sealed.
//
// The control plane's answer may come on the JavaScript thread, and opening a file takes locks and the disk. So the request
// is kept, and served once more on a thread of its own, with the answer at hand; there it may be parked as any other.
//
// Locks, outermost first: Blob::life, then an inode's (see inodes.h); a Gate's, and mutex_, are leaves.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "executor.h"
#include "gate.h"
#include "inode_lock.h"
#include "inodes.h"
#include "virtual.h"

namespace vreserve {

class Engine;

// Of the kernel's handles those of blobs: what the control plane gives has 53 bits at most.
inline constexpr std::uint64_t kBlobBit = 1ULL << 63;

// What all opens of one node share.
struct Blob {
  explicit Blob(Inodes& table) noexcept : inodes(table) {}
  ~Blob() {
    if (real != nullptr) inodes.drop(*real);
  }
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;

  // Fixed once it is entered.
  Inodes& inodes;
  std::uint64_t id = 0;      // what the kernel calls it
  VirtualNode node;
  std::uint64_t handle = 0;  // what the control plane calls it
  Inode* real = nullptr;     // held
  bool for_writing = false;
  pid_t opener = 0;          // the process that opened it first; 0: not seen
  fuse::OpenOut reading{};   // what the kernel does with one more open for reading

  InodeLock life;
  std::uint32_t opens = 0;  // guarded by life; 0: it is closed

  Gate<Kept> gate;  // of what changes the content
};

class Blobs {
 public:
  explicit Blobs(Engine& engine) noexcept : engine_(engine) {}
  Blobs(const Blobs&) = delete;
  Blobs& operator=(const Blobs&) = delete;

  // Serves a request on a virtual node; what is no blob's goes to Virtual.
  void serve(Request& request) noexcept;
  // COPY_FILE_RANGE from a real file to a virtual node.
  void copy_into(Request& request, Inode& source) noexcept;
  // True for a blob, and a directory that takes files.
  [[nodiscard]] bool is_of_store(std::uint64_t nodeid) noexcept;

  // The mount is gone: what is open is closed, as the kernel did not ask for it, and the control plane is told.
  void close_all() noexcept;
  // Nothing is served on the thread of its own any more.
  void end() noexcept;

  [[nodiscard]] std::size_t count() noexcept;

 private:
  using Shared = std::shared_ptr<Blob>;

  // An answer to a request that is served once more.
  struct Answered {
    VirtualAnswer answer;
    pid_t opener = 0;
  };

  // --- blobs.cc: who is who, and data ------------------------------------------------------------------------------
  [[nodiscard]] Shared find(std::uint64_t id) noexcept;
  [[nodiscard]] Shared of_node(std::uint64_t nodeid) noexcept;
  void serve_handle(Request& request, std::uint64_t id) noexcept;
  void serve_node(Request& request, const VirtualNode& node) noexcept;
  // A request that changes the content: `make` makes the change and answers, or parks it, unless it may not be made (now).
  template <typename Make>
  static void change(Request& request, Blob& blob, Make make) noexcept {
    if (!blob.for_writing) return request.fail(EBADF);
    using Passage = Gate<Kept>::Passage;
    const Passage passage = blob.gate.enter([&request] { return request.keep(); });
    if (passage == Passage::waits) return;
    if (passage == Passage::shut) return request.fail(EPERM);  // as with what is sealed by fcntl(2)
    make();
    blob.gate.leave(!request.deferred(), loss(request));
  }
  // The errno of a write that tells that the content is not what was meant, or 0.
  [[nodiscard]] static int loss(const Request& request) noexcept;
  void set_attributes(Request& request, const VirtualNode& node) noexcept;
  // Fails the request, or parks it, or answers it if it asks for that alone.
  void resize(Request& request, const VirtualNode& node, Blob& blob, std::int64_t size) noexcept;
  // Of a node that is open for writing those of the real file, and how long they hold.
  [[nodiscard]] fuse::AttrOut attributes(const VirtualNode& node) noexcept;
  void reply_attributes(Request& request, const VirtualNode& node) noexcept;
  void reply_statx(Request& request, const VirtualNode& node) noexcept;
  void get_xattr(Request& request, const VirtualNode& node) noexcept;
  void unlink(Request& request, const VirtualNode& directory) noexcept;

  // --- blobs_open.cc: opening and closing --------------------------------------------------------------------------
  void create(Request& request, const VirtualNode& directory) noexcept;
  void open(Request& request, const VirtualNode& node) noexcept;
  // if_exists: what EEXIST is answered as.
  void ask(Request& request, VirtualQuestion&& question, int if_exists) noexcept;
  [[nodiscard]] std::shared_ptr<Answered> answer_of(std::uint64_t unique) noexcept;
  void forget_answer(std::uint64_t unique) noexcept;
  // Opens what was answered; `error` is an errno, or 0. False: the request was parked.
  [[nodiscard]] bool open_real(Request& request, const Answered& answered, bool for_writing, Shared& blob, int& error) noexcept;
  void reply_created(Request& request, const VirtualNode& directory, const Answered& answered) noexcept;
  void reply_opened(Request& request, VirtualNode node, const Answered& answered, const fuse::OpenIn& in) noexcept;
  // One more open of it. False: it is closed.
  [[nodiscard]] bool join(Request& request, Blob& blob, const fuse::OpenIn& in) noexcept;
  // Makes it known; gives the one that the node has already, or null when the mount is gone.
  [[nodiscard]] Shared enter(const Shared& blob) noexcept;
  void leave(const Blob& blob) noexcept;
  // Nobody ever had it.
  void undo(const Shared& blob) noexcept;
  void flush(Request& request, const Shared& blob) noexcept;
  void release(Request& request, const Shared& blob) noexcept;
  // One open less. release (may be null): the request that is answered then.
  void close(Blob& blob, Request* release) noexcept;
  // The control plane is told that nobody ever had the handle.
  void tell_refused(const VirtualNode& node, std::uint64_t handle) noexcept;
  // Serves what was kept, on the thread of its own.
  void resume(std::vector<Kept>&& kept) noexcept;

  Engine& engine_;
  std::shared_mutex mutex_;  // guards the maps, next_id_ and gone_; a leaf
  std::unordered_map<std::uint64_t, Shared> by_id_;
  std::unordered_map<std::uint64_t, Shared> by_node_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Answered>> answered_;  // by the request's number
  std::uint64_t next_id_ = 1;
  bool gone_ = false;

  std::unique_ptr<Enlisted> enlisted_;  // of its thread alone
  Executor thread_;
};

}  // namespace vreserve
