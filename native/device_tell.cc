// What the kernel is told: answers, notifications, and backing files for passthrough.
#include <array>

#include "device.h"

namespace vreserve {

std::uint32_t Device::backing_open(int fd) noexcept {
  fuse::BackingMap map{};
  map.fd = fd;
  const int id = ::ioctl(fd_.get(), fuse::kIocBackingOpen, &map);
  return id > 0 ? static_cast<std::uint32_t>(id) : 0;
}

void Device::backing_close(std::uint32_t id) noexcept {
  if (id != 0) ::ioctl(fd_.get(), fuse::kIocBackingClose, &id);
}

bool Device::answer(int fd, std::uint64_t unique, int error, std::span<const iovec> parts) noexcept {
  if (transport_ != nullptr) {
    if (unique != 0) transport_->answer(unique, error, parts);  // a notification has nobody to go to
    return true;
  }
  fuse::OutHeader header{};
  header.unique = unique;
  header.error = error;
  std::array<iovec, 4> vector{};
  vector[0] = {&header, sizeof header};
  std::size_t size = sizeof header;
  std::size_t count = 1;
  for (const iovec& part : parts) {
    vector[count++] = part;
    size += part.iov_len;
  }
  header.len = static_cast<std::uint32_t>(size);
  // ENOENT: the request was interrupted away or the mount is going; ENODEV: it has gone. Nobody waits then.
  ssize_t taken = 0;
  do {
    taken = ::writev(fd, vector.data(), static_cast<int>(count));
  } while (taken < 0 && errno == EINTR);
  return taken >= 0;
}

void Device::invalidate_attributes(std::uint64_t nodeid) noexcept {
  fuse::NotifyInvalInodeOut out{};
  out.ino = nodeid;
  out.off = -1;  // no data: the kernel then takes no lock that a request under way may hold
  const iovec part{&out, sizeof out};
  answer(fd_.get(), 0, fuse::NOTIFY_INVAL_INODE, std::span(&part, 1));
}

void Device::invalidate_entry(std::uint64_t directory, const std::string& name) noexcept {
  fuse::NotifyInvalEntryOut out{};
  out.parent = directory;
  out.namelen = static_cast<std::uint32_t>(name.size());
  const std::array<iovec, 2> parts{{{&out, sizeof out}, {const_cast<char*>(name.c_str()), name.size() + 1}}};
  answer(fd_.get(), 0, fuse::NOTIFY_INVAL_ENTRY, parts);
  invalidate_attributes(directory);  // by its time the kernel tells whether a listing that it kept is still right
}

}  // namespace vreserve
