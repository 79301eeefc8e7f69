// The inode table: what the kernel knows by number, where each inode is in the backing, and what it is charged.
//
// An inode is found again by its parent directory and its name in it; directories keep a bounded cache of O_PATH
// descriptors, so a known file costs no descriptor. An inode that is open when its name goes is pinned by one of its own.
//
// Locks, in the order in which they are taken:
//   Inode::lock      size, hole, nlink, parent, name, flags, open. Exclusive wherever a size or a name changes, across the
//                    system call that changes it. Two at once: in address order. While one is held, those of its parents
//                    may be taken (shared), upward only.
//   Inodes::held_mutex_  the set of inodes that are open for writing, or unlinked and open.
//   Inodes::mutex_       nlookup, refs, the hash and the free list.
//   Inodes::dirs_mutex_  the cache of directory descriptors. A leaf.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "inode_lock.h"
#include "paths.h"
#include "sys.h"

namespace vreserve {

struct Inode;

// What all opens of one inode share. It exists while the inode is open.
struct OpenFile {
  Fd fd;                        // read-write where that can be had; none for passthrough readers alone
  bool fd_writable = false;
  std::uint32_t backing_id = 0;  // the kernel's id of the backing file; 0: none
  bool backing_writable = false;
  std::uint32_t opens = 0;
  std::uint32_t writers = 0;     // opens for writing
  bool blocks_changed = false;   // holes are measured again at the last close
  Fd pin;                        // O_PATH, once the name is gone
};

struct Inode {
  // Fixed while the inode is known.
  ino_t number = 0;
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  std::uint32_t type = 0;  // S_IFMT bits

  InodeLock lock;

  // Guarded by lock.
  Inode* parent = nullptr;  // holds a reference; of an unlinked inode the directory that it was in last
  char* name = nullptr;     // owned; null: no name is known (or the root)
  std::int64_t size = 0;    // what is charged: st_size of a regular file, else 0
  std::int64_t hole = 0;    // its part of the meter's holes
  std::uint32_t nlink = 0;
  bool unlinked = false;    // the last name is gone
  bool may_have_suid = false;
  std::unique_ptr<OpenFile> open;
  std::unique_ptr<struct stat> last;  // of a regular file that is unlinked and closed, and still known: what it was

  // Guarded by Inodes::mutex_.
  std::uint64_t nlookup = 0;
  std::uint32_t refs = 0;  // children, and users inside the daemon
  Inode* next = nullptr;   // in the bucket, or in the free list
  bool hashed = false;

  // The lot, remembered: epoch of the bindings in the upper half, lot in the lower; node is written first.
  std::atomic<std::uint64_t> lot_and_epoch{0};
  std::atomic<const PathNode*> node{nullptr};

  [[nodiscard]] std::uint64_t nodeid() const noexcept { return (std::uint64_t{generation} << 32) | (index + 1U); }
  [[nodiscard]] bool is_directory() const noexcept { return type == S_IFDIR; }
  [[nodiscard]] bool is_regular() const noexcept { return type == S_IFREG; }
};

// Where an inode is right now: a directory and a name in it, or (name empty) the descriptor itself.
// Valid while the inode's lock is held.
struct Location {
  SharedFd directory;
  int fd = -1;
  const char* name = "";
  int error = 0;
};

class Inodes {
 public:
  Inodes() noexcept;
  ~Inodes();
  Inodes(const Inodes&) = delete;
  Inodes& operator=(const Inodes&) = delete;

  // Makes the root inode of the directory; 0 or -errno.
  [[nodiscard]] int open_root(int fd) noexcept;
  [[nodiscard]] Inode& root() noexcept { return *root_; }
  [[nodiscard]] int root_fd() const noexcept { return root_fd_->get(); }
  [[nodiscard]] dev_t device() const noexcept { return device_; }

  // The inode of a nodeid that the kernel holds, or null for a number that it cannot hold.
  [[nodiscard]] Inode* find(std::uint64_t nodeid) noexcept;

  // An O_PATH descriptor of the directory. No lock may be held on `directory` itself. null with `error` set (positive).
  [[nodiscard]] SharedFd directory(Inode& directory, int& error) noexcept;
  // Where the inode is. Its lock must be held, shared or not.
  [[nodiscard]] Location locate(Inode& inode) noexcept;
  // stat of the inode; 0 or -errno (-ESTALE when its name holds another inode). Its lock must be held.
  [[nodiscard]] int stat(Inode& inode, struct stat& st) noexcept;

  // The inode that `st` describes, known by `parent` and `name` from now on if it was not known before. Takes one
  // reference of the kernel (lookups = 1) or of the daemon (lookups = 0).
  [[nodiscard]] Inode* learn(Inode& parent, std::string_view name, const struct stat& st, unsigned lookups) noexcept;
  // Makes an inode that has no name (O_TMPFILE); its lot is that of `parent`.
  [[nodiscard]] Inode* learn_unnamed(Inode& parent, const struct stat& st) noexcept;
  void forget(Inode& inode, std::uint64_t lookups) noexcept;
  void hold(Inode& inode) noexcept;
  void drop(Inode& inode) noexcept;

  // The inode's exclusive lock must be held.
  void set_name(Inode& inode, Inode* parent, std::string_view name) noexcept;
  void clear_name(Inode& inode) noexcept;  // keeps the parent
  // The last name is about to go: the backing may give the number to a new file at once, which must not be taken for
  // this one. rehash: it did not go after all.
  void unhash(Inode& inode) noexcept;
  void rehash(Inode& inode) noexcept;
  // No file has the number any more, and none can have got it: what is known by it was learned from an older look. No
  // lock may be held.
  void disown(ino_t number) noexcept;
  // An O_PATH descriptor of an inode that has no known name: kept as those of directories are. Its exclusive lock must be
  // held. Never of a regular file without names: that would hold its blocks.
  void keep_descriptor(Inode& inode, Fd&& fd) noexcept;
  // The cached descriptor is not to be used any more.
  void forget_directory(Inode& inode) noexcept;

  // Calls `visit` with the inode and then with each directory above it, while that says true. Takes locks upward; none
  // may be held on `inode`.
  template <typename Visit>
  void for_each_above(Inode& inode, Visit visit) noexcept {
    for (Inode* at = &inode; at != nullptr && visit(*at) && at != root_;) {
      at->lock.lock_shared();
      Inode* const parent = at->parent;
      at->lock.unlock_shared();
      at = parent;
    }
  }
  // True when `inode` is `top` or lies below it; locks as above.
  [[nodiscard]] bool is_below(Inode& inode, const Inode& top) noexcept;

  // Inodes that are open for writing, or unlinked and open: to be moved when a binding changes.
  void set_held(Inode& inode, bool held) noexcept;
  void for_each_held(const std::function<void(Inode&)>& visit);

  [[nodiscard]] std::size_t count() const noexcept { return known_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kSlab = 4096;
  static constexpr std::size_t kSlabs = 65536;
  static constexpr std::size_t kDirectories = 1024;  // cached descriptors

  Inode* allocate() noexcept;
  void insert(Inode& inode) noexcept;
  void erase(Inode& inode) noexcept;
  Inode* find_number(ino_t number) noexcept;
  void grow() noexcept;
  void release_if_unused(Inode* inode) noexcept;
  SharedFd remember(Inode& inode, Fd&& fd) noexcept;

  std::unique_ptr<std::atomic<Inode*>[]> slabs_;
  std::mutex mutex_;
  std::size_t next_index_ = 0;
  Inode* free_ = nullptr;
  std::vector<Inode*> buckets_;
  std::atomic<std::size_t> known_{0};

  Inode* root_ = nullptr;
  SharedFd root_fd_;
  dev_t device_ = 0;

  struct CachedDirectory {
    SharedFd fd;
    std::list<const Inode*>::iterator used;
  };
  std::mutex dirs_mutex_;
  std::unordered_map<const Inode*, CachedDirectory> dirs_;
  std::list<const Inode*> dirs_by_use_;  // most recent first

  std::mutex held_mutex_;
  std::unordered_set<Inode*> held_;
};

}  // namespace vreserve
