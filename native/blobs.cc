// Which request is a blob's, and all that is done with one but opening and closing it.
#include "blobs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <string_view>

#include "ops.h"

namespace vreserve {

namespace {

bool opens_for_writing(const Request& request) noexcept {
  const auto* const in = request.as<fuse::OpenIn>();
  return in != nullptr && ((in->flags & O_ACCMODE) != O_RDONLY || (in->flags & O_TRUNC) != 0);
}

bool truncates(const Request& request) noexcept { return (request.as<fuse::OpenIn>()->flags & O_TRUNC) != 0; }

}  // namespace

Blobs::Shared Blobs::find(std::uint64_t id) noexcept {
  const std::shared_lock guard(mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

Blobs::Shared Blobs::of_node(std::uint64_t nodeid) noexcept {
  const std::shared_lock guard(mutex_);
  const auto found = by_node_.find(nodeid);
  return found == by_node_.end() ? nullptr : found->second;
}

std::size_t Blobs::count() noexcept {
  const std::shared_lock guard(mutex_);
  return by_id_.size();
}

bool Blobs::is_of_store(std::uint64_t nodeid) noexcept {
  VirtualNode node;
  return engine_.virtuals.find(nodeid, node) && (node.kind == VirtualKind::blob || node.takes_files);
}

void Blobs::serve(Request& request) noexcept {
  switch (request.header().opcode) {
    case fuse::READ:
    case fuse::WRITE:
    case fuse::FALLOCATE:
    case fuse::LSEEK:
    case fuse::FSYNC:
    case fuse::FLUSH:
    case fuse::RELEASE:
    case fuse::COPY_FILE_RANGE:
    case fuse::COPY_FILE_RANGE_64: {
      const auto* const handle = request.as<std::uint64_t>();  // comes first in each of them
      if (handle == nullptr || (*handle & kBlobBit) == 0) return engine_.virtuals.serve(request);
      return serve_handle(request, *handle);
    }
    default: {
      VirtualNode node;
      if (!engine_.virtuals.find(request.nodeid(), node)) return request.fail(ESTALE);
      return serve_node(request, node);
    }
  }
}

void Blobs::serve_handle(Request& request, std::uint64_t id) noexcept {
  const Shared blob = find(id);
  if (!blob) return request.fail(EBADF);
  Inode& real = *blob->real;
  switch (request.header().opcode) {
    case fuse::READ: return op_read(engine_, request, real);
    case fuse::LSEEK: return op_lseek(engine_, request, real);
    case fuse::FSYNC: return op_fsync(engine_, request, real);
    case fuse::FLUSH: return flush(request, blob);
    case fuse::RELEASE: return release(request, blob);
    case fuse::WRITE: return change(request, *blob, [&] { op_write(engine_, request, real); });
    case fuse::FALLOCATE: return change(request, *blob, [&] { op_fallocate(engine_, request, real); });
    default: return op_copy_file_range(engine_, request, real);
  }
}

void Blobs::serve_node(Request& request, const VirtualNode& node) noexcept {
  const std::uint32_t opcode = request.header().opcode;
  if (node.takes_files) {
    switch (opcode) {
      case fuse::CREATE: return create(request, node);
      case fuse::UNLINK: return unlink(request, node);
      case fuse::RENAME:
      case fuse::RENAME2: return request.fail(EXDEV);  // who moves copies then
      case fuse::SETATTR: return set_attributes(request, node);
      case fuse::OPEN:
        // Who appends would do so behind what the kernel knows, which is the snapshot.
        if (node.kind != VirtualKind::snapshot || !opens_for_writing(request)) break;
        return truncates(request) ? open(request, node) : request.fail(EOPNOTSUPP);
      default: break;
    }
  }
  if (node.kind == VirtualKind::blob) {
    switch (opcode) {
      case fuse::OPEN: return open(request, node);
      case fuse::GETATTR: return reply_attributes(request, node);
      case fuse::STATX: return reply_statx(request, node);
      case fuse::SETATTR: return set_attributes(request, node);
      case fuse::GETXATTR: return get_xattr(request, node);
      case fuse::SETXATTR:
      case fuse::REMOVEXATTR: return request.fail(EOPNOTSUPP);
      default: break;
    }
  }
  engine_.virtuals.serve(request, node);
}

int Blobs::loss(const Request& request) noexcept {
  const std::uint32_t opcode = request.header().opcode;
  const int error = request.failure();
  if (opcode == fuse::FALLOCATE || opcode == fuse::SETATTR) return 0;  // nothing that was to be kept is lost
  return error == ENOSPC || error == EDQUOT || error == EIO || error == EFBIG ? error : 0;
}

void Blobs::copy_into(Request& request, Inode& source) noexcept {
  const auto* const in = request.as<fuse::CopyFileRangeIn>();
  const Shared blob = (in->fh_out & kBlobBit) != 0 ? find(in->fh_out) : nullptr;
  if (!blob) return request.fail(EXDEV);
  change(request, *blob, [&] { copy_range(engine_, request, source, *blob->real); });
}

// --- attributes -------------------------------------------------------------------------------------------------------

fuse::AttrOut Blobs::attributes(const VirtualNode& node) noexcept {
  fuse::AttrOut out{};
  Virtual::fill(node, out.attr);
  out.attr_valid = node.kind == VirtualKind::blob ? kCachedSeconds : 0;
  const Shared blob = of_node(node.id);
  if (!blob || !blob->for_writing) return out;
  out.attr_valid = 0;
  struct stat st {};
  blob->real->lock.lock_shared();
  const int error = engine_.inodes.stat(*blob->real, st);
  blob->real->lock.unlock_shared();
  if (error != 0) return out;
  fuse::Attr real{};
  vreserve::fill(st, blob->real->root, real);
  out.attr.size = real.size;
  out.attr.blocks = real.blocks;
  out.attr.atime = real.atime;
  out.attr.mtime = real.mtime;
  out.attr.ctime = real.ctime;
  out.attr.atimensec = real.atimensec;
  out.attr.mtimensec = real.mtimensec;
  out.attr.ctimensec = real.ctimensec;
  return out;
}

void Blobs::reply_attributes(Request& request, const VirtualNode& node) noexcept { request.reply(attributes(node)); }

void Blobs::reply_statx(Request& request, const VirtualNode& node) noexcept {
  const fuse::AttrOut known = attributes(node);
  fuse::StatxOut out = Virtual::statx_of(known.attr);
  out.attr_valid = known.attr_valid;
  request.reply(out);
}

// Times and modes are set by all that copies files: that is no error, and changes nothing.
void Blobs::set_attributes(Request& request, const VirtualNode& node) noexcept {
  const auto* const in = request.as<fuse::SetattrIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const bool other_user = (in->valid & fuse::FATTR_UID) != 0 && in->uid != node.uid;
  const bool other_group = (in->valid & fuse::FATTR_GID) != 0 && in->gid != node.gid;
  if (other_user || other_group) return request.fail(EPERM);
  if ((in->valid & fuse::FATTR_SIZE) == 0) return reply_attributes(request, node);
  const Shared blob = (in->valid & fuse::FATTR_FH) != 0 && (in->fh & kBlobBit) != 0 ? find(in->fh) : nullptr;
  if (!blob || !blob->for_writing) return request.fail(EOPNOTSUPP);
  change(request, *blob, [&] { resize(request, node, *blob, static_cast<std::int64_t>(in->size)); });
}

void Blobs::resize(Request& request, const VirtualNode& node, Blob& blob, std::int64_t size) noexcept {
  if (engine_.parked(request, *blob.real)) return;
  blob.real->lock.lock();
  const int error = set_size(engine_, request, *blob.real, size);
  blob.real->lock.unlock();
  if (error != 0) return request.fail(error);
  if (request.header().opcode == fuse::SETATTR) reply_attributes(request, node);
}

// --- names ------------------------------------------------------------------------------------------------------------

void Blobs::get_xattr(Request& request, const VirtualNode& node) noexcept {
  const auto* const in = request.as<fuse::GetxattrIn>();
  if (in == nullptr) return request.fail(EINVAL);
  const std::string_view name = request.text(sizeof *in);
  if (!name.starts_with("user.vreserve.") && name != "user.mime_type") return engine_.virtuals.serve(request, node);
  VirtualQuestion question = Virtual::question_of(node, VirtualOp::getxattr);
  question.name = name;
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  engine_.virtuals.ask(request, std::move(question), [this, fd, unique, size = in->size](const VirtualAnswer& answer) {
    const fuse::GetxattrOut length{static_cast<std::uint32_t>(answer.data.size()), 0};
    int error = answer.error;
    if (error == 0 && size != 0 && answer.data.size() > size) error = ERANGE;
    const iovec part = size == 0 ? iovec{const_cast<fuse::GetxattrOut*>(&length), sizeof length}
                                 : iovec{const_cast<char*>(answer.data.data()), answer.data.size()};
    engine_.device.answer(fd, unique, -error, std::span(&part, error == 0 ? 1 : 0));
  });
}

void Blobs::unlink(Request& request, const VirtualNode& directory) noexcept {
  VirtualQuestion question = Virtual::question_of(directory, VirtualOp::unlink);
  question.path = Virtual::path_in(directory, request.text(0));
  if (const int error = read_caller(static_cast<pid_t>(request.header().pid), question.caller); error != 0) {
    return request.fail(error);
  }
  const int fd = request.fd();
  const std::uint64_t unique = request.header().unique;
  engine_.virtuals.ask(request, std::move(question), [this, fd, unique](const VirtualAnswer& answer) {
    engine_.device.answer(fd, unique, -answer.error, {});
  });
}

}  // namespace vreserve
