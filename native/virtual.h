// /.vreserve as the data plane sees it: nodes by number, and questions to the control plane with their answers to come.
//
// A file of /.vreserve is a snapshot: each lookup makes a new node, and the first stat or open of it fixes its content, so
// that what stat said is what read gives. (Not the lookup itself: the kernel makes one more to find out that the name it
// knew is another node now, and throws it away.) A blob is one, too; its data are a real file's, see blobs.h. Directories and the files that grow keep their numbers; each open of control
// has a node of its own, because the kernel lets one write at a time into an inode and a command may wait.
//
// Locks: mutex_ guards everything here. A leaf; the sink is called without it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "device.h"
#include "lots.h"

namespace vreserve {

// Who asks, from the kernel's request and /proc/PID/status.
struct Caller {
  pid_t pid = 0;  // of the thread
  pid_t process = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  // Effective, and in the daemon's own user namespace.
  bool home = false;  // in the daemon's own user namespace
  bool fsetid = false;
  bool dac_override = false;
  bool sys_admin = false;
};
// 0, or EACCES when the process cannot be seen.
[[nodiscard]] int read_caller(pid_t pid, Caller& caller) noexcept;

enum class VirtualKind : std::uint8_t { directory, snapshot, stream, control, blob };
enum class VirtualOp : std::uint8_t {
  lookup,
  list,
  open,
  read,
  write,
  flush,
  release,
  setxattr,
  content,
  interrupt,
  create,
  unlink,
  getxattr
};

struct VirtualQuestion {
  VirtualOp op = VirtualOp::lookup;
  std::uint64_t token = 0;  // of an interrupt: that of the question which is answered already
  LotId scope = kDefaultLot;
  std::string directory = "/";  // in whose `.vreserve` it was named, absolute in the mount
  std::string path;
  Caller caller;
  bool for_writing = false;
  // Of a blob.
  bool of_blob = false;
  bool truncate = false;
  bool written = false;
  int failed = 0;  // errno
  bool opened = true;
  std::uint64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::string data;
  std::string name;
  bool has_value = false;
};

struct VirtualName {
  std::string name;
  VirtualKind kind = VirtualKind::snapshot;
  std::uint64_t number = 0;  // of the inode; 0: by its path
};

struct VirtualAnswer {
  int error = 0;  // positive errno
  VirtualKind kind = VirtualKind::snapshot;
  std::uint32_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  bool takes_files = false;
  std::int64_t mtime_ms = 0;
  std::int64_t size = 0;
  bool has_node = false;  // what is above was told
  std::string data;  // content of a snapshot, or what was read
  std::vector<VirtualName> names;
  std::uint64_t handle = 0;
  std::string real;  // path in the mount of what holds the data of a blob
  bool again = false;
  std::uint32_t written = 0;
};

struct VirtualNode {
  std::uint64_t id = 0;
  LotId scope = kDefaultLot;
  std::string directory = "/";
  std::string path;
  VirtualKind kind = VirtualKind::directory;
  std::uint32_t mode = 0555;
  uid_t uid = 0;
  gid_t gid = 0;
  bool takes_files = false;
  std::int64_t mtime_ms = 0;
  std::int64_t size = 0;
  std::shared_ptr<const std::string> content;  // of a snapshot, once it is fixed
  std::uint64_t nlookup = 0;
};

// A name in the root's own `.vreserve` that leads to a real directory of the backing.
struct RealName {
  std::string name;
  std::uint64_t number = 0;
  bool listed = true;
  std::function<void(Request&)> lookup;  // answers the request
};

inline constexpr std::uint64_t kVirtualBit = 1ULL << 62;
[[nodiscard]] inline bool is_virtual(std::uint64_t nodeid) noexcept { return (nodeid & kVirtualBit) != 0; }

class Virtual {
 public:
  using Sink = std::function<void(VirtualQuestion&&)>;
  using Continuation = std::function<void(const VirtualAnswer&)>;

  explicit Virtual(Device& device) noexcept;
  void set_sink(Sink sink) noexcept { sink_ = std::move(sink); }
  // Before serving.
  void add_real(RealName real) noexcept { real_.push_back(std::move(real)); }

  // The `.vreserve` directory of a lot's own directory (or of the root), with one more lookup.
  [[nodiscard]] VirtualNode top(LotId scope, const std::string& directory) noexcept;
  // Serves a request on a virtual node, but for those that Blobs serves.
  void serve(Request& request) noexcept;
  void serve(Request& request, const VirtualNode& node) noexcept;
  [[nodiscard]] bool find(std::uint64_t nodeid, VirtualNode& node) noexcept;
  // The node of an answer to a lookup, with one more lookup.
  [[nodiscard]] VirtualNode enter(LotId scope, const std::string& directory, const std::string& path,
                                  const VirtualAnswer& answer) noexcept;
  [[nodiscard]] std::size_t count() noexcept;
  // The node shows other attributes from now on.
  void renew(const VirtualNode& node) noexcept;
  void forget(std::uint64_t nodeid, std::uint64_t lookups) noexcept;
  // The question of this request that waits, or is about to be asked, is answered with EINTR; one that was asked is
  // followed by an `interrupt` with its token, for who answers questions.
  void interrupt(std::uint64_t unique) noexcept;
  // Hands a question on, and defers the request; `then` runs once, on the thread that answers, interrupts or abandons.
  void ask(Request& request, VirtualQuestion&& question, Continuation then) noexcept;
  // Hands a question on whose answer nobody waits for.
  void tell(VirtualQuestion&& question) noexcept;
  void answer(std::uint64_t token, const VirtualAnswer& answer) noexcept;
  // The control plane goes: whoever waits for it, or asks from now on, gets ENOTCONN.
  void abandon() noexcept;

  [[nodiscard]] static VirtualQuestion question_of(const VirtualNode& node, VirtualOp op);

  static void fill(const VirtualNode& node, fuse::Attr& attr) noexcept;
  static void fill(const VirtualNode& node, fuse::EntryOut& entry) noexcept;
  [[nodiscard]] static fuse::StatxOut statx_of(const fuse::Attr& attr) noexcept;
  // The path of the entry `name` of a directory, relative to `.vreserve`.
  [[nodiscard]] static std::string path_in(const VirtualNode& directory, const char* name);

 private:
  using Listing = std::shared_ptr<const std::vector<VirtualName>>;
  static constexpr std::size_t kListings = 16;

  static constexpr std::size_t kEarly = 64;

  // The root's own: it is there as long as the mount, and its listing never changes.
  [[nodiscard]] static bool is_whole(const VirtualNode& node) noexcept { return node.directory == "/" && node.path.empty(); }

  struct Pending {
    std::uint64_t unique = 0;
    Continuation then;
  };

  [[nodiscard]] const RealName* real_named(const VirtualNode& directory, const char* name) const noexcept;
  // Runs `then` with the node as it is, a snapshot with its content; it answers the request.
  using Shown = std::function<void(int fd, std::uint64_t unique, const VirtualNode&)>;
  void with_content(Request& request, const VirtualNode& node, Shown then) noexcept;
  void lookup(Request& request, const VirtualNode& parent) noexcept;
  void getattr(Request& request, const VirtualNode& node) noexcept;
  void statx(Request& request, const VirtualNode& node) noexcept;
  void open(Request& request, const VirtualNode& node) noexcept;
  void read(Request& request, const VirtualNode& node) noexcept;
  void write(Request& request, const VirtualNode& node) noexcept;
  void list(Request& request, const VirtualNode& node, bool plus) noexcept;
  [[nodiscard]] Listing listing_of(std::uint64_t nodeid) noexcept;
  void keep_listing(std::uint64_t nodeid, Listing listing) noexcept;
  void pass_on(Request& request, const VirtualNode& node, VirtualOp op, std::uint64_t handle) noexcept;
  // Answers a deferred request.
  void reply(int fd, std::uint64_t unique, const void* data, std::size_t size) noexcept;
  void fail(int fd, std::uint64_t unique, int error) noexcept;

  Device& device_;
  const std::int64_t begun_ms_;
  Sink sink_;
  std::vector<RealName> real_;  // fixed while serving
  std::mutex mutex_;
  std::uint64_t next_id_ = 1;
  std::uint64_t next_token_ = 1;
  bool abandoned_ = false;
  std::unordered_map<std::uint64_t, VirtualNode> nodes_;
  // Nodes that keep their number, by scope, directory and path.
  std::map<std::tuple<LotId, std::string, std::string>, std::uint64_t> lasting_;
  std::unordered_map<std::uint64_t, Pending> pending_;
  // Requests that were interrupted and have no question (yet): one thread may read the interrupt before another has asked.
  // A ring; no request ever has the number of another.
  std::array<std::uint64_t, kEarly> early_{};
  std::size_t next_early_ = 0;
  // Of directories that are being read piece by piece, by nodeid: made with the first piece. Never more than kListings.
  std::map<std::uint64_t, Listing> listings_;
};

}  // namespace vreserve
