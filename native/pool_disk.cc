// The mark of a pool, its probe, and what its filesystem is.
#include "pool_disk.h"

#include <algorithm>
#include <array>

namespace vreserve {

namespace {

constexpr std::int64_t kGiB = 1LL << 30;
constexpr long kOverlayMagic = 0x794c7630;
constexpr const char* kProbe = ".vreserve/probe";
constexpr std::size_t kProbeBytes = 4096;

}  // namespace

const char* filesystem_name(long magic) noexcept {
  switch (magic) {
    case 0xEF53: return "ext4";
    case 0x01021994: return "tmpfs";
    case 0x58465342: return "xfs";
    case 0x9123683E: return "btrfs";
    case kOverlayMagic: return "overlay";
    default: return "other";
  }
}

bool is_of_disk(int error) noexcept {
  return error == EIO || error == EROFS || error == ENODEV || error == ENXIO || error == ESTALE || error == ENOTCONN ||
         error == EREMOTEIO || error == EBADF;
}

int probe_disk(int pool) noexcept {
  alignas(kProbeBytes) static const std::array<char, kProbeBytes> block{};
  Fd fd(::openat(pool, kProbe, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_DIRECT, 0600));
  if (!fd) fd = Fd(::openat(pool, kProbe, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return errno;
  if (::pwrite(fd.get(), block.data(), block.size(), 0) < 0) return errno;
  // Direct or not: btrfs writes a file that has checksums through its cache, and tells of errors here alone.
  return ::fdatasync(fd.get()) == 0 ? 0 : errno;
}

std::string read_mark(int pool) noexcept {
  const Fd fd(::openat(pool, kPoolMark, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  std::array<char, 4096> text{};
  const ssize_t length = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

int write_mark(int pool, const std::string& mark) noexcept {
  constexpr const char* kDraft = ".vreserve/pool.new";
  const Fd fd(::openat(pool, kDraft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return errno;
  const ssize_t written = ::write(fd.get(), mark.data(), mark.size());
  if (written != static_cast<ssize_t>(mark.size())) return written < 0 ? errno : ENOSPC;
  if (::fsync(fd.get()) != 0) return errno;
  return ::renameat(pool, kDraft, pool, kPoolMark) == 0 ? 0 : errno;
}

Fd open_in_pool(int pool, const std::string& directory) noexcept {
  return Fd(::openat(pool, directory.empty() ? "." : directory.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

bool is_overlay(const struct statfs& fs) noexcept { return fs.f_type == kOverlayMagic; }

std::int64_t default_margin(std::int64_t capacity) noexcept { return std::min(capacity / 100, kGiB); }

}  // namespace vreserve
