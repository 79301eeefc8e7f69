// Bound paths: which lot owns a path, as a tree of components below the root of the mount.
//
// A path has one binding: to a lot, of a tree or (not recursive) of the path itself and, of a directory, its entries that
// are no directories; or an exclusion, which takes as much from its lot alone, so that the next shorter binding applies.
//   The owner of a path is found upwards from it. A binding counts if it is the path's own, or recursive, or its
//   directory's and the path is no directory; the first that counts and is to a lot that was not excluded on the way
//   decides. The root is the default lot's.
//
// A directory inode keeps a pointer to its node here when its path is bound or leads to a bound path, and walks one
// step a lookup; below the last node there is nothing to ask. Nodes that fall away are kept until reclaim(), which the
// engine calls when no thread can hold a pointer to them any more.
//
// Locks: mutex_ guards the whole tree, shared for step() and the readers below. It is a leaf.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lots.h"

namespace vreserve {

struct Binding {
  LotId lot = kNoLot;  // kNoLot: none
  bool recursive = true;
  bool exclude = false;

  bool operator==(const Binding&) const noexcept = default;
  [[nodiscard]] bool includes() const noexcept { return lot != kNoLot && !exclude; }
};

struct BoundPath {
  std::string path;  // one slash before each component, "/" for the root
  Binding binding;

  bool operator==(const BoundPath&) const noexcept = default;
};

struct PathNode {
  std::string name;
  PathNode* parent = nullptr;
  Binding binding;  // none: only on the way to a bound path
  // Owners that follow from the bindings here and above; settled anew wherever one of those changes.
  LotId file = kDefaultLot;   // of the path, if it is no directory
  LotId own = kDefaultLot;    // of the path, if it is a directory, and of its entries that are none and no nodes
  LotId below = kDefaultLot;  // of its subdirectories that are no nodes
  std::map<std::string, std::unique_ptr<PathNode>, std::less<>> children;
};

// Where a walk stands: the node of the path if there is one, and the lot that owns the path.
struct PathStep {
  const PathNode* node = nullptr;
  LotId lot = kDefaultLot;
};

// The path with one slash before each component, "/" alone for the root.
[[nodiscard]] std::string normalized(std::string_view path);
[[nodiscard]] std::vector<std::string> components_of(std::string_view path);
// True when `path` is `top` or lies below it, by whole components; both normalized.
[[nodiscard]] bool is_at_or_below(std::string_view path, std::string_view top) noexcept;
// Of normalized paths those that lie below no other one, each once.
[[nodiscard]] std::vector<std::string> topmost(std::vector<std::string> paths);

class Paths {
 public:
  Paths() noexcept;

  [[nodiscard]] PathStep root() const noexcept;
  // From a directory to the entry `name` in it. noexcept: allocates nothing.
  [[nodiscard]] PathStep step(const PathStep& directory, std::string_view name, bool is_directory) const noexcept;
  // The step at an absolute path ("/" is the root); what it leads through are directories.
  [[nodiscard]] PathStep at(std::string_view path, bool is_directory) const noexcept;
  // True when `node` itself is bound to a lot (its directory is that lot's own): an exclusion is not.
  [[nodiscard]] bool is_bound(const PathNode* node) const noexcept;

  // A path has one binding: the last.
  void bind(std::string_view path, const Binding& binding);
  void unbind(std::string_view path);
  // The path's own binding; its lot is kNoLot where there is none.
  [[nodiscard]] Binding binding_of(std::string_view path) const;
  // The bindings of the lot, its exclusions too, by their paths in bytewise order.
  [[nodiscard]] std::vector<BoundPath> bound_to(LotId lot) const;
  // A copy of what decides at and below `tops`: for asking what a change would do. Its nodes are its own.
  [[nodiscard]] std::unique_ptr<Paths> excerpt(std::span<const std::string> tops) const;
  // Every node at or below the path, with its path. A lock is held: `visit` must not come back here.
  void visit(std::string_view path, const std::function<void(const std::string&, const PathNode&)>& visit) const;
  // Frees nodes that fell away since the last call.
  void reclaim();

 private:
  // Takes the node's binding, if it has one, out of by_lot_.
  void forget(const PathNode& node);
  [[nodiscard]] const PathNode* find(std::string_view path) const noexcept;

  mutable std::shared_mutex mutex_;
  PathNode root_;
  std::vector<std::unique_ptr<PathNode>> fallen_;
  std::set<std::pair<LotId, std::string>> by_lot_;
};

}  // namespace vreserve
