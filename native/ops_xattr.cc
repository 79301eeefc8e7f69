// Extended attributes: the backing's own, and user.vreserve.* which tells and sets reservations.
#include <sys/xattr.h>

#include <cstring>
#include <string_view>

#include "ops.h"

namespace vreserve {

namespace {

constexpr std::string_view kOwn = "user.vreserve.";
constexpr std::size_t kMost = 65536;

bool is_own(std::string_view name) noexcept { return name.starts_with(kOwn); }

// The kernel asks it of every file that `ls -l` shows. There is no answer where SELinux is off, and this one lasts.
bool selinux_enabled() noexcept {
  static const bool enabled = ::access("/sys/fs/selinux/enforce", F_OK) == 0;
  return enabled;
}

// Runs `call` with the path of the inode in /proc; its result, or -errno. The l*xattr calls follow no last symlink, but
// a bare descriptor's own link in /proc must be followed.
template <typename Named, typename Pinned>
ssize_t at_path(Engine& engine, Inode& inode, Named named, Pinned pinned) noexcept {
  inode.lock.lock_shared();
  const Location at = engine.inodes.locate(inode);
  ssize_t result = -at.error;
  if (at.error == 0) {
    const ProcPath path(at.fd, at.name);
    result = checked(*at.name != 0 ? named(path.text) : pinned(path.text));
  }
  inode.lock.unlock_shared();
  return result;
}

// Drops the trusted.* names of a list for who may not read them, as the backing would; the new length.
ssize_t hide_trusted(const Request& request, char* list, ssize_t length) noexcept {
  constexpr std::string_view hidden = "trusted.";
  bool knows_caller = false;
  ssize_t kept = 0;
  for (ssize_t at = 0; at < length;) {
    const std::string_view name(list + at);
    const auto step = static_cast<ssize_t>(name.size()) + 1;
    if (name.starts_with(hidden) && !knows_caller) {
      Caller caller;
      if (read_caller(static_cast<pid_t>(request.header().pid), caller) == 0 && caller.sys_admin) return length;
      knows_caller = true;
    }
    if (!name.starts_with(hidden)) {
      std::memmove(list + kept, list + at, static_cast<std::size_t>(step));
      kept += step;
    }
    at += step;
  }
  return kept;
}

void reply_value(Request& request, std::uint32_t size, const char* data, ssize_t length) noexcept {
  if (length < 0) return request.fail(static_cast<int>(-length));
  if (size == 0) return request.reply(fuse::GetxattrOut{static_cast<std::uint32_t>(length), 0});
  if (static_cast<std::size_t>(length) > size) return request.fail(ERANGE);
  request.reply(data, static_cast<std::size_t>(length));
}

void tell_own(Engine& engine, Request& request, Inode& inode, std::string_view name, std::uint32_t size) noexcept {
  inode.lock.lock_shared();
  const LotId lot = engine.lot_of(inode);
  inode.lock.unlock_shared();
  std::string value;
  const std::string_view what = name.substr(kOwn.size());
  if (what == "lot") {
    value = engine.lot_name(lot);
  } else if (what == "used") {
    value = std::to_string(engine.meter.used(lot));
  } else if (what == "grant") {
    const std::int64_t grant = engine.meter.grant(lot);
    value = grant == kUnlimited ? "unlimited" : std::to_string(grant);
  } else {
    return request.fail(ENODATA);
  }
  reply_value(request, size, value.data(), static_cast<ssize_t>(value.size()));
}

// Hands a change of user.vreserve.* to the control plane.
void ask_own(Engine& engine, Request& request, Inode& inode, std::string_view name, const char* value,
             std::size_t length, bool has_value) noexcept {
  VirtualQuestion question;
  question.op = VirtualOp::setxattr;
  question.path = engine.path_of(inode);
  if (question.path.empty()) return request.fail(ENOENT);
  question.name = name;
  question.has_value = has_value;
  if (has_value) question.data.assign(value, length);
  if (const int error = read_caller(static_cast<pid_t>(request.header().pid), question.caller); error != 0) {
    return request.fail(error);
  }
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  engine.virtuals.ask(request, std::move(question), [&engine, fd, unique](const VirtualAnswer& answer) {
    engine.device.answer(fd, unique, -answer.error, {});
  });
}

}  // namespace

void op_getxattr(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::GetxattrIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const char* const name = request.text(sizeof *in);
  if (is_own(name)) return tell_own(engine, request, inode, name, in->size);
  if (std::strcmp(name, "security.selinux") == 0 && !selinux_enabled()) return request.fail(EOPNOTSUPP);
  char* const buffer = request.worker()->reply_buffer;
  const std::size_t size = std::min<std::size_t>(in->size, kMost);
  ssize_t length = at_path(
      engine, inode, [&](const char* path) { return ::lgetxattr(path, name, buffer, size); },
      [&](const char* path) { return ::getxattr(path, name, buffer, size); });
  // The kernel asks for ACLs when it decides access, and takes only this answer for "there is none".
  if (length == -EOPNOTSUPP && std::strncmp(name, "system.posix_acl_", 17) == 0) length = -ENODATA;
  reply_value(request, in->size, buffer, length);
}

void op_listxattr(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::GetxattrIn>();
  if (in == nullptr) return request.fail(EINVAL);
  char* const buffer = request.worker()->reply_buffer;
  ssize_t length = at_path(
      engine, inode, [&](const char* path) { return ::llistxattr(path, buffer, kMost); },
      [&](const char* path) { return ::listxattr(path, buffer, kMost); });
  if (length > 0) length = hide_trusted(request, buffer, length);
  reply_value(request, in->size, buffer, length);
}

void op_setxattr(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::SetxattrIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const char* const name = request.text(sizeof *in);
  const std::size_t value_at = sizeof *in + std::strlen(name) + 1;
  if (request.body().size() < value_at + in->size) return request.fail(EINVAL);
  const char* const value = request.body().data() + value_at;
  if (is_own(name)) return ask_own(engine, request, inode, name, value, in->size, true);
  const ssize_t result = at_path(
      engine, inode,
      [&](const char* path) { return ::lsetxattr(path, name, value, in->size, static_cast<int>(in->flags)); },
      [&](const char* path) { return ::setxattr(path, name, value, in->size, static_cast<int>(in->flags)); });
  if (result == 0 && (in->setxattr_flags & fuse::SETXATTR_ACL_KILL_SGID) != 0) {
    inode.lock.lock();
    struct stat st {};
    if (engine.inodes.stat(inode, st) == 0 && (st.st_mode & S_ISGID) != 0) {
      const Location at = engine.inodes.locate(inode);
      if (at.error == 0) ::chmod(ProcPath(at.fd, at.name).text, st.st_mode & 07777 & ~static_cast<mode_t>(S_ISGID));
    }
    inode.lock.unlock();
  }
  request.finish(static_cast<int>(result));
}

void op_removexattr(Engine& engine, Request& request, Inode& inode) noexcept {
  const char* const name = request.text(0);
  if (is_own(name)) return ask_own(engine, request, inode, name, nullptr, 0, false);
  const ssize_t result = at_path(
      engine, inode, [&](const char* path) { return ::lremovexattr(path, name); },
      [&](const char* path) { return ::removexattr(path, name); });
  request.finish(static_cast<int>(result));
}

}  // namespace vreserve
