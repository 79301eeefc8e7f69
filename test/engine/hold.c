// Holds up whoever opens or reads the given files and directories, as a disk that does not answer would: until its input
// ends. Says "ready", and a line for each process that it holds.
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fanotify.h>
#include <unistd.h>

int main(int count, char **args) {
  const int group = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_LARGEFILE);
  if (group < 0) {
    perror("fanotify_init");
    return 1;
  }
  for (int i = 1; i < count; ++i) {
    if (fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_ONDIR, AT_FDCWD, args[i]) != 0) {
      perror("fanotify_mark");
      return 1;
    }
  }
  puts("ready");
  fflush(stdout);
  struct pollfd polled[2] = {{0, POLLIN, 0}, {group, POLLIN, 0}};
  for (;;) {
    if (poll(polled, 2, -1) < 0) return 1;
    if (polled[0].revents != 0) return 0;  // with the group's descriptor all are let go
    static char buffer[65536] __attribute__((aligned(8)));
    ssize_t size = read(group, buffer, sizeof buffer);
    const struct fanotify_event_metadata *event = (const struct fanotify_event_metadata *)buffer;
    for (; FAN_EVENT_OK(event, size); event = FAN_EVENT_NEXT(event, size)) {
      printf("held %d\n", (int)event->pid);
      fflush(stdout);
      close(event->fd);
    }
  }
}
