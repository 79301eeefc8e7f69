// Listing directories, with and without attributes.
#include <sys/syscall.h>

#include <cstring>

#include "ops.h"

namespace vreserve {

namespace {

struct LinuxDirent {  // what getdents64(2) gives; the name follows
  std::uint64_t ino;
  std::int64_t off;
  std::uint16_t reclen;
  std::uint8_t type;
  char name[];
};

constexpr std::size_t padded(std::size_t size) noexcept { return (size + 7) & ~std::size_t{7}; }

bool is_dot(const char* name) noexcept { return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)); }

}  // namespace

std::vector<std::string> list_directory(int fd) noexcept {
  std::vector<std::string> names;
  alignas(8) char buffer[8192];
  for (;;) {
    const long size = ::syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    if (size <= 0) return names;
    for (long at = 0; at < size;) {
      const auto* const entry = reinterpret_cast<const LinuxDirent*>(buffer + at);
      if (!is_dot(entry->name)) names.emplace_back(entry->name);
      at += entry->reclen;
    }
  }
}

void op_readdir(Engine& engine, Request& request, Inode& directory, bool plus) noexcept {
  const auto* const in = request.as<fuse::ReadIn>();
  if (in == nullptr) return request.fail(EINVAL);
  int error = 0;
  const SharedFd path = engine.inodes.directory(directory, error);
  if (!path) return request.fail(error);
  DirStream stream = engine.streams.take(directory.nodeid(), static_cast<std::int64_t>(in->offset));
  if (!stream.fd) {
    stream.fd = Fd(::openat(path->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!stream.fd) return request.fail(errno);
    if (in->offset != 0 && ::lseek(stream.fd.get(), static_cast<off_t>(in->offset), SEEK_SET) < 0) {
      return request.fail(errno);
    }
    stream.position = static_cast<std::int64_t>(in->offset);
  }
  LotId scope = kNoLot;
  const bool hides = is_own_name(engine, directory, ".vreserve", scope);

  char* const out = request.worker()->reply_buffer;
  const std::size_t most = std::min<std::size_t>(in->size, 1U << 20);
  const std::size_t head = plus ? sizeof(fuse::EntryOut) : 0;
  std::size_t filled = 0;
  bool full = false;
  bool ended = false;
  // So much at a time as surely fits the reply: what is read and not given costs a seek.
  alignas(8) char buffer[32768];
  while (!full && !ended) {
    const std::size_t share = (most - filled) / (plus ? 6 : 1);
    const long size = ::syscall(SYS_getdents64, stream.fd.get(), buffer,
                                std::clamp<std::size_t>(share, 320, sizeof buffer));
    if (size < 0) {
      if (filled != 0) break;
      return request.fail(errno);
    }
    ended = size == 0;
    for (long at = 0; at < size && !full;) {
      const auto* const entry = reinterpret_cast<const LinuxDirent*>(buffer + at);
      at += entry->reclen;
      const std::size_t length = std::strlen(entry->name);
      const std::size_t need = padded(head + sizeof(fuse::Dirent) + length);
      if (filled + need > most) {
        full = true;
        break;
      }
      const bool hidden = (hides && std::strcmp(entry->name, ".vreserve") == 0) || engine.is_being_made(directory, entry->name);
      stream.position = entry->off;
      if (hidden) continue;
      std::memset(out + filled, 0, need);
      if (plus && !is_dot(entry->name)) {
        struct stat st {};
        int gone = 0;
        Inode* inode = engine.inodes.look_up(directory, path->get(), entry->name, st, 1, gone);
        if (inode != nullptr && see(engine, *inode, directory, st) != 0) {
          engine.inodes.forget(*inode, 1);
          inode = nullptr;
        }
        // Without an inode (it went, or another filesystem is mounted there) the kernel lists it and asks later.
        if (inode != nullptr) fill(*inode, st, *reinterpret_cast<fuse::EntryOut*>(out + filled));
      }
      fuse::Dirent listed{};
      listed.ino = engine.inodes.listed_number(directory, entry->ino);
      listed.off = static_cast<std::uint64_t>(entry->off);
      listed.namelen = static_cast<std::uint32_t>(length);
      listed.type = entry->type;
      std::memcpy(out + filled + head, &listed, sizeof listed);
      std::memcpy(out + filled + head + sizeof listed, entry->name, length);
      filled += need;
    }
    if (most - filled < head + sizeof(fuse::Dirent) + 256) break;
  }
  request.reply(out, filled);
  if (ended && filled == 0) return;
  if (::lseek(stream.fd.get(), 0, SEEK_CUR) != stream.position) {
    ::lseek(stream.fd.get(), static_cast<off_t>(stream.position), SEEK_SET);
  }
  engine.streams.give(std::move(stream));
}

}  // namespace vreserve
