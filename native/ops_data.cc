// What is in a file: read and write, and everything else that changes its size from inside.
#include <linux/falloc.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "ops.h"

namespace vreserve {

namespace {

// A growth of an inode's size that was charged before it happens.
struct Growth {
  LotId lot = kNoLot;
  bool pending = false;
  std::int64_t charged = 0;
  int error = 0;  // positive
};

// Charges the growth of `inode` to `end`; `whole`: all of it or nothing, else what fits. Called and left with the lock
// held exclusively; given up while it waits for bytes on their way back. At least one byte beyond `from` must fit.
Growth grow(Engine& engine, Request& request, Inode& inode, std::int64_t from, std::int64_t end, bool whole) noexcept {
  Growth growth;
  engine.take_size(inode);
  for (int attempt = 0; attempt < 2; ++attempt) {
    const std::int64_t want = end - inode.size;
    if (want <= 0) return growth;
    growth.pending = inode.open && inode.open->writers > 0;
    growth.lot = engine.lot_of(inode);
    if (!engine.charging(inode)) {
      growth.charged = want;
      return growth;
    }
    const bool last = attempt == 1;
    // Cut short is refused in part, so that too comes only after a fresh look.
    const std::int64_t least = whole || !last ? want : std::max<std::int64_t>(from - inode.size, 0) + 1;
    std::int64_t got = 0;
    if (whole) {
      const Delta delta{growth.lot, want, 0, growth.pending ? want : 0, 0};
      got = engine.meter.apply(std::span(&delta, 1)) == 0 ? want : 0;
    } else {
      got = engine.meter.charge_up_to(growth.lot, want, growth.pending, last, least);
    }
    if (got > 0) {
      growth.charged = got;
      return growth;
    }
    // A write that begins before the end of the file can still do that part.
    if (!whole && last && from < inode.size) return growth;
    if (last) break;
    inode.lock.unlock();
    engine.fresh_look(request.worker(), engine.inodes.pool_of(inode));
    inode.lock.lock();
  }
  growth.error = refusal(engine, inode, end);
  return growth;
}

// The file now ends at `end` (or where it did): gives back what was charged for more. Its lock must be held exclusively.
void settle_growth(Engine& engine, Inode& inode, const Growth& growth, std::int64_t end, std::int64_t gap) noexcept {
  const std::int64_t used = std::max<std::int64_t>(end - inode.size, 0);
  const PoolId pool = engine.inodes.pool_of(inode);
  if (engine.charging(inode)) {
    if (used > 0) engine.meter.landed(used, pool);
    if (growth.charged > used) {
      engine.meter.refund_unlanded(growth.lot, growth.charged - used, growth.pending, pool);
    }
  }
  if (used > 0) inode.size = end;
  if (used > 0 && gap > 0) engine.add_holes(inode, gap);
  if (inode.hole > 0 && inode.open) inode.open->blocks_changed = true;
}

// Writes the first `size` bytes of the request's payload.
ssize_t write_at(Request& request, int fd, std::size_t size, std::int64_t offset, std::uint32_t flags) noexcept {
  const int sync = (flags & O_SYNC) == O_SYNC ? RWF_SYNC : (flags & O_DSYNC) != 0 ? RWF_DSYNC : 0;
  if (request.piped() >= size && sync == 0) return request.splice_to(fd, size, offset);
  request.pull();
  const char* const data = request.body().data() + sizeof(fuse::WriteIn);
  if (sync == 0) return checked(::pwrite(fd, data, size, offset));
  const iovec part{const_cast<char*>(data), size};
  return checked(::pwritev2(fd, &part, 1, offset, sync));
}

}  // namespace

void op_read(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::ReadIn>();
  if (in == nullptr) return request.fail(EINVAL);
  char* const buffer = request.worker()->reply_buffer;
  const std::size_t size = std::min<std::size_t>(in->size, 1U << 20);
  Fd own;
  inode.lock.lock_shared();
  const int fd = data_fd(engine, inode, false, own);
  const ssize_t got = fd < 0 ? fd : checked(::pread(fd, buffer, size, static_cast<off_t>(in->offset)));
  inode.lock.unlock_shared();
  if (got < 0) return request.fail(static_cast<int>(-got));
  request.reply(buffer, static_cast<std::size_t>(got));
}

void op_write(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::WriteIn>();
  if (in == nullptr || request.body().size() + request.piped() < sizeof *in + in->size) return request.fail(EINVAL);
  if (engine.parked(request, inode)) return;
  const auto offset = static_cast<std::int64_t>(in->offset);
  const auto end = offset + static_cast<std::int64_t>(in->size);
  const bool kills = (in->write_flags & fuse::WRITE_KILL_SUIDGID) != 0;
  Fd own;

  // Inside the file nothing is charged, and writers go side by side.
  inode.lock.lock_shared();
  if (end <= inode.size && !(kills && inode.may_have_suid)) {
    const int fd = data_fd(engine, inode, true, own);
    const ssize_t done = fd < 0 ? fd : write_at(request, fd, in->size, offset, in->flags);
    inode.lock.unlock_shared();
    if (done < 0) return request.fail(static_cast<int>(-done));
    return request.reply(fuse::WriteOut{static_cast<std::uint32_t>(done), 0});
  }
  inode.lock.unlock_shared();

  inode.lock.lock();
  const Growth growth = grow(engine, request, inode, offset, end, false);
  ssize_t done = -growth.error;
  if (growth.error == 0) {
    const std::int64_t allowed = std::min(end, inode.size + growth.charged);
    const int fd = data_fd(engine, inode, true, own);
    if (fd >= 0 && kills && inode.may_have_suid) kill_suid(engine, request, inode, fd);
    const auto size = static_cast<std::size_t>(std::max(allowed, std::min(end, inode.size)) - offset);
    done = fd < 0 ? fd : write_at(request, fd, size, offset, in->flags);
    const std::int64_t gap = done > 0 ? offset - inode.size : 0;
    settle_growth(engine, inode, growth, done > 0 ? offset + done : inode.size, gap);
  }
  inode.lock.unlock();
  if (done < 0) return request.fail(static_cast<int>(-done));
  request.reply(fuse::WriteOut{static_cast<std::uint32_t>(done), 0});
}

void op_copy_file_range(Engine& engine, Request& request, Inode& source) noexcept {
  const auto* const in = request.as<fuse::CopyFileRangeIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (is_virtual(in->nodeid_out)) return engine.blobs.copy_into(request, source);
  Inode* const target = engine.inodes.find(in->nodeid_out);
  if (target == nullptr) return request.fail(EXDEV);
  if (const int error = engine.inodes.root_of(*target).trouble; error != 0) return request.fail(error);
  // One request waits for one disk. The kernel then reads here and writes there.
  if (engine.inodes.pool_of(source) != engine.inodes.pool_of(*target)) return request.fail(EXDEV);
  copy_range(engine, request, source, *target);
}

void copy_range(Engine& engine, Request& request, Inode& source, Inode& target) noexcept {
  const auto* const in = request.as<fuse::CopyFileRangeIn>();
  if (engine.parked(request, target)) return;
  // The source is opened without its lock, so that two copies in opposite directions never wait for each other.
  Fd source_fd;
  int from = -1;
  source.lock.lock_shared();
  {
    Fd own;
    from = data_fd(engine, source, false, own);
    if (from >= 0) source_fd = own ? std::move(own) : Fd(::fcntl(from, F_DUPFD_CLOEXEC, 0));
  }
  source.lock.unlock_shared();
  if (from < 0) return request.fail(-from);

  off64_t offset_in = static_cast<off64_t>(in->off_in);
  off64_t offset_out = static_cast<off64_t>(in->off_out);
  const std::int64_t start = offset_out;
  struct stat st {};
  if (::fstat(source_fd.get(), &st) != 0) return request.fail(errno);
  // Only what the source has can grow the target; a copy that asks for more is not charged for it. The reply's field is
  // 32 bits wide in the older form.
  std::int64_t length = std::min<std::int64_t>(static_cast<std::int64_t>(std::min<std::uint64_t>(in->len, 1U << 30)),
                                               std::max<std::int64_t>(st.st_size - offset_in, 0));
  Fd own;
  target.lock.lock();
  ssize_t done = 0;
  if (length > 0) {
    const Growth growth = grow(engine, request, target, start, start + length, false);
    done = -growth.error;
    if (growth.error == 0) {
      const std::int64_t allowed =
          std::max(std::min(start + length, target.size + growth.charged), std::min(start + length, target.size));
      const int to = data_fd(engine, target, true, own);
      if (to >= 0 && target.may_have_suid && !caller_keeps_suid(request)) kill_suid(engine, request, target, to);
      done = to < 0 ? to
                    : checked(::copy_file_range(source_fd.get(), &offset_in, to, &offset_out,
                                                static_cast<std::size_t>(allowed - start), 0));
      const std::int64_t gap = done > 0 ? start - target.size : 0;
      settle_growth(engine, target, growth, done > 0 ? start + done : target.size, gap);
      if (target.open) target.open->blocks_changed = true;  // a shared extent or a copied hole
    }
  }
  target.lock.unlock();
  if (done < 0) return request.fail(static_cast<int>(-done));
  if (request.header().opcode == fuse::COPY_FILE_RANGE_64) {
    return request.reply(fuse::CopyFileRangeOut{static_cast<std::uint64_t>(done)});
  }
  request.reply(fuse::WriteOut{static_cast<std::uint32_t>(done), 0});
}

bool caller_keeps_suid(const Request& request) noexcept {
  Caller caller;
  return read_caller(static_cast<pid_t>(request.header().pid), caller) == 0 && caller.fsetid;
}

void op_fallocate(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::FallocateIn>();
  if (in == nullptr) return request.fail(EINVAL);
  if (engine.parked(request, inode)) return;
  const auto mode = static_cast<int>(in->mode);
  constexpr int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~known) != 0) return request.fail(EOPNOTSUPP);
  const auto offset = static_cast<std::int64_t>(in->offset);
  std::int64_t end = 0;
  if (__builtin_add_overflow(offset, static_cast<std::int64_t>(in->length), &end) || offset < 0) {
    return request.fail(EFBIG);
  }
  Fd own;
  inode.lock.lock();
  int error = 0;
  // Blocks past the end of the file would be had without a charge.
  if ((mode & (FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE)) != 0 && (mode & FALLOC_FL_PUNCH_HOLE) == 0 &&
      end > inode.size) {
    error = EOPNOTSUPP;
  }
  Growth growth;
  if (error == 0 && mode == 0) {
    growth = grow(engine, request, inode, offset, end, true);
    error = growth.error;
  }
  if (error == 0) {
    const int fd = data_fd(engine, inode, true, own);
    if (fd >= 0 && inode.may_have_suid && !caller_keeps_suid(request)) kill_suid(engine, request, inode, fd);
    error = fd < 0 ? -fd : (::fallocate(fd, mode, offset, static_cast<off_t>(in->length)) == 0 ? 0 : errno);
    struct stat st {};
    const bool seen = fd >= 0 && ::fstat(fd, &st) == 0;
    if (seen && inode.is_regular()) {
      settle_growth(engine, inode, growth, st.st_size, 0);
      engine.measure_holes(inode, st);
    } else if (growth.charged > 0) {
      settle_growth(engine, inode, growth, inode.size, 0);
    }
  }
  inode.lock.unlock();
  request.finish(-error);
}

void op_lseek(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::LseekIn>();
  if (in == nullptr) return request.fail(EINVAL);
  Fd own;
  inode.lock.lock_shared();
  const int fd = data_fd(engine, inode, false, own);
  // The shared descriptor's position means nothing to anyone: every read and write says where.
  const off_t found =
      fd < 0 ? fd : checked(::lseek(fd, static_cast<off_t>(in->offset), static_cast<int>(in->whence)));
  inode.lock.unlock_shared();
  if (found < 0) return request.fail(static_cast<int>(-found));
  request.reply(fuse::LseekOut{static_cast<std::uint64_t>(found)});
}

void op_fsync(Engine& engine, Request& request, Inode& inode) noexcept {
  const auto* const in = request.as<fuse::FsyncIn>();
  if (in == nullptr) return request.fail(EINVAL);
  Fd own;
  int fd = -1;
  if (inode.is_directory()) {
    int error = 0;
    const SharedFd directory = engine.inodes.directory(inode, error);
    if (!directory) return request.fail(error);
    own = Fd(::openat(directory->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    fd = own ? own.get() : -errno;
  } else {
    // A descriptor of its own, so that a slow disk holds up nobody who wants the inode's lock.
    inode.lock.lock_shared();
    fd = data_fd(engine, inode, false, own);
    if (fd >= 0 && !own) {
      own = Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      fd = own ? own.get() : -errno;
    }
    inode.lock.unlock_shared();
  }
  if (fd < 0) return request.fail(-fd);
  const int result = (in->fsync_flags & 1U) != 0 ? ::fdatasync(fd) : ::fsync(fd);
  request.finish(result == 0 ? 0 : -errno);
}

void op_syncfs(Engine& engine, Request& request) noexcept {
  int error = 0;
  std::vector<Root*> roots = engine.inodes.all_grafts();
  roots.insert(roots.begin(), &engine.inodes.backing());  // before one that may not answer
  for (const Root* const each : roots) {
    const SharedFd fd = engine.inodes.root_fd(*each);
    if (!fd) continue;  // of a broken pool, whose files have been told
    request.worker()->pool.store(each->pool);
    const Fd root(::openat(fd->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root || ::syncfs(root.get()) != 0) error = -errno;
  }
  request.finish(error);
}

}  // namespace vreserve
