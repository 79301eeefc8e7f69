// The clients of `scripts/bench --only http`: connections that stay open, each of which asks the same requests again and again.
//   bench-load ADDRESS CONNECTIONS SECONDS REQUEST...
// ADDRESS is 127.0.0.1:PORT or unix:PATH. A REQUEST is 'METHOD URL [BODY]': BODY is a number of bytes, or the text of a form; {} is
// the number of the connection. After SECONDS, or SIGTERM, nobody begins anew, and what is under way is finished. 0 SECONDS: all
// is asked once. Any answer but 2xx ends it. Prints one line of JSON; a cycle is all requests once, on one connection.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, PIECE_BYTES = 256 << 10, MOST_EVENTS = 64 };

// A request of one connection: its head, with the form where it has one, and how many bytes of filler follow.
struct request {
  char* head;
  size_t head_bytes;
  size_t body_bytes;
};

struct connection {
  int fd;
  struct request* requests;
  int at;
  size_t sent;
  bool wants_out;
  // The answer: its head until it is whole, then what is missing of its body.
  char head[HEAD_BYTES];
  size_t head_bytes;
  size_t left;
  bool in_body;
  double began;
};

static char filler[PIECE_BYTES];
static char sink[PIECE_BYTES];
static volatile sig_atomic_t stopped;

static int requests;
static int poll_fd;
static int busy;
static double stop_at;
static long cycles;
static float* took_ms;
static long took_room;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// The number of the connection in place of each {}.
static char* numbered(const char* text, int number) {
  char* const made = malloc(strlen(text) * 4 + 16);
  char* to = made;
  while (*text != 0) {
    if (strncmp(text, "{}", 2) == 0) {
      to += sprintf(to, "%d", number);
      text += 2;
    } else {
      *to++ = *text++;
    }
  }
  *to = 0;
  return made;
}

static struct request made_of(const char* text, int number) {
  char* const own = numbered(text, number);
  char* rest = own;
  const char* const method = strsep(&rest, " ");
  const char* const url = strsep(&rest, " ");
  const char* const body = rest == NULL ? "" : rest;
  if (url == NULL) errx(2, "a request is 'METHOD URL [BODY]', not '%s'", text);
  struct request made = {.body_bytes = isdigit(body[0]) ? strtoul(body, NULL, 10) : 0};
  const bool is_form = body[0] != 0 && !isdigit(body[0]);
  const char* const type = is_form ? "Content-Type: application/x-www-form-urlencoded\r\n" : "";
  char length[64] = "";
  if (body[0] != 0) snprintf(length, sizeof length, "Content-Length: %zu\r\n", is_form ? strlen(body) : made.body_bytes);
  const int bytes = asprintf(&made.head, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n%s", method, url, type, length,
                             is_form ? body : "");
  if (bytes < 0) errx(1, "no memory");
  made.head_bytes = (size_t)bytes;
  free(own);
  return made;
}

static int opened(const char* address) {
  if (strncmp(address, "unix:", 5) == 0) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(address + 5) >= sizeof to.sun_path) errx(2, "%s: too long", address);
    strcpy(to.sun_path, address + 5);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr*)&to, sizeof to) != 0) err(1, "connect %s", address);
    return fd;
  }
  char host[64];
  int port = 0;
  struct sockaddr_in to = {.sin_family = AF_INET};
  if (sscanf(address, "%63[0-9.]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &to.sin_addr) != 1)
    errx(2, "an address is 127.0.0.1:PORT or unix:PATH, not '%s'", address);
  to.sin_port = htons((uint16_t)port);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  if (fd < 0 || connect(fd, (struct sockaddr*)&to, sizeof to) != 0) err(1, "connect %s", address);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static void watch(struct connection* c, bool wants_out) {
  if (c->wants_out == wants_out) return;
  c->wants_out = wants_out;
  struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event) != 0) err(1, "epoll_ctl");
}

static void send_more(struct connection* c) {
  const struct request* const r = &c->requests[c->at];
  const size_t whole = r->head_bytes + r->body_bytes;
  while (c->sent < whole) {
    struct iovec parts[2];
    int count = 0;
    size_t after = c->sent;
    if (after < r->head_bytes) {
      parts[count++] = (struct iovec){r->head + after, r->head_bytes - after};
      after = r->head_bytes;
    }
    const size_t missing = whole - after;
    if (missing > 0) parts[count++] = (struct iovec){filler, missing < PIECE_BYTES ? missing : PIECE_BYTES};
    const ssize_t sent = sendmsg(c->fd, &(struct msghdr){.msg_iov = parts, .msg_iovlen = (size_t)count}, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) break;
    // Why it was closed is said in an answer, where there is one.
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) break;
    if (sent < 0) err(1, "send");
    c->sent += (size_t)sent;
  }
  watch(c, c->sent < whole);
}

static void begin(struct connection* c) {
  c->sent = 0;
  c->head_bytes = 0;
  c->in_body = false;
  send_more(c);
}

static void took(double ms) {
  if (cycles == took_room) {
    took_room = took_room == 0 ? 1 << 16 : took_room * 2;
    took_ms = realloc(took_ms, (size_t)took_room * sizeof *took_ms);
    if (took_ms == NULL) errx(1, "no memory");
  }
  took_ms[cycles++] = (float)ms;
}

static void answered(struct connection* c) {
  if (c->sent < c->requests[c->at].head_bytes + c->requests[c->at].body_bytes) errx(1, "answered before all was sent");
  if (++c->at == requests) {
    const double time = now();
    took((time - c->began) * 1e3);
    c->at = 0;
    c->began = time;
    if (stopped || time >= stop_at) {
      epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL);
      close(c->fd);
      busy--;
      return;
    }
  }
  begin(c);
}

// The head of an answer is whole: checks it, and returns the bytes of its body.
static size_t body_bytes(const struct connection* c, size_t head_bytes) {
  const int status = strncmp(c->head, "HTTP/1.1 ", 9) == 0 ? atoi(c->head + 9) : 0;
  if (status < 200 || status > 299) {
    const struct request* const r = &c->requests[c->at];
    errx(1, "%.*s was answered:\n%.*s", (int)strcspn(r->head, "\r"), r->head, (int)c->head_bytes, c->head);
  }
  if (status == 204) return 0;
  const char* const length = strcasestr(c->head, "\r\ncontent-length:");
  if (length == NULL || length > c->head + head_bytes) errx(1, "an answer without a length:\n%.*s", (int)head_bytes, c->head);
  return strtoul(length + 17, NULL, 10);
}

static void receive(struct connection* c) {
  for (;;) {
    char* const to = c->in_body ? sink : c->head + c->head_bytes;
    const size_t room = c->in_body ? (c->left < PIECE_BYTES ? c->left : PIECE_BYTES) : HEAD_BYTES - 1 - c->head_bytes;
    const ssize_t got = recv(c->fd, to, room, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) err(1, "receive");
    if (got == 0) errx(1, "the server has closed a connection");
    if (c->in_body) {
      c->left -= (size_t)got;
    } else {
      c->head_bytes += (size_t)got;
      c->head[c->head_bytes] = 0;
      const char* const end = memmem(c->head, c->head_bytes, "\r\n\r\n", 4);
      if (end == NULL) {
        if (c->head_bytes == HEAD_BYTES - 1) errx(1, "the head of an answer is too long");
        continue;
      }
      const size_t head_bytes = (size_t)(end - c->head) + 4;
      const size_t whole = head_bytes + body_bytes(c, head_bytes);
      if (c->head_bytes > whole) errx(1, "more came than was asked for");
      c->left = whole - c->head_bytes;
      c->in_body = true;
    }
    if (c->left > 0) continue;
    answered(c);
    return;
  }
}

static int ascending(const void* a, const void* b) {
  const float x = *(const float*)a;
  const float y = *(const float*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  if (argc < 5) errx(2, "usage: bench-load ADDRESS CONNECTIONS SECONDS REQUEST...");
  const int count = atoi(argv[2]);
  const double seconds = atof(argv[3]);
  if (count < 1 || count > 1000) errx(2, "CONNECTIONS is a number from 1 to 1000");
  requests = argc - 4;
  memset(filler, 'v', sizeof filler);
  sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL);
  poll_fd = epoll_create1(0);
  struct connection* const all = calloc((size_t)count, sizeof *all);
  if (poll_fd < 0 || all == NULL) err(1, "epoll_create");
  for (int i = 0; i < count; i++) {
    struct connection* const c = &all[i];
    c->requests = calloc((size_t)requests, sizeof *c->requests);
    if (c->requests == NULL) errx(1, "no memory");
    for (int r = 0; r < requests; r++) c->requests[r] = made_of(argv[4 + r], i);
    c->fd = opened(argv[1]);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) err(1, "epoll_ctl");
  }
  const double start = now();
  stop_at = start + seconds;
  busy = count;
  for (int i = 0; i < count; i++) {
    all[i].began = start;
    begin(&all[i]);
  }
  while (busy > 0) {
    struct epoll_event events[MOST_EVENTS];
    const int ready = epoll_wait(poll_fd, events, MOST_EVENTS, -1);
    if (ready < 0 && errno != EINTR) err(1, "epoll_wait");
    for (int i = 0; i < ready; i++) {
      struct connection* const c = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) send_more(c);
      if (events[i].events & ~(unsigned)EPOLLOUT) receive(c);
    }
  }
  const double took_seconds = now() - start;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  qsort(took_ms, (size_t)cycles, sizeof *took_ms, ascending);
  printf("{\"cycles\": %ld, \"seconds\": %.6f, \"medianMs\": %.4f, \"p99Ms\": %.4f, \"mostMs\": %.4f, \"cpuSeconds\": %.4f}\n", cycles,
         took_seconds, took_ms[cycles / 2], took_ms[cycles * 99 / 100], took_ms[cycles - 1], cpu);
  return 0;
}
