// Taking a file away without being asked by the kernel, for reclaiming.
//
// The kernel keeps everybody else away from a name while it asks for something there; it knows nothing of this. So a
// request may look at the file before it goes and act afterwards. Under the inode's lock each finds it unlinked; one that
// enters it in the table anew is waited for, while a descriptor keeps its number from being given to another file.
#include "ops.h"

namespace vreserve {

namespace {

// Registered as a thread that serves requests: a count waits for what it does.
class OwnTurn {
 public:
  explicit OwnTurn(Device& device) noexcept : device_(device) {
    device_.enlist(worker_);
    worker_->tid = static_cast<pid_t>(::syscall(SYS_gettid));
    // Never gives_back: who settles may be waited for here.
    worker_->turn.fetch_add(1);
  }
  ~OwnTurn() {
    worker_->turn.fetch_add(1);
    device_.delist(*worker_);
  }
  OwnTurn(const OwnTurn&) = delete;
  OwnTurn& operator=(const OwnTurn&) = delete;

  [[nodiscard]] const Worker* worker() const noexcept { return worker_.get(); }

 private:
  Device& device_;
  std::shared_ptr<Worker> worker_ = std::make_shared<Worker>();
};

// 0 or -errno; the file is gone then. `still`: holds its number, and its blocks, when it was the last name.
int take_away(Engine& engine, Inode& parent, const std::string& name, Inode& victim, ino_t number, LotId lot, Fd& still,
              bool& linked) noexcept {
  if (victim.is_directory()) return -EISDIR;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return -error;
  const InodeGuard guard(victim.lock);
  struct stat st {};
  if (victim.number != number || victim.unlinked || !is_still(victim, directory->get(), name.c_str(), st)) return -ENOENT;
  if (engine.lot_of(victim) != lot) return -EPERM;
  if (victim.open && victim.open->opens > 0) return -EBUSY;
  still = Fd(::openat(directory->get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!still) return -errno;
  linked = st.st_nlink > 1;
  Fd spare = pin(victim, directory->get(), name.c_str(), st);
  if (::unlinkat(directory->get(), name.c_str(), 0) != 0) return -errno;
  if (linked) {
    lose_name(engine, victim, parent, name.c_str(), st, std::move(spare));
    return 0;
  }
  engine.inodes.unhash(victim);
  victim.nlink = 0;
  victim.unlinked = true;
  engine.inodes.clear_name(victim);
  if (victim.is_regular()) note_last(victim, st);
  return 0;
}

}  // namespace

int Engine::unlink(const std::string& path, ino_t number, LotId lot, std::int64_t& bytes) noexcept {
  bytes = 0;
  if (is_at_or_below(normalized(path), "/.vreserve")) return -EPERM;
  std::uint64_t directory = 0;
  std::uint64_t file = 0;
  std::string name;
  bool linked = false;
  const std::set<PoolId> pools{inodes.root_at(normalized(path)).pool};
  wait_for_others(pools);
  if (!answers(pools)) return -EIO;
  {
    const Change guard = begin_change(pools);  // nothing is frozen meanwhile
    const OwnTurn turn(device);
    Walked walked;
    Fd still;
    int error = walk(path, walked);
    if (error == -ENOTDIR || (error == 0 && walked.top == nullptr)) error = -ENOENT;
    if (error == 0) error = take_away(*this, *walked.directory, walked.name, *walked.top, number, lot, still, linked);
    if (error != 0) {
      drop(walked);
      return error;
    }
    if (!linked) {
      quiesce(pools, turn.worker());
      inodes.disown(walked.top->root, number);
      still.reset();  // the blocks first, then the bytes
      const InodeGuard locked(walked.top->lock);
      bytes = walked.top->size;
      refund_unlinked(*walked.top);
    }
    directory = walked.directory->nodeid();
    file = walked.top->nodeid();
    name = walked.name;
    drop(walked);
  }
  tell_removed(directory, name, linked ? file : 0);
  return 0;
}

// file: the inode that has one name less; 0: it is gone.
void Engine::tell_removed(std::uint64_t directory, const std::string& name, std::uint64_t file) noexcept {
  {
    const std::lock_guard guard(notify_mutex_);
    if (stopped_) return;
    ++notifying_;
  }
  if (file != 0) device.invalidate_attributes(file);
  device.invalidate_entry(directory, name);
  const std::lock_guard guard(notify_mutex_);
  --notifying_;
}

}  // namespace vreserve
