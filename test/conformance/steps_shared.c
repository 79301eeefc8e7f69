// Steps that concern several processes: locks, events, sockets, programs.
#include "posixcase.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// flock SLOT OPERATION
static void step_flock(char** args, int count) {
  (void)count;
  static const struct flag how[] = {{"SH", LOCK_SH}, {"EX", LOCK_EX}, {"UN", LOCK_UN}, {NULL, 0}};
  say_result(flock(slot(args[0]), (int)flags(how, args[1]) | LOCK_NB));
}

static struct flock range(char** args) {
  static const struct flag types[] = {{"R", F_RDLCK}, {"W", F_WRLCK}, {"U", F_UNLCK}, {NULL, 0}};
  struct flock lock = {0};
  lock.l_type = (short)flags(types, args[1]);
  lock.l_whence = SEEK_SET;
  lock.l_start = number(args[2]);
  lock.l_len = number(args[3]);
  return lock;
}

// lock SLOT R|W|U START LENGTH: of the process
static void step_lock(char** args, int count) {
  (void)count;
  struct flock lock = range(args);
  say_result(fcntl(slot(args[0]), F_SETLK, &lock));
}

// oflock SLOT R|W|U START LENGTH: of the open file
static void step_oflock(char** args, int count) {
  (void)count;
  struct flock lock = range(args);
  say_result(fcntl(slot(args[0]), F_OFD_SETLK, &lock));
}

// getlock SLOT R|W START LENGTH: what is in the way
static void step_getlock(char** args, int count) {
  (void)count;
  struct flock lock = range(args);
  if (fcntl(slot(args[0]), F_GETLK, &lock) != 0) {
    say_result(-1);
    return;
  }
  const char* const type = lock.l_type == F_UNLCK ? "none" : lock.l_type == F_RDLCK ? "read" : "write";
  if (lock.l_type == F_UNLCK) lock.l_start = lock.l_len = 0;
  say_json("{\"value\":{\"type\":\"%s\",\"start\":%ld,\"length\":%ld,\"other\":%d}}", type, (long)lock.l_start,
           (long)lock.l_len, lock.l_type != F_UNLCK && lock.l_pid != getpid());
}

// watch SLOT PATH
static void step_watch(char** args, int count) {
  (void)count;
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  set_slot(args[0], fd);
  const int failed = fd < 0 || inotify_add_watch(fd, args[1], IN_ALL_EVENTS & ~(IN_ACCESS | IN_OPEN | IN_CLOSE_NOWRITE)) < 0;
  say_result(failed ? -1 : 0);
}

// events SLOT: what has been told so far
static void step_events(char** args, int count) {
  (void)count;
  static const struct flag names[] = {
      {"create", IN_CREATE},         {"delete", IN_DELETE},     {"from", IN_MOVED_FROM},   {"to", IN_MOVED_TO},
      {"modify", IN_MODIFY},         {"attrib", IN_ATTRIB},     {"closed", IN_CLOSE_WRITE}, {"gone", IN_DELETE_SELF},
      {"moved", IN_MOVE_SELF},       {"ignored", IN_IGNORED},   {NULL, 0}};
  static char buffer[65536] __attribute__((aligned(8)));
  const ssize_t size = read(slot(args[0]), buffer, sizeof buffer);
  if (size < 0) {
    say_result(-1);
    return;
  }
  say_json("{\"value\":[");
  for (ssize_t at = 0; at < size;) {
    const struct inotify_event* const event = (const struct inotify_event*)(buffer + at);
    const struct flag* name = names;
    while (name->name != NULL && (event->mask & (unsigned)name->value) == 0) ++name;
    say_more("%s\"%s %s\"", at == 0 ? "" : ",", name->name == NULL ? "?" : name->name, event->len > 0 ? event->name : "");
    at += (ssize_t)sizeof *event + event->len;
  }
  say_more("]}");
}

// bind SLOT PATH: a listening socket
static void step_bind(char** args, int count) {
  (void)count;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", args[1]);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  set_slot(args[0], fd);
  say_result(bind(fd, (struct sockaddr*)&address, sizeof address) != 0 ? -1 : listen(fd, 1));
}

// connect SLOT PATH
static void step_connect(char** args, int count) {
  (void)count;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", args[1]);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  set_slot(args[0], fd);
  say_result(connect(fd, (struct sockaddr*)&address, sizeof address));
}

// self PATH MODE: a copy of this program
static void step_self(char** args, int count) {
  (void)count;
  const int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int to = open(args[0], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
  static char buffer[1 << 16];
  ssize_t got = 0;
  int failed = from < 0 || to < 0;
  while (!failed && (got = read(from, buffer, sizeof buffer)) > 0) failed = write(to, buffer, (size_t)got) != got;
  close(from);
  if (to >= 0 && close(to) != 0) failed = 1;
  say_result(failed || chmod(args[0], (mode_t)number(args[1])) != 0 ? -1 : 0);
}

// Runs `start` in a child, which must not return; says what it printed, or the errno that it exits with.
static void say_child(void (*start)(char**), char** args) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) bad_step("no pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(out[1], STDOUT_FILENO);
    start(args);
    _exit(errno);
  }
  close(out[1]);
  char text[256];
  const ssize_t got = read(out[0], text, sizeof text);
  close(out[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  errno = WEXITSTATUS(status);
  if (WIFEXITED(status) && errno == 0) {
    say_bytes(text, got);
  } else {
    say_result(-1);
  }
}

static void start_program(char** args) { execl(args[0], args[0], "ids", "-", (char*)NULL); }

static void start_descriptor(char** args) {
  char* const words[] = {args[0], "ids", "-", NULL};
  char* const none[] = {NULL};
  fexecve(slot(args[0]), words, none);
}

// exec PATH: of a copy of this program, the user and group that it runs as
static void step_exec(char** args, int count) {
  (void)count;
  say_child(start_program, args);
}

// fexec SLOT
static void step_fexec(char** args, int count) {
  (void)count;
  say_child(start_descriptor, args);
}

const struct step shared_steps[] = {
    {"flock", 2, step_flock},     {"lock", 4, step_lock},     {"oflock", 4, step_oflock}, {"getlock", 4, step_getlock},
    {"watch", 2, step_watch},     {"events", 1, step_events}, {"bind", 2, step_bind},     {"connect", 2, step_connect},
    {"self", 2, step_self},       {"exec", 1, step_exec},     {"fexec", 1, step_fexec},   {NULL, 0, NULL},
};
