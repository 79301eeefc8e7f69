// The data plane: composes the meter, the bound paths, the inode table and the device, and holds what the operations
// share. The control plane's calls are at the top; everything is noexcept, errors are -errno.
//
// Locks, outermost first: bind_mutex_ (one change of bindings at a time), freeze_mutex_ (freezes and what is parked in
// them), Inode::lock and below (see inodes.h), Paths, Meter. A reply is sent without any but an inode's lock held.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "count.h"
#include "device.h"
#include "dirstreams.h"
#include "inodes.h"
#include "lots.h"
#include "paths.h"
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
};

struct Admission {
  int error = 0;  // positive errno; 0: granted
  LotUsage usage;
  std::int64_t available = 0;
  std::int64_t held = 0;
  std::string path;
};

struct Resolved {
  std::string path;
  bool exists = false;
  bool is_directory = false;
  std::string directory;
};

struct WriteAccess {
  bool may_write = false;
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
  // capacity or margin < 0: the default.
  void set_pool(std::int64_t capacity, std::int64_t margin) noexcept;
  [[nodiscard]] int add_lot(const LotSpec& spec, std::int64_t bytes, std::int64_t objects) noexcept;
  void bind(const std::string& path, LotId lot) noexcept;
  [[nodiscard]] CountReport count(bool repair, CountProgress& progress) noexcept;
  [[nodiscard]] int mount(Virtual::Sink sink, std::function<void()> ended, std::string& why) noexcept;
  [[nodiscard]] int resolve(const std::string& path, Resolved& resolved) noexcept;
  [[nodiscard]] int access(const std::string& directory, const Caller& caller, WriteAccess& access) noexcept;
  [[nodiscard]] Admission admit(const LotSpec& spec, const std::string& path) noexcept;
  [[nodiscard]] Admission set_lot(const LotSpec& spec) noexcept;
  [[nodiscard]] int release(LotId lot) noexcept;
  [[nodiscard]] int unmount(bool lazy) noexcept;
  void stop() noexcept;
  [[nodiscard]] PoolUsage pool() noexcept;

  // --- the operations' side ----------------------------------------------------------------------------------------
  Inodes inodes;
  Paths paths;
  Meter meter;
  Device device;
  Virtual virtuals{device};
  DirStreams streams;

  [[nodiscard]] bool privileged() const noexcept { return privileged_; }
  [[nodiscard]] bool passthrough() const noexcept { return device.info().passthrough; }
  [[nodiscard]] bool charging() const noexcept { return options_.charging; }
  // Readers open their file for writing too, so that one backing id serves later writers (not where that copies up).
  [[nodiscard]] bool open_read_write() const noexcept { return !options_.device.read_only && !stacked_backing_; }

  void dispatch(Request& request) noexcept;

  // The lot and the place among the bound paths. The inode's lock must be held; takes its parents', upward.
  [[nodiscard]] PathStep step_of(Inode& inode) noexcept;
  [[nodiscard]] LotId lot_of(Inode& inode) noexcept { return step_of(inode).lot; }
  // The same for the entry `name` of a directory whose lock is not held.
  [[nodiscard]] PathStep step_of_entry(Inode& directory, std::string_view name) noexcept;

  // A request that would change what a frozen tree holds is parked: true, and it is served when the tree thaws.
  // entry: the name in the directory `inode` that the request makes or takes away. No inode's lock may be held.
  [[nodiscard]] bool parked(Request& request, Inode& inode, const char* entry = nullptr) noexcept;

  // The same for a directory that a rename would move: parked when a frozen tree lies below it.
  [[nodiscard]] bool parked_above(Request& request, Inode& directory) noexcept;

  // A charge is about to be refused: waits for what is on its way back and takes a new sample (rule 5). No inode's lock
  // may be held: what is waited for may need it.
  void fresh_look(Worker* worker) noexcept;
  // Charges, all or none; a refusal comes only after a fresh look. No inode's lock may be held. 0 or
  // -ENOSPC.
  [[nodiscard]] int charge(std::span<const Delta> change, Worker* worker) noexcept;
  // Refunds and moves that cannot fail.
  void refund(const Delta& delta) noexcept;
  // Takes a new sample of the backing's free space.
  void sample() noexcept;
  // Notes that the inode's holes are now those of `st`. Its lock must be held exclusively.
  void measure_holes(Inode& inode, const struct stat& st) noexcept;
  // Ends what is kept for an inode that is unlinked and closed. Its lock must be held exclusively.
  void refund_unlinked(Inode& inode) noexcept;

  // A lot's name for getfattr.
  [[nodiscard]] std::string lot_name(LotId id) noexcept;
  // The inode's path in the mount. No lock may be held on it.
  [[nodiscard]] std::string path_of(Inode& inode) noexcept;

 private:
  struct Parked {
    std::vector<char> message;
    int fd = -1;
  };
  struct Freeze {
    Inode* top = nullptr;        // everything below it, itself included
    Inode* directory = nullptr;  // and this entry
    std::string name;
    std::vector<Parked> parked;
  };
  struct Walked {
    Inode* directory = nullptr;  // held: the last existing directory of the path
    Inode* top = nullptr;        // held: the inode at the path, when it exists
    std::string name;            // the component below `directory` that leads to the path
  };

  [[nodiscard]] int make_view(std::string& why) noexcept;
  void drop_view() noexcept;
  [[nodiscard]] static unsigned count_threads() noexcept;
  static void park(Freeze& freeze, Request& request) noexcept;
  [[nodiscard]] int walk(const std::string& path, Walked& walked) noexcept;
  void drop(Walked& walked) noexcept;
  void freeze(const Walked& walked) noexcept;
  void thaw() noexcept;
  void rebind() noexcept;  // every inode asks anew which lot it is in
  void sampler() noexcept;
  [[nodiscard]] CountReport compare(const CountOutcome& outcome, const std::vector<LotUsage>& before,
                                    const std::vector<LotUsage>& after) noexcept;
  [[nodiscard]] Admission refusal(int error, std::span<const LotId> parents) noexcept;

  EngineOptions options_;
  bool privileged_ = false;
  bool stacked_backing_ = false;
  Fd probe_;
  std::string view_path_;
  bool has_view_ = false;

  std::mutex bind_mutex_;
  std::mutex freeze_mutex_;  // guards freezes_
  std::vector<std::unique_ptr<Freeze>> freezes_;
  std::atomic<unsigned> frozen_{0};
  std::atomic<std::uint32_t> epoch_{1};
  std::atomic<unsigned> counting_{0};

  std::shared_mutex names_mutex_;  // guards names_ and straddlers_; a leaf
  std::unordered_map<LotId, std::string> names_;
  std::unordered_map<ino_t, LotId> straddlers_;
  std::atomic<bool> has_straddlers_{false};

  std::mutex sampler_mutex_;  // guards sampling_
  std::condition_variable sampler_wakes_;
  bool sampling_ = false;
  std::thread sampler_;
  std::atomic<bool> mounted_{false};
};

}  // namespace vreserve
