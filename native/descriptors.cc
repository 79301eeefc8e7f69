#include "descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "sys.h"

namespace vreserve {

namespace {

constexpr std::size_t kMostProcesses = 1024;  // that one process and those below it may be

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

Directory open_directory(const char* path) noexcept { return {::opendir(path), &::closedir}; }

// The whole of a small file in /proc; empty where it is not to be had.
std::string content_of(int directory, const char* name) noexcept {
  const Fd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC));
  std::string text;
  char part[4096];
  while (fd) {
    const ssize_t size = ::read(fd.get(), part, sizeof part);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(part, static_cast<std::size_t>(size));
  }
  return text;
}

// Calls `visit` with the number that each name in the directory is, while it says true. False: it cannot be seen.
template <typename Visit>
bool each_number(const char* path, Visit visit) noexcept {
  const Directory directory = open_directory(path);
  if (!directory) return false;
  while (const dirent* const entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.' && !visit(::dirfd(directory.get()), entry->d_name)) break;
  }
  return true;
}

// The link of a descriptor ends with the file's name, and " (deleted)" when somebody has looked the name up since.
bool may_show(std::string_view link, std::string_view name) noexcept {
  constexpr std::string_view gone = " (deleted)";
  const auto ends = [name](std::string_view text) {
    return text.ends_with(name) && text.size() > name.size() && text[text.size() - name.size() - 1] == '/';
  };
  return ends(link) || (link.ends_with(gone) && ends(link.substr(0, link.size() - gone.size())));
}

std::uint64_t field_of(const std::string& text, std::string_view field, int base) noexcept {
  const std::size_t at = text.find(field);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + field.size(), nullptr, base);
}

bool shows(int info, const char* descriptor, const ShownFile& file, bool handed_on) noexcept {
  const std::string text = content_of(info, descriptor);
  const std::uint64_t flags = field_of(text, "flags:\t", 8);
  if ((flags & O_ACCMODE) == O_RDONLY || (handed_on && (flags & O_CLOEXEC) != 0)) return false;
  return field_of(text, "ino:\t", 10) == file.number;
}

// handed_on: only what a program would be handed.
bool has_descriptor(pid_t process, const ShownFile& file, bool handed_on) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fdinfo", static_cast<int>(process));
  const Fd info(::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::snprintf(path, sizeof path, "/proc/%d/fd", static_cast<int>(process));
  bool found = false;
  const bool seen = each_number(path, [&](int links, const char* descriptor) {
    char link[4096];
    const ssize_t length = ::readlinkat(links, descriptor, link, sizeof link);
    if (length < 0 && errno == ENOENT) return true;  // closed meanwhile
    // One that is too long for a link is looked at more closely, too.
    const bool may = length < 0 || may_show({link, static_cast<std::size_t>(length)}, file.name);
    found = may && shows(info.get(), descriptor, file, handed_on);
    return !found;
  });
  // Of a process that has ended by now there is nothing to see.
  return found || (!seen && errno != ENOENT && errno != ESRCH);
}

void add_children(pid_t process, std::vector<pid_t>& all) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/task", static_cast<int>(process));
  (void)each_number(path, [&](int tasks, const char* thread) {
    const std::string children = content_of(tasks, (std::string(thread) + "/children").c_str());
    for (const char* at = children.c_str(); *at != 0;) {
      char* end = nullptr;
      const auto child = static_cast<pid_t>(std::strtol(at, &end, 10));
      if (end == at) break;
      if (child > 0) all.push_back(child);
      at = *end == ' ' ? end + 1 : end;
    }
    return true;
  });
}

}  // namespace

pid_t process_of(pid_t thread) noexcept {
  if (thread <= 0) return 0;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(thread));
  return static_cast<pid_t>(field_of(content_of(AT_FDCWD, path), "\nTgid:\t", 10));
}

bool may_be_written_by(pid_t thread, const ShownFile& file) noexcept {
  // By the thread: of a process whose first thread has ended only the others show what is open.
  if (has_descriptor(thread, file, false)) return true;
  std::vector<pid_t> below;
  add_children(process_of(thread), below);
  for (std::size_t at = 0; at < below.size(); ++at) {
    if (below.size() > kMostProcesses || has_descriptor(below[at], file, true)) return true;
    add_children(below[at], below);
  }
  return false;
}

}  // namespace vreserve
