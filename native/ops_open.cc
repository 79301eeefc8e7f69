// Opening and closing: every open of a file shares one descriptor and one backing id.
#include <algorithm>

#include "creds.h"
#include "ops.h"

namespace vreserve {

namespace {

bool writes(std::uint32_t flags) noexcept { return (flags & O_ACCMODE) != O_RDONLY; }

// One more open for writing: from the first to the last the inode is pending. Its lock must be held exclusively.
void begin_writing(Engine& engine, Inode& inode) noexcept {
  if (inode.open->writers++ != 0) return;
  engine.refund({engine.lot_of(inode), 0, 0, inode.size, 1});
  engine.inodes.set_held(inode, true);
}

void end_writing(Engine& engine, Inode& inode) noexcept {
  if (inode.open->writers == 1) engine.take_size(inode);
  if (--inode.open->writers != 0) return;
  engine.refund({engine.lot_of(inode), 0, 0, -inode.size, -1});
  if (!inode.unlinked) engine.inodes.set_held(inode, false);
}

// What the kernel does with the file. Its lock must be held.
fuse::OpenOut open_reply(Engine& engine, Inode& inode, std::uint32_t flags) noexcept {
  const bool for_writing = writes(flags);
  fuse::OpenOut out{};
  out.open_flags = fuse::FOPEN_NOFLUSH;
  if (!engine.passthrough(inode)) {
    // Of an O_DIRECT write through the cache's own path the kernel makes EIO when it is cut short.
    out.open_flags |= for_writing && (flags & O_DIRECT) != 0 ? fuse::FOPEN_DIRECT_IO : fuse::FOPEN_KEEP_CACHE;
    return out;
  }
  OpenFile& open = *inode.open;
  // A mapping for writing goes to the backing file, so that must have been opened for writing.
  const bool through = open.backing_id != 0 && (!for_writing || open.backing_writable);
  if (through) {
    out.open_flags |= fuse::FOPEN_PASSTHROUGH;
    out.backing_id = static_cast<std::int32_t>(open.backing_id);
  }
  // Where the kernel refuses what is too much, or the writer stays within what it is charged for, nobody need see the
  // writes, unless they take set-user-id away.
  if (through && !inode.may_have_suid) {
    if (engine.by_kernel(inode)) return out;
    if (for_writing && (flags & O_NOATIME) != 0 && engine.is_in_namespace(inode)) {
      open.bypassed = true;
      return out;
    }
  }
  if (for_writing || !through) out.open_flags |= fuse::FOPEN_DIRECT_IO | fuse::FOPEN_PARALLEL_DIRECT_WRITES;
  return out;
}

// Opens the inode's file; the descriptor, or -errno. Its lock must be held.
int open_inode(Engine& engine, Inode& inode, int flags) noexcept {
  const Location at = engine.inodes.locate(inode);
  if (at.error != 0) return -at.error;
  const int fd = *at.name != 0 ? ::openat(at.fd, at.name, flags | O_NOFOLLOW | O_CLOEXEC)
                               : ::open(ProcPath(at.fd, "").text, flags | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat st {};
  if (*at.name != 0 && (::fstat(fd, &st) != 0 || st.st_ino != inode.number)) {
    ::close(fd);
    return -ESTALE;
  }
  return fd;
}

void drop_shared(Engine& engine, Inode& inode) noexcept {
  engine.device.backing_close(inode.open->backing_id);
  inode.open.reset();
}

}  // namespace

int open_shared(Engine& engine, Inode& inode, bool for_writing) noexcept {
  if (!inode.open) inode.open = std::make_unique<OpenFile>();
  OpenFile& open = *inode.open;
  const bool passthrough = engine.passthrough(inode);
  const bool needs_id = passthrough && open.backing_id == 0;
  const bool needs_fd = for_writing ? !open.fd_writable : (!passthrough && !open.fd);
  if (!needs_id && !needs_fd) return 0;
  int fd = -1;
  bool writable = false;
  if (open.fd && open.fd_writable) {
    fd = open.fd.get();
    writable = true;
  } else {
    if (for_writing || engine.open_read_write(inode)) {
      fd = open_inode(engine, inode, O_RDWR | O_NONBLOCK);
      writable = fd >= 0;
    }
    if (fd < 0 && !for_writing) fd = open_inode(engine, inode, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return fd;
  }
  if (needs_id) {
    open.backing_id = engine.device.backing_open(fd);
    open.backing_writable = writable;
  }
  if (open.fd && open.fd.get() == fd) return 0;
  Fd own(fd);
  // A passthrough reader needs none: the kernel holds the file.
  if (for_writing || !passthrough || open.backing_id == 0) {
    open.fd = std::move(own);
    open.fd_writable = writable;
  }
  return 0;
}

int data_fd(Engine& engine, Inode& inode, bool for_writing, Fd& own) noexcept {
  if (inode.open && inode.open->fd && (!for_writing || inode.open->fd_writable)) return inode.open->fd.get();
  const int fd = open_inode(engine, inode, (for_writing ? O_RDWR : O_RDONLY) | O_NONBLOCK);
  if (fd >= 0) own = Fd(fd);
  return fd;
}

int refusal(Engine& engine, Inode& inode, std::int64_t end) noexcept {
  Fd own;
  const int fd = data_fd(engine, inode, true, own);
  // No file can be longer than where its position can stand; nothing uses the position.
  return fd >= 0 && ::lseek(fd, static_cast<off_t>(end), SEEK_SET) < 0 && errno == EINVAL ? EFBIG : ENOSPC;
}

void close_shared(Engine& engine, Inode& inode) noexcept {
  OpenFile& open = *inode.open;
  if (open.blocks_changed && open.fd && !inode.unlinked) {
    struct stat st {};
    if (::fstat(open.fd.get(), &st) == 0) engine.measure_holes(inode, st);
  }
  const bool was_unlinked = inode.unlinked;
  if (struct stat st {}; was_unlinked && engine.inodes.stat(inode, st) == 0) note_last(inode, st);
  if (!was_unlinked && inode.name == nullptr) {  // it has names, none of them known
    Fd path = open.pin ? std::move(open.pin) : Fd(::open(ProcPath(open.fd.get(), "").text, O_PATH | O_CLOEXEC));
    if (path) engine.inodes.keep_descriptor(inode, std::move(path));
  }
  // The blocks are free only when the descriptors are closed, and the bytes only after that.
  drop_shared(engine, inode);
  if (was_unlinked) {
    engine.inodes.set_held(inode, false);
    engine.refund_unlinked(inode);
  }
}

namespace {

// Without group execution set-group-id is no right to run as someone, and who is in the group keeps it.
bool caller_in_group(const Request& request, gid_t group) noexcept {
  Caller caller;
  if (read_caller(static_cast<pid_t>(request.header().pid), caller) != 0) return false;
  return caller.gid == group || std::ranges::find(caller.groups, group) != caller.groups.end();
}

}  // namespace

void kill_suid(Engine& engine, const Request& request, Inode& inode, int fd) noexcept {
  struct stat st {};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return;
  mode_t mode = st.st_mode & 07777;
  mode &= ~static_cast<mode_t>(S_ISUID);
  if ((mode & S_ISGID) != 0 && ((mode & S_IXGRP) != 0 || !caller_in_group(request, st.st_gid))) {
    mode &= ~static_cast<mode_t>(S_ISGID);
  }
  inode.may_have_suid = (mode & S_ISGID) != 0;
  if (mode == (st.st_mode & 07777)) return;
  ::fchmod(fd, mode);
  // The kernel keeps the mode that it has cached: it must hear before the caller does, or the file runs with it.
  engine.device.invalidate_attributes(inode.nodeid());
}

int open_once(Engine& engine, const Request& request, Inode& inode, const fuse::OpenIn& in, fuse::OpenOut& out) noexcept {
  const bool truncate = (in.flags & O_TRUNC) != 0;
  const bool for_writing = writes(in.flags);
  inode.lock.lock();
  const bool was_pending = inode.open && inode.open->writers > 0;
  int error = open_shared(engine, inode, for_writing || truncate);
  if (error == 0 && truncate && inode.is_regular()) {
    const int fd = inode.open->fd.get();
    engine.take_size(inode);
    if (::ftruncate(fd, 0) != 0) {
      error = -errno;
    } else {
      engine.refund({engine.lot_of(inode), -inode.size, 0, was_pending ? -inode.size : 0, 0});
      engine.add_holes(inode, -inode.hole);
      inode.size = 0;
      if ((in.open_flags & fuse::OPEN_KILL_SUIDGID) != 0 && inode.may_have_suid) kill_suid(engine, request, inode, fd);
    }
  }
  if (error == 0) {
    ++inode.open->opens;
    if (for_writing) begin_writing(engine, inode);
    out = open_reply(engine, inode, in.flags);
  } else if (inode.open && inode.open->opens == 0) {
    drop_shared(engine, inode);  // it never was open: an unlinked file has been refunded already
  }
  inode.lock.unlock();
  // From now on the backing's times move without the kernel's knowledge: what it has cached must not last.
  if (error == 0 && for_writing && !was_pending) engine.device.invalidate_attributes(inode.nodeid());
  return error;
}

void op_open(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::OpenIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (((in->flags & O_TRUNC) != 0 || writes(in->flags)) && engine.parked(request, inode)) return;
  fuse::OpenOut out{};
  if (const int error = open_once(engine, request, inode, *in, out); error != 0) return request.fail(-error);
  request.reply(out);
}

namespace {

struct CreateReply {
  fuse::EntryOut entry;
  fuse::OpenOut open;
};

// Enters a file that was just made and is open as `fd`.
void reply_created(Engine& engine, Request& request, Inode& inode, const struct stat& st, Fd&& fd, std::uint32_t flags) {
  CreateReply out{};
  inode.lock.lock();
  if (!inode.open) inode.open = std::make_unique<OpenFile>();
  OpenFile& open = *inode.open;
  if (!open.fd_writable) {
    if (engine.passthrough(inode) && open.backing_id == 0) {
      open.backing_id = engine.device.backing_open(fd.get());
      open.backing_writable = true;
    }
    open.fd = std::move(fd);
    open.fd_writable = true;
  }
  ++open.opens;
  if (writes(flags)) begin_writing(engine, inode);
  if (inode.unlinked) engine.inodes.set_held(inode, true);
  out.open = open_reply(engine, inode, flags);
  inode.lock.unlock();
  fill(inode, st, out.entry);
  // The kernel asks for the mode at once if it may not keep it. What it keeps is of an empty file, which nobody can change
  // through a mapping; a write or a truncate makes it ask again.
  out.entry.attr_valid = kCachedSeconds;
  request.reply(out);
}

}  // namespace

void op_create(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::CreateIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const char* const name = request.text(sizeof *in);
  if (const int error = check_name(engine, parent, name); error != 0) return request.fail(error);
  if (engine.parked(request, parent, name)) return;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  Delta one{engine.step_of_entry(parent, name, false).lot, 0, 1, 0, 0};
  if (engine.charge(std::span(&one, 1), request.worker(), engine.inodes.pool_of(parent)) != 0) return request.fail(ENOSPC);
  one.objects = -1;
  Fd fd;
  {
    const CreateAs caller(engine.privileged(), request.header().uid, request.header().gid, in->umask);
    // Always new: the kernel looked the name up under the directory's lock.
    fd = Fd(::openat(directory->get(), name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, in->mode));
    error = fd ? 0 : errno;
  }
  struct stat st {};
  Inode* const inode = error == 0 ? engine.inodes.learn_made(parent, fd.get(), name, st, error) : nullptr;
  if (inode == nullptr) {
    engine.refund(one);
    return request.fail(error);
  }
  reply_created(engine, request, *inode, st, std::move(fd), in->flags);
}

void op_tmpfile(Engine& engine, Request& request, Inode& parent) noexcept {
  const auto* const in = request.as<fuse::CreateIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (engine.parked(request, parent)) return;
  int error = 0;
  const SharedFd directory = engine.inodes.directory(parent, error);
  if (!directory) return request.fail(error);
  parent.lock.lock_shared();
  Delta one{engine.lot_of(parent), 0, 1, 0, 0};
  parent.lock.unlock_shared();
  if (engine.charge(std::span(&one, 1), request.worker(), engine.inodes.pool_of(parent)) != 0) return request.fail(ENOSPC);
  one.objects = -1;
  Fd fd;
  {
    const CreateAs caller(engine.privileged(), request.header().uid, request.header().gid, in->umask);
    const int excl = static_cast<int>(in->flags) & O_EXCL;
    fd = Fd(::openat(directory->get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC | excl, in->mode));
    error = fd ? 0 : errno;
  }
  struct stat st {};
  if (error == 0 && ::fstat(fd.get(), &st) != 0) error = errno;
  Inode* const inode = error == 0 ? engine.inodes.learn_unnamed(parent, st) : nullptr;
  if (inode == nullptr) {
    engine.refund(one);
    return request.fail(error != 0 ? error : ENOMEM);
  }
  reply_created(engine, request, *inode, st, std::move(fd), in->flags);
}

void close_once(Engine& engine, Inode& inode, std::uint32_t flags, Request* release) noexcept {
  const InodeGuard guard(inode.lock);
  if (inode.open && inode.open->opens > 0) {
    if (writes(flags) && inode.open->writers > 0) end_writing(engine, inode);
    if (--inode.open->opens == 0) close_shared(engine, inode);
  }
  // Under the lock: until the reply is taken the kernel holds the inode to the old backing id, and an open that another
  // thread answered with a new one would fail with EIO.
  if (release != nullptr) release->done();
}

void op_release(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::ReleaseIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (engine.parked(request, inode)) return;
  close_once(engine, inode, in->flags, &request);
}

}  // namespace vreserve
