// The data plane: composes the meter, the bound paths, the inode table and the device, and holds what the operations
// share. The control plane's calls are at the top; everything is noexcept, errors are -errno.
//
// Locks, outermost first: PoolBacking::mutex (one pool's directory), PoolBacking::bind_mutex of each pool that a change concerns, by
// their numbers, then bind_mutex_ (that of the main one: one change of bindings at a time in a pool), freeze_mutex_ (freezes and what is parked in
// them), Blob::life (see blobs.h), Inode::lock and below (see inodes.h), Paths, Meter. A reply is sent without any but a
// blob's or an inode's lock held, and Device::invalidate_entry without any at all.
#pragma once

#include <sys/vfs.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "blobs.h"
#include "count.h"
#include "crew.h"
#include "device.h"
#include "dirstreams.h"
#include "inodes.h"
#include "lots.h"
#include "paths.h"
#include "pool_backing.h"
#include "view.h"
#include "virtual.h"

namespace vreserve {

struct EngineOptions {
  DeviceOptions device;
  std::string backing;
  bool charging = true;
};

struct BackingInfo {
  std::string view_path;
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes = 0;
  bool read_only = false;
  std::string filesystem;
};

struct LotSpec {
  LotId id = kNoLot;
  std::string name;
  std::vector<LotId> parents;
  Policy policy;
  PoolId pool = kMainPool;
};

struct PoolReport {
  PoolUsage usage;
  std::string broken;  // why; empty: it is served
  bool passthrough = false;
  std::string io_reason;   // why not
  std::string filesystem;  // of another than the main one
};

// A change of lots and bindings, made whole or not at all. Shapes and rules are those of src/engine/engine.ts.
struct ReshapeRequest {
  std::vector<LotSpec> lots;
  std::vector<LotId> gone;
  std::vector<BoundPath> bind;
  std::vector<std::string> unbind;
  bool must_cover = false;
  bool force = false;
};

struct Admission {
  int error = 0;  // positive errno; 0: granted
  LotId lot = kNoLot;  // that refuses; kNoLot: the pool
  std::int64_t available = 0;
  std::int64_t held = 0;  // by the first of the lots, or what it would hold
  std::string path;       // that is in the way
  std::vector<LotUsage> usages;  // of the lots, in their order
};

// What a directory that is made in the spool is made of, as the control plane has it. Directories, parents first.
struct SpoolLayout {
  std::vector<std::string> spool;  // of one directly below `spool`
  std::vector<std::string> queue;  // of one below that
  std::string making;              // how the names begin under which they are made; out of sight
};

struct Phase {
  LotId id = kNoLot;
  bool sets_aside = true;
  bool may_grow = true;
};

struct Resolved {
  std::string path;
  bool exists = false;
  bool is_directory = false;
  std::string directory;
};

struct WriteAccess {
  bool may_write = false;
  bool may_write_in = true;
  bool sticky = false;
  uid_t owner = 0;
};

struct CountedLot {
  LotId id = kNoLot;
  LotCount counted;
  LotCount recorded;
  bool exact = true;
};

struct CountReport {
  int error = 0;
  std::string path;  // of the error
  std::vector<CountedLot> lots;
  std::vector<Straddler> straddling;
};

class Engine {
 public:
  Engine() noexcept;
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // --- the control plane's side; the order of calls is that of src/engine/engine.ts -------------------------------
  [[nodiscard]] int open_backing(const EngineOptions& options, BackingInfo& info, std::string& why) noexcept;
  // Opens another pool, before the mount or later, and watches it from then on. 0, or -errno with a sentence in `why`, and
  // there is no such pool: EEXIST (the directory is another pool's), EBUSY (another daemon's). One that is known is added,
  // too, where it cannot be opened, and is broken then.
  [[nodiscard]] int add_pool(const PoolSpec& spec, BackingInfo& info, std::string& why) noexcept;
  // -EBUSY: something of it is grafted, or a lot is in it.
  [[nodiscard]] int remove_pool(PoolId id) noexcept;
  // capacity or margin < 0: the default.
  void set_pool(std::int64_t capacity, std::int64_t margin, PoolId id = kMainPool) noexcept;
  // The empty directory at `path` is served from a directory of the pool (relative to the pool's). -ENOENT, -ENOTDIR,
  // -ENOTEMPTY, -EBUSY (something is grafted there), -EXDEV (not in the main pool), -ENODEV (no such pool), -EMFILE.
  // Bindings come after it. Before the mount -ENOENT also says that there is no such directory in the pool: it is grafted, as broken.
  // by_kernel: the filesystem's quota refuses what is too much there; writers bypass the server where readers do.
  [[nodiscard]] int graft(const std::string& path, PoolId pool, const std::string& directory, bool by_kernel = false) noexcept;
  // -ENOENT, -EBUSY (files below are open). Bindings stay: what the lots hold there is theirs until they go.
  [[nodiscard]] int ungraft(const std::string& path) noexcept;
  [[nodiscard]] int add_lot(const LotSpec& spec, std::int64_t bytes, std::int64_t objects) noexcept;
  void bind(const BoundPath& bound) noexcept;
  [[nodiscard]] CountReport count(bool repair, CountProgress& progress) noexcept;
  // Before the mount: `.vreserve/spool` of the backing is served under its name. -ENOENT, -ENOTDIR, -EXDEV.
  [[nodiscard]] int serve_spool(SpoolLayout&& layout) noexcept;
  // Likewise `.vreserve/blobs`, which is in no listing.
  [[nodiscard]] int serve_store() noexcept;
  // Likewise `.vreserve/namespaces`, in no listing either.
  [[nodiscard]] int serve_namespaces() noexcept;
  [[nodiscard]] int mount(Virtual::Sink sink, std::function<void()> ended, std::string& why) noexcept;
  // The same where requests come from elsewhere than the device; who has them calls mount_ended when no more will come.
  void serve_from(Transport& transport, Virtual::Sink sink) noexcept;
  void mount_ended() noexcept;
  // caller: only where it may search the directories; null: everywhere. What lies above `trusted` it need not.
  [[nodiscard]] int resolve(const std::string& path, const Caller* caller, const std::string& trusted,
                            Resolved& resolved) noexcept;
  // Of the directory of a path, and of the path where it is a directory itself.
  [[nodiscard]] int access(const std::string& directory, const std::string& path, const Caller& caller,
                           WriteAccess& access) noexcept;
  // EIO where what it concerns lies in a pool whose disk does not answer.
  [[nodiscard]] Admission reshape(const ReshapeRequest& what) noexcept;
  // The pools that it concerns, as things stand now: while one of them does not answer, it takes long.
  [[nodiscard]] std::set<PoolId> pools_of(const ReshapeRequest& what) noexcept;
  void set_phases(std::span<const Phase> phases) noexcept;
  // Takes a file away as op_unlink does, and tells the kernel. `bytes`: what it held. -ENOENT: not there, or another inode
  // than `number`; -EISDIR, -EPERM (not the lot's), -EBUSY (open). May wait for a request that waits for the control plane.
  [[nodiscard]] int unlink(const std::string& path, ino_t number, LotId lot, std::int64_t& bytes) noexcept;
  [[nodiscard]] int unmount(bool lazy) noexcept;
  void stop() noexcept;
  [[nodiscard]] PoolReport pool(PoolId id = kMainPool) noexcept;

  // --- the operations' side ----------------------------------------------------------------------------------------
  Inodes inodes;
  Paths paths;
  Meter meter;
  Device device;
  Virtual virtuals{device};
  Blobs blobs{*this};
  DirStreams streams;

  [[nodiscard]] bool privileged() const noexcept { return privileged_; }
  [[nodiscard]] bool passthrough() const noexcept { return device.info().passthrough; }
  [[nodiscard]] bool passthrough(const Inode& inode) const noexcept { return inodes.root_of(inode).passthrough; }
  [[nodiscard]] bool charging() const noexcept { return options_.charging; }
  // Whether bytes of the inode are charged.
  [[nodiscard]] bool charging(const Inode& inode) const noexcept { return options_.charging && !by_kernel(inode); }
  // Readers open their file for writing too, so that one backing id serves later writers (not where that copies up).
  [[nodiscard]] bool open_read_write(const Inode& inode) const noexcept { return inodes.root_of(inode).read_write; }

  void dispatch(Request& request) noexcept;
  // Serves a request that was kept, on this thread, which is enlisted with `worker`.
  void serve_kept(Kept& kept, Worker& worker) noexcept;

  // The lot and the place among the bound paths. The inode's lock must be held; takes its parents', upward.
  [[nodiscard]] PathStep step_of(Inode& inode) noexcept;
  [[nodiscard]] LotId lot_of(Inode& inode) noexcept { return step_of(inode).lot; }
  // The same for the entry `name` of a directory whose lock is not held, by what is there or is to come.
  [[nodiscard]] PathStep step_of_entry(Inode& directory, std::string_view name, bool is_directory) noexcept;

  // The regular file at a path of the mount, held. 0 or -errno; -EIO where it is no regular file.
  [[nodiscard]] int hold_file(const std::string& path, Inode*& inode) noexcept;
  // Where the data of blobs are; null where they are not served.
  [[nodiscard]] Inode* store() noexcept { return store_; }

  // How far below `spool` a directory lies: 0 is `spool`, 1 a spool, 2 a queue or what else is in one; -1: not there, or
  // further. Takes locks upward; the inode's may not be held.
  [[nodiscard]] int spool_level(Inode& directory) noexcept;
  // What a new directory `name` in `parent` is made of besides itself; null: nothing.
  [[nodiscard]] const std::vector<std::string>* layout_of(Inode& parent, const char* name) noexcept;
  // True for a name under which a directory with its layout is being made.
  [[nodiscard]] bool is_being_made(Inode& parent, const char* name) noexcept;
  // mkdirat(2) of a directory with its layout: it appears whole or not at all. 0 or -1 with errno.
  [[nodiscard]] int make_layout(int parent, const char* name, mode_t mode, const std::vector<std::string>& layout) noexcept;

  // A request that would change what a frozen tree holds is parked: true, and it is served when the tree thaws.
  // entry: the name in the directory `inode` that the request makes or takes away. No inode's lock may be held.
  [[nodiscard]] bool parked(Request& request, Inode& inode, const char* entry = nullptr) noexcept;

  // The same for a directory that a request would move or take away: parked when something frozen lies in or below it.
  [[nodiscard]] bool parked_above(Request& request, Inode& directory) noexcept;

  // A charge is about to be refused: waits for what is on its way back and takes a new sample (rule 5). No inode's lock
  // may be held: what is waited for may need it.
  void fresh_look(Worker* worker, PoolId pool = kMainPool) noexcept;
  // Charges, all or none; a refusal comes only after a fresh look. No inode's lock may be held. 0 or
  // -ENOSPC.
  [[nodiscard]] int charge(std::span<const Delta> change, Worker* worker, PoolId pool = kMainPool) noexcept;
  // Refunds and moves that cannot fail.
  void refund(const Delta& delta) noexcept;
  // Takes a new sample of the pool's free space.
  void sample(PoolId pool = kMainPool) noexcept;
  // Notes that the inode's holes are now those of `st`. Its lock must be held exclusively.
  void measure_holes(Inode& inode, const struct stat& st) noexcept;
  // The inode has so many bytes of holes more, or fewer. Its lock must be held exclusively.
  void add_holes(Inode& inode, std::int64_t bytes) noexcept;
  // What the filesystem's quota has for a lot by the kernel.
  void measured(LotId id, std::int64_t bytes) noexcept { meter.measured(id, bytes); }
  // The quota of the filesystem holds for the inode.
  [[nodiscard]] bool by_kernel(const Inode& inode) const noexcept { return inode.root != 0 && inodes.root_of(inode).by_kernel; }
  // True for what lies below `.vreserve/namespaces`. Its lock must be held; takes its parents', upward.
  [[nodiscard]] bool is_in_namespace(Inode& inode) noexcept;
  // Takes the size that a file has by now, where writers bypass the server; charged where the kernel does not enforce it. The inode's lock
  // must be held exclusively.
  void take_size(Inode& inode) noexcept;
  // Ends what is kept for an inode that is unlinked and closed. Its lock must be held exclusively.
  void refund_unlinked(Inode& inode) noexcept;

  // A lot's name for getfattr.
  [[nodiscard]] std::string lot_name(LotId id) noexcept;
  // The inode's path in the mount; empty when it, or a directory above it, has no name any more. No lock may be held on it.
  [[nodiscard]] std::string path_of(Inode& inode) noexcept;

 private:
  struct Freeze {
    Inode* top = nullptr;        // everything below it, itself included
    Inode* directory = nullptr;  // and this entry
    std::string name;
    std::vector<Kept> parked;

    [[nodiscard]] std::uint16_t root() const noexcept { return top != nullptr ? top->root : directory->root; }
  };
  using Freezes = std::vector<const Freeze*>;  // those of one change
  // Held while something changes in pools, so that nothing else does there.
  struct Change {
    std::vector<std::shared_ptr<PoolBacking>> pools;
    std::vector<std::unique_lock<std::mutex>> locks;

    void end() noexcept {
      locks.clear();
      pools.clear();
    }
  };
  struct Walked {
    Inode* directory = nullptr;  // held: the last existing directory of the path
    Inode* top = nullptr;        // held: the inode at the path, when it exists
    std::string name;            // the component below `directory` that leads to the path
    int error = 0;               // -errno, when it leads nowhere
  };
  struct Rebinding;

  [[nodiscard]] static unsigned count_threads() noexcept;
  [[nodiscard]] Freeze* freeze_of(const Inode& inode, const char* entry, std::span<const Inode* const> above) noexcept;
  // The path in the mount as far as it leads, without following symlinks; `walked.error` is what it returns.
  int walk(const std::string& path, Walked& walked) noexcept;
  void drop(Walked& walked) noexcept;
  void drop(std::vector<Walked>& all) noexcept;
  // Marks what is at and below each; requests under way are not waited for yet.
  void freeze(std::span<const Walked> all, Freezes& freezes) noexcept;
  // Walks to the paths and freezes them, until both fit: what leads to a path may move in between.
  [[nodiscard]] int freeze_at(const std::vector<std::string>& paths, Rebinding& change) noexcept;
  // Lifts them and serves what was parked: what lies in the main pool on this thread.
  void thaw(Freezes& freezes) noexcept;
  // Locks what belongs to the pools.
  [[nodiscard]] Change begin_change(const std::set<PoolId>& pools) noexcept;
  // Returns when every request that was being served in the pools has ended, without those of broken ones. `self` is left
  // out. True: nothing else was under way anywhere.
  bool quiesce(const std::set<PoolId>& pools, const Worker* self = nullptr) noexcept;
  // The same for pools beside the main one, before anything is locked: so that who waits long holds up nobody.
  void wait_for_others(std::set<PoolId> pools) noexcept;
  [[nodiscard]] std::set<PoolId> all_pools() noexcept;
  // The steps of a reshape; see engine_reshape.cc.
  [[nodiscard]] int plan(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept;
  [[nodiscard]] bool hides_own_name(const std::string& path) noexcept;
  [[nodiscard]] int hold_still(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept;
  [[nodiscard]] int count_moves(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept;
  [[nodiscard]] int admit(const ReshapeRequest& what, Rebinding& change, Admission& admission) noexcept;
  void commit(const ReshapeRequest& what, Rebinding& change) noexcept;
  void tell_removed(std::uint64_t directory, const std::string& name, std::uint64_t file) noexcept;
  void rebind() noexcept;  // every inode asks anew which lot it is in
  void start_sampler() noexcept;
  void sampler() noexcept;
  // The step, with no lot where its lot is in another pool than the inode: nothing may grow there.
  [[nodiscard]] PathStep within_pool(PathStep step, const Inode& inode) noexcept;
  // Whether a lot can own what lies in the root: it is in the same pool, and both are by the kernel or neither.
  [[nodiscard]] bool is_of(LotId id, const Root& root) noexcept;
  [[nodiscard]] bool is_of_then(LotId id, const Root& root, const ReshapeRequest& what) noexcept;
  void know(const LotSpec& spec) noexcept;
  // The pool of a lot; the main one for an unknown lot.
  [[nodiscard]] PoolId pool_of(LotId id) noexcept;
  // Whether every path that a change of bindings concerns is then owned by a lot of its pool. Else EXDEV, or EBUSY where a
  // graft would be nobody's, with the lot and the path.
  [[nodiscard]] int check_pools(const ReshapeRequest& what, const Rebinding& change, Admission& admission) noexcept;
  // Counts one root, or all there is now.
  [[nodiscard]] CountOutcome count_root(Root& root, CountProgress& progress) noexcept;

  // Pools, see engine_pools.cc.
  // What a look at a pool gave.
  struct Look {
    std::uint64_t mark = 0;
    std::int64_t free = -1;
    std::string broken;  // why; empty: it is there
  };
  static void describe(const struct statfs& fs, const std::string& view, BackingInfo& info) noexcept;
  [[nodiscard]] std::shared_ptr<PoolBacking> find_pool(PoolId id) noexcept;
  [[nodiscard]] SharedFd pool_fd(PoolId id) noexcept;
  [[nodiscard]] int open_pool(PoolBacking& pool, std::string& why) noexcept;
  void set_pool_capacity(PoolBacking& pool) noexcept;
  void try_passthrough(PoolBacking& pool, const SharedFd& fd) noexcept;
  void set_io(Root& root, const PoolBacking* pool) noexcept;
  void watch(const std::shared_ptr<PoolBacking>& pool) noexcept;
  void look_at(std::unique_lock<std::mutex>& lock, PoolBacking& pool, bool checks, bool probes, Look& look) noexcept;
  void look_again(std::unique_lock<std::mutex>& lock, PoolBacking& pool) noexcept;
  void stop_serving(PoolBacking& pool, const std::string& why) noexcept;
  void drop_directory(PoolBacking& pool) noexcept;
  [[nodiscard]] bool serve_again(PoolBacking& pool) noexcept;
  // Breaks pools that do not answer.
  void oversee() noexcept;
  // Asks the disk of a pool on a thread of its own. False: it is broken, or did not answer in time; the question is left behind
  // then, so it must own all that it touches.
  [[nodiscard]] bool ask(PoolId id, std::function<void()> question) noexcept;
  // Whether each that is not broken does.
  [[nodiscard]] bool answers(const std::set<PoolId>& pools) noexcept;
  void give_up(PoolBacking& pool, const std::string& why) noexcept;
  void let_go(const PoolBacking& pool) noexcept;
  void revive(PoolBacking& pool) noexcept;
  void renew(Root& root) noexcept;
  // Counts what is grafted of the pool, which nobody changes meanwhile, and takes that for its lots' usage. False: it could
  // not be read.
  [[nodiscard]] bool count_pool(PoolId id, CountProgress& progress) noexcept;
  void end_watch(PoolBacking& pool) noexcept;
  void end_pools() noexcept;
  [[nodiscard]] CountReport compare(const CountOutcome& outcome, const std::vector<LotUsage>& before,
                                    const std::vector<LotUsage>& after) noexcept;

  EngineOptions options_;
  bool privileged_ = false;
  Fd probe_;
  View view_;

  std::shared_mutex pools_mutex_;  // guards pools_, and what a pool shows; a leaf
  std::map<PoolId, std::shared_ptr<PoolBacking>> pools_;  // without the main one
  std::atomic<bool> has_pools_{false};

  // Serves the directory `name` of the backing's `.vreserve` under its name, and keeps it held in `inode`. 0 or -errno.
  [[nodiscard]] int serve_own(const char* name, bool listed, Inode*& inode) noexcept;

  // Fixed while serving. Held: directories of the backing's `.vreserve`, and itself, which the kernel never gets to know.
  Inode* own_ = nullptr;
  Inode* spool_ = nullptr;
  Inode* store_ = nullptr;
  Inode* namespaces_ = nullptr;
  SpoolLayout layout_;
  std::atomic<std::uint64_t> next_made_{1};

  std::mutex bind_mutex_;  // of the main pool; the others have their own
  std::mutex freeze_mutex_;  // guards freezes_ and the two maps of them
  std::vector<std::unique_ptr<Freeze>> freezes_;
  std::unordered_map<const Inode*, Freeze*> frozen_tops_;
  std::unordered_multimap<const Inode*, Freeze*> frozen_entries_;  // by their directories
  std::atomic<unsigned> frozen_{0};
  std::atomic<std::uint32_t> epoch_{1};
  std::atomic<unsigned> counting_{0};

  struct Known {
    std::string name;
    PoolId pool = kMainPool;
    bool by_kernel = false;
  };
  std::shared_mutex names_mutex_;  // guards names_ and straddlers_; a leaf
  std::unordered_map<LotId, Known> names_;
  std::map<std::pair<std::uint32_t, ino_t>, LotId> straddlers_;  // by root and number
  std::atomic<bool> has_straddlers_{false};

  std::mutex notify_mutex_;  // guards notifying_ and stopped_; a leaf
  unsigned notifying_ = 0;   // threads that tell the kernel of what it did not ask for: the device stays open for them
  bool stopped_ = false;

  std::mutex sampler_mutex_;  // guards sampling_
  std::condition_variable sampler_wakes_;
  bool sampling_ = false;
  std::thread sampler_;
  std::atomic<bool> mounted_{false};
  Crew crew_{device};  // for what was parked in another pool than the main one
};

}  // namespace vreserve
