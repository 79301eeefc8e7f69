// Runs the steps of the conformance table one at a time: a line from stdin is a step, done in this process at once, and
// a line of JSON is its result. Descriptors stay open between the steps. Three more steps are here.
//
// usage: fsop DIRECTORY
#define main run_cases
#include "../conformance/posixcase.c"
#undef main

#include <fcntl.h>
#include <sys/statfs.h>

// Replies of `.vreserve` are larger than what a step of the table may say.
static char content[1 << 20];

static void put_text(const char* text, ssize_t size) {
  if (size < 0) {
    printf("{\"error\":\"%s\"}\n", strerrorname_np(errno));
    return;
  }
  fputs("{\"value\":\"", stdout);
  for (ssize_t i = 0; i < size; ++i) {
    const unsigned char byte = (unsigned char)text[i];
    if (byte >= ' ' && byte != '"' && byte != '\\' && byte < 127) {
      putchar(byte);
    } else {
      printf("\\u%04x", byte);
    }
  }
  puts("\"}");
}

// text PATH: all of a file
static void put_file(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = fd < 0 ? -1 : 0;
  ssize_t got = 0;
  while (size >= 0 && (got = read(fd, content + size, sizeof content - (size_t)size)) != 0) size = got < 0 ? -1 : size + got;
  put_text(content, size);
  if (fd >= 0) close(fd);
}

// control PATH COMMAND: writes one command to the file `control` and reads the reply from the same open file
static void put_reply(char* path) {
  char* const command = strchr(path, ' ');
  if (command == NULL) bad_step("control without command");
  *command = '\n';
  const size_t length = strlen(command + 1);
  memmove(command, command + 1, length);
  command[length] = '\n';
  static char name[4096];
  snprintf(name, sizeof name, "%.*s", (int)(command - path), path);
  const int fd = open(name, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    put_text(NULL, -1);
    return;
  }
  const char* const error = write(fd, command, length + 1) < 0 ? strerrorname_np(errno) : "";
  const ssize_t size = read(fd, content, sizeof content - 1);
  close(fd);
  content[size < 0 ? 0 : size] = 0;
  content[strcspn(content, "\n")] = 0;
  printf("{\"value\":{\"errno\":\"%s\",\"reply\":%s}}\n", error, content[0] == 0 ? "null" : content);
}

// statfs PATH: size and what is left, in bytes
static void put_statfs(const char* path) {
  struct statfs fs;
  if (statfs(path, &fs) != 0) {
    put_text(NULL, -1);
  } else {
    const long block = fs.f_frsize;
    printf("{\"value\":{\"size\":%ld,\"free\":%ld,\"available\":%ld}}\n", (long)fs.f_blocks * block, (long)fs.f_bfree * block,
           (long)fs.f_bavail * block);
  }
}

int main(int count, char** args) {
  if (count == 3 && strcmp(args[1], "ids") == 0) return run_cases(count, args);
  if (count != 2 || chdir(args[1]) != 0) {
    fprintf(stderr, "usage: fsop DIRECTORY\n");
    return 2;
  }
  static char line[LINE];
  while (fgets(line, sizeof line - 1, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "text ", 5) == 0) {
      put_file(line + 5);
    } else if (strncmp(line, "statfs ", 7) == 0) {
      put_statfs(line + 7);
    } else if (strncmp(line, "control ", 8) == 0) {
      put_reply(line + 8);
    } else {
      run_step(line);
      puts(result);
    }
    fflush(stdout);
  }
  return 0;
}
