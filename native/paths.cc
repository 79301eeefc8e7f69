// The tree of bound paths: binding, unbinding, and the walk that finds the longest bound prefix.
#include "paths.h"

#include <algorithm>
#include <mutex>

namespace vreserve {

namespace {

// Cuts the first component off `path` (which may begin with slashes); empty when there is none left.
std::string_view take_component(std::string_view& path) noexcept {
  const auto begin = path.find_first_not_of('/');
  if (begin == std::string_view::npos) {
    path = {};
    return {};
  }
  path.remove_prefix(begin);
  const auto end = path.find('/');
  const auto component = path.substr(0, end);
  path.remove_prefix(component.size());
  return component;
}

// The path of a node as it is kept in by_lot_: one slash before each component, "/" for the root.
std::string path_of(const PathNode* node) {
  std::vector<std::string_view> names;
  for (; node->parent != nullptr; node = node->parent) names.push_back(node->name);
  if (names.empty()) return "/";
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) path.append("/").append(*name);
  return path;
}

}  // namespace

Paths::Paths() noexcept { root_.lot = kDefaultLot; }

PathStep Paths::root() const noexcept {
  const std::shared_lock lock(mutex_);
  return {&root_, root_.lot};
}

PathStep Paths::step_locked(const PathStep& directory, std::string_view name) const noexcept {
  if (directory.node == nullptr) return {nullptr, directory.lot};
  const auto found = directory.node->children.find(name);
  if (found == directory.node->children.end()) return {nullptr, directory.lot};
  const PathNode* node = found->second.get();
  return {node, node->lot != kNoLot ? node->lot : directory.lot};
}

PathStep Paths::step(const PathStep& directory, std::string_view name) const noexcept {
  if (directory.node == nullptr) return {nullptr, directory.lot};
  const std::shared_lock lock(mutex_);
  return step_locked(directory, name);
}

PathStep Paths::at(std::string_view path) const noexcept {
  const std::shared_lock lock(mutex_);
  PathStep step{&root_, root_.lot};
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) step = step_locked(step, name);
  return step;
}

bool Paths::is_bound(const PathNode* node) const noexcept {
  if (node == nullptr) return false;
  const std::shared_lock lock(mutex_);
  return node->lot != kNoLot;
}

void Paths::bind(std::string_view path, LotId lot) {
  const std::unique_lock lock(mutex_);
  PathNode* node = &root_;
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) {
    auto& child = node->children[std::string(name)];
    if (!child) {
      child = std::make_unique<PathNode>();
      child->name = name;
      child->parent = node;
    }
    node = child.get();
  }
  forget(*node);
  node->lot = lot;
  by_lot_.emplace(lot, path_of(node));
}

void Paths::forget(const PathNode& node) {
  if (node.lot == kNoLot) return;
  const std::string path = path_of(&node);
  const auto [begin, end] = by_lot_.equal_range(node.lot);
  const auto found = std::find_if(begin, end, [&](const auto& entry) { return entry.second == path; });
  if (found != end) by_lot_.erase(found);
}

std::vector<std::string> Paths::bound_to(LotId lot) const {
  const std::shared_lock lock(mutex_);
  std::vector<std::string> found;
  const auto [begin, end] = by_lot_.equal_range(lot);
  for (auto it = begin; it != end; ++it) found.push_back(it->second);
  std::sort(found.begin(), found.end());
  return found;
}

void Paths::unbind(std::string_view path) {
  const std::unique_lock lock(mutex_);
  PathNode* node = &root_;
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) {
    const auto found = node->children.find(name);
    if (found == node->children.end()) return;
    node = found->second.get();
  }
  forget(*node);
  node->lot = node == &root_ ? kDefaultLot : kNoLot;
  while (node != &root_ && node->lot == kNoLot && node->children.empty()) {
    PathNode* const parent = node->parent;
    const auto it = parent->children.find(node->name);
    fallen_.push_back(std::move(it->second));
    parent->children.erase(it);
    node = parent;
  }
}

void Paths::reclaim() {
  const std::unique_lock lock(mutex_);
  fallen_.clear();
}

}  // namespace vreserve
