// The mount without the device: what comes are operations on paths and open files, as libfuse's high-level interface has
// them, and each becomes the kernel's own messages (LOOKUP along the path, then the operation), which the engine serves
// as always. So every rule is where it is, and here are only paths, open files, and the order in which things happen.
//
// Nothing here blocks: an operation is a chain of messages, and whoever answers one of them (the same thread at once, the
// control plane, or the thread that thaws a tree) has the chain go on, on a thread of the crew.
//
// Lock: mutex_ guards everything that has no other; a leaf.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "crew.h"
#include "engine.h"
#include "fuse_loop.h"

namespace vreserve {

// What came back of one message.
struct Reply {
  int error = 0;  // positive
  std::vector<char> data;  // empty where it went elsewhere
  std::size_t size = 0;

  template <typename T>
  [[nodiscard]] const T* as(std::size_t offset = 0) const noexcept {
    return data.size() >= offset + sizeof(T) ? reinterpret_cast<const T*>(data.data() + offset) : nullptr;
  }
};

// An inode that the engine keeps for as long as this lives.
class Node {
 public:
  Node(Engine& engine, const fuse::EntryOut& entry, bool owned) noexcept
      : engine_(engine), entry_(entry), owned_(owned) {}
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] std::uint64_t id() const noexcept { return entry_.nodeid; }
  [[nodiscard]] const fuse::Attr& attr() const noexcept { return entry_.attr; }  // as it was looked up
  [[nodiscard]] bool may_keep() const noexcept { return entry_.attr_valid != 0; }
  [[nodiscard]] bool is_directory() const noexcept { return S_ISDIR(entry_.attr.mode); }
  [[nodiscard]] bool is_own() const noexcept { return is_virtual(entry_.nodeid); }

 private:
  Engine& engine_;
  fuse::EntryOut entry_;
  bool owned_;
};
using NodeRef = std::shared_ptr<const Node>;

struct Listed {
  std::string name;
  std::uint64_t number = 0;
  std::uint32_t type = 0;  // S_IFMT bits
};

// What an operation gives: `result` is -errno, or what the operation counts, or a handle.
struct Outcome {
  std::int64_t result = 0;
  fuse::Attr attr{};              // GETATTR, SETATTR
  fuse::StatfsOut statfs{};       // STATFS
  std::vector<Listed> names;      // READDIR
  std::vector<char> text;         // READLINK, GETXATTR, LISTXATTR
};

// One operation, by the opcode of the message that it comes down to; which fields it has is as in that message.
struct Operation {
  std::uint32_t opcode = 0;
  std::string path;
  std::string to;    // RENAME and LINK: the new path; SYMLINK: what it says; of attributes the name
  std::uint64_t handle = 0;  // of an open file; 0: by its path
  std::uint32_t mode = 0;
  std::uint32_t flags = 0;  // of open(2), of SETXATTR, of FSYNC
  std::uint64_t rdev = 0;
  std::int64_t offset = 0;
  fuse::SetattrIn set{};
  char* data = nullptr;  // READ: where it goes; WRITE, SETXATTR: where it is. Must stay until `done`
  std::size_t size = 0;
  std::function<void(Outcome&&)> done;
  NodeRef parent;  // that of the path, for as long as it takes: it may be served once more when it was parked
};

class Portable final : public Transport {
 public:
  explicit Portable(Engine& engine) noexcept;
  ~Portable() override;

  // Takes requests from now on; `ended` when the mount is gone, on a thread of its own.
  void serve(Virtual::Sink sink, std::function<void()> ended) noexcept;
  // `done` runs once, on some thread.
  void perform(Operation&& operation) noexcept;

  void answer(std::uint64_t unique, int error, std::span<const iovec> parts) noexcept override;
  void settle(bool gives_back) noexcept override;

 private:
  using Then = std::function<void(Reply&)>;
  using Found = std::function<void(int error, const NodeRef& node)>;
  using Step = std::function<void()>;
  using Job = std::shared_ptr<Operation>;

  using Clock = std::chrono::steady_clock;
  // A WRITE or FLUSH of an open file.
  struct Interruptible {
    std::uint64_t unique = 0;  // of the message under way; 0: none
    Clock::time_point early;   // an INTERRUPT came before there was one
  };
  struct Call {
    Then then;
    std::uint64_t handle = 0;
    std::uint32_t opcode = 0;
    char* into = nullptr;  // data goes there instead
    std::size_t most = 0;
    bool gives_back = false;
    bool deferred = false;
  };
  struct Handle {
    NodeRef node;
    std::uint64_t fh = 0;
    std::uint32_t flags = 0;
    std::uint32_t open_flags = 0;
    bool busy = false;
    std::deque<Step> waiting;
    Interruptible writing;
    Interruptible flushing;
  };
  struct Open {  // what an operation needs of a handle
    NodeRef node;
    std::uint64_t fh = 0;
    std::uint32_t flags = 0;
  };
  // An open file that libfuse has renamed, to unlink or to replace it.
  struct Hidden {
    NodeRef node;
    std::string name;  // where it was
    // lapsed: it was restored and then closed, but the kernel may know it by the other name for a while.
    enum class State : std::uint8_t { renamed, unlinked, restored, lapsed } state = State::renamed;
  };
  struct OwnFile {
    NodeRef node;
    Clock::time_point since;
  };
  struct Cached {
    NodeRef node;
    std::list<std::string>::iterator used;
  };

  // Has the engine serve a message. handle: it is about that one, and may be interrupted.
  void send(std::uint32_t opcode, std::uint64_t nodeid, std::initializer_list<iovec> body, Then then,
            std::uint64_t handle = 0, char* into = nullptr, std::size_t most = 0) noexcept;
  void lookup(const NodeRef& parent, const std::string& path, std::size_t end, Found found) noexcept;
  void walk(const std::string& path, Found found) noexcept;
  // The directory that a path lies in, or EXDEV and its like; `found` gets its node.
  void walk_parent(const std::string& path, Found found) noexcept;
  // What is known of the path from before; null.
  [[nodiscard]] NodeRef known(const std::string& path) noexcept;
  void keep(const std::string& path, const NodeRef& node, std::uint64_t changes) noexcept;
  void keep_own(const std::string& path, const NodeRef& node) noexcept;
  void forget_below(const std::string& path) noexcept;

  [[nodiscard]] NodeRef node_of(const fuse::EntryOut& entry) noexcept;
  [[nodiscard]] std::uint64_t add_handle(const NodeRef& node, const fuse::OpenOut& open, std::uint32_t flags) noexcept;
  [[nodiscard]] bool find_handle(std::uint64_t handle, Open& open) noexcept;
  [[nodiscard]] bool is_open(std::uint64_t nodeid) noexcept;
  void in_order(std::uint64_t handle, Step step) noexcept;
  void next_of(std::uint64_t handle) noexcept;
  void interrupt(std::uint64_t handle, std::uint32_t opcode) noexcept;

  // Says by kMayKeep where the kernel may keep them.
  static void tell(const Job& job, const Node& node, fuse::Attr attr, bool may_keep) noexcept;
  static void fail(const Job& job, int error) noexcept;
  static void finish(const Job& job, std::int64_t result = 0) noexcept;
  // Answers the operation with a message's outcome alone.
  [[nodiscard]] static Then plainly(const Job& job) noexcept;
  [[nodiscard]] Then made(const Job& job) noexcept;
  // Runs `then` with the node of the operation: of its handle, or at its path.
  void with_node(const Job& job, std::function<void(const NodeRef&)> then) noexcept;
  void with_parent(const Job& job, std::function<void(const NodeRef&, const char* name)> then) noexcept;

  void run(const Job& job) noexcept;
  void getattr(const Job& job) noexcept;
  void setattr(const Job& job) noexcept;
  void readdir(const Job& job) noexcept;
  void list_from(const Job& job, const NodeRef& node, std::uint64_t offset, const std::shared_ptr<Outcome>& listed) noexcept;
  void readlink(const Job& job) noexcept;
  void make(const Job& job) noexcept;
  void symlink(const Job& job) noexcept;
  void remove(const Job& job) noexcept;
  void rename(const Job& job) noexcept;
  void renamed(const std::string& from, const std::string& to) noexcept;
  void hide(const Job& job, const NodeRef& parent) noexcept;
  void unlink_hidden(const Job& job) noexcept;
  void settle_hidden(const Job& job, const NodeRef& directory, int error) noexcept;
  [[nodiscard]] NodeRef drop_lapsed() noexcept;
  [[nodiscard]] bool known_hidden(const std::string& path) noexcept;
  [[nodiscard]] bool has_lost_name(const std::string& path) noexcept;
  [[nodiscard]] bool hides_name(const std::string& directory, std::string_view name) noexcept;
  [[nodiscard]] bool holds_hidden(const std::string& directory) noexcept;
  void link(const Job& job) noexcept;
  void open(const Job& job) noexcept;
  void create(const Job& job) noexcept;
  void on_handle(const Job& job, std::function<void(const Open&)> then) noexcept;
  void read(const Job& job) noexcept;
  void write(const Job& job) noexcept;
  void close(const Job& job) noexcept;
  void sync(const Job& job) noexcept;
  void statfs(const Job& job) noexcept;
  void getxattr(const Job& job) noexcept;
  void setxattr(const Job& job) noexcept;
  void removexattr(const Job& job) noexcept;

  Engine& engine_;
  FuseLoopHost host_;
  std::function<void()> ended_;
  NodeRef root_;
  const std::uint32_t uid_;
  const std::uint32_t gid_;
  const std::uint32_t pid_;
  std::atomic<std::uint64_t> next_unique_{1};
  std::atomic<unsigned> settling_{0};
  std::atomic<unsigned> deferred_{0};  // calls that may give back and are answered later

  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Call> calls_;
  std::unordered_map<std::uint64_t, Handle> handles_;
  std::uint64_t next_handle_ = 1;
  std::unordered_map<std::string, Hidden> hidden_;  // by the name that libfuse gave it
  std::deque<std::string> lapsed_;                  // oldest first
  std::unordered_map<std::string, Cached> directories_;
  std::list<std::string> directories_by_use_;  // most recent first
  std::uint64_t changes_ = 0;  // of names of directories
  std::unordered_map<std::string, OwnFile> own_files_;

  Crew crew_;  // last, so that its threads end first
};

}  // namespace vreserve
