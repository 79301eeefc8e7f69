// Runs the steps of conformance cases in a directory: reads them line by line and prints one JSON line for each.
//
// usage: posixcase DIRECTORY < SCRIPT. A line `case N` begins a case in a new process and the new directory N; any other
// line is one step of it, with `@NAME` in front where another process of the case is to do it.
#include "posixcase.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORDS = 16, MOST_SLOTS = 64, MOST_ACTORS = 8, LINE = 1 << 16 };

static char result[LINE];

void bad_step(const char* why) {
  printf("{\"wrong\":\"%s\"}\n", why);
  fflush(stdout);
  _exit(3);
}

void say_more(const char* format, ...) {
  const size_t used = strlen(result);
  va_list list;
  va_start(list, format);
  vsnprintf(result + used, sizeof result - used, format, list);
  va_end(list);
}

void say_json(const char* format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(result, sizeof result, format, list);
  va_end(list);
}

void say_result(long value) {
  if (value < 0) {
    say_json("{\"error\":\"%s\"}", strerrorname_np(errno));
  } else {
    say_json("{\"value\":%ld}", value);
  }
}

void say_bytes(const char* data, ssize_t size) {
  if (size < 0) {
    say_result(-1);
    return;
  }
  if (size > 400) {
    unsigned long digest = 14695981039346656037UL;
    for (ssize_t i = 0; i < size; ++i) digest = (digest ^ (unsigned char)data[i]) * 1099511628211UL;
    say_json("{\"value\":{\"bytes\":%zd,\"digest\":\"%lx\"}}", size, digest);
    return;
  }
  say_json("{\"value\":\"");
  for (ssize_t i = 0; i < size; ++i) {
    const unsigned char byte = (unsigned char)data[i];
    if (byte >= ' ' && byte < 127 && byte != '"' && byte != '\\') {
      say_more("%c", byte);
    } else {
      say_more("\\u%04x", byte);
    }
  }
  say_more("\"}");
}

static struct {
  char name[16];
  int fd;
} slots[MOST_SLOTS];

int slot(const char* name) {
  for (int i = 0; i < MOST_SLOTS; ++i) {
    if (strcmp(slots[i].name, name) == 0) return slots[i].fd;
  }
  bad_step("a descriptor that was never opened");
}

void set_slot(const char* name, int fd) {
  for (int i = 0; i < MOST_SLOTS; ++i) {
    if (slots[i].name[0] != 0 && strcmp(slots[i].name, name) != 0) continue;
    snprintf(slots[i].name, sizeof slots[i].name, "%s", name);
    slots[i].fd = fd;
    return;
  }
  bad_step("too many descriptors");
}

long number(const char* text) {
  char* rest = NULL;
  const long value = strtol(text, &rest, 0);
  if (rest == text) bad_step("not a number");
  if (strcmp(rest, "k") == 0) return value * 1024;
  if (strcmp(rest, "m") == 0) return value * 1024 * 1024;
  if (*rest != 0) bad_step("not a number");
  return value;
}

long flags(const struct flag* table, const char* text) {
  char copy[256];
  snprintf(copy, sizeof copy, "%s", text);
  long value = 0;
  char* rest = NULL;
  for (char* word = strtok_r(copy, "|", &rest); word != NULL; word = strtok_r(NULL, "|", &rest)) {
    const struct flag* at = table;
    while (at->name != NULL && strcmp(at->name, word) != 0) ++at;
    if (at->name == NULL) bad_step("unknown flag");
    value |= at->value;
  }
  return value;
}

// Runs one step here; its result is in `result`.
static void run_step(char* line) {
  char* words[MOST_WORDS];
  int count = 0;
  char* rest = NULL;
  for (char* word = strtok_r(line, " ", &rest); word != NULL && count < MOST_WORDS; word = strtok_r(NULL, " ", &rest)) {
    words[count++] = word;
  }
  if (count == 0) bad_step("an empty step");
  static const struct step* const tables[] = {file_steps, name_steps, shared_steps};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; ++i) {
    for (const struct step* at = tables[i]; at->word != NULL; ++at) {
      if (strcmp(at->word, words[0]) != 0) continue;
      if (count - 1 < at->least) bad_step("too few arguments");
      result[0] = 0;
      at->run(words + 1, count - 1);
      return;
    }
  }
  bad_step("an unknown step");
}

// Another process of the case: it does the steps that it is sent, and ends with the case.
static struct {
  char name[16];
  FILE* to;
  FILE* from;
} actors[MOST_ACTORS];

static void start_actor(int at, const char* name) {
  int to[2];
  int from[2];
  if (pipe2(to, 02000000) != 0 || pipe2(from, 02000000) != 0) bad_step("no pipe");
  fflush(stdout);
  const pid_t pid = fork();
  if (pid < 0) bad_step("no process");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(from[1], STDOUT_FILENO);
    close(to[1]);
    FILE* const steps = fdopen(to[0], "r");
    static char line[LINE];
    while (fgets(line, sizeof line, steps) != NULL) {
      line[strcspn(line, "\n")] = 0;
      run_step(line);
      puts(result);
      fflush(stdout);
    }
    _exit(0);
  }
  close(to[0]);
  close(from[1]);
  snprintf(actors[at].name, sizeof actors[at].name, "%s", name);
  actors[at].to = fdopen(to[1], "w");
  actors[at].from = fdopen(from[0], "r");
}

static void run_elsewhere(char* line) {
  char* const step = strchr(line, ' ');
  if (step == NULL) bad_step("a process without step");
  *step = 0;
  int at = 0;
  while (at < MOST_ACTORS && actors[at].name[0] != 0 && strcmp(actors[at].name, line + 1) != 0) ++at;
  if (at == MOST_ACTORS) bad_step("too many processes");
  if (actors[at].name[0] == 0) start_actor(at, line + 1);
  fprintf(actors[at].to, "%s\n", step + 1);
  fflush(actors[at].to);
  if (fgets(result, sizeof result, actors[at].from) == NULL) bad_step("the process is gone");
  result[strcspn(result, "\n")] = 0;
}

// Runs the steps up to the next case, in a process and a directory of their own.
static void run_case(const char* name, char** lines, int count) {
  fflush(stdout);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(30);
    signal(SIGIO, SIG_IGN);  // a lease that is broken
    umask(0);
    if (mkdir(name, 0777) != 0 || chdir(name) != 0) bad_step("no directory for the case");
    umask(022);
    for (int i = 0; i < count; ++i) {
      if (lines[i][0] == '@') {
        run_elsewhere(lines[i]);
      } else {
        run_step(lines[i]);
      }
      puts(result);
      fflush(stdout);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  printf("{\"end\":%d}\n", status);
}

int main(int count, char** args) {
  if (count == 3 && strcmp(args[1], "ids") == 0) {
    printf("%d %d\n", (int)geteuid(), (int)getegid());
    return 0;
  }
  if (count != 2 || chdir(args[1]) != 0) {
    fprintf(stderr, "usage: posixcase DIRECTORY < SCRIPT\n");
    return 2;
  }
  static char line[LINE];
  char** lines = NULL;
  int read = 0;
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    lines = realloc(lines, (size_t)(read + 1) * sizeof *lines);
    lines[read++] = strdup(line);
  }
  for (int at = 0; at < read;) {
    if (strncmp(lines[at], "case ", 5) != 0) bad_step("a step before the first case");
    int end = at + 1;
    while (end < read && strncmp(lines[end], "case ", 5) != 0) ++end;
    run_case(lines[at] + 5, lines + at + 1, end - at - 1);
    at = end;
  }
  return 0;
}
