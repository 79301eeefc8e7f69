// Attributes: getattr, statx, setattr, statfs.
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>

#include "ops.h"

namespace vreserve {

namespace {

timespec time_of(std::uint64_t seconds, std::uint32_t nanoseconds) noexcept {
  return {static_cast<time_t>(seconds), static_cast<long>(nanoseconds)};
}

fuse::SxTime time_of(const statx_timestamp& time) noexcept { return {time.tv_sec, time.tv_nsec, 0}; }

fuse::SxTime time_of(const timespec& time) noexcept { return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec), 0}; }

// What is known of a file that is gone; a birth time is not.
void fill(const struct stat& st, fuse::Statx& out) noexcept {
  out.mask = STATX_BASIC_STATS;
  out.blksize = static_cast<std::uint32_t>(st.st_blksize);
  out.nlink = static_cast<std::uint32_t>(st.st_nlink);
  out.uid = st.st_uid;
  out.gid = st.st_gid;
  out.mode = static_cast<std::uint16_t>(st.st_mode);
  out.size = static_cast<std::uint64_t>(st.st_size);
  out.blocks = static_cast<std::uint64_t>(st.st_blocks);
  out.atime = time_of(st.st_atim);
  out.ctime = time_of(st.st_ctim);
  out.mtime = time_of(st.st_mtim);
  out.dev_major = major(st.st_dev);
  out.dev_minor = minor(st.st_dev);
}

int set_owner(Engine& engine, Inode& inode, const fuse::SetattrIn& in) noexcept {
  const Location at = engine.inodes.locate(inode);
  if (at.error != 0) return at.error;
  const uid_t uid = (in.valid & fuse::FATTR_UID) != 0 ? in.uid : static_cast<uid_t>(-1);
  const gid_t gid = (in.valid & fuse::FATTR_GID) != 0 ? in.gid : static_cast<gid_t>(-1);
  return ::fchownat(at.fd, at.name, uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0 ? 0 : errno;
}

int set_mode(Engine& engine, Inode& inode, mode_t mode) noexcept {
  const Location at = engine.inodes.locate(inode);
  if (at.error != 0) return at.error;
  if (inode.type == S_IFLNK) return EOPNOTSUPP;
  inode.may_have_suid = inode.may_have_suid || (mode & (S_ISUID | S_ISGID)) != 0;
  if (&inode == &engine.inodes.root()) return ::fchmodat(at.fd, ".", mode & 07777, 0) == 0 ? 0 : errno;
  return ::chmod(ProcPath(at.fd, at.name).text, mode & 07777) == 0 ? 0 : errno;
}

int set_times(Engine& engine, Inode& inode, const fuse::SetattrIn& in) noexcept {
  timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  if ((in.valid & fuse::FATTR_ATIME) != 0) times[0] = time_of(in.atime, in.atimensec);
  if ((in.valid & fuse::FATTR_ATIME_NOW) != 0) times[0].tv_nsec = UTIME_NOW;
  if ((in.valid & fuse::FATTR_MTIME) != 0) times[1] = time_of(in.mtime, in.mtimensec);
  if ((in.valid & fuse::FATTR_MTIME_NOW) != 0) times[1].tv_nsec = UTIME_NOW;
  const Location at = engine.inodes.locate(inode);
  if (at.error != 0) return at.error;
  if (*at.name != 0) return ::utimensat(at.fd, at.name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
  return ::utimensat(AT_FDCWD, ProcPath(at.fd, "").text, times, 0) == 0 ? 0 : errno;
}

}  // namespace

int set_size(Engine& engine, Request& request, Inode& inode, std::int64_t size) noexcept {
  if (size < 0) return EFBIG;
  const PoolId pool = engine.inodes.pool_of(inode);
  engine.take_size(inode);
  for (int attempt = 0;; ++attempt) {
    const std::int64_t growth = size - inode.size;
    if (growth <= 0 || !engine.charging(inode)) break;
    const bool pending = inode.open && inode.open->writers > 0;
    const Delta delta{engine.lot_of(inode), growth, 0, pending ? growth : 0, 0};
    if (engine.meter.apply(std::span(&delta, 1)) == 0) break;
    if (attempt == 1) return refusal(engine, inode, size);
    inode.lock.unlock();
    engine.fresh_look(request.worker(), pool);
    inode.lock.lock();
  }
  const std::int64_t growth = size - inode.size;
  const LotId lot = engine.lot_of(inode);
  const bool pending = inode.open && inode.open->writers > 0;
  Fd own;
  const int fd = data_fd(engine, inode, true, own);
  const int error = fd < 0 ? -fd : (::ftruncate(fd, size) == 0 ? 0 : errno);
  if (growth > 0) {
    if (engine.charging(inode)) {
      if (error == 0) engine.meter.landed(growth, pool);
      if (error != 0) engine.meter.refund_unlanded(lot, growth, pending, pool);
    }
    if (error != 0) return error;
    engine.add_holes(inode, growth);
    if (inode.open) inode.open->blocks_changed = true;
  } else if (error == 0 && growth < 0) {
    engine.refund({lot, growth, 0, pending ? growth : 0, 0});
  }
  if (error == 0) {
    inode.size = size;
    struct stat st {};
    if (growth < 0 && inode.hole > 0 && ::fstat(fd, &st) == 0) engine.measure_holes(inode, st);
  }
  return error;
}

void op_getattr(Engine& engine, Request& request, Inode& inode) noexcept {
  struct stat st {};
  fuse::AttrOut out{};
  inode.lock.lock_shared();
  const int error = engine.inodes.stat(inode, st);
  out.attr_valid = attr_seconds(inode);
  inode.lock.unlock_shared();
  if (error != 0) return request.fail(-error);
  engine.inodes.show(inode, st);
  fill(st, inode.root, out.attr);
  request.reply(out);
}

void op_statx(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::StatxIn>();
  if (in == nullptr) return request.fail(EINVAL);
  struct statx st {};
  fuse::StatxOut out{};
  inode.lock.lock_shared();
  const bool open = inode.open && inode.open->fd;
  Location at;
  if (open) {
    at.fd = inode.open->fd.get();
  } else {
    at = engine.inodes.locate(inode);
  }
  int error = at.error;
  if (error == 0) {
    const int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | static_cast<int>(in->sx_flags & AT_STATX_SYNC_TYPE);
    error = ::statx(at.fd, at.name, flags, STATX_BASIC_STATS | STATX_BTIME, &st) == 0 ? 0 : errno;
  }
  out.attr_valid = attr_seconds(inode);
  struct stat last {};
  const bool is_last = error == ESTALE && inode.last;
  if (is_last) last = *inode.last;
  inode.lock.unlock_shared();
  if (is_last) {
    fill(last, out.stat);
    out.stat.ino = shown_number(inode.root, last.st_ino);
    return request.reply(out);
  }
  if (error == 0 && st.stx_ino != inode.number) error = ESTALE;
  if (error != 0) return request.fail(error);
  out.stat.mask = st.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
  out.stat.blksize = st.stx_blksize;
  out.stat.nlink = st.stx_nlink;
  out.stat.uid = st.stx_uid;
  out.stat.gid = st.stx_gid;
  out.stat.mode = st.stx_mode;
  out.stat.ino = shown_number(inode.root, st.stx_ino);
  out.stat.size = st.stx_size;
  out.stat.blocks = st.stx_blocks;
  out.stat.atime = time_of(st.stx_atime);
  out.stat.btime = time_of(st.stx_btime);
  out.stat.ctime = time_of(st.stx_ctime);
  out.stat.mtime = time_of(st.stx_mtime);
  out.stat.rdev_major = st.stx_rdev_major;
  out.stat.rdev_minor = st.stx_rdev_minor;
  out.stat.dev_major = st.stx_dev_major;
  out.stat.dev_minor = st.stx_dev_minor;
  request.reply(out);
}

void op_setattr(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::SetattrIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (engine.parked(request, inode)) return;
  int error = 0;
  inode.lock.lock();
  // As chown, truncate and utime are separate calls here, the order is that of a local filesystem: owner, size, mode, times.
  constexpr std::uint32_t times =
      fuse::FATTR_ATIME | fuse::FATTR_MTIME | fuse::FATTR_ATIME_NOW | fuse::FATTR_MTIME_NOW;
  // Only chown(-1, -1) asks for nothing: it takes set-user-id away and moves ctime all the same.
  const bool nothing = (in->valid & (fuse::FATTR_MODE | fuse::FATTR_UID | fuse::FATTR_GID | fuse::FATTR_SIZE | times)) == 0;
  if (nothing || (in->valid & (fuse::FATTR_UID | fuse::FATTR_GID)) != 0) error = set_owner(engine, inode, *in);
  if (error == 0 && (in->valid & fuse::FATTR_SIZE) != 0) {
    error = inode.is_regular() ? set_size(engine, request, inode, static_cast<std::int64_t>(in->size)) : EINVAL;
    if (error == 0 && (in->valid & fuse::FATTR_KILL_SUIDGID) != 0 && inode.may_have_suid) {
      Fd own;
      if (const int fd = data_fd(engine, inode, false, own); fd >= 0) kill_suid(engine, request, inode, fd);
    }
  }
  if (error == 0 && (in->valid & fuse::FATTR_MODE) != 0) error = set_mode(engine, inode, in->mode);
  if (error == 0 && (in->valid & times) != 0) error = set_times(engine, inode, *in);
  struct stat st {};
  if (error == 0) error = -engine.inodes.stat(inode, st);
  fuse::AttrOut out{};
  out.attr_valid = attr_seconds(inode);
  inode.lock.unlock();
  if (error != 0) return request.fail(error);
  engine.inodes.show(inode, st);
  fill(st, inode.root, out.attr);
  request.reply(out);
}

// Inside a lot the mount is as large as its grant, and free is what it can still write. Rule 12.
void op_statfs(Engine& engine, Request& request) noexcept {
  LotId lot = kDefaultLot;
  const bool of_store = is_virtual(request.nodeid()) && engine.blobs.is_of_store(request.nodeid());
  Inode* const inode = of_store                          ? engine.store()
                       : is_virtual(request.nodeid()) ? nullptr
                                                      : engine.inodes.find(request.nodeid());
  if (inode != nullptr) {
    inode->lock.lock_shared();
    lot = engine.lot_of(*inode);
    inode->lock.unlock_shared();
  }
  const Root& root = inode != nullptr ? engine.inodes.root_of(*inode) : engine.inodes.backing();
  request.worker()->pool.store(root.pool);
  const SharedFd fd = engine.inodes.root_fd(root);
  struct statfs fs {};
  if (!fd || root.trouble != 0) return request.fail(root.trouble != 0 ? root.trouble.load() : EIO);
  if (::fstatfs(fd->get(), &fs) != 0) return request.fail(errno);
  engine.sample(root.pool);
  const PoolUsage pool = engine.meter.pool(root.pool);
  const std::int64_t size = std::min(engine.meter.grant(lot), pool.capacity);
  const std::int64_t room = std::clamp<std::int64_t>(engine.meter.room(lot), 0, size);
  constexpr std::int64_t block = 4096;
  fuse::StatfsOut out{};
  out.bsize = out.frsize = block;
  out.blocks = static_cast<std::uint64_t>((size + block - 1) / block);
  out.bfree = out.bavail = static_cast<std::uint64_t>(room / block);
  const std::int64_t objects = engine.meter.max_objects(lot);
  const bool counted = objects != kUnlimited;
  out.files = counted ? static_cast<std::uint64_t>(objects) : fs.f_files;
  out.ffree = counted ? static_cast<std::uint64_t>(std::max<std::int64_t>(0, objects - engine.meter.used_objects(lot)))
                      : fs.f_ffree;
  out.namelen = static_cast<std::uint32_t>(fs.f_namelen);
  request.reply(out);
}

}  // namespace vreserve
