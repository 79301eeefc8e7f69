// The tree of bound paths: binding, unbinding, and the walk that finds the owner.
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

std::string path_of(const PathNode* node) {
  std::vector<std::string_view> names;
  for (; node->parent != nullptr; node = node->parent) names.push_back(node->name);
  if (names.empty()) return "/";
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) path.append("/").append(*name);
  return path;
}

// Whether the binding at `at` reaches the path of `node`, which lies there or below. `as_file`: the path is no directory,
// so that a binding of its directory alone does.
bool reaches(const PathNode* at, const PathNode* node, bool as_file) noexcept {
  return at->binding.recursive || at == node || (as_file && at == node->parent);
}

bool is_excluded(const PathNode* node, const PathNode* up_to, LotId lot, bool as_file) noexcept {
  for (const PathNode* at = node; at != up_to; at = at->parent) {
    if (at->binding.exclude && at->binding.lot == lot && reaches(at, node, as_file)) return true;
  }
  return false;
}

// Who owns what an exclusion at `node` took from its lot.
LotId next_owner(const PathNode* node, bool as_file) noexcept {
  for (const PathNode* at = node->parent; at != nullptr; at = at->parent) {
    if (!at->binding.includes() || !reaches(at, node, as_file)) continue;
    if (!is_excluded(node, at, at->binding.lot, as_file)) return at->binding.lot;
  }
  return kDefaultLot;
}

// The owners at the node and at all nodes below it, whose parent's are right.
void settle(PathNode& node) noexcept {
  const Binding& binding = node.binding;
  if (binding.includes()) {
    node.file = node.own = binding.lot;
    node.below = binding.recursive || node.parent == nullptr ? binding.lot : node.parent->below;
  } else if (binding.exclude) {
    node.file = next_owner(&node, true);
    node.own = next_owner(&node, false);
    node.below = binding.recursive ? node.own : node.parent->below;
  } else {
    node.file = node.parent->own;
    node.own = node.below = node.parent->below;
  }
  for (const auto& [name, child] : node.children) settle(*child);
}

PathStep step_from(const PathStep& directory, std::string_view name, bool is_directory) noexcept {
  if (directory.node == nullptr) return {nullptr, directory.lot};
  const PathNode& node = *directory.node;
  const auto found = node.children.find(name);
  if (found == node.children.end()) return {nullptr, is_directory ? node.below : node.own};
  const PathNode& child = *found->second;
  return {&child, is_directory ? child.own : child.file};
}

void visit_below(const PathNode& node, const std::string& path,
                 const std::function<void(const std::string&, const PathNode&)>& visit) {
  visit(path, node);
  for (const auto& [name, child] : node.children) {
    std::string below = path == "/" ? std::string() : path;
    visit_below(*child, below.append("/").append(name), visit);
  }
}

void copy_below(const PathNode& node, const std::string& path, Paths& into) {
  if (node.binding.lot != kNoLot) into.bind(path, node.binding);
  for (const auto& [name, child] : node.children) copy_below(*child, (path == "/" ? "" : path) + "/" + name, into);
}

}  // namespace

std::string normalized(std::string_view path) {
  std::string result;
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) result.append("/").append(name);
  return result.empty() ? "/" : result;
}

std::vector<std::string> components_of(std::string_view path) {
  std::vector<std::string> components;
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) components.emplace_back(name);
  return components;
}

bool is_at_or_below(std::string_view path, std::string_view top) noexcept {
  if (top == "/") return true;
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

std::vector<std::string> topmost(std::vector<std::string> paths) {
  // By components: what lies below a path comes right after it.
  std::sort(paths.begin(), paths.end(), [](const std::string& a, const std::string& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
      const auto order = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c); };  // no name has a NUL
      return order(x) < order(y);
    });
  });
  std::vector<std::string> tops;
  for (std::string& path : paths) {
    if (tops.empty() || !is_at_or_below(path, tops.back())) tops.push_back(std::move(path));
  }
  return tops;
}

Paths::Paths() noexcept { root_.binding.lot = kDefaultLot; }

PathStep Paths::root() const noexcept {
  const std::shared_lock lock(mutex_);
  return {&root_, root_.own};
}

PathStep Paths::step(const PathStep& directory, std::string_view name, bool is_directory) const noexcept {
  if (directory.node == nullptr) return {nullptr, directory.lot};
  const std::shared_lock lock(mutex_);
  return step_from(directory, name, is_directory);
}

PathStep Paths::at(std::string_view path, bool is_directory) const noexcept {
  const std::shared_lock lock(mutex_);
  PathStep step{&root_, root_.own};
  for (auto name = take_component(path); !name.empty();) {
    const auto next = take_component(path);
    step = step_from(step, name, is_directory || !next.empty());
    name = next;
  }
  return step;
}

bool Paths::is_bound(const PathNode* node) const noexcept {
  if (node == nullptr) return false;
  const std::shared_lock lock(mutex_);
  return node->binding.includes();
}

void Paths::bind(std::string_view path, const Binding& binding) {
  if (binding.lot == kNoLot) return unbind(path);
  const std::unique_lock lock(mutex_);
  PathNode* node = &root_;
  PathNode* made = nullptr;  // the topmost one: what is settled must reach it
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) {
    auto& child = node->children[std::string(name)];
    if (!child) {
      child = std::make_unique<PathNode>();
      child->name = name;
      child->parent = node;
      if (made == nullptr) made = child.get();
    }
    node = child.get();
  }
  forget(*node);
  node->binding = binding;
  by_lot_.emplace(binding.lot, path_of(node));
  settle(made != nullptr ? *made : *node);
}

void Paths::unbind(std::string_view path) {
  const std::unique_lock lock(mutex_);
  PathNode* node = const_cast<PathNode*>(find(path));
  if (node == nullptr) return;
  forget(*node);
  node->binding = node == &root_ ? Binding{kDefaultLot} : Binding{};
  settle(*node);
  while (node != &root_ && node->binding.lot == kNoLot && node->children.empty()) {
    PathNode* const parent = node->parent;
    const auto it = parent->children.find(node->name);
    fallen_.push_back(std::move(it->second));
    parent->children.erase(it);
    node = parent;
  }
}

void Paths::forget(const PathNode& node) {
  if (node.binding.lot != kNoLot) by_lot_.erase({node.binding.lot, path_of(&node)});
}

// A lock must be held.
const PathNode* Paths::find(std::string_view path) const noexcept {
  const PathNode* node = &root_;
  for (auto name = take_component(path); !name.empty(); name = take_component(path)) {
    const auto found = node->children.find(name);
    if (found == node->children.end()) return nullptr;
    node = found->second.get();
  }
  return node;
}

Binding Paths::binding_of(std::string_view path) const {
  const std::shared_lock lock(mutex_);
  const PathNode* const node = find(path);
  return node == nullptr ? Binding{} : node->binding;
}

std::vector<BoundPath> Paths::bound_to(LotId lot) const {
  const std::shared_lock lock(mutex_);
  std::vector<BoundPath> bound;
  for (auto it = by_lot_.lower_bound({lot, ""}); it != by_lot_.end() && it->first == lot; ++it) {
    bound.push_back({it->second, find(it->second)->binding});
  }
  return bound;
}

std::unique_ptr<Paths> Paths::excerpt(std::span<const std::string> tops) const {
  auto copy = std::make_unique<Paths>();
  const std::shared_lock lock(mutex_);
  copy->root_.binding = root_.binding;
  settle(copy->root_);
  for (const std::string& top : tops) {
    const PathNode* node = &root_;
    std::string path;
    std::string_view rest = top;
    auto name = take_component(rest);
    for (; !name.empty(); name = take_component(rest)) {
      if (!path.empty() && node->binding != copy->binding_of(path)) copy->bind(path, node->binding);
      const auto found = node->children.find(name);
      if (found == node->children.end()) break;
      node = found->second.get();
      path.append("/").append(name);
    }
    if (name.empty()) copy_below(*node, path.empty() ? "/" : path, *copy);
  }
  return copy;
}

void Paths::visit(std::string_view path, const std::function<void(const std::string&, const PathNode&)>& visit) const {
  const std::shared_lock lock(mutex_);
  if (const PathNode* const node = find(path); node != nullptr) visit_below(*node, path_of(node), visit);
}

void Paths::reclaim() {
  const std::unique_lock lock(mutex_);
  fallen_.clear();
}

}  // namespace vreserve
