// Messages and their answers, paths, and open files.
#include "portable.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace vreserve {

namespace {

constexpr std::size_t kDirectories = 4096;      // known by their paths
constexpr auto kEarly = std::chrono::seconds(1);  // an interrupted request comes so much later at the most
constexpr std::size_t kOwnFiles = 32;  // each may hold a report of many lots
constexpr auto kOwnKept = std::chrono::seconds(2);
constexpr std::uint64_t kHandles = 0x7FFFFFFF;  // what the binding can carry

// The message that this thread has the engine serve right now, and its answer if it came at once.
struct Sending {
  std::uint64_t unique = 0;
  bool answered = false;
  Reply reply;
  std::function<void(Reply&)> then;
};
thread_local Sending* sending = nullptr;

std::size_t length_of(std::span<const iovec> parts) noexcept {
  std::size_t size = 0;
  for (const iovec& part : parts) size += part.iov_len;
  return size;
}

}  // namespace

Node::~Node() {
  if (!owned_) return;
  if (is_virtual(id())) {
    engine_.virtuals.forget(id(), 1);
  } else if (Inode* const inode = engine_.inodes.find(id()); inode != nullptr) {
    engine_.inodes.forget(*inode, 1);
  }
}

Portable::Portable(Engine& engine) noexcept
    : engine_(engine), uid_(::geteuid()), gid_(::getegid()), pid_(static_cast<std::uint32_t>(::getpid())), crew_(engine.device) {
  fuse::EntryOut root{};
  root.nodeid = fuse::kRootId;
  root.attr.mode = S_IFDIR;
  root_ = std::make_shared<const Node>(engine_, root, false);
  host_.interrupted = [this](std::uint64_t handle, std::uint32_t opcode) { interrupt(handle, opcode); };
  host_.open_flags = [this](std::uint64_t handle) -> std::uint32_t {
    const std::lock_guard guard(mutex_);
    const auto found = handles_.find(handle);
    return found == handles_.end() ? 0 : found->second.open_flags;
  };
  // Whoever waits for the control plane waits for nothing any more.
  host_.closing = [this] { engine_.virtuals.abandon(); };
  host_.ended = [this] {
    engine_.mount_ended();
    ended_();
  };
}

Portable::~Portable() = default;

void Portable::serve(Virtual::Sink sink, std::function<void()> ended) noexcept {
  ended_ = std::move(ended);
  engine_.serve_from(*this, [sink = std::move(sink)](VirtualQuestion&& question) {
    // Who asks cannot be told; what a lot's own directory shows may have been given to a container.
    if (question.scope != kDefaultLot) {
      question.caller.home = false;
      question.caller.sys_admin = false;
      question.caller.dac_override = false;
    }
    sink(std::move(question));
  });
  set_fuse_loop_host(&host_);
}

void Portable::perform(Operation&& operation) noexcept {
  auto job = std::make_shared<Operation>(std::move(operation));
  crew_.post([this, job] { run(job); });
}

// --- messages ---------------------------------------------------------------------------------------------------

void Portable::send(std::uint32_t opcode, std::uint64_t nodeid, std::initializer_list<iovec> body, Then then,
                    std::uint64_t handle, char* into, std::size_t most) noexcept {
  Sending own;
  own.unique = next_unique_.fetch_add(1);
  fuse::InHeader header{};
  header.opcode = opcode;
  header.unique = own.unique;
  header.nodeid = nodeid;
  header.uid = uid_;
  header.gid = gid_;
  header.pid = opcode == fuse::FLUSH ? 0 : pid_;  // who closes a descriptor, and whether it is the last, nobody can tell
  const std::size_t size = length_of(body);
  header.len = static_cast<std::uint32_t>(sizeof header + size);
  // In words, so that what is read out of it is aligned as in the kernel's own.
  std::vector<std::uint64_t> words((sizeof header + size + 7) / 8);
  char* const message = reinterpret_cast<char*>(words.data());
  std::memcpy(message, &header, sizeof header);
  std::size_t at = sizeof header;
  for (const iovec& part : body) {
    std::memcpy(message + at, part.iov_base, part.iov_len);
    at += part.iov_len;
  }
  const bool gives_back = may_give_back(opcode);
  bool early = false;
  {
    const std::lock_guard guard(mutex_);
    calls_[own.unique] = {std::move(then), handle, opcode, into, most, gives_back, false};
    if (const auto found = handles_.find(handle); handle != 0 && found != handles_.end()) {
      Interruptible& under_way = opcode == fuse::FLUSH ? found->second.flushing : found->second.writing;
      under_way.unique = own.unique;
      early = Clock::now() - std::exchange(under_way.early, {}) < kEarly;
    }
  }
  if (early) engine_.virtuals.interrupt(own.unique);
  sending = &own;
  engine_.device.serve_one(*Crew::current(), *reinterpret_cast<const fuse::InHeader*>(message), message + sizeof header, size);
  sending = nullptr;
  if (own.answered) return own.then(own.reply);
  const std::lock_guard guard(mutex_);
  if (const auto found = calls_.find(own.unique); found != calls_.end()) {
    found->second.deferred = true;
    if (gives_back) ++deferred_;
  }
}

void Portable::answer(std::uint64_t unique, int error, std::span<const iovec> parts) noexcept {
  Call call;
  {
    const std::lock_guard guard(mutex_);
    const auto found = calls_.find(unique);
    if (found == calls_.end()) return;
    call = std::move(found->second);
    calls_.erase(found);
    if (call.deferred && call.gives_back) --deferred_;
    if (const auto handle = handles_.find(call.handle); call.handle != 0 && handle != handles_.end()) {
      Interruptible& over = call.opcode == fuse::FLUSH ? handle->second.flushing : handle->second.writing;
      if (over.unique == unique) over.unique = 0;
    }
  }
  Reply reply;
  reply.error = -error;
  reply.size = length_of(parts);
  if (call.into == nullptr) reply.data.resize(reply.size);
  char* to = call.into == nullptr ? reply.data.data() : call.into;
  std::size_t left = call.into == nullptr ? reply.size : call.most;
  for (const iovec& part : parts) {
    const std::size_t size = std::min(part.iov_len, left);
    if (size != 0) std::memcpy(to, part.iov_base, size);
    to += size;
    left -= size;
  }
  if (sending != nullptr && sending->unique == unique) {
    sending->answered = true;
    sending->reply = std::move(reply);
    sending->then = std::move(call.then);
    return;
  }
  crew_.post([then = std::move(call.then), reply = std::make_shared<Reply>(std::move(reply))] { then(*reply); });
}

void Portable::settle(bool gives_back) noexcept {
  if (gives_back) ++settling_;
  settle_fuse_loop([this] { return settling_.load() + deferred_.load(); });
  if (gives_back) --settling_;
}

// --- paths ------------------------------------------------------------------------------------------------------

NodeRef Portable::node_of(const fuse::EntryOut& entry) noexcept {
  return std::make_shared<const Node>(engine_, entry, true);
}

NodeRef Portable::known(const std::string& path) noexcept {
  if (path.empty() || path == "/") return root_;
  const std::lock_guard guard(mutex_);
  if (const auto found = hidden_.find(path); found != hidden_.end()) return found->second.node;
  const auto found = directories_.find(path);
  if (found == directories_.end()) return nullptr;
  directories_by_use_.splice(directories_by_use_.begin(), directories_by_use_, found->second.used);
  return found->second.node;
}

void Portable::keep(const std::string& path, const NodeRef& node, std::uint64_t changes) noexcept {
  NodeRef dropped;  // after the mutex
  const std::lock_guard guard(mutex_);
  if (changes != changes_ || directories_.contains(path)) return;
  directories_by_use_.push_front(path);
  directories_.emplace(path, Cached{node, directories_by_use_.begin()});
  if (directories_.size() <= kDirectories) return;
  const auto last = directories_.find(directories_by_use_.back());
  dropped = last->second.node;
  directories_.erase(last);
  directories_by_use_.pop_back();
}

// A file of `/.vreserve` stays what was looked up by this name: libfuse asks by the path again when it is opened, and at each
// stat of an open one.
void Portable::keep_own(const std::string& path, const NodeRef& node) noexcept {
  std::vector<NodeRef> dropped;  // after the mutex
  const std::lock_guard guard(mutex_);
  const Clock::time_point now = Clock::now();
  for (auto it = own_files_.begin(); it != own_files_.end();) {
    const bool old = now - it->second.since > kOwnKept || own_files_.size() >= kOwnFiles;
    if (!old || it->second.node.use_count() > 1) {
      ++it;
      continue;
    }
    dropped.push_back(std::move(it->second.node));
    it = own_files_.erase(it);
  }
  own_files_[path] = {node, now};
}

// The path, or what leads through it, is another directory now, or none.
void Portable::forget_below(const std::string& path) noexcept {
  std::vector<NodeRef> dropped;  // after the mutex
  const std::lock_guard guard(mutex_);
  ++changes_;
  for (auto it = directories_.begin(); it != directories_.end();) {
    if (!is_at_or_below(it->first, path)) {
      ++it;
      continue;
    }
    dropped.push_back(it->second.node);
    directories_by_use_.erase(it->second.used);
    it = directories_.erase(it);
  }
}

// Looks up the component that begins after the slash at `from`, and all that follow.
void Portable::lookup(const NodeRef& parent, const std::string& path, std::size_t from, Found found) noexcept {
  const std::size_t next = path.find('/', from + 1);
  const std::size_t end = next == std::string::npos ? path.size() : next;
  std::string name = path.substr(from + 1, end - from - 1);
  if (parent->is_own()) name.resize(std::min(name.find(kLookedUp), name.size()));
  std::uint64_t changes = 0;
  {
    const std::lock_guard guard(mutex_);
    changes = changes_;
  }
  send(fuse::LOOKUP, parent->id(), {{const_cast<char*>(name.c_str()), name.size() + 1}},
       [this, parent, path, end, changes, found = std::move(found)](Reply& reply) {
         const auto* const entry = reply.as<fuse::EntryOut>();
         if (reply.error != 0 || entry == nullptr || entry->nodeid == 0) {
           return found(reply.error != 0 ? reply.error : ENOENT, nullptr);
         }
         const NodeRef node = node_of(*entry);
         if (node->is_directory() && !node->is_own()) keep(path.substr(0, end), node, changes);
         if (node->is_own() && !node->is_directory()) keep_own(path, node);
         if (end == path.size()) return found(0, node);
         lookup(node, path, end, found);
       });
}

void Portable::walk(const std::string& path, Found found) noexcept {
  if (path == "/") return found(0, root_);
  {
    NodeRef node;
    {
      const std::lock_guard guard(mutex_);
      if (const auto it = hidden_.find(path); it != hidden_.end()) node = it->second.node;
      if (const auto it = own_files_.find(path); it != own_files_.end()) node = it->second.node;
    }
    if (node) return found(0, node);
  }
  std::size_t slash = path.rfind('/');
  for (;;) {
    if (const NodeRef node = known(path.substr(0, slash))) return lookup(node, path, slash, std::move(found));
    slash = path.rfind('/', slash - 1);
  }
}

void Portable::walk_parent(const std::string& path, Found found) noexcept {
  const std::string parent = path.substr(0, path.rfind('/'));
  if (const NodeRef node = known(parent)) return found(0, node);
  walk(parent, std::move(found));
}

// --- open files -------------------------------------------------------------------------------------------------

std::uint64_t Portable::add_handle(const NodeRef& node, const fuse::OpenOut& open, std::uint32_t flags) noexcept {
  const std::lock_guard guard(mutex_);
  while (next_handle_ == 0 || handles_.contains(next_handle_)) next_handle_ = (next_handle_ + 1) & kHandles;
  const std::uint64_t id = next_handle_;
  next_handle_ = (next_handle_ + 1) & kHandles;
  Handle& handle = handles_[id];
  handle.node = node;
  handle.fh = open.fh;
  handle.flags = flags;
  // Every open of a path is the same inode to the kernel here, so it may keep nothing of what only one of them shows; and of
  // a file with several names it has several inodes, so it asks anew at each open.
  const std::uint32_t kept = node->attr().nlink == 1 ? fuse::FOPEN_DIRECT_IO | fuse::FOPEN_KEEP_CACHE : fuse::FOPEN_DIRECT_IO;
  handle.open_flags = node->is_own() ? fuse::FOPEN_DIRECT_IO : open.open_flags & kept;
  return id;
}

bool Portable::find_handle(std::uint64_t handle, Open& open) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = handles_.find(handle);
  if (found == handles_.end()) return false;
  open = {found->second.node, found->second.fh, found->second.flags};
  return true;
}

bool Portable::is_open(std::uint64_t nodeid) noexcept {
  const std::lock_guard guard(mutex_);
  return std::ranges::any_of(handles_, [nodeid](const auto& each) { return each.second.node->id() == nodeid; });
}

// What is done with an open file is done in the order in which it came. The control plane has an order of its own.
void Portable::in_order(std::uint64_t handle, Step step) noexcept {
  {
    const std::lock_guard guard(mutex_);
    const auto found = handles_.find(handle);
    if (found != handles_.end() && !found->second.node->is_own()) {
      if (found->second.busy) return found->second.waiting.push_back(std::move(step));
      found->second.busy = true;
    }
  }
  step();
}

void Portable::next_of(std::uint64_t handle) noexcept {
  Step step;
  {
    const std::lock_guard guard(mutex_);
    const auto found = handles_.find(handle);
    if (found == handles_.end()) return;
    Handle& known = found->second;
    known.busy = !known.waiting.empty();
    if (!known.busy) return;
    step = std::move(known.waiting.front());
    known.waiting.pop_front();
  }
  crew_.post(std::move(step));
}

void Portable::interrupt(std::uint64_t handle, std::uint32_t opcode) noexcept {
  std::uint64_t unique = 0;
  {
    const std::lock_guard guard(mutex_);
    const auto found = handles_.find(handle);
    if (found == handles_.end() || !found->second.node->is_own()) return;
    Interruptible& asked = opcode == fuse::FLUSH ? found->second.flushing : found->second.writing;
    unique = asked.unique;
    if (unique == 0) asked.early = Clock::now();
  }
  if (unique != 0) engine_.virtuals.interrupt(unique);
}

}  // namespace vreserve
