// The operations of the FUSE protocol, one family a file. Each answers its request exactly once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine.h"

namespace vreserve {

// ops_names.cc: names in directories
void op_lookup(Engine&, Request&, Inode& parent) noexcept;
void op_forget(Engine&, Request&) noexcept;
void op_readlink(Engine&, Request&, Inode&) noexcept;
void op_symlink(Engine&, Request&, Inode& parent) noexcept;
void op_mknod(Engine&, Request&, Inode& parent) noexcept;
void op_mkdir(Engine&, Request&, Inode& parent) noexcept;
void op_unlink(Engine&, Request&, Inode& parent) noexcept;
void op_rmdir(Engine&, Request&, Inode& parent) noexcept;
// ops_rename.cc: names that move
void op_rename(Engine&, Request&, Inode& parent) noexcept;
void op_rename2(Engine&, Request&, Inode& parent) noexcept;
void op_link(Engine&, Request&, Inode& parent) noexcept;
// ops_attr.cc: attributes
void op_getattr(Engine&, Request&, Inode&) noexcept;
void op_statx(Engine&, Request&, Inode&) noexcept;
void op_setattr(Engine&, Request&, Inode&) noexcept;
void op_statfs(Engine&, Request&) noexcept;
// ops_xattr.cc: extended attributes
void op_getxattr(Engine&, Request&, Inode&) noexcept;
void op_setxattr(Engine&, Request&, Inode&) noexcept;
void op_listxattr(Engine&, Request&, Inode&) noexcept;
void op_removexattr(Engine&, Request&, Inode&) noexcept;
// ops_open.cc: opening and closing
void op_open(Engine&, Request&, Inode&) noexcept;
void op_create(Engine&, Request&, Inode& parent) noexcept;
void op_tmpfile(Engine&, Request&, Inode& parent) noexcept;
void op_release(Engine&, Request&, Inode&) noexcept;
// ops_data.cc: what is in a file
void op_read(Engine&, Request&, Inode&) noexcept;
void op_write(Engine&, Request&, Inode&) noexcept;
void op_copy_file_range(Engine&, Request&, Inode&) noexcept;
void op_fallocate(Engine&, Request&, Inode&) noexcept;
void op_lseek(Engine&, Request&, Inode&) noexcept;
void op_fsync(Engine&, Request&, Inode&) noexcept;
void op_syncfs(Engine&, Request&) noexcept;
// ops_list.cc: listing directories
void op_readdir(Engine&, Request&, Inode&, bool plus) noexcept;
// ops_names.cc
void op_interrupt(Engine&, Request&) noexcept;

// --- what they share ---------------------------------------------------------------------------------------------

// root: in which the inode is.
void fill(const struct stat& st, std::uint32_t root, fuse::Attr& attr) noexcept;
void fill(Inode& inode, const struct stat& st, fuse::EntryOut& entry) noexcept;
// What was learned by `st` in the directory `parent` may be what covers that: takes `st` of it then. 0 or positive errno.
[[nodiscard]] int see(Engine& engine, Inode& inode, const Inode& parent, struct stat& st) noexcept;
// Whether the kernel may keep the inode's attributes: not while it is open for writing, since a store through a mapping
// moves the backing's time alone. The inode's lock must be held.
[[nodiscard]] std::uint64_t attr_seconds(const Inode& inode) noexcept;

// True for the name `.vreserve` where it is ours: in the root and in a lot's own directory; scope is that lot.
[[nodiscard]] bool is_own_name(Engine& engine, Inode& parent, const char* name, LotId& scope) noexcept;
// 0, or the errno for making or taking away `name` in `parent`.
[[nodiscard]] int check_name(Engine& engine, Inode& parent, const char* name) noexcept;

// Opens the inode once more, as open(2) would with these flags; `out` is what the kernel does with it. 0 or -errno. The two
// are a pair, and take the inode's lock.
[[nodiscard]] int open_once(Engine& engine, const Request& request, Inode& inode, const fuse::OpenIn& in,
                            fuse::OpenOut& out) noexcept;
// release (may be null): the request that is answered when it is closed.
void close_once(Engine& engine, Inode& inode, std::uint32_t flags, Request* release) noexcept;
// Sets the size, charging or refunding; positive errno. Called and left with the inode's lock held exclusively, which it
// gives up while it waits for bytes on their way back.
[[nodiscard]] int set_size(Engine& engine, Request& request, Inode& inode, std::int64_t size) noexcept;
// Copies from the source to the target as copy_file_range(2) does, and answers the request.
void copy_range(Engine& engine, Request& request, Inode& source, Inode& target) noexcept;

// Opens what all opens of the inode share, if it is not there yet. Its lock must be held exclusively.
[[nodiscard]] int open_shared(Engine& engine, Inode& inode, bool for_writing) noexcept;
// An open descriptor for data: the shared one, or one opened for the call into `own`. -errno on failure.
[[nodiscard]] int data_fd(Engine& engine, Inode& inode, bool for_writing, Fd& own) noexcept;
// True when the name is the inode's even now; `st` is taken anew. Its lock must be held.
[[nodiscard]] bool is_still(const Inode& inode, int directory, const char* name, struct stat& st) noexcept;
// Before a name goes: a descriptor to reach the inode by afterwards. An open one keeps it itself; else it is for
// lose_name. Its lock must be held exclusively.
[[nodiscard]] Fd pin(Inode& inode, int directory, const char* name, const struct stat& st) noexcept;
// The backing has taken the name away; `st` is what it was before. Its lock must be held exclusively.
void lose_name(Engine& engine, Inode& inode, const Inode& parent, const char* name, const struct stat& st, Fd&& spare) noexcept;
// Notes what an unlinked regular file was, for who still has a path to it (O_PATH). Its lock must be held exclusively.
void note_last(Inode& inode, const struct stat& st) noexcept;
// The errno of a growth to `end` that was not granted: EFBIG where the backing could never hold so long a file, else
// ENOSPC. Its lock must be held.
[[nodiscard]] int refusal(Engine& engine, Inode& inode, std::int64_t end) noexcept;
// Takes set-uid and set-gid away as a local filesystem does on a write, and tells the kernel before the reply. Its lock
// must be held exclusively.
void kill_suid(Engine& engine, const Request& request, Inode& inode, int fd) noexcept;
// True when the caller has CAP_FSETID, for the requests that do not say so.
[[nodiscard]] bool caller_keeps_suid(const Request& request) noexcept;
// Drops what is kept for the open file when the last open is gone. Its lock must be held exclusively.
void close_shared(Engine& engine, Inode& inode) noexcept;

// umount2(2), or fusermount3 for an ordinary user; 0 or -errno.
[[nodiscard]] int unmount_path(const char* mountpoint, bool lazy) noexcept;
// The names in a directory, without `.` and `..`.
[[nodiscard]] std::vector<std::string> list_directory(int fd) noexcept;

}  // namespace vreserve
