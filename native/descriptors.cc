#include "descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sys.h"

namespace vreserve {

namespace {

constexpr std::size_t kMostProcesses = 1024;  // below one

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

// Calls `visit` with each name that is a number in `/proc/PROCESS/WHAT`, while it says true. 0, or why it cannot be seen.
template <typename Visit>
int each_number(pid_t process, const char* what, Visit visit) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/%s", static_cast<int>(process), what);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path), &::closedir);
  if (!directory) return errno;
  while (const dirent* const entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.' && !visit(::dirfd(directory.get()), entry->d_name)) break;
  }
  return 0;
}

// The number after `field` in a text of lines; 0 where there is none.
std::uint64_t field_of(const std::string& text, std::string_view field, int base) noexcept {
  const std::size_t at = text.find(field);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + field.size(), nullptr, base);
}

// handed_on: only what a program would be handed. By fdinfo, not by the links: to read those the kernel waits for a process
// that is about to run another program, and that may wait for us.
bool has_descriptor(pid_t process, std::uint64_t number, bool handed_on) noexcept {
  bool found = false;
  const int unseen = each_number(process, "fdinfo", [&](int directory, const char* descriptor) {
    const std::string text = content_of(directory, descriptor);
    const std::uint64_t flags = field_of(text, "flags:\t", 8);
    const bool counts = (flags & O_ACCMODE) != O_RDONLY && !(handed_on && (flags & O_CLOEXEC) != 0);
    found = counts && field_of(text, "\nino:\t", 10) == number;
    return !found;
  });
  // Of a process that has ended by now there is nothing to see.
  return found || (unseen != 0 && unseen != ENOENT && unseen != ESRCH);
}

void add_children(pid_t process, std::vector<pid_t>& all) noexcept {
  (void)each_number(process, "task", [&](int directory, const char* thread) {
    const std::string children = content_of(directory, (std::string(thread) + "/children").c_str());
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

bool is_killed(pid_t process, pid_t thread) noexcept {
  constexpr unsigned long exiting = 0x4;  // PF_EXITING
  if (process <= 0 || thread <= 0) return false;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(thread));
  const std::string status = content_of(AT_FDCWD, path);
  if (field_of(status, "\nTgid:\t", 10) != static_cast<std::uint64_t>(process)) return false;
  // Who has memory lives; of one that is about to run another program the rest must not be asked for.
  if (status.find("\nVmExe:\t") != std::string::npos) return false;
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(thread));
  const std::string stat = content_of(AT_FDCWD, path);
  // See proc_pid_stat(5): what follows the name in parentheses begins with the third field.
  const std::size_t name_end = stat.rfind(')');
  const char* at = name_end == std::string::npos ? "" : stat.c_str() + name_end + 1;
  unsigned long flags = 0;
  unsigned long exit_code = 0;
  for (int field = 3; field <= 52 && *at == ' '; ++field) {
    ++at;
    if (field == 9) flags = std::strtoul(at, nullptr, 10);
    if (field == 52) exit_code = std::strtoul(at, nullptr, 10);
    while (*at != ' ' && *at != 0) ++at;
  }
  return (flags & exiting) != 0 && (exit_code & 0x7f) != 0;
}

bool is_last_of(pid_t process, pid_t thread, std::uint64_t number) noexcept {
  if (process <= 0 || thread <= 0) return false;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(thread));
  const std::string status = content_of(AT_FDCWD, path);
  if (field_of(status, "\nTgid:\t", 10) != static_cast<std::uint64_t>(process)) return false;
  // Close-on-exec: it has memory, and no program in it yet.
  constexpr std::string_view program = "\nVmExe:\t";
  if (status.find(program) != std::string::npos && field_of(status, program, 10) == 0) return false;
  // By the thread: of a process whose first thread has ended only the others show what is open.
  if (has_descriptor(thread, number, false)) return false;
  std::vector<pid_t> below;
  add_children(process, below);
  for (std::size_t at = 0; at < below.size(); ++at) {
    if (at >= kMostProcesses || has_descriptor(below[at], number, true)) return false;
    add_children(below[at], below);
  }
  return true;
}

}  // namespace vreserve
