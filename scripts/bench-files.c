// What `scripts/bench` times beside fio: many small files phase by phase, and appending. Prints one line of JSON.
//   bench-files files DIRECTORY COUNT             seconds of each phase over COUNT files of 4 KiB
//   bench-files append DIRECTORY BYTES SECONDS    MiB/s of writes of BYTES, each past the end of its file
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 4096, FILES_IN_DIRECTORY = 1000, LARGEST_FILE_BYTES = 64 << 20 };

static char block[1 << 20];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static const char* path_of(long i, const char* prefix) {
  static char path[64];
  snprintf(path, sizeof path, "d%03ld/%s%06ld", i / FILES_IN_DIRECTORY, prefix, i);
  return path;
}

static void create(long i) {
  const char* path = path_of(i, "f");
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (fd < 0) err(1, "create %s", path);
  if (write(fd, block, FILE_BYTES) != FILE_BYTES) err(1, "write %s", path);
  if (close(fd) != 0) err(1, "close %s", path);
}

static void stat_one(long i) {
  struct stat st;
  const char* path = path_of(i, "f");
  if (lstat(path, &st) != 0) err(1, "stat %s", path);
  if (st.st_size != FILE_BYTES) errx(1, "%s has %lld bytes", path, (long long)st.st_size);
}

static void read_one(long i) {
  const char* path = path_of(i, "f");
  const int fd = open(path, O_RDONLY);
  if (fd < 0) err(1, "open %s", path);
  if (read(fd, block, FILE_BYTES) != FILE_BYTES) err(1, "read %s", path);
  if (close(fd) != 0) err(1, "close %s", path);
}

static void rename_one(long i) {
  char from[64];
  strcpy(from, path_of(i, "f"));
  if (rename(from, path_of(i, "g")) != 0) err(1, "rename %s", from);
}

static void unlink_one(long i) {
  const char* path = path_of(i, "g");
  if (unlink(path) != 0) err(1, "unlink %s", path);
}

// As `ls -lR` does it: every directory is read, and every entry asked for its attributes.
static long list(const char* path) {
  DIR* const directory = opendir(path);
  if (directory == NULL) err(1, "opendir %s", path);
  long files = 0;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    struct stat st;
    if (entry->d_name[0] == '.') continue;
    if (fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) err(1, "stat %s", entry->d_name);
    if (S_ISDIR(st.st_mode)) {
      char below[512];
      snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
      files += list(below);
    } else {
      files++;
    }
  }
  closedir(directory);
  return files;
}

static double each(void (*what)(long), long count) {
  const double start = now();
  for (long i = 0; i < count; i++) what(i);
  return now() - start;
}

static void files(long count) {
  char path[32];
  const long directories = (count + FILES_IN_DIRECTORY - 1) / FILES_IN_DIRECTORY;
  // The directory may hold what other jobs read.
  if (mkdir("files", 0755) != 0 || chdir("files") != 0) err(1, "mkdir files");
  for (long i = 0; i < directories; i++) {
    snprintf(path, sizeof path, "d%03ld", i);
    if (mkdir(path, 0755) != 0) err(1, "mkdir %s", path);
  }
  printf("{\"create\": %.6f", each(create, count));
  printf(", \"stat\": %.6f", each(stat_one, count));
  const double start = now();
  const long seen = list(".");
  if (seen != count) errx(1, "%ld files listed, not %ld", seen, count);
  printf(", \"list\": %.6f", now() - start);
  printf(", \"read\": %.6f", each(read_one, count));
  printf(", \"rename\": %.6f", each(rename_one, count));
  printf(", \"unlink\": %.6f}\n", each(unlink_one, count));
  for (long i = 0; i < directories; i++) {
    snprintf(path, sizeof path, "d%03ld", i);
    if (rmdir(path) != 0) err(1, "rmdir %s", path);
  }
  if (chdir("..") != 0 || rmdir("files") != 0) err(1, "rmdir files");
}

static void append(size_t bytes, double seconds) {
  const char* const path = "appended";
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
  if (fd < 0) err(1, "create %s", path);
  const double start = now();
  double end = start;
  double written = 0;
  for (size_t held = 0; end - start < seconds; end = now()) {
    if (held + bytes > LARGEST_FILE_BYTES) {
      if (ftruncate(fd, 0) != 0) err(1, "truncate %s", path);
      held = 0;
    }
    if (write(fd, block, bytes) != (ssize_t)bytes) err(1, "write %s", path);
    held += bytes;
    written += (double)bytes;
  }
  printf("{\"append\": %.3f}\n", written / (end - start) / (1 << 20));
  close(fd);
  unlink(path);
}

int main(int argc, char** argv) {
  if (argc < 4) errx(2, "usage: bench-files files DIRECTORY COUNT | append DIRECTORY BYTES SECONDS");
  memset(block, 'v', sizeof block);
  if (chdir(argv[2]) != 0) err(1, "chdir %s", argv[2]);
  if (strcmp(argv[1], "files") == 0) {
    files(atol(argv[3]));
  } else {
    const long bytes = atol(argv[3]);
    if (argc < 5 || bytes <= 0 || bytes > (long)sizeof block) errx(2, "append: BYTES is at most 1 MiB, and SECONDS is missing");
    append((size_t)bytes, atof(argv[4]));
  }
  return 0;
}
