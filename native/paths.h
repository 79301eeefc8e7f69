// Bound paths: which lot owns a path, as a tree of components below the root of the mount.
//
// A directory inode keeps a pointer to its node here when its path is bound or leads to a bound path, and walks one
// step a lookup; below the last node there is nothing to ask. Nodes that fall away are kept until reclaim(), which the
// engine calls when no thread can hold a pointer to them any more.
//
// Locks: mutex_ guards the whole tree, shared for step() and the readers below. It is a leaf.
#pragma once

#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lots.h"

namespace vreserve {

struct PathNode {
  std::string name;
  PathNode* parent = nullptr;
  LotId lot = kNoLot;  // kNoLot: only on the way to a bound path
  std::map<std::string, std::unique_ptr<PathNode>, std::less<>> children;
};

// Where a walk stands: the node of the path if there is one, and the lot that owns the path.
struct PathStep {
  const PathNode* node = nullptr;
  LotId lot = kDefaultLot;
};

class Paths {
 public:
  Paths() noexcept;

  [[nodiscard]] PathStep root() const noexcept;
  // From a directory to the entry `name` in it. noexcept: allocates nothing.
  [[nodiscard]] PathStep step(const PathStep& directory, std::string_view name) const noexcept;
  // The step at an absolute path ("/" is the root).
  [[nodiscard]] PathStep at(std::string_view path) const noexcept;
  // True when `node` itself is bound (its directory is a lot's own top directory).
  [[nodiscard]] bool is_bound(const PathNode* node) const noexcept;

  // A path has one binding: the last.
  void bind(std::string_view path, LotId lot);
  // The paths bound to the lot, in bytewise order.
  [[nodiscard]] std::vector<std::string> bound_to(LotId lot) const;
  void unbind(std::string_view path);
  // Frees nodes that fell away since the last call.
  void reclaim();

 private:
  // Takes the node's binding, if it has one, out of by_lot_.
  void forget(const PathNode& node);
  [[nodiscard]] PathStep step_locked(const PathStep& directory, std::string_view name) const noexcept;

  mutable std::shared_mutex mutex_;
  PathNode root_;
  std::vector<std::unique_ptr<PathNode>> fallen_;
  std::multimap<LotId, std::string> by_lot_;
};

}  // namespace vreserve
