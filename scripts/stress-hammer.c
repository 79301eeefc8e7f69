// What `scripts/stress` lets loose on a mount: processes that do random operations on the same few names of two directories,
// of one in another pool (`pool`), which may break, where there is that, and of a view of blobs, where the mount has one:
// whoever reads one finds it whole.
//   stress-hammer MOUNTPOINT SEED SECONDS PROCESSES
// Refusals are expected; an errno that tells of a broken server ends it with 1. Prints how many operations there were.
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { NAMES = 24, LARGEST_BYTES = 3 << 20, BLOCK_BYTES = 1 << 20, HELD = 8 };

static char block[BLOCK_BYTES];
static unsigned long long state;
static const char* directories[] = {"job1", "other", "pool"};
static unsigned places = 2;
static int may_break;  // what is done now may meet the other pool
static sigjmp_buf after_fault;

static unsigned draw(unsigned below) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % below;
}

static void name(char* path, const char* directory) {
  const unsigned i = draw(NAMES);
  sprintf(path, i % 6 == 0 ? "%s/s/f%02u" : "%s/f%02u", directory, i);
}

// What a server that is in order never answers to these operations.
static void check(long result, const char* what) {
  if (result >= 0) return;
  switch (errno) {
    case EIO:
      if (may_break) return;
      err(1, "%s", what);
    case ENOTCONN: case ECONNABORTED: case EBADF: case EFAULT: case ENOSYS: case EPROTO: case EDEADLK:
    case ENOMEM: case ENFILE: case EMFILE: case ETIMEDOUT: case EUCLEAN:
      err(1, "%s", what);
    default:
      break;
  }
}

static void write_some(int fd) {
  const size_t bytes = draw(4) == 0 ? draw(BLOCK_BYTES) : draw(16384);
  if (draw(2) == 0) check(pwrite(fd, block, bytes, draw(LARGEST_BYTES)), "pwrite");
  else check(write(fd, block, bytes), "write");
}

static void change_size(int fd) {
  switch (draw(5)) {
    case 0: check(fallocate(fd, 0, draw(LARGEST_BYTES), draw(65536) + 1), "fallocate"); break;
    case 1: check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, draw(LARGEST_BYTES), draw(65536) + 1), "punch"); break;
    case 2: check(fallocate(fd, FALLOC_FL_ZERO_RANGE, draw(LARGEST_BYTES), draw(65536) + 1), "zero range"); break;
    default: check(ftruncate(fd, draw(LARGEST_BYTES)), "ftruncate");
  }
}

// The file may shrink meanwhile, which is SIGBUS for the mapping.
static void store_mapped(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size == 0) return;
  char* const map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    check(-1, "mmap");
    return;
  }
  if (sigsetjmp(after_fault, 1) == 0) {
    for (int i = 0; i < 8; i++) map[draw((unsigned)st.st_size)] = 'm';
  }
  munmap(map, (size_t)st.st_size);
}

static void on_fault(int number) {
  (void)number;
  siglongjmp(after_fault, 1);
}

static void copy_range(int to, const char* from) {
  if (fcntl(to, F_GETFL) & O_APPEND) return;
  const int source = open(from, O_RDONLY);
  check(source, "open");
  if (source < 0) return;
  check(copy_file_range(source, NULL, to, NULL, draw(BLOCK_BYTES), 0), "copy_file_range");
  close(source);
}

static void nameless(const char* directory, const char* path) {
  const int fd = open(directory, O_TMPFILE | O_RDWR, 0644);
  check(fd, "tmpfile");
  if (fd < 0) return;
  write_some(fd);
  char own[64];
  sprintf(own, "/proc/self/fd/%d", fd);
  if (draw(2) == 0) check(linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW), "link of a nameless file");
  close(fd);
}

static void list(const char* path) {
  DIR* const directory = opendir(path);
  if (directory == NULL) {
    check(-1, "opendir");
    return;
  }
  struct stat st;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    check(fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW), "stat");
  }
  closedir(directory);
}

static void on_file(const char* path, const char* other, int* held) {
  static const int flags[] = {O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_APPEND, O_RDWR | O_CREAT | O_TRUNC, O_RDWR};
  const int fd = open(path, flags[draw(4)] | O_CLOEXEC, 0644);
  check(fd, "open");
  if (fd < 0) return;
  for (unsigned times = 1 + draw(4); times > 0; times--) {
    switch (draw(8)) {
      case 0: check(pread(fd, block, draw(BLOCK_BYTES), draw(LARGEST_BYTES)), "pread"); break;
      case 1: change_size(fd); break;
      case 2: store_mapped(fd); break;
      case 3: copy_range(fd, other); break;
      case 4: (void)lseek(fd, draw(LARGEST_BYTES), draw(2) == 0 ? SEEK_DATA : SEEK_HOLE); break;
      default: write_some(fd);
    }
  }
  if (draw(8) == 0) check(fsync(fd), "fsync");
  // Some stay open, so that unlinked files are still charged for a while.
  const unsigned place = draw(4 * HELD);
  if (place >= HELD) {
    close(fd);
  } else {
    if (held[place] >= 0) close(held[place]);
    held[place] = fd;
  }
}

static void operate(const char* home, int* held) {
  char path[64], other[64], away[64];
  name(path, home);
  name(other, home);
  name(away, directories[draw(places)]);
  may_break = strncmp(path, "pool", 4) == 0 || strncmp(away, "pool", 4) == 0;
  struct statvfs space;
  switch (draw(20)) {
    case 0: case 1: check(unlink(path), "unlink"); break;
    case 2: check(truncate(path, draw(LARGEST_BYTES)), "truncate"); break;
    case 3: check(rename(path, other), "rename"); break;
    case 4: check(rename(path, away), "rename"); break;
    case 5: check(renameat2(AT_FDCWD, path, AT_FDCWD, away, RENAME_EXCHANGE), "exchange"); break;
    case 6: check(renameat2(AT_FDCWD, path, AT_FDCWD, away, RENAME_NOREPLACE), "rename"); break;
    case 7: check(link(path, other), "link"); break;
    case 8: check(link(path, away), "link"); break;
    case 9: nameless(home, path); break;
    case 10:
      if (draw(4) == 0) {
        may_break = 1;
        list(".");
      } else {
        list(home);
      }
      break;
    case 11: check(symlink("f01", path), "symlink"); break;
    case 12: check(setxattr(path, "user.stress", block, draw(64), 0), "setxattr"); break;
    case 13: check(statvfs(home, &space), "statfs"); break;
    case 14: sprintf(other, "%s/s", home); check(draw(2) == 0 ? mkdir(other, 0755) : rmdir(other), "mkdir or rmdir"); break;
    default: on_file(path, away, held);
  }
}

// --- blobs ------------------------------------------------------------------------------------------------------------

static const char* const store = ".vreserve/store";

// Of a whole one the first byte tells the length, and all bytes are the same.
static size_t length_of(char first) { return (size_t)(first - 'a' + 1) * 9973; }

static void write_whole(int fd) {
  const char letter = (char)('a' + draw(26));
  const size_t length = length_of(letter);
  char own[300000];
  memset(own, letter, length);
  for (size_t at = 0; at < length;) {
    const size_t part = draw(3) == 0 ? length - at : 1 + draw((unsigned)(length - at));
    const ssize_t done = draw(2) == 0 ? write(fd, own + at, part) : pwrite(fd, own + at, part, (off_t)at);
    check(done, "write of a blob");
    if (done <= 0) return;
    at += (size_t)done;
    lseek(fd, (off_t)at, SEEK_SET);
  }
}

static void look_whole(const char* data, ssize_t length, const char* how) {
  check(length, how);
  if (length <= 0) return;
  if ((size_t)length != length_of(data[0])) errx(1, "%s: half a blob: %zd bytes of %c", how, length, data[0]);
  for (ssize_t i = 1; i < length; i++) {
    if (data[i] != data[0]) errx(1, "%s: two blobs in one: %c and %c at %zd", how, data[0], data[i], i);
  }
}

static void read_whole(const char* path) {
  static char own[1 << 20];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  check(fd, "open of a blob");
  if (fd < 0) return;
  switch (draw(4)) {
    case 0: {
      struct stat st;
      if (fstat(fd, &st) != 0 || st.st_size == 0) break;
      char* const map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
      if (map == MAP_FAILED) {
        check(-1, "mmap of a blob");
        break;
      }
      look_whole(map, st.st_size, "mmap of a blob");
      munmap(map, (size_t)st.st_size);
      break;
    }
    case 1: {
      char again[64];
      sprintf(again, "/proc/self/fd/%d", fd);
      const int same = open(again, O_RDONLY | O_CLOEXEC);
      if (same < 0) {
        check(-1, "open of a blob by its descriptor");
        break;
      }
      look_whole(own, read(same, own, sizeof own), "read of a blob by its descriptor");
      close(same);
      break;
    }
    default: look_whole(own, read(fd, own, sizeof own), "read of a blob");
  }
  close(fd);
}

static void make_whole(const char* path) {
  const int fd = open(path, (draw(2) == 0 ? O_WRONLY : O_RDWR) | O_CREAT | O_TRUNC | (draw(2) == 0 ? O_CLOEXEC : 0), 0644);
  check(fd, "making a blob");
  if (fd < 0) return;
  int copy = -1;
  switch (draw(5)) {
    case 0: copy = dup(fd); break;
    case 1: {  // a child writes it, and nobody else
      fcntl(fd, F_SETFD, 0);  // what is close-on-exec its maker does not share
      const pid_t child = fork();
      if (child == 0) {
        write_whole(fd);
        _exit(0);
      }
      if (draw(2) == 0) waitpid(child, NULL, 0);
      close(fd);
      while (wait(NULL) > 0) {
      }
      return;
    }
    case 2: {
      char again[64];
      sprintf(again, "/proc/self/fd/%d", fd);
      copy = open(again, O_RDWR | O_TRUNC);
      check(copy, "opening a blob that is made");
      break;
    }
    default: break;
  }
  write_whole(fd);
  if (copy >= 0 && draw(2) == 0) {
    close(fd);
    close(copy);
    return;
  }
  close(copy);
  check(close(fd), "close of a blob");
}

// What can be done with a blob besides, without regard for what is in it.
static void use_any(const char* path, const char* other) {
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  check(fd, "making a blob");
  if (fd < 0) return;
  for (unsigned times = 1 + draw(4); times > 0; times--) {
    switch (draw(6)) {
      case 0: change_size(fd); break;
      case 1: copy_range(fd, other); break;
      case 2: check(pread(fd, block, draw(BLOCK_BYTES), draw(LARGEST_BYTES)), "pread of a blob"); break;
      case 3: check(fsync(fd), "fsync of a blob"); break;
      default: write_some(fd);
    }
  }
  close(fd);
}

static void operate_store(void) {
  char path[64], any[64], file[64];
  sprintf(path, "%s/u%02u", store, draw(NAMES / 4));
  sprintf(any, "%s/v%02u", store, draw(NAMES / 4));
  name(file, directories[draw(places)]);
  may_break = strncmp(file, "pool", 4) == 0;
  struct stat st;
  switch (draw(16)) {
    case 0: check(unlink(draw(2) == 0 ? path : any), "unlink of a blob"); break;
    case 1: check(rename(any, file), "rename of a blob"); break;
    case 2: list(store); break;
    case 3: check(stat(path, &st), "stat of a blob"); break;
    case 4: use_any(any, draw(2) == 0 ? file : path); break;
    case 5: {
      const int to = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), from = open(path, O_RDONLY | O_CLOEXEC);
      if (to >= 0 && from >= 0) check(draw(2) == 0 ? sendfile(to, from, NULL, 1 << 20) : copy_file_range(from, NULL, to, NULL, 1 << 20, 0), "sending a blob");
      if (to >= 0) close(to);
      if (from >= 0) close(from);
      break;
    }
    case 6: case 7: case 8: case 9: make_whole(path); break;
    default: read_whole(path);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static unsigned long hammer(const char* home, double end) {
  int held[HELD];
  unsigned long operations = 0;
  for (int i = 0; i < HELD; i++) held[i] = -1;
  for (; now() < end; operations++) {
    if (home == store) operate_store();
    else operate(home, held);
  }
  return operations;
}

int main(int argc, char** argv) {
  if (argc != 5) errx(2, "usage: stress-hammer MOUNTPOINT SEED SECONDS PROCESSES");
  if (chdir(argv[1]) != 0) err(1, "%s", argv[1]);
  const double end = now() + atof(argv[3]);
  const int processes = atoi(argv[4]);
  if (access("pool", F_OK) == 0) places = 3;
  const unsigned homes = places + (access(store, F_OK) == 0 ? 1 : 0);
  memset(block, 'v', sizeof block);
  signal(SIGBUS, on_fault);
  for (int i = 0; i < processes; i++) {
    const pid_t pid = fork();
    if (pid < 0) err(1, "fork");
    if (pid != 0) continue;
    state = strtoull(argv[2], NULL, 10) * 1000003ULL + (unsigned)i;
    const unsigned home = (unsigned)i % homes;
    const unsigned long operations = hammer(home == places ? store : directories[home], end);
    printf("%lu\n", operations);
    return fflush(stdout) == 0 ? 0 : 1;
  }
  int failed = 0;
  for (int status; wait(&status) > 0;) failed |= status != 0;
  return failed;
}
