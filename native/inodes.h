// The inode table: what the kernel knows by number, where each inode is in the backing, and what it is charged.
//
// An inode is found again by its parent directory and its name in it; directories keep a bounded cache of O_PATH
// descriptors, so a known file costs no descriptor. An inode that is open when its name goes is pinned by one of its own.
//
// What is served is a table of roots. Root 0 is the backing; each other one is a graft: a directory of a pool in the place of
// an empty directory of root 0, which it covers as a bind mount would. Its inode has the directory above the place as its
// parent and the place's name, so that every walk upwards goes on there. Numbers are told apart by their roots.
//
// Locks, in the order in which they are taken:
//   Inode::lock      size, hole, nlink, parent, name, flags, open. Exclusive wherever a size or a name changes, across the
//                    system call that changes it. Two at once: in address order. While one is held, those of its parents
//                    may be taken (shared), upward only.
//   Inodes::held_mutex_  the set of inodes that are open for writing, or unlinked and open.
//   Inodes::mutex_       nlookup, refs, the hash, the free list, which inode covers which, and nameless_.
//   Inodes::dirs_mutex_  the cache of directory descriptors, and those of the roots. A leaf.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
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
  bool bypassed = false;         // a writer bypasses the server: the size may be another one by now
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
  std::uint16_t root = 0;   // fixed while the inode is known, as is_root
  bool is_root = false;     // of a graft
  std::unique_ptr<OpenFile> open;
  std::unique_ptr<struct stat> last;  // of a regular file that is unlinked and closed, and still known: what it was

  // Guarded by Inodes::mutex_.
  std::uint64_t nlookup = 0;
  std::uint32_t refs = 0;  // children, and users inside the daemon
  Inode* next = nullptr;   // in the bucket, or in the free list
  bool hashed = false;
  std::atomic<bool> covered{false};  // a graft is in its place; changed under the mutex

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

// Inode numbers as the kernel and users see them: those of different roots differ.
[[nodiscard]] inline std::uint64_t shown_number(std::uint32_t root, ino_t number) noexcept {
  return number ^ (std::uint64_t{root} << 48);
}

// A graft, or the backing. It is there while any inode of it is known.
struct Root {
  std::uint32_t index = 0;
  PoolId pool = kMainPool;
  std::string path;       // absolute in the mount
  std::string directory;  // relative to the pool's
  Inode* inode = nullptr;  // held while it is grafted
  Inode* place = nullptr;  // held, likewise
  std::atomic<dev_t> device{0};
  // 0: it is served; else the errno of whatever is asked of it: EIO of a broken pool, ESTALE once it is grafted no longer.
  std::atomic<int> trouble{0};
  mutable std::atomic<bool> used{false};  // since somebody looked
  std::atomic<bool> passthrough{false};
  std::atomic<bool> by_kernel{false};  // the filesystem's quota refuses what is too much, so writers bypass the server
  std::atomic<bool> read_write{true};  // readers open their file for writing too (see Engine::open_read_write)

  SharedFd fd;                 // guarded by dirs_mutex_; null while the pool is broken
  struct stat shown {};        // what the directory was when somebody looked last; guarded by dirs_mutex_
  std::size_t known = 0;       // inodes; guarded by Inodes::mutex_
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
  // The device of what lies in a directory, but for what is mounted there.
  [[nodiscard]] dev_t device(const Inode& directory) const noexcept { return root_of(directory).device; }
  [[nodiscard]] Root& backing() const noexcept { return *roots_[0].load(std::memory_order_relaxed); }
  // The graft at or above a path of the mount, or the backing.
  [[nodiscard]] Root& root_at(std::string_view path) noexcept;
  [[nodiscard]] Root& root_of(const Inode& inode) const noexcept { return *roots_[inode.root].load(std::memory_order_acquire); }
  [[nodiscard]] PoolId pool_of(const Inode& inode) const noexcept { return inode.root == 0 ? kMainPool : root_of(inode).pool; }

  // Grafts: the directory `fd`, which is `st`, covers `place`, an inode of root 0. null where there are too many. fd may be null:
  // what is there is in trouble, and is given to reopen() later. What is in `place` must not be known.
  [[nodiscard]] Root* graft(Inode& place, PoolId pool, const std::string& path, const std::string& directory, SharedFd fd,
                            const struct stat& st) noexcept;
  void ungraft(Root& root) noexcept;
  // The directory of a graft, which lies elsewhere now (and is `st`), or nowhere for a time (null). Waits for no disk.
  void reopen(Root& root, SharedFd fd, const struct stat& st) noexcept;
  void close(Root& root) noexcept { reopen(root, nullptr, {}); }
  [[nodiscard]] SharedFd root_fd(const Root& root) noexcept;
  // What a graft's directory was when somebody looked last: whoever looks it up in the directory above must not wait for the
  // disk, since the kernel lets nobody make anything there meanwhile.
  [[nodiscard]] struct stat shown(const Root& root) noexcept;
  void show(const Inode& inode, const struct stat& st) noexcept;  // nothing of what is no graft
  // The graft in the place of a directory of root 0, by its number; null: none.
  [[nodiscard]] Root* covering(ino_t number) noexcept;
  // The number to list for an entry of a directory: that of what covers it, if it is covered.
  [[nodiscard]] std::uint64_t listed_number(const Inode& directory, ino_t number) noexcept;
  // True when the place of a graft is the directory or lies below it. No lock may be held.
  [[nodiscard]] bool leads_to_graft(const Inode& directory) noexcept;
  [[nodiscard]] bool has_grafts() const noexcept { return grafts_.load(std::memory_order_relaxed) != 0; }
  // Those that are grafted, without root 0.
  [[nodiscard]] std::vector<Root*> all_grafts() noexcept;
  // Every inode of the root that is known, each held meanwhile.
  void for_each_of(const Root& root, const std::function<void(Inode&)>& visit);

  // The inode of a nodeid that the kernel holds, or null for a number that it cannot hold.
  [[nodiscard]] Inode* find(std::uint64_t nodeid) noexcept;

  // An O_PATH descriptor of the directory. No lock may be held on `directory` itself. null with `error` set (positive).
  [[nodiscard]] SharedFd directory(Inode& directory, int& error) noexcept;
  // Where the inode is. Its lock must be held, shared or not.
  [[nodiscard]] Location locate(Inode& inode) noexcept;
  // stat of the inode; 0 or -errno (-ESTALE when its name holds another inode). Its lock must be held.
  [[nodiscard]] int stat(Inode& inode, struct stat& st) noexcept;

  // What is at `name` in `parent`, of which `directory` is a descriptor, or the root of the graft in its place (see is_root):
  // known by them from now on if it was not known before. Takes one reference of the kernel (lookups = 1) or of the daemon
  // (lookups = 0). null with `error` set (positive): ENOENT and the like; EXDEV, another filesystem is mounted there; ENOMEM.
  [[nodiscard]] Inode* look_up(Inode& parent, int directory, const char* name, struct stat& st, unsigned lookups,
                               int& error) noexcept;
  // The same of a file that was just made there, by its descriptor.
  [[nodiscard]] Inode* learn_made(Inode& parent, int file, const char* name, struct stat& st, int& error) noexcept;
  // Makes an inode that has no name (O_TMPFILE); its lot is that of `parent`.
  [[nodiscard]] Inode* learn_unnamed(Inode& parent, const struct stat& st) noexcept;
  void forget(Inode& inode, std::uint64_t lookups) noexcept;
  void hold(Inode& inode) noexcept;
  void drop(Inode& inode) noexcept;

  // The inode's exclusive lock must be held.
  void set_name(Inode& inode, Inode* parent, std::string_view name) noexcept;
  void clear_name(Inode& inode) noexcept;  // keeps the parent
  // Inodes that have lost the name by which they were known, and have others.
  void for_each_nameless(const std::function<void(Inode&)>& visit);
  // The last name is about to go: the backing may give the number to a new file at once, which must not be taken for
  // this one. rehash: it did not go after all.
  void unhash(Inode& inode) noexcept;
  void rehash(Inode& inode) noexcept;
  // No file has the number any more, and none can have got it: what is known by it was learned from an older look. No
  // lock may be held.
  void disown(std::uint32_t root, ino_t number) noexcept;
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
  static constexpr std::size_t kRoots = 1U << 14;    // above them is the bit of virtual inodes

  // Refused with `stale` set where what `st` tells may be of before something was forgotten that was known since.
  Inode* learn(Inode& parent, const char* name, const struct stat& st, unsigned lookups, std::uint64_t seen, bool& stale) noexcept;
  template <typename Stat>
  Inode* look(Inode& parent, const char* name, struct stat& st, unsigned lookups, int& error, Stat stat) noexcept;
  [[nodiscard]] static char* copy_name(std::string_view name) noexcept;  // to be freed
  Inode* allocate() noexcept;
  void insert(Inode& inode) noexcept;
  void erase(Inode& inode) noexcept;
  Inode* find_number(std::uint32_t root, ino_t number) noexcept;
  void grow() noexcept;
  void release_if_unused(Inode* inode) noexcept;
  SharedFd remember(Inode& inode, Fd&& fd) noexcept;

  std::unique_ptr<std::atomic<Inode*>[]> slabs_;
  std::mutex mutex_;
  std::size_t next_index_ = 0;
  Inode* free_ = nullptr;
  std::vector<Inode*> buckets_;
  std::unordered_set<Inode*> nameless_;
  std::atomic<std::uint64_t> forgotten_{0};  // grows whenever a file is no longer found by its number
  std::atomic<std::size_t> known_{0};

  Inode* root_ = nullptr;
  SharedFd root_fd_;
  std::unique_ptr<std::atomic<Root*>[]> roots_;
  std::vector<std::unique_ptr<Root>> owned_roots_;       // guarded by mutex_; by index
  std::unordered_map<const Inode*, Root*> covers_;       // guarded by mutex_; by the inode of the place
  std::atomic<unsigned> grafts_{0};

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
