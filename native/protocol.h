// The kernel's FUSE ABI as we use it: message layouts and numbers, from the uapi header linux/fuse.h (version 7.45).
// Written out here because distributions ship older headers than the kernels they run on.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace vreserve::fuse {

using std::int32_t;
using std::int64_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;

inline constexpr uint32_t kVersion = 7;
inline constexpr uint32_t kMinorVersion = 45;
inline constexpr uint32_t kOldestMinor = 36;  // INIT_EXT and HANDLE_KILLPRIV_V2 (Linux 5.17)
inline constexpr uint64_t kRootId = 1;

enum Opcode : uint32_t {
  LOOKUP = 1, FORGET = 2, GETATTR = 3, SETATTR = 4, READLINK = 5, SYMLINK = 6, MKNOD = 8, MKDIR = 9, UNLINK = 10,
  RMDIR = 11, RENAME = 12, LINK = 13, OPEN = 14, READ = 15, WRITE = 16, STATFS = 17, RELEASE = 18, FSYNC = 20,
  SETXATTR = 21, GETXATTR = 22, LISTXATTR = 23, REMOVEXATTR = 24, FLUSH = 25, INIT = 26, OPENDIR = 27, READDIR = 28,
  RELEASEDIR = 29, FSYNCDIR = 30, ACCESS = 34, CREATE = 35, INTERRUPT = 36, DESTROY = 38, IOCTL = 39, POLL = 40,
  BATCH_FORGET = 42, FALLOCATE = 43, READDIRPLUS = 44, RENAME2 = 45, LSEEK = 46, COPY_FILE_RANGE = 47, SYNCFS = 50,
  TMPFILE = 51, STATX = 52, COPY_FILE_RANGE_64 = 53,
};
inline constexpr uint32_t kOpcodes = 64;

// INIT flags, those of flags2 included.
inline constexpr uint64_t ASYNC_READ = 1ULL << 0, ATOMIC_O_TRUNC = 1ULL << 3, BIG_WRITES = 1ULL << 5,
                          DONT_MASK = 1ULL << 6, AUTO_INVAL_DATA = 1ULL << 12, DO_READDIRPLUS = 1ULL << 13,
                          ASYNC_DIO = 1ULL << 15, PARALLEL_DIROPS = 1ULL << 18,
                          POSIX_ACL = 1ULL << 20, MAX_PAGES = 1ULL << 22, CACHE_SYMLINKS = 1ULL << 23,
                          NO_OPENDIR_SUPPORT = 1ULL << 24, HANDLE_KILLPRIV_V2 = 1ULL << 28,
                          SETXATTR_EXT = 1ULL << 29, INIT_EXT = 1ULL << 30, DIRECT_IO_ALLOW_MMAP = 1ULL << 36,
                          PASSTHROUGH = 1ULL << 37, ALLOW_IDMAP = 1ULL << 40;

// Flags of OPEN and CREATE replies.
inline constexpr uint32_t FOPEN_DIRECT_IO = 1, FOPEN_KEEP_CACHE = 2, FOPEN_NOFLUSH = 32,
                          FOPEN_PARALLEL_DIRECT_WRITES = 64, FOPEN_PASSTHROUGH = 128;

// Bits of SETATTR's valid.
inline constexpr uint32_t FATTR_MODE = 1, FATTR_UID = 2, FATTR_GID = 4, FATTR_SIZE = 8, FATTR_ATIME = 16,
                          FATTR_MTIME = 32, FATTR_FH = 64, FATTR_ATIME_NOW = 128, FATTR_MTIME_NOW = 256,
                          FATTR_KILL_SUIDGID = 2048;

inline constexpr uint32_t OPEN_KILL_SUIDGID = 1;
inline constexpr uint32_t WRITE_KILL_SUIDGID = 4;
inline constexpr uint32_t SETXATTR_ACL_KILL_SGID = 1;

inline constexpr int32_t NOTIFY_INVAL_INODE = 2;
inline constexpr int32_t NOTIFY_INVAL_ENTRY = 3;

struct InHeader {
  uint32_t len, opcode;
  uint64_t unique, nodeid;
  uint32_t uid, gid, pid;
  uint16_t total_extlen, padding;
};
struct OutHeader {
  uint32_t len;
  int32_t error;
  uint64_t unique;
};
struct Attr {
  uint64_t ino, size, blocks, atime, mtime, ctime;
  uint32_t atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize, flags;
};
struct EntryOut {
  uint64_t nodeid, generation, entry_valid, attr_valid;
  uint32_t entry_valid_nsec, attr_valid_nsec;
  Attr attr;
};
struct AttrOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec, dummy;
  Attr attr;
};
struct StatxIn {
  uint32_t getattr_flags, reserved;
  uint64_t fh;
  uint32_t sx_flags, sx_mask;
};
struct SxTime {
  int64_t sec;
  uint32_t nsec;
  int32_t reserved;
};
struct Statx {
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, spare0;
  uint64_t ino, size, blocks, attributes_mask;
  SxTime atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t spare2[14];
};
struct StatxOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec, flags;
  uint64_t spare[2];
  Statx stat;
};
struct MknodIn { uint32_t mode, rdev, umask, padding; };
struct MkdirIn { uint32_t mode, umask; };
struct RenameIn { uint64_t newdir; };
struct Rename2In { uint64_t newdir; uint32_t flags, padding; };
struct LinkIn { uint64_t oldnodeid; };
struct SetattrIn {
  uint32_t valid, padding;
  uint64_t fh, size, lock_owner, atime, mtime, ctime;
  uint32_t atimensec, mtimensec, ctimensec, mode, unused4, uid, gid, unused5;
};
struct OpenIn { uint32_t flags, open_flags; };
struct CreateIn { uint32_t flags, mode, umask, open_flags; };
struct OpenOut {
  uint64_t fh;
  uint32_t open_flags;
  int32_t backing_id;
};
struct ReleaseIn {
  uint64_t fh;
  uint32_t flags, release_flags;
  uint64_t lock_owner;
};
struct FlushIn {
  uint64_t fh;
  uint32_t unused, padding;
  uint64_t lock_owner;
};
struct ReadIn {
  uint64_t fh, offset;
  uint32_t size, read_flags;
  uint64_t lock_owner;
  uint32_t flags, padding;
};
struct WriteIn {
  uint64_t fh, offset;
  uint32_t size, write_flags;
  uint64_t lock_owner;
  uint32_t flags, padding;
};
struct WriteOut { uint32_t size, padding; };
struct StatfsOut {
  uint64_t blocks, bfree, bavail, files, ffree;
  uint32_t bsize, namelen, frsize, padding, spare[6];
};
struct FsyncIn {
  uint64_t fh;
  uint32_t fsync_flags, padding;
};
struct SetxattrIn { uint32_t size, flags, setxattr_flags, padding; };
struct GetxattrIn { uint32_t size, padding; };
struct GetxattrOut { uint32_t size, padding; };
struct InitIn {
  uint32_t major, minor, max_readahead, flags, flags2, unused[11];
};
struct InitOut {
  uint32_t major, minor, max_readahead, flags;
  uint16_t max_background, congestion_threshold;
  uint32_t max_write, time_gran;
  uint16_t max_pages, map_alignment;
  uint32_t flags2, max_stack_depth;
  uint16_t request_timeout, unused[11];
};
struct InterruptIn { uint64_t unique; };
struct ForgetIn { uint64_t nlookup; };
struct ForgetOne { uint64_t nodeid, nlookup; };
struct BatchForgetIn { uint32_t count, dummy; };
struct FallocateIn {
  uint64_t fh, offset, length;
  uint32_t mode, padding;
};
struct Dirent {  // the name follows; the whole is padded to 8 bytes
  uint64_t ino, off;
  uint32_t namelen, type;
};
struct LseekIn {
  uint64_t fh, offset;
  uint32_t whence, padding;
};
struct LseekOut { uint64_t offset; };
struct CopyFileRangeIn { uint64_t fh_in, off_in, nodeid_out, fh_out, off_out, len, flags; };
struct CopyFileRangeOut { uint64_t bytes_copied; };
struct NotifyInvalInodeOut {
  uint64_t ino;
  int64_t off, len;
};
struct NotifyInvalEntryOut {  // the name and a NUL follow
  uint64_t parent;
  uint32_t namelen, flags;
};
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};

static_assert(sizeof(InHeader) == 40 && sizeof(OutHeader) == 16 && sizeof(Attr) == 88 && sizeof(EntryOut) == 128);
static_assert(sizeof(InitIn) == 64 && sizeof(InitOut) == 64 && sizeof(SetattrIn) == 88 && sizeof(Statx) == 256);
static_assert(sizeof(NotifyInvalEntryOut) == 16);
static_assert(sizeof(WriteIn) == 40 && sizeof(OpenOut) == 16 && sizeof(StatfsOut) == 80 && sizeof(Dirent) == 24);

inline constexpr unsigned long kIocClone = _IOR(229, 0, uint32_t);
inline constexpr unsigned long kIocBackingOpen = _IOW(229, 1, BackingMap);
inline constexpr unsigned long kIocBackingClose = _IOW(229, 2, uint32_t);

}  // namespace vreserve::fuse
