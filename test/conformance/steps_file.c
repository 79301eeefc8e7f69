// Steps on open files: opening, reading, writing, size, mapping.
#include "posixcase.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct flag open_flags[] = {
    {"RDONLY", O_RDONLY},       {"WRONLY", O_WRONLY},     {"RDWR", O_RDWR},         {"CREAT", O_CREAT},
    {"EXCL", O_EXCL},           {"TRUNC", O_TRUNC},       {"APPEND", O_APPEND},     {"DIRECTORY", O_DIRECTORY},
    {"NOFOLLOW", O_NOFOLLOW},   {"PATH", O_PATH},         {"TMPFILE", O_TMPFILE},   {"DIRECT", O_DIRECT},
    {"SYNC", O_SYNC},           {"DSYNC", O_DSYNC},       {"NONBLOCK", O_NONBLOCK}, {"NOATIME", O_NOATIME},
    {NULL, 0},
};

static void opened(const char* name, int fd) {
  set_slot(name, fd);
  say_result(fd < 0 ? -1 : 0);
}

// open SLOT PATH FLAGS [MODE]
static void step_open(char** args, int count) {
  const int how = (int)flags(open_flags, args[2]);
  opened(args[0], open(args[1], how | O_CLOEXEC, count > 3 ? number(args[3]) : 0644));
}

// openat SLOT DIRECTORY-SLOT PATH FLAGS [MODE]
static void step_openat(char** args, int count) {
  const int how = (int)flags(open_flags, args[3]);
  opened(args[0], openat(slot(args[1]), args[2], how | O_CLOEXEC, count > 4 ? number(args[4]) : 0644));
}

// reopen SLOT OLD-SLOT FLAGS: by its name in /proc
static void step_reopen(char** args, int count) {
  (void)count;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", slot(args[1]));
  opened(args[0], open(path, (int)flags(open_flags, args[2]) | O_CLOEXEC));
}

static void step_dup(char** args, int count) {
  (void)count;
  opened(args[0], dup(slot(args[1])));
}

static void step_close(char** args, int count) {
  (void)count;
  say_result(close(slot(args[0])));
}

// write SLOT TEXT
static void step_write(char** args, int count) {
  (void)count;
  say_result(write(slot(args[0]), args[1], strlen(args[1])));
}

// pwrite SLOT TEXT OFFSET
static void step_pwrite(char** args, int count) {
  (void)count;
  say_result(pwrite(slot(args[0]), args[1], strlen(args[1]), number(args[2])));
}

static char* aligned(size_t size) {
  void* memory = NULL;
  if (posix_memalign(&memory, 4096, size + 4096) != 0) bad_step("no memory");
  return memory;
}

// fill SLOT BYTES OFFSET: a pattern, from aligned memory
static void step_fill(char** args, int count) {
  (void)count;
  const size_t size = (size_t)number(args[1]);
  const long offset = number(args[2]);
  char* const data = aligned(size);
  for (size_t i = 0; i < size; ++i) data[i] = (char)('a' + ((size_t)offset + i) % 23);
  say_result(pwrite(slot(args[0]), data, size, offset));
  free(data);
}

// read SLOT BYTES
static void step_read(char** args, int count) {
  (void)count;
  const size_t size = (size_t)number(args[1]);
  char* const data = aligned(size);
  say_bytes(data, read(slot(args[0]), data, size));
  free(data);
}

// pread SLOT BYTES OFFSET
static void step_pread(char** args, int count) {
  (void)count;
  const size_t size = (size_t)number(args[1]);
  char* const data = aligned(size);
  say_bytes(data, pread(slot(args[0]), data, size, number(args[2])));
  free(data);
}

// cat PATH
static void step_cat(char** args, int count) {
  (void)count;
  const int fd = open(args[0], O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    say_result(-1);
    return;
  }
  const size_t most = 8U << 20;
  char* const data = aligned(most);
  size_t size = 0;
  ssize_t got = 0;
  while (size < most && (got = read(fd, data + size, most - size)) > 0) size += (size_t)got;
  say_bytes(data, got < 0 ? got : (ssize_t)size);
  free(data);
  close(fd);
}

// lseek SLOT OFFSET WHENCE
static void step_lseek(char** args, int count) {
  (void)count;
  static const struct flag whence[] = {{"SET", SEEK_SET},   {"CUR", SEEK_CUR},   {"END", SEEK_END},
                                       {"DATA", SEEK_DATA}, {"HOLE", SEEK_HOLE}, {NULL, 0}};
  say_result(lseek(slot(args[0]), number(args[1]), (int)flags(whence, args[2])));
}

static void step_truncate(char** args, int count) {
  (void)count;
  say_result(truncate(args[0], number(args[1])));
}

static void step_ftruncate(char** args, int count) {
  (void)count;
  say_result(ftruncate(slot(args[0]), number(args[1])));
}

// fallocate SLOT MODE OFFSET LENGTH
static void step_fallocate(char** args, int count) {
  (void)count;
  static const struct flag modes[] = {{"0", 0},
                                      {"KEEP", FALLOC_FL_KEEP_SIZE},
                                      {"PUNCH", FALLOC_FL_PUNCH_HOLE},
                                      {"ZERO", FALLOC_FL_ZERO_RANGE},
                                      {"COLLAPSE", FALLOC_FL_COLLAPSE_RANGE},
                                      {"INSERT", FALLOC_FL_INSERT_RANGE},
                                      {NULL, 0}};
  say_result(fallocate(slot(args[0]), (int)flags(modes, args[1]), number(args[2]), number(args[3])));
}

// posix_fallocate SLOT OFFSET LENGTH
static void step_posix_fallocate(char** args, int count) {
  (void)count;
  errno = posix_fallocate(slot(args[0]), number(args[1]), number(args[2]));
  say_result(errno == 0 ? 0 : -1);
}

// copy FROM OFFSET TO OFFSET LENGTH: copy_file_range
static void step_copy(char** args, int count) {
  (void)count;
  off64_t in = number(args[1]);
  off64_t out = number(args[3]);
  const ssize_t done = copy_file_range(slot(args[0]), &in, slot(args[2]), &out, (size_t)number(args[4]), 0);
  if (done < 0) {
    say_result(-1);
    return;
  }
  say_json("{\"value\":{\"copied\":%zd,\"in\":%ld,\"out\":%ld}}", done, (long)in, (long)out);
}

// sendfile TO FROM LENGTH
static void step_sendfile(char** args, int count) {
  (void)count;
  say_result(sendfile(slot(args[0]), slot(args[1]), NULL, (size_t)number(args[2])));
}

static void step_fsync(char** args, int count) {
  (void)count;
  say_result(fsync(slot(args[0])));
}

static void step_fdatasync(char** args, int count) {
  (void)count;
  say_result(fdatasync(slot(args[0])));
}

static void step_syncfs(char** args, int count) {
  (void)count;
  say_result(syncfs(slot(args[0])));
}

// getfl SLOT: what F_GETFL says of access mode and append
static void step_getfl(char** args, int count) {
  (void)count;
  const int how = fcntl(slot(args[0]), F_GETFL);
  say_result(how < 0 ? -1 : how & (O_ACCMODE | O_APPEND | O_DIRECT | O_PATH));
}

// lease SLOT R|W
static void step_lease(char** args, int count) {
  (void)count;
  static const struct flag types[] = {{"R", F_RDLCK}, {"W", F_WRLCK}, {NULL, 0}};
  say_result(fcntl(slot(args[0]), F_SETLEASE, (int)flags(types, args[1])));
}

// getflags SLOT: the attributes that chattr sets
static void step_getflags(char** args, int count) {
  (void)count;
  int value = 0;
  say_result(ioctl(slot(args[0]), FS_IOC_GETFLAGS, &value));
}

static struct {
  char* at;
  size_t size;
} map;

// mmap SLOT BYTES shared|private r|rw; one mapping at a time
static void step_mmap(char** args, int count) {
  (void)count;
  const int protection = strcmp(args[3], "rw") == 0 ? PROT_READ | PROT_WRITE : PROT_READ;
  map.size = (size_t)number(args[1]);
  map.at = mmap(NULL, map.size, protection, strcmp(args[2], "shared") == 0 ? MAP_SHARED : MAP_PRIVATE, slot(args[0]), 0);
  say_result(map.at == MAP_FAILED ? -1 : 0);
}

// poke OFFSET TEXT: into the mapping
static void step_poke(char** args, int count) {
  (void)count;
  memcpy(map.at + number(args[0]), args[1], strlen(args[1]));
  say_result(0);
}

// peek OFFSET BYTES
static void step_peek(char** args, int count) {
  (void)count;
  say_bytes(map.at + number(args[0]), number(args[1]));
}

static void step_msync(char** args, int count) {
  (void)args;
  (void)count;
  say_result(msync(map.at, map.size, MS_SYNC));
}

static void step_munmap(char** args, int count) {
  (void)args;
  (void)count;
  say_result(munmap(map.at, map.size));
}

const struct step file_steps[] = {
    {"open", 3, step_open},
    {"openat", 4, step_openat},
    {"reopen", 3, step_reopen},
    {"dup", 2, step_dup},
    {"close", 1, step_close},
    {"write", 2, step_write},
    {"pwrite", 3, step_pwrite},
    {"fill", 3, step_fill},
    {"read", 2, step_read},
    {"pread", 3, step_pread},
    {"cat", 1, step_cat},
    {"lseek", 3, step_lseek},
    {"truncate", 2, step_truncate},
    {"ftruncate", 2, step_ftruncate},
    {"fallocate", 4, step_fallocate},
    {"posix_fallocate", 3, step_posix_fallocate},
    {"copy", 5, step_copy},
    {"sendfile", 3, step_sendfile},
    {"fsync", 1, step_fsync},
    {"fdatasync", 1, step_fdatasync},
    {"syncfs", 1, step_syncfs},
    {"getfl", 1, step_getfl},
    {"lease", 2, step_lease},
    {"getflags", 1, step_getflags},
    {"mmap", 4, step_mmap},
    {"poke", 2, step_poke},
    {"peek", 2, step_peek},
    {"msync", 0, step_msync},
    {"munmap", 0, step_munmap},
    {NULL, 0, NULL},
};
