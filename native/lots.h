// The meter: who holds how many bytes and objects, and whether more may be had. It knows neither FUSE nor Node.
//
// Rules: DESIGN "Rules of charging" 2, 3, 4, 8 and 9. Lots and their parents are a graph without cycles.
//   used(L) = own bytes of L + each distinct descendant's own bytes once
//   unfilled(L) = max(0, (sets_aside(L) ? dedicated(L) : 0) - used(L), sum of unfilled(c) over the children c whose
//     first parent is L): all parents count what a lot uses, one sets aside what it is still promised
//   set aside = sum of unfilled over roots; promised = own bytes of all lots + set aside
//   claimed(L) = used(L) + sum of unfilled(c) over all children c: what of its grant L cannot give to anyone else
//   A change passes if and only if used <= grant at each lot whose used bytes grow, objects <= max_objects where its
//   objects grow, all of those may grow, claimed <= grant where claimed grows (else a parent could fill its grant with
//   bytes that are promised to its children), and the growth of promised, if there is one, fits the headroom. A change
//   that gives no lot bytes or objects of its own always passes, though below two promises one refund unfills both.
//   headroom = min(free - set aside, capacity - promised) - margin
//   free = f_bavail at the last sample - charges that had not landed when it began - holes; before any sample only the
//   capacity side counts. A refund is not added to it: only the next sample says that the backing has its bytes back.
//   Each lot is in one pool, with all its parents and children, and each pool has sums, samples and a headroom of its own: a
//   lot touches no other pool's. A change of lots in several pools passes if it passes in each.
//   With headroom 0 or less, a change that creates objects passes only if, at each lot that gains one, claimed bytes +
//   objects (with descendants) x block size are within the dedicated bytes that it sets aside.
//
// A new meter has no lots, not even the default one. One mutex guards everything; it is a leaf: nothing else is locked
// while it is held, and no system call is made. Bytes or objects that would go below 0 end the process: a broken
// invariant. So does a failed allocation.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

namespace vreserve {

using LotId = std::uint32_t;  // chosen by the ledger; 0 is none
inline constexpr LotId kNoLot = 0;
inline constexpr LotId kDefaultLot = 1;
using PoolId = std::uint32_t;  // chosen by the ledger
inline constexpr PoolId kMainPool = 0;
inline constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

struct Policy {
  std::int64_t dedicated_bytes = 0;
  std::int64_t opportunistic_bytes = kUnlimited;  // kUnlimited: no cap
  std::int64_t max_objects = kUnlimited;
  bool sets_aside = true;  // dedicated bytes are set aside
  bool may_grow = true;
  bool by_kernel = false;  // the filesystem's quota refuses what is too much: no byte is charged, and measured() tells them
};

struct LotUsage {
  LotId id = kNoLot;
  std::int64_t bytes = 0;  // own
  std::int64_t objects = 0;
  std::int64_t pending_bytes = 0;
  std::int64_t pending_objects = 0;
  std::uint64_t changes = 0;  // grows with every change of bytes or objects
};

struct LotChange {
  LotUsage usage;
  // Since the last drain, moves between lots included: own bytes grew by charged - refunded, but for set_usage().
  std::int64_t charged_bytes = 0;
  std::int64_t refunded_bytes = 0;
  std::int64_t refusals = 0;
  std::int64_t refused_bytes = 0;
};

struct PoolUsage {
  std::int64_t capacity = 0;
  std::int64_t free = 0;  // never negative
  std::int64_t set_aside = 0;
  std::int64_t headroom = 0;
  std::int64_t used = 0;
  std::int64_t margin = 0;
  std::int64_t short_bytes = 0;  // max(0, set aside - (free)): by how much the promise is short
  std::int64_t drift = 0;  // bytes and objects given back that no lot held: the backing was changed behind the mount
};

// One step of a change; a change is a list of them and happens whole or not at all.
struct Delta {
  LotId lot = kNoLot;
  std::int64_t bytes = 0;
  std::int64_t objects = 0;
  std::int64_t pending_bytes = 0;
  std::int64_t pending_objects = 0;
};

// What a lot is to be: a new one, or one that is there.
struct Shape {
  LotId id = kNoLot;
  Policy policy;
  std::vector<LotId> parents = {};  // the first sets aside what the lot is promised; repeats are dropped
  PoolId pool = kMainPool;          // of a lot that is there: the one it is in
};

// A lot that goes; what it still holds after the moves goes to the heir, pending too. Where that is in another pool, it is
// nobody's any more.
struct Gone {
  LotId id = kNoLot;
  LotId heir = kNoLot;
};

// A change of the hierarchy, with the bytes and objects that change lots by it. It happens whole or not at all.
struct Reshape {
  std::vector<Shape> lots = {};  // in any order
  std::vector<Gone> gone = {};
  std::vector<Delta> moves = {};  // between lots: no net bytes or objects, so nothing is held against the sample
  bool must_cover = false;  // no grant may go below what is used
  bool force = false;       // no admission
};

struct Refusal {
  int error = 0;
  LotId lot = kNoLot;  // the one that refuses, or that the error is about; kNoLot with ENOSPC: the pool
};

class Meter {
 public:
  Meter();
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  // A pool, new or not; the main one is there from the beginning. block_size: what one small file takes of the backing
  // (rule 9's objects x block size).
  void set_pool(std::int64_t capacity, std::int64_t margin, std::int64_t block_size, PoolId pool = kMainPool) noexcept;
  // EBUSY: a lot is in it; EINVAL: it is the main one, or none.
  [[nodiscard]] int remove_pool(PoolId pool) noexcept;

  // A sample of the backing: take the mark, call statfs, hand both back. Charges that had not landed at the mark
  // are held against the sample; so a charge is never missed, at worst counted twice until the next sample.
  [[nodiscard]] std::uint64_t begin_sample(PoolId pool = kMainPool) noexcept;
  void end_sample(std::uint64_t mark, std::int64_t available_bytes, PoolId pool = kMainPool) noexcept;
  // The bytes of an earlier charge have reached the backing, or are in add_holes() by now. Every charge ends in this or
  // in refund_unlanded(): what charge_up_to() gave, and the net growth in bytes of an apply() (a move has none).
  // More bytes than were charged: a broken invariant.
  void landed(std::int64_t bytes, PoolId pool = kMainPool) noexcept;
  // Bytes that are charged and not allocated in the backing (holes), by difference. Call after the backing changed:
  // bytes of holes that go count against the sample until the next one begins, since they may have been filled.
  void add_holes(std::int64_t bytes, PoolId pool = kMainPool) noexcept;
  // The same as a count found them.
  void set_holes(std::int64_t bytes, PoolId pool = kMainPool) noexcept;

  // A lot at start, in any order that has parents first; no admission, and no drain tells of what it starts with.
  // EEXIST: the id is taken; ENOENT: a parent is missing, or the pool; EXDEV: a parent is in another pool.
  [[nodiscard]] int add(LotId id, const Policy& policy, std::span<const LotId> parents, const LotUsage& usage,
                        PoolId pool = kMainPool) noexcept;
  // Every later change of lots: makes those of `lots` that are not there, gives the others their new policy and
  // parents, makes the moves, and removes the lots that are gone. Refused means: no trace.
  //   EXDEV: a lot is in another pool than its parent, or than it was. ENOENT: no such parent, heir, moved or gone lot, or pool. EINVAL: a lot that stays would have a gone one as a parent; the
  //   default lot, or one that is named twice, is to go; the heir goes too; a lot is given two shapes, or the id 0.
  //   ELOOP: the lot would lie below itself.
  // The rest is admission, which `force` leaves out:
  //   EINVAL: the lot's grant goes down, and below what it has claimed while its children have unfilled bytes, or, with
  //   must_cover, below what it uses. Else a grant may go below what is used, and only growth stops.
  //   ENOSPC: the rules above, asked at each of `lots` and at their ancestors as they are then; elsewhere (heirs) no
  //   grant is asked. may_grow is not asked of `lots`, which may take over what is there. It names the deepest lot that
  //   refuses.
  [[nodiscard]] Refusal reshape(const Reshape& what) noexcept;
  // What the time of day says of a lot, without admission. Nothing for an unknown one.
  void set_phase(LotId id, bool sets_aside, bool may_grow) noexcept;
  // Overwrites what a lot holds (after a count), without admission. pending is left alone; a drain tells the lot, but
  // the correction is neither charged nor refunded bytes.
  void set_usage(LotId id, std::int64_t bytes, std::int64_t objects) noexcept;
  // What the filesystem's quota has for a lot by the kernel; nothing for any other. Neither charged nor refunded.
  void measured(LotId id, std::int64_t bytes) noexcept;
  // Something moved within the lot: a count that is under way may have missed it, or seen it twice.
  void touch(LotId id) noexcept;
  // All usage has been set after a count: what was drift is in it.
  void forget_drift(PoolId pool = kMainPool) noexcept;

  // All or none; 0, or ENOSPC (also counted as a refusal of the first lot that grows), or ENOENT for an unknown lot.
  // force: rules are not asked.
  [[nodiscard]] int apply(std::span<const Delta> change, bool force = false) noexcept;
  // Charges `want` bytes or what fits of them, at least `least`, else 0: then it is counted as a refusal when `final`.
  // pending: the bytes are of an inode that is open for writing. An unknown lot gets 0.
  [[nodiscard]] std::int64_t charge_up_to(LotId id, std::int64_t want, bool pending, bool final,
                                          std::int64_t least = 1) noexcept;
  // Gives back bytes that were charged and never reached the backing. For an unknown lot only the pool's sample is told.
  void refund_unlanded(LotId id, std::int64_t bytes, bool pending, PoolId pool = kMainPool) noexcept;

  // What one more write could take of this lot, and its grant (kUnlimited: none).
  [[nodiscard]] std::int64_t room(LotId id) const noexcept;
  [[nodiscard]] std::int64_t grant(LotId id) const noexcept;
  [[nodiscard]] std::int64_t max_objects(LotId id) const noexcept;  // kUnlimited: none
  [[nodiscard]] bool by_kernel(LotId id) const noexcept;
  // Dedicated bytes that a new, empty root lot (or child of `parents`) could be given and then fill, never negative.
  [[nodiscard]] std::int64_t available(std::span<const LotId> parents, PoolId pool = kMainPool) const noexcept;
  // The lot's; the main one for an unknown lot.
  [[nodiscard]] PoolId pool_of(LotId id) const noexcept;
  [[nodiscard]] bool usage(LotId id, LotUsage& out) const noexcept;      // own
  [[nodiscard]] std::int64_t used(LotId id) const noexcept;              // with descendants
  [[nodiscard]] std::int64_t used_objects(LotId id) const noexcept;      // with descendants
  [[nodiscard]] std::vector<LotUsage> all_usage() const noexcept;
  [[nodiscard]] std::vector<LotChange> drain() noexcept;  // lots that changed (or were refused) since the last drain
  [[nodiscard]] PoolUsage pool(PoolId pool = kMainPool) const noexcept;  // all 0 where there is none

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vreserve
