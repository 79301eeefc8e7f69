// Mounting, as root or as an ordinary user, and the handshake with the kernel.
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>

#include "device.h"

extern char** environ;

namespace vreserve {

int Device::mount(const DeviceOptions& options, int probe, std::string& why) noexcept {
  options_ = options;
  const int error = ::geteuid() == 0 ? mount_as_root(why) : mount_as_user(why);
  if (error != 0) return error;
  const int refused = shake_hands(probe, why);
  if (refused != 0) {
    fd_.reset();
    if (::geteuid() == 0) ::umount2(options_.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }
  return refused;
}

int Device::mount_as_root(std::string& why) noexcept {
  fd_ = Fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fd_) {
    why = "cannot open /dev/fuse";
    return -errno;
  }
  std::string data = "fd=" + std::to_string(fd_.get()) + ",rootmode=40000,user_id=" + std::to_string(::geteuid()) +
                     ",group_id=" + std::to_string(::getegid()) + ",default_permissions";
  if (options_.allow_other) data += ",allow_other";
  unsigned long flags = 0;
  if (!options_.suid) flags |= MS_NOSUID;
  if (!options_.dev) flags |= MS_NODEV;
  if (!options_.exec) flags |= MS_NOEXEC;
  if (options_.read_only) flags |= MS_RDONLY;
  if (::mount(options_.source.c_str(), options_.mountpoint.c_str(), "fuse.vreserve", flags, data.c_str()) != 0) {
    why = "cannot mount on " + options_.mountpoint;
    return -errno;
  }
  return 0;
}

// fusermount3 mounts and passes the device's descriptor back over a socket.
int Device::mount_as_user(std::string& why) noexcept {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
  const Fd ours(ends[0]);
  Fd theirs(ends[1]);
  ::fcntl(theirs.get(), F_SETFD, 0);
  std::string source;
  for (const char byte : options_.source) {
    if (byte == ',' || byte == '\\') source += '\\';
    source += byte;
  }
  std::string text = "fsname=" + source + ",subtype=vreserve,default_permissions";
  if (options_.allow_other) text += ",allow_other";
  if (options_.read_only) text += ",ro";
  if (!options_.exec) text += ",noexec";
  std::vector<std::string> environment{"_FUSE_COMMFD=" + std::to_string(theirs.get())};
  std::vector<char*> envp{environment[0].data()};
  for (char** entry = environ; *entry != nullptr; ++entry) envp.push_back(*entry);
  envp.push_back(nullptr);
  char program[] = "fusermount3", dash_o[] = "-o", dashes[] = "--";
  char* argv[] = {program, dash_o, text.data(), dashes, options_.mountpoint.data(), nullptr};
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, program, nullptr, nullptr, argv, envp.data());
  theirs.reset();
  if (spawned != 0) {
    why = "cannot run fusermount3 (install the package fuse3)";
    return -spawned;
  }
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received = 0;
  do {
    received = ::recvmsg(ours.get(), &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const cmsghdr* const header = received > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) {
    why = "fusermount3 did not mount on " + options_.mountpoint +
          (options_.allow_other ? " (--allow-other needs user_allow_other in /etc/fuse.conf)" : "");
    return -EPERM;
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  fd_ = Fd(fd);
  return 0;
}

int Device::shake_hands(int probe, std::string& why) noexcept {
  std::vector<char> buffer(kBuffer);
  ssize_t size = 0;
  do {
    size = ::read(fd_.get(), buffer.data(), buffer.size());
  } while (size < 0 && errno == EINTR);
  const auto* const header = reinterpret_cast<const fuse::InHeader*>(buffer.data());
  const auto* const in = reinterpret_cast<const fuse::InitIn*>(header + 1);
  if (size < static_cast<ssize_t>(sizeof *header + sizeof *in) || header->opcode != fuse::INIT) {
    why = "the kernel did not begin with INIT";
    return size < 0 ? -errno : -EPROTO;
  }
  if (in->major != fuse::kVersion || in->minor < fuse::kOldestMinor || (in->flags & fuse::INIT_EXT) == 0) {
    why = "this kernel's FUSE is too old (Linux 5.17 or later is needed)";
    answer(fd_.get(), header->unique, -EPROTO, {});
    return -EPROTO;
  }
  const std::uint64_t offered = in->flags | (std::uint64_t{in->flags2} << 32);
  // Every listing brings attributes along (not READDIRPLUS_AUTO): what lists a tree mostly wants them, and a round trip a
  // file costs more than a stat a file.
  std::uint64_t wanted = fuse::ASYNC_READ | fuse::ATOMIC_O_TRUNC | fuse::BIG_WRITES | fuse::DONT_MASK |
                         fuse::AUTO_INVAL_DATA | fuse::DO_READDIRPLUS | fuse::ASYNC_DIO |
                         fuse::PARALLEL_DIROPS | fuse::POSIX_ACL | fuse::MAX_PAGES | fuse::CACHE_SYMLINKS |
                         fuse::NO_OPENDIR_SUPPORT | fuse::HANDLE_KILLPRIV_V2 | fuse::SETXATTR_EXT | fuse::INIT_EXT |
                         fuse::DIRECT_IO_ALLOW_MMAP;
  if (::geteuid() == 0) wanted |= fuse::ALLOW_IDMAP;
  if (options_.passthrough) wanted |= fuse::PASSTHROUGH;
  info_.flags = offered & wanted;
  info_.kernel_minor = in->minor;
  if ((info_.flags & fuse::HANDLE_KILLPRIV_V2) == 0) {
    why = "this kernel's FUSE has no HANDLE_KILLPRIV_V2 (Linux 5.17 or later is needed)";
    answer(fd_.get(), header->unique, -EPROTO, {});
    return -EPROTO;
  }

  fuse::InitOut out{};
  out.major = fuse::kVersion;
  out.minor = std::min(in->minor, fuse::kMinorVersion);
  out.max_readahead = in->max_readahead;
  out.flags = static_cast<std::uint32_t>(info_.flags);
  out.flags2 = static_cast<std::uint32_t>(info_.flags >> 32);
  out.max_background = 4096;  // RELEASE is a background request and must not be held back
  out.congestion_threshold = 3072;
  out.max_write = kMaxWrite;
  out.max_pages = kMaxWrite / kPage;
  out.time_gran = 1;
  // With 1 an overlay can still be stacked on the mount.
  out.max_stack_depth = (info_.flags & fuse::PASSTHROUGH) != 0 ? 1 : 0;
  struct stat st {};
  const iovec part{&out, sizeof out};
  answer(fd_.get(), header->unique, 0, std::span(&part, 1));

  if (!options_.passthrough) {
    info_.passthrough_reason = options_.no_passthrough;
  } else if ((info_.flags & fuse::PASSTHROUGH) == 0) {
    info_.passthrough_reason = "not offered by this kernel (Linux 6.9 or later has it)";
  } else if (probe < 0 || ::fstat(probe, &st) != 0) {
    info_.passthrough_reason = "no file of the backing to try it with";
  } else if (const std::uint32_t id = backing_open(probe); id != 0) {
    backing_close(id);
    info_.passthrough = true;
  } else {
    info_.passthrough_reason = std::string("refused by the kernel: ") + std::strerror(errno);
  }
  return 0;
}

}  // namespace vreserve
