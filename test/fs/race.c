// Processes that race for the last bytes of a grant: round after round they fill a lot, each in its own way, and what
// landed is compared with the grant.
//
// usage: race DIRECTORY GRANT ROUNDS SEED: the directory of an empty lot of GRANT bytes. Exit 0, or 1 and what was wrong.
//        race grow DIRECTORY SEED: files below the directory grow, shrink, come and go until stdin ends.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { WRITERS = 8, MOST = 70000 };

static struct {
  pthread_barrier_t barrier;
  volatile int wrong;
  volatile int racing;
} * shared;

static char data[MOST];

static void wrong(const char* format, ...) {
  va_list list;
  va_start(list, format);
  vfprintf(stderr, format, list);
  va_end(list);
  fputc('\n', stderr);
  if (shared != NULL) shared->wrong = 1;
}

static size_t amount(unsigned* seed) {
  const unsigned kind = (unsigned)rand_r(seed) % 3;
  return 1 + (size_t)rand_r(seed) % (kind == 0 ? 17 : kind == 1 ? 4097 : MOST);
}

// A write is refused when no byte is left, and before that what fits is written.
static void append(int fd, unsigned* seed) {
  for (;;) {
    const ssize_t done = write(fd, data, amount(seed));
    if (done < 0 && errno == ENOSPC) return;
    if (done <= 0) return wrong("append: %zd, %s", done, strerror(errno));
  }
}

static void positioned(int fd, unsigned* seed) {
  off_t end = 0;
  for (;;) {
    const ssize_t done = pwrite(fd, data, amount(seed), end);
    if (done < 0 && errno == ENOSPC) return;
    if (done <= 0) return wrong("positioned: %zd, %s", done, strerror(errno));
    end += done;
    if (rand_r(seed) % 8 == 0 && pwrite(fd, data, 1, rand_r(seed) % end) != 1) return wrong("overwriting: %s", strerror(errno));
  }
}

// A growth by truncate is whole or nothing: a refused one is tried again at an eighth of its size.
static void truncating(int fd, unsigned* seed) {
  off_t end = 0;
  int shrinks = 1;
  for (size_t size = amount(seed);;) {
    if (ftruncate(fd, end + (off_t)size) == 0) {
      end += (off_t)size;
      size = amount(seed);
    } else if (errno != ENOSPC) {
      return wrong("truncating: %s", strerror(errno));
    } else if (size > 1) {
      size = (size + 7) / 8;
    } else if (shrinks-- > 0) {
      end /= 2;
      if (ftruncate(fd, end) != 0) return wrong("shrinking: %s", strerror(errno));
    } else {
      return;
    }
  }
}

static void race(int writer, int round, unsigned* seed) {
  char name[32];
  const int how = (round + writer * (round % 4 == 3)) % 3;  // every fourth round in all ways at once
  snprintf(name, sizeof name, how == 0 ? "common" : "file-%d", writer);
  const int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC | (how == 0 ? O_APPEND : 0), 0644);
  if (fd < 0) return wrong("open %s: %s", name, strerror(errno));
  pthread_barrier_wait(&shared->barrier);
  if (how == 0) append(fd, seed);
  if (how == 1) positioned(fd, seed);
  if (how == 2) truncating(fd, seed);
  if (close(fd) != 0) wrong("close: %s", strerror(errno));
}

static long used(void) {
  char text[32];
  const ssize_t size = getxattr(".", "user.vreserve.used", text, sizeof text - 1);
  if (size < 0) return -1;
  text[size] = 0;
  return atol(text);
}

// Removes all files; their bytes, of the backing's own sizes.
static long empty(void) {
  long bytes = 0;
  DIR* const directory = opendir(".");
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    struct stat st;
    if (lstat(entry->d_name, &st) != 0 || !S_ISREG(st.st_mode)) continue;
    bytes += st.st_size;
    if (unlink(entry->d_name) != 0) wrong("unlink: %s", strerror(errno));
  }
  closedir(directory);
  return bytes;
}

static int rounds(long grant, int count, unsigned seed) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&shared->barrier, &attributes, WRITERS + 1);
  shared->racing = WRITERS;
  for (int writer = 0; writer < WRITERS; ++writer) {
    if (fork() != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsigned mine = seed * 1000 + (unsigned)writer;
    for (int round = 0; round < count; ++round) {
      race(writer, round, &mine);
      __sync_fetch_and_sub(&shared->racing, 1);
      pthread_barrier_wait(&shared->barrier);  // all have seen ENOSPC
      pthread_barrier_wait(&shared->barrier);  // all is removed
    }
    _exit(0);
  }
  for (int round = 0; round < count; ++round) {
    pthread_barrier_wait(&shared->barrier);
    while (shared->racing > 0) {
      if (used() > grant) wrong("round %d: %ld used of %ld", round, used(), grant);
      usleep(500);
    }
    pthread_barrier_wait(&shared->barrier);
    shared->racing = WRITERS;
    if (used() != grant) wrong("round %d: %ld used of %ld when all were refused", round, used(), grant);
    const long landed = empty();
    if (landed != grant) wrong("round %d: %ld landed of %ld", round, landed, grant);
    pthread_barrier_wait(&shared->barrier);
    if (shared->wrong) exit(1);  // the writers go with this process
  }
  int failed = 0;
  for (int status = 0; wait(&status) > 0;) failed |= status;
  return failed != 0;
}

static int grow(unsigned seed) {
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  mkdir("sub", 0755);
  for (unsigned long done = 0;; ++done) {
    char name[64];
    char end;
    if (read(STDIN_FILENO, &end, 1) == 0) {
      printf("%lu\n", done);
      return 0;
    }
    snprintf(name, sizeof name, "%sgrow-%u-%u", rand_r(&seed) % 2 ? "sub/" : "", (unsigned)getpid(), (unsigned)rand_r(&seed) % 20);
    const unsigned kind = (unsigned)rand_r(&seed) % 8;
    if (kind == 0) {
      unlink(name);
    } else {
      const int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
      if (fd < 0 && errno == ENOSPC) continue;
      if (fd < 0) return wrong("open: %s", strerror(errno)), 1;
      const off_t at = rand_r(&seed) % 50000;
      const int bad = kind == 1 ? ftruncate(fd, at) != 0 : kind == 2 ? 0 : pwrite(fd, data, amount(&seed) / 16 + 1, at) <= 0;
      if (bad && errno != ENOSPC) return wrong("write: %s", strerror(errno)), 1;
      if (kind == 3) unlink(name);
      close(fd);
      if (kind == 2) {
        char other[80];
        snprintf(other, sizeof other, "sub/moved-%u-%u", (unsigned)getpid(), (unsigned)rand_r(&seed) % 20);
        if (rename(name, other) != 0 && errno != ENOSPC && errno != EXDEV) return wrong("rename: %s", strerror(errno)), 1;
      }
    }
  }
}

int main(int count, char** args) {
  if (count == 4 && strcmp(args[1], "grow") == 0 && chdir(args[2]) == 0) return grow((unsigned)atoi(args[3]));
  if (count == 5 && chdir(args[1]) == 0) return rounds(atol(args[2]), atoi(args[3]), (unsigned)atoi(args[4]));
  fprintf(stderr, "usage: race DIRECTORY GRANT ROUNDS SEED | race grow DIRECTORY SEED\n");
  return 2;
}
