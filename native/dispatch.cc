// From a request's opcode to its operation.
#include "ops.h"

namespace vreserve {

void Engine::dispatch(Request& request) noexcept {
  const std::uint32_t opcode = request.header().opcode;
  switch (opcode) {
    case fuse::FORGET:
    case fuse::BATCH_FORGET:
      return op_forget(*this, request);
    case fuse::INTERRUPT:
      return op_interrupt(*this, request);
    case fuse::DESTROY:
      return request.done();
    case fuse::OPENDIR:
      return request.fail(ENOSYS);  // the kernel lists without it from now on
    case fuse::SYNCFS:
      return op_syncfs(*this, request);
    case fuse::STATFS:
      return op_statfs(*this, request);
    default:
      break;
  }
  // Before anything that may wait for a disk: who waits for requests need not wait for those of another one.
  const auto is_in = [&request](PoolId pool) { request.worker()->pool.store(pool); };
  if (is_virtual(request.nodeid())) {
    is_in(kMainPool);
    return blobs.serve(request);
  }
  Inode* const inode = inodes.find(request.nodeid());
  if (inode == nullptr) return request.fail(ESTALE);
  is_in(inodes.pool_of(*inode));
  if (inode->root != 0) {
    const Root& root = inodes.root_of(*inode);
    if (const int error = root.trouble; error != 0 && opcode != fuse::RELEASE) return request.fail(error);
    root.used.store(true, std::memory_order_relaxed);
  } else if (inode->covered && opcode != fuse::RELEASE) {
    return request.fail(ESTALE);  // the kernel looks again, and finds what covers it
  }
  switch (opcode) {
    case fuse::LOOKUP: return op_lookup(*this, request, *inode);
    case fuse::GETATTR: return op_getattr(*this, request, *inode);
    case fuse::STATX: return op_statx(*this, request, *inode);
    case fuse::SETATTR: return op_setattr(*this, request, *inode);
    case fuse::READLINK: return op_readlink(*this, request, *inode);
    case fuse::SYMLINK: return op_symlink(*this, request, *inode);
    case fuse::MKNOD: return op_mknod(*this, request, *inode);
    case fuse::MKDIR: return op_mkdir(*this, request, *inode);
    case fuse::UNLINK: return op_unlink(*this, request, *inode);
    case fuse::RMDIR: return op_rmdir(*this, request, *inode);
    case fuse::RENAME: return op_rename(*this, request, *inode);
    case fuse::RENAME2: return op_rename2(*this, request, *inode);
    case fuse::LINK: return op_link(*this, request, *inode);
    case fuse::OPEN: return op_open(*this, request, *inode);
    case fuse::CREATE: return op_create(*this, request, *inode);
    case fuse::TMPFILE: return op_tmpfile(*this, request, *inode);
    case fuse::READ: return op_read(*this, request, *inode);
    case fuse::WRITE: return op_write(*this, request, *inode);
    case fuse::COPY_FILE_RANGE:
    case fuse::COPY_FILE_RANGE_64: return op_copy_file_range(*this, request, *inode);
    case fuse::FALLOCATE: return op_fallocate(*this, request, *inode);
    case fuse::LSEEK: return op_lseek(*this, request, *inode);
    case fuse::FSYNC:
    case fuse::FSYNCDIR: return op_fsync(*this, request, *inode);
    case fuse::FLUSH: return request.done();
    case fuse::RELEASE: return op_release(*this, request, *inode);
    case fuse::READDIR: return op_readdir(*this, request, *inode, false);
    case fuse::READDIRPLUS: return op_readdir(*this, request, *inode, true);
    case fuse::GETXATTR: return op_getxattr(*this, request, *inode);
    case fuse::SETXATTR: return op_setxattr(*this, request, *inode);
    case fuse::LISTXATTR: return op_listxattr(*this, request, *inode);
    case fuse::REMOVEXATTR: return op_removexattr(*this, request, *inode);
    case fuse::IOCTL: return request.fail(ENOTTY);
    default: return request.fail(ENOSYS);
  }
}

}  // namespace vreserve
