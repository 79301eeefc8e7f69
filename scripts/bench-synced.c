// Preloaded into a server that renames what it has received without a sync: what is renamed, and its new directory, are on the disk
// when the call returns. So it acknowledges what a crash leaves whole, and can be compared with one that does.
#define _GNU_SOURCE
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int synced(const char* path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0) return -1;
  const int result = fsync(fd);
  close(fd);
  return result;
}

int rename(const char* from, const char* to) {
  char directory[PATH_MAX];
  if (synced(from, O_RDONLY) != 0) return -1;
  if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) != 0) return -1;
  snprintf(directory, sizeof directory, "%s", to);
  return synced(dirname(directory), O_RDONLY | O_DIRECTORY);
}
