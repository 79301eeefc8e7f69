// A full count of a tree of the backing: bytes and objects by lot, in parallel.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lots.h"
#include "paths.h"

namespace vreserve {

struct LotCount {
  std::int64_t bytes = 0;    // sum of st_size of regular files
  std::int64_t objects = 0;  // non-directory inodes, each once
};

// An inode whose names lie in several lots; `lot` is that of the bytewise first path.
struct Straddler {
  dev_t device = 0;
  ino_t inode = 0;
  LotId lot = kNoLot;
  std::string path;  // that first path, absolute in the mount
  std::uint32_t root = 0;  // that was counted; see inodes.h
};

struct CountProgress {  // read by others while the count runs
  std::atomic<std::int64_t> files{0};
  std::atomic<std::int64_t> directories{0};
  std::atomic<std::int64_t> bytes{0};
  std::atomic<bool> cancel{false};
};

// What a change of bindings moves from one lot to another.
struct CountMove {
  LotId from = kNoLot;
  LotId to = kNoLot;
  LotCount count;
};

// Of one inode, the lots that it is charged to before and after a change of bindings.
struct Passage {
  LotId from = kNoLot;
  LotId to = kNoLot;
  std::int64_t bytes = 0;
  std::string path = {};  // a name of it that was seen
};

// How to count under a change of bindings; the sets are only read, and must stand still meanwhile.
struct CountChange {
  const Paths& after;
  // Inodes whose names lie in several lots already, and the lot of each.
  const std::unordered_map<ino_t, LotId>& straddling;
  // Inodes whose passage is to be told.
  const std::unordered_set<ino_t>& watched;
};

struct CountOutcome {
  // errno of the first entry that could not be read, with its path; ECANCELED when cancelled. Then all else is partial.
  int error = 0;
  std::string error_path;
  std::unordered_map<LotId, LotCount> lots;  // under the first bindings
  std::int64_t hole_bytes = 0;  // sum over regular files of max(0, st_size - 512 * st_blocks)
  std::vector<Straddler> straddling;
  // The bytewise first path of an inode with a name outside what was walked (fewer names seen than st_nlink); empty: none.
  std::string partial;

  // Under a change of bindings only.
  std::vector<CountMove> moves;
  std::unordered_map<ino_t, Passage> watched;  // those that were seen
  // The bytewise first path of an inode that has a name which changes its lot, and names in several lots afterwards (a
  // name outside what was walked stays where the inode was); empty: none.
  std::string split;
  // Of the inodes that were seen, with a name that changes its lot. One with a name outside what was walked moves nothing.
  std::vector<Straddler> straddling_after;
  std::vector<ino_t> gathered;  // that straddled, and do no more
};

// Counts what is at `path` (absolute in the mount; "/" is root_fd itself; a file counts as itself; absent counts nothing).
// Each entry belongs to the lot that `paths` gives it. Of `.vreserve` directly below the root only what is served is
// counted (unless `path` leads into it), and nothing on another device than root_fd. No symlink is followed: below one,
// all is absent.
// What vanishes during the walk is as if it had not been. Sums end at 2^63 - 1. threads: at least 1.
// at: where root_fd is in the mount; only that of the root ("") has a `.vreserve`. `path` lies there or below.
CountOutcome count_tree(int root_fd, const std::string& path, const Paths& paths, unsigned threads,
                        CountProgress& progress, const std::string& at = "") noexcept;

// The same for several trees at once, none below another, under the bindings of now and those of `change`.
CountOutcome count_change(int root_fd, const std::vector<std::string>& tops, const Paths& paths,
                          const CountChange& change, unsigned threads, CountProgress& progress,
                          const std::string& at = "") noexcept;

}  // namespace vreserve
