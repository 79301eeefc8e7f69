#include "virtual.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

namespace vreserve {

namespace {

// The number shown by stat: the same for every snapshot of one file.
std::uint64_t inode_number(LotId scope, const std::string& directory, const std::string& path) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ scope;
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3ULL; };
  for (const char byte : directory) mix(static_cast<unsigned char>(byte));
  mix(0);
  for (const char byte : path) mix(static_cast<unsigned char>(byte));
  return hash >> 1;
}

std::int64_t now_ms() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1'000'000;
}

std::uint32_t kind_bits(VirtualKind kind) noexcept { return kind == VirtualKind::directory ? S_IFDIR : S_IFREG; }

bool lasts(VirtualKind kind) noexcept { return kind == VirtualKind::directory || kind == VirtualKind::stream; }

}  // namespace

VirtualQuestion Virtual::question_of(const VirtualNode& node, VirtualOp op) {
  VirtualQuestion question;
  question.op = op;
  question.scope = node.scope;
  question.directory = node.directory;
  question.path = node.path;
  question.of_blob = node.kind == VirtualKind::blob;
  return question;
}

Virtual::Virtual(Device& device) noexcept : device_(device), begun_ms_(now_ms()) {}

std::string Virtual::path_in(const VirtualNode& directory, const char* name) {
  return directory.path.empty() ? name : directory.path + "/" + name;
}

void Virtual::fill(const VirtualNode& node, fuse::Attr& attr) noexcept {
  attr = {};
  attr.ino = inode_number(node.scope, node.directory, node.path);
  attr.mode = kind_bits(node.kind) | node.mode;
  attr.uid = node.uid;
  attr.gid = node.gid;
  attr.nlink = node.kind == VirtualKind::directory ? 2 : 1;
  attr.size = static_cast<std::uint64_t>(node.kind == VirtualKind::directory ? 0 : node.size);
  attr.blocks = (attr.size + 511) / 512;
  attr.blksize = 4096;
  // A directory's listing is cached by the kernel as long as its time stands still, so it never does where it may change, but
  // where the control plane tells when it did.
  const bool changes = node.kind == VirtualKind::directory && !is_whole(node) && !node.takes_files;
  const std::int64_t ms = changes ? now_ms() : node.mtime_ms;
  attr.mtime = attr.ctime = attr.atime = static_cast<std::uint64_t>(ms / 1000);
  attr.mtimensec = attr.ctimensec = attr.atimensec = static_cast<std::uint32_t>(ms % 1000) * 1'000'000U;
}

void Virtual::fill(const VirtualNode& node, fuse::EntryOut& entry) noexcept {
  entry = {};
  entry.nodeid = node.id;
  fill(node, entry.attr);
  // Entries are never cached: each lookup is a new snapshot. Its attributes are asked for when they are needed; those of a
  // blob are known. Only the root's own directory stays as it is, so that a path that leads through it costs what any other
  // does.
  if (is_whole(node)) entry.entry_valid = kCachedSeconds;
  if (is_whole(node) || node.kind == VirtualKind::blob) entry.attr_valid = kCachedSeconds;
}

bool Virtual::find(std::uint64_t nodeid, VirtualNode& node) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = nodes_.find(nodeid);
  if (found == nodes_.end()) return false;
  node = found->second;
  return true;
}

VirtualNode Virtual::top(LotId scope, const std::string& directory) noexcept {
  VirtualAnswer answer;
  answer.kind = VirtualKind::directory;
  answer.mode = 0555;
  answer.mtime_ms = begun_ms_;
  return enter(scope, directory, "", answer);
}

VirtualNode Virtual::enter(LotId scope, const std::string& directory, const std::string& path,
                           const VirtualAnswer& answer) noexcept {
  const std::lock_guard guard(mutex_);
  VirtualNode* node = nullptr;
  if (lasts(answer.kind)) {
    if (const auto known = lasting_.find({scope, directory, path}); known != lasting_.end()) node = &nodes_.at(known->second);
  }
  if (node == nullptr) {
    const std::uint64_t id = kVirtualBit | next_id_++;
    node = &nodes_[id];
    node->id = id;
    node->scope = scope;
    node->directory = directory;
    node->path = path;
    if (lasts(answer.kind)) lasting_[{scope, directory, path}] = id;
  }
  node->kind = answer.kind;
  node->mode = answer.mode;
  node->uid = answer.uid;
  node->gid = answer.gid;
  node->takes_files = answer.takes_files;
  node->mtime_ms = answer.mtime_ms;
  node->size = answer.size;
  ++node->nlookup;
  return *node;
}

std::size_t Virtual::count() noexcept {
  const std::lock_guard guard(mutex_);
  return nodes_.size();
}

void Virtual::renew(const VirtualNode& node) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = nodes_.find(node.id);
  if (found == nodes_.end()) return;
  VirtualNode& kept = found->second;
  kept.mode = node.mode;
  kept.uid = node.uid;
  kept.gid = node.gid;
  kept.mtime_ms = node.mtime_ms;
  kept.size = node.size;
}

void Virtual::forget(std::uint64_t nodeid, std::uint64_t lookups) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = nodes_.find(nodeid);
  if (found == nodes_.end()) return;
  found->second.nlookup -= std::min(found->second.nlookup, lookups);
  if (found->second.nlookup != 0) return;
  const VirtualNode& node = found->second;
  if (lasts(node.kind)) lasting_.erase({node.scope, node.directory, node.path});
  nodes_.erase(found);
}

namespace {

VirtualAnswer failed_with(int error) {
  VirtualAnswer answer;
  answer.error = error;
  return answer;
}

}  // namespace

void Virtual::ask(Request& request, VirtualQuestion&& question, Continuation then) noexcept {
  request.defer();
  int error = 0;
  {
    const std::lock_guard guard(mutex_);
    if (abandoned_) {
      error = ENOTCONN;
    } else if (std::ranges::find(early_, request.header().unique) != early_.end()) {
      error = EINTR;
    } else {
      question.token = next_token_++;
      pending_[question.token] = {request.header().unique, std::move(then)};
    }
  }
  if (error != 0) return then(failed_with(error));
  sink_(std::move(question));
}

void Virtual::tell(VirtualQuestion&& question) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (abandoned_) return;
    question.token = next_token_++;
  }
  sink_(std::move(question));
}

void Virtual::answer(std::uint64_t token, const VirtualAnswer& answer) noexcept {
  Pending pending;
  {
    const std::lock_guard guard(mutex_);
    const auto found = pending_.find(token);
    if (found == pending_.end()) return;  // interrupted, or nobody waits
    pending = std::move(found->second);
    pending_.erase(found);
  }
  // The kernel would never ask for such an operation again, on any file.
  if (answer.error == ENOSYS) return pending.then(failed_with(EOPNOTSUPP));
  pending.then(answer);
}

void Virtual::abandon() noexcept {
  std::unordered_map<std::uint64_t, Pending> waiting;
  {
    const std::lock_guard guard(mutex_);
    abandoned_ = true;
    waiting.swap(pending_);
  }
  for (const auto& [token, pending] : waiting) pending.then(failed_with(ENOTCONN));
}

void Virtual::interrupt(std::uint64_t unique) noexcept {
  Pending pending;
  VirtualQuestion told;
  told.op = VirtualOp::interrupt;
  {
    const std::lock_guard guard(mutex_);
    const auto found = std::find_if(pending_.begin(), pending_.end(),
                                    [unique](const auto& entry) { return entry.second.unique == unique; });
    if (found == pending_.end()) {
      early_[next_early_++ % kEarly] = unique;
      return;
    }
    told.token = found->first;
    pending = std::move(found->second);
    pending_.erase(found);
  }
  pending.then(failed_with(EINTR));
  sink_(std::move(told));
}

void Virtual::reply(int fd, std::uint64_t unique, const void* data, std::size_t size) noexcept {
  const iovec part{const_cast<void*>(data), size};
  device_.answer(fd, unique, 0, std::span(&part, size == 0 ? 0 : 1));
}

void Virtual::fail(int fd, std::uint64_t unique, int error) noexcept { device_.answer(fd, unique, -error, {}); }

const RealName* Virtual::real_named(const VirtualNode& directory, const char* name) const noexcept {
  if (!is_whole(directory)) return nullptr;
  const auto found = std::ranges::find(real_, name, &RealName::name);
  return found == real_.end() ? nullptr : &*found;
}

void Virtual::lookup(Request& request, const VirtualNode& parent) noexcept {
  if (parent.kind != VirtualKind::directory) return request.fail(ENOTDIR);
  if (const RealName* const real = real_named(parent, request.text(0)); real != nullptr) return real->lookup(request);
  VirtualQuestion question = question_of(parent, VirtualOp::lookup);
  question.path = path_in(parent, request.text(0));
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  ask(request, std::move(question),
      [this, fd, unique, scope = parent.scope, directory = parent.directory,
       path = question.path](const VirtualAnswer& answer) {
        if (answer.error != 0) return fail(fd, unique, answer.error);
        fuse::EntryOut out{};
        fill(enter(scope, directory, path, answer), out);
        reply(fd, unique, &out, sizeof out);
      });
}

void Virtual::with_content(Request& request, const VirtualNode& node, Shown then) noexcept {
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  if (node.kind != VirtualKind::snapshot || node.content) {
    request.defer();
    return then(fd, unique, node);
  }
  ask(request, question_of(node, VirtualOp::content),
      [this, fd, unique, id = node.id, then = std::move(then)](const VirtualAnswer& answer) {
        if (answer.error != 0) return fail(fd, unique, answer.error);
        VirtualNode now;
        {
          const std::lock_guard guard(mutex_);
          const auto found = nodes_.find(id);
          if (found == nodes_.end()) return fail(fd, unique, ESTALE);
          VirtualNode& kept = found->second;
          if (!kept.content) {  // who asked at the same time has fixed it else
            kept.content = std::make_shared<const std::string>(answer.data);
            kept.size = static_cast<std::int64_t>(kept.content->size());
          }
          now = kept;
        }
        then(fd, unique, now);
      });
}

void Virtual::getattr(Request& request, const VirtualNode& node) noexcept {
  if (node.kind != VirtualKind::stream) {
    return with_content(request, node, [this](int fd, std::uint64_t unique, const VirtualNode& shown) {
      fuse::AttrOut out{};
      // Nothing changes these, as long as a blob's node is not open for writing.
      const bool stays = shown.kind == VirtualKind::snapshot || shown.kind == VirtualKind::blob || is_whole(shown);
      out.attr_valid = stays ? kCachedSeconds : 0;
      fill(shown, out.attr);
      reply(fd, unique, &out, sizeof out);
    });
  }
  VirtualQuestion question = question_of(node, VirtualOp::lookup);  // its size grows
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  ask(request, std::move(question), [this, fd, unique, node](const VirtualAnswer& answer) {
    if (answer.error != 0) return fail(fd, unique, answer.error);
    VirtualNode now = node;
    now.size = answer.size;
    now.mtime_ms = answer.mtime_ms;
    fuse::AttrOut out{};
    fill(now, out.attr);
    reply(fd, unique, &out, sizeof out);
  });
}

fuse::StatxOut Virtual::statx_of(const fuse::Attr& attr) noexcept {
  fuse::StatxOut out{};
  out.stat.mask = 0x7ff;  // STATX_BASIC_STATS
  out.stat.blksize = attr.blksize;
  out.stat.nlink = attr.nlink;
  out.stat.uid = attr.uid;
  out.stat.gid = attr.gid;
  out.stat.mode = static_cast<std::uint16_t>(attr.mode);
  out.stat.ino = attr.ino;
  out.stat.size = attr.size;
  out.stat.blocks = attr.blocks;
  out.stat.atime = {static_cast<std::int64_t>(attr.atime), attr.atimensec, 0};
  out.stat.ctime = {static_cast<std::int64_t>(attr.ctime), attr.ctimensec, 0};
  out.stat.mtime = {static_cast<std::int64_t>(attr.mtime), attr.mtimensec, 0};
  return out;
}

void Virtual::statx(Request& request, const VirtualNode& node) noexcept {
  with_content(request, node, [this](int fd, std::uint64_t unique, const VirtualNode& shown) {
    fuse::Attr attr{};
    fill(shown, attr);
    fuse::StatxOut out = statx_of(attr);
    if (is_whole(shown)) out.attr_valid = kCachedSeconds;
    reply(fd, unique, &out, sizeof out);
  });
}

void Virtual::open(Request& request, const VirtualNode& node) noexcept {
  const auto* const in = request.as<fuse::OpenIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (node.kind == VirtualKind::directory) return request.fail(EISDIR);
  const bool writes = (in->flags & O_ACCMODE) != O_RDONLY;
  if (writes && node.kind != VirtualKind::control) return request.fail(EACCES);
  if (node.kind == VirtualKind::snapshot) {
    return with_content(request, node, [this](int fd, std::uint64_t unique, const VirtualNode&) {
      fuse::OpenOut out{};
      out.open_flags = fuse::FOPEN_KEEP_CACHE | fuse::FOPEN_NOFLUSH;
      reply(fd, unique, &out, sizeof out);
    });
  }
  VirtualQuestion question = question_of(node, VirtualOp::open);
  question.for_writing = writes;
  if (const int error = read_caller(static_cast<pid_t>(request.header().pid), question.caller);
      error != 0 && node.kind == VirtualKind::control) {
    return request.fail(error);
  }
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  ask(request, std::move(question), [this, fd, unique](const VirtualAnswer& answer) {
    if (answer.error != 0) return fail(fd, unique, answer.error);
    fuse::OpenOut out{};
    out.fh = answer.handle;
    out.open_flags = fuse::FOPEN_DIRECT_IO;
    reply(fd, unique, &out, sizeof out);
  });
}

void Virtual::read(Request& request, const VirtualNode& node) noexcept {
  const auto* const in = request.as<fuse::ReadIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (node.kind == VirtualKind::snapshot) {
    return with_content(request, node, [this, in = *in](int fd, std::uint64_t unique, const VirtualNode& shown) {
      const std::size_t size = shown.content->size();
      const std::size_t from = std::min<std::size_t>(in.offset, size);
      reply(fd, unique, shown.content->data() + from, std::min<std::size_t>(in.size, size - from));
    });
  }
  VirtualQuestion question = question_of(node, VirtualOp::read);
  question.handle = in->fh;
  question.offset = in->offset;
  question.length = in->size;
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  ask(request, std::move(question), [this, fd, unique, most = in->size](const VirtualAnswer& answer) {
    if (answer.error != 0) return fail(fd, unique, answer.error);
    reply(fd, unique, answer.data.data(), std::min<std::size_t>(answer.data.size(), most));
  });
}

void Virtual::write(Request& request, const VirtualNode& node) noexcept {
  request.pull();
  const auto* const in = request.as<fuse::WriteIn>();
  if (in == nullptr || request.body().size() < sizeof *in + in->size) return request.fail(EINVAL);
  VirtualQuestion question = question_of(node, VirtualOp::write);
  question.handle = in->fh;
  question.offset = in->offset;
  question.data.assign(request.body().data() + sizeof *in, in->size);
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  ask(request, std::move(question), [this, fd, unique](const VirtualAnswer& answer) {
    if (answer.error != 0) return fail(fd, unique, answer.error);
    const fuse::WriteOut out{answer.written, 0};
    reply(fd, unique, &out, sizeof out);
  });
}

void Virtual::pass_on(Request& request, const VirtualNode& node, VirtualOp op, std::uint64_t handle) noexcept {
  VirtualQuestion question = question_of(node, op);
  question.handle = handle;
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  ask(request, std::move(question),
      [this, fd, unique](const VirtualAnswer& answer) { device_.answer(fd, unique, -answer.error, {}); });
}

Virtual::Listing Virtual::listing_of(std::uint64_t nodeid) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = listings_.find(nodeid);
  return found == listings_.end() ? nullptr : found->second;
}

void Virtual::keep_listing(std::uint64_t nodeid, Listing listing) noexcept {
  const std::lock_guard guard(mutex_);
  listings_.erase(nodeid);
  if (listings_.size() >= kListings) listings_.erase(listings_.begin());
  listings_.emplace(nodeid, std::move(listing));
}

void Virtual::list(Request& request, const VirtualNode& node, bool plus) noexcept {
  const auto* const in = request.as<fuse::ReadIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (node.kind != VirtualKind::directory) return request.fail(ENOTDIR);
  const auto piece = [plus, offset = in->offset, most = in->size, node](const std::vector<VirtualName>& names) {
    std::string out;
    for (std::size_t i = offset; i < names.size(); ++i) {
      fuse::Dirent entry{};
      entry.ino = names[i].number != 0
                      ? names[i].number
                      : inode_number(node.scope, node.directory, path_in(node, names[i].name.c_str()));
      entry.off = i + 1;
      entry.namelen = static_cast<std::uint32_t>(names[i].name.size());
      entry.type = kind_bits(names[i].kind) >> 12;
      const std::size_t head = plus ? sizeof(fuse::EntryOut) : 0;
      const std::size_t size = (head + sizeof entry + entry.namelen + 7) & ~std::size_t{7};
      if (out.size() + size > most) break;
      const std::size_t at = out.size();
      out.resize(at + size);  // an entry of nodeid 0 is listed and not looked up
      std::memcpy(out.data() + at + head, &entry, sizeof entry);
      std::memcpy(out.data() + at + head + sizeof entry, names[i].name.data(), names[i].name.size());
    }
    return out;
  };
  if (const Listing known = in->offset == 0 ? nullptr : listing_of(node.id)) {
    const std::string out = piece(*known);
    return request.reply(out.data(), out.size());
  }
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  auto answered = [this, fd, unique, piece, whole = is_whole(node), id = node.id](const VirtualAnswer& answer) {
    if (answer.error != 0) return fail(fd, unique, answer.error);
    auto names = std::make_shared<std::vector<VirtualName>>();
    names->push_back({".", VirtualKind::directory});
    names->push_back({"..", VirtualKind::directory});
    names->insert(names->end(), answer.names.begin(), answer.names.end());
    for (const RealName& real : real_) {
      if (whole && real.listed) names->push_back({real.name, VirtualKind::directory, real.number});
    }
    const std::string out = piece(*names);
    keep_listing(id, std::move(names));
    reply(fd, unique, out.data(), out.size());
  };
  ask(request, question_of(node, VirtualOp::list), std::move(answered));
}

void Virtual::serve(Request& request) noexcept {
  VirtualNode node;
  if (!find(request.nodeid(), node)) return request.fail(ESTALE);
  serve(request, node);
}

void Virtual::serve(Request& request, const VirtualNode& node) noexcept {
  switch (request.header().opcode) {
    case fuse::LOOKUP:
      return lookup(request, node);
    case fuse::GETATTR:
      return getattr(request, node);
    case fuse::SETATTR: {
      const auto* const in = request.as<fuse::SetattrIn>();
      // `> control` truncates first, and touch sets times: neither changes anything.
      constexpr std::uint32_t harmless = ~(fuse::FATTR_MODE | fuse::FATTR_UID | fuse::FATTR_GID);
      if (in == nullptr || node.kind != VirtualKind::control || (in->valid & ~harmless) != 0) return request.fail(EPERM);
      return getattr(request, node);
    }
    case fuse::OPEN:
      return open(request, node);
    case fuse::READ:
      return read(request, node);
    case fuse::WRITE:
      return write(request, node);
    case fuse::READDIR:
      return list(request, node, false);
    case fuse::READDIRPLUS:
      return list(request, node, true);
    case fuse::FLUSH: {
      const auto* const in = request.as<fuse::FlushIn>();
      if (in == nullptr || node.kind != VirtualKind::control) return request.done();
      return pass_on(request, node, VirtualOp::flush, in->fh);
    }
    case fuse::RELEASE: {
      const auto* const in = request.as<fuse::ReleaseIn>();
      if (in == nullptr || node.kind == VirtualKind::snapshot) return request.done();
      return pass_on(request, node, VirtualOp::release, in->fh);
    }
    case fuse::FSYNC:
    case fuse::FSYNCDIR:
      return request.done();
    case fuse::GETXATTR:
      // Of an ACL the kernel takes no other answer for "there is none".
      return request.fail(
          std::strncmp(request.text(sizeof(fuse::GetxattrIn)), "system.posix_acl_", 17) == 0 ? ENODATA : EOPNOTSUPP);
    case fuse::LISTXATTR:
      return request.fail(EOPNOTSUPP);
    case fuse::LSEEK:
      return request.fail(EINVAL);
    case fuse::POLL:
      return request.fail(ENOSYS);  // every file is always ready; the kernel does not ask again
    case fuse::IOCTL:
      return request.fail(ENOTTY);
    case fuse::TMPFILE:
      return request.fail(EOPNOTSUPP);
    case fuse::COPY_FILE_RANGE:
    case fuse::COPY_FILE_RANGE_64:
      return request.fail(EXDEV);  // the kernel reads and writes then
    case fuse::STATX:
      return statx(request, node);
    default:
      return request.fail(EPERM);
  }
}

}  // namespace vreserve
