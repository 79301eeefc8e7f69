// Steps on names and attributes: links, directories, owners, modes, times, extended attributes, listings.
#include "posixcase.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static const char* type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "character";
    default: return "other";
  }
}

// A directory's size is the filesystem's own affair.
static void say_stat(int failed, const struct stat* st) {
  if (failed != 0) {
    say_result(-1);
    return;
  }
  say_json("{\"value\":{\"type\":\"%s\",\"mode\":\"%o\",\"nlink\":%lu,\"uid\":%u,\"gid\":%u,\"size\":%ld,\"rdev\":\"%u:%u\"}}",
           type_of(st->st_mode), st->st_mode & 07777, (unsigned long)st->st_nlink, st->st_uid, st->st_gid,
           S_ISDIR(st->st_mode) ? 0 : (long)st->st_size, major(st->st_rdev), minor(st->st_rdev));
}

static void step_stat(char** args, int count) {
  (void)count;
  struct stat st;
  say_stat(stat(args[0], &st), &st);
}

static void step_lstat(char** args, int count) {
  (void)count;
  struct stat st;
  say_stat(lstat(args[0], &st), &st);
}

static void step_fstat(char** args, int count) {
  (void)count;
  struct stat st;
  say_stat(fstatat(slot(args[0]), "", &st, AT_EMPTY_PATH), &st);
}

// same A B: are both names one inode
static void step_same(char** args, int count) {
  (void)count;
  struct stat a;
  struct stat b;
  const int failed = lstat(args[0], &a) != 0 || lstat(args[1], &b) != 0;
  say_result(failed ? -1 : a.st_ino == b.st_ino && a.st_dev == b.st_dev);
}

// btime PATH: is the birth time known, and not after the last change
static void step_btime(char** args, int count) {
  (void)count;
  struct statx st;
  if (statx(AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) != 0) {
    say_result(-1);
    return;
  }
  const int known = (st.stx_mask & STATX_BTIME) != 0;
  say_json("{\"value\":{\"known\":%d,\"first\":%d}}", known, st.stx_btime.tv_sec <= st.stx_ctime.tv_sec);
}

// times PATH: seconds and nanoseconds of atime and mtime, for times that the case set itself
static void step_times(char** args, int count) {
  (void)count;
  struct stat st;
  if (lstat(args[0], &st) != 0) {
    say_result(-1);
    return;
  }
  say_json("{\"value\":\"%ld.%09ld %ld.%09ld\"}", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
           st.st_mtim.tv_nsec);
}

static struct stat before;

// mark PATH: remembers its times, and lets the clock move on
static void step_mark(char** args, int count) {
  (void)count;
  const int failed = lstat(args[0], &before);
  usleep(15000);
  say_result(failed);
}

static int moved(struct timespec a, struct timespec b) { return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec; }

// moved PATH: which of its times are others than at the mark
static void step_moved(char** args, int count) {
  (void)count;
  struct stat st;
  if (lstat(args[0], &st) != 0) {
    say_result(-1);
    return;
  }
  say_json("{\"value\":\"%s%s%s\"}", moved(before.st_atim, st.st_atim) ? "a" : "", moved(before.st_mtim, st.st_mtim) ? "m" : "",
           moved(before.st_ctim, st.st_ctim) ? "c" : "");
}

static struct timespec time_of(const char* text) {
  struct timespec time = {0, 0};
  if (strcmp(text, "now") == 0) {
    time.tv_nsec = UTIME_NOW;
  } else if (strcmp(text, "omit") == 0) {
    time.tv_nsec = UTIME_OMIT;
  } else {
    sscanf(text, "%ld.%ld", &time.tv_sec, &time.tv_nsec);
  }
  return time;
}

// utimens PATH ATIME MTIME [nofollow]; a time is now, omit or SECONDS.NANOSECONDS
static void step_utimens(char** args, int count) {
  const struct timespec times[2] = {time_of(args[1]), time_of(args[2])};
  say_result(utimensat(AT_FDCWD, args[0], times, count > 3 ? AT_SYMLINK_NOFOLLOW : 0));
}

static void step_futimens(char** args, int count) {
  (void)count;
  const struct timespec times[2] = {time_of(args[1]), time_of(args[2])};
  say_result(futimens(slot(args[0]), times));
}

static void step_link(char** args, int count) {
  (void)count;
  say_result(linkat(AT_FDCWD, args[0], AT_FDCWD, args[1], 0));
}

// linkto OLD NEW: following a symlink
static void step_linkto(char** args, int count) {
  (void)count;
  say_result(linkat(AT_FDCWD, args[0], AT_FDCWD, args[1], AT_SYMLINK_FOLLOW));
}

// linkfd SLOT NEW
static void step_linkfd(char** args, int count) {
  (void)count;
  say_result(linkat(slot(args[0]), "", AT_FDCWD, args[1], AT_EMPTY_PATH));
}

// linkproc SLOT NEW: by its name in /proc
static void step_linkproc(char** args, int count) {
  (void)count;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", slot(args[0]));
  say_result(linkat(AT_FDCWD, path, AT_FDCWD, args[1], AT_SYMLINK_FOLLOW));
}

static void step_symlink(char** args, int count) {
  (void)count;
  say_result(symlink(args[0], args[1]));
}

static void step_readlink(char** args, int count) {
  (void)count;
  char target[4200];
  say_bytes(target, readlink(args[0], target, sizeof target));
}

// rename OLD NEW [FLAGS]
static void step_rename(char** args, int count) {
  static const struct flag how[] = {
      {"NOREPLACE", RENAME_NOREPLACE}, {"EXCHANGE", RENAME_EXCHANGE}, {"WHITEOUT", RENAME_WHITEOUT}, {NULL, 0}};
  say_result(renameat2(AT_FDCWD, args[0], AT_FDCWD, args[1], count > 2 ? (unsigned)flags(how, args[2]) : 0));
}

static void step_unlink(char** args, int count) {
  (void)count;
  say_result(unlink(args[0]));
}

static void step_rmdir(char** args, int count) {
  (void)count;
  say_result(rmdir(args[0]));
}

static void step_mkdir(char** args, int count) {
  say_result(mkdir(args[0], count > 1 ? (mode_t)number(args[1]) : 0777));
}

// mknod PATH TYPE MODE [MAJOR MINOR]
static void step_mknod(char** args, int count) {
  static const struct flag types[] = {{"file", S_IFREG}, {"fifo", S_IFIFO}, {"socket", S_IFSOCK}, {"character", S_IFCHR}, {NULL, 0}};
  const dev_t device = count > 4 ? makedev((unsigned)number(args[3]), (unsigned)number(args[4])) : 0;
  say_result(mknod(args[0], (mode_t)(flags(types, args[1]) | number(args[2])), device));
}

static void step_chmod(char** args, int count) {
  (void)count;
  say_result(chmod(args[0], (mode_t)number(args[1])));
}

static void step_lchmod(char** args, int count) {
  (void)count;
  say_result(syscall(452 /* fchmodat2 */, AT_FDCWD, args[0], number(args[1]), AT_SYMLINK_NOFOLLOW));
}

static void step_fchmod(char** args, int count) {
  (void)count;
  say_result(fchmod(slot(args[0]), (mode_t)number(args[1])));
}

static void step_chown(char** args, int count) {
  (void)count;
  say_result(chown(args[0], (uid_t)number(args[1]), (gid_t)number(args[2])));
}

static void step_lchown(char** args, int count) {
  (void)count;
  say_result(lchown(args[0], (uid_t)number(args[1]), (gid_t)number(args[2])));
}

static void step_fchown(char** args, int count) {
  (void)count;
  say_result(fchown(slot(args[0]), (uid_t)number(args[1]), (gid_t)number(args[2])));
}

static void step_umask(char** args, int count) {
  (void)count;
  umask((mode_t)number(args[0]));
  say_result(0);
}

// become UID GID [GROUP]: for good
static void step_become(char** args, int count) {
  gid_t group = count > 2 ? (gid_t)number(args[2]) : 0;
  const uid_t uid = (uid_t)number(args[0]);
  const gid_t gid = (gid_t)number(args[1]);
  const int failed = setgroups(count > 2 ? 1 : 0, &group) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0;
  say_result(failed ? -1 : 0);
}

// access PATH MODE
static void step_access(char** args, int count) {
  (void)count;
  static const struct flag modes[] = {{"F", F_OK}, {"R", R_OK}, {"W", W_OK}, {"X", X_OK}, {NULL, 0}};
  say_result(faccessat(AT_FDCWD, args[0], (int)flags(modes, args[1]), AT_EACCESS));
}

static void step_chdir(char** args, int count) {
  (void)count;
  say_result(chdir(args[0]));
}

static void step_fchdir(char** args, int count) {
  (void)count;
  say_result(fchdir(slot(args[0])));
}

// getcwd: the last component
static void step_getcwd(char** args, int count) {
  (void)args;
  (void)count;
  char path[4096];
  if (syscall(SYS_getcwd, path, sizeof path) < 0) {
    say_result(-1);
    return;
  }
  const char* const last = strrchr(path, '/');
  say_bytes(last + 1, (ssize_t)strlen(last + 1));
}

static const struct flag xattr_flags[] = {{"CREATE", XATTR_CREATE}, {"REPLACE", XATTR_REPLACE}, {NULL, 0}};

// setxattr PATH NAME VALUE [FLAGS]
static void step_setxattr(char** args, int count) {
  say_result(setxattr(args[0], args[1], args[2], strlen(args[2]), count > 3 ? (int)flags(xattr_flags, args[3]) : 0));
}

static void step_lsetxattr(char** args, int count) {
  (void)count;
  say_result(lsetxattr(args[0], args[1], args[2], strlen(args[2]), 0));
}

// getxattr PATH NAME [SIZE]
static void step_getxattr(char** args, int count) {
  char value[65536];
  const size_t size = count > 2 ? (size_t)number(args[2]) : sizeof value;
  const ssize_t got = getxattr(args[0], args[1], value, size);
  if (size == 0) {
    say_result(got);
  } else {
    say_bytes(value, got);
  }
}

// setcap PATH: a valid security.capability
static void step_setcap(char** args, int count) {
  (void)count;
  static const uint32_t capability[5] = {0x02000001, 1U << 10, 0, 0, 0};
  say_result(setxattr(args[0], "security.capability", capability, sizeof capability, 0));
}

static void step_removexattr(char** args, int count) {
  (void)count;
  say_result(removexattr(args[0], args[1]));
}

static int compare(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }

static void say_sorted(char** names, int count) {
  qsort(names, (size_t)count, sizeof *names, compare);
  say_json("{\"value\":[");
  for (int i = 0; i < count; ++i) say_more("%s\"%s\"", i == 0 ? "" : ",", names[i]);
  say_more("]}");
}

// listxattr PATH: sorted
static void step_listxattr(char** args, int count) {
  (void)count;
  static char list[65536];
  char* names[256];
  const ssize_t size = listxattr(args[0], list, sizeof list);
  if (size < 0) {
    say_result(-1);
    return;
  }
  int found = 0;
  for (char* at = list; at < list + size; at += strlen(at) + 1) names[found++] = at;
  say_sorted(names, found);
}

struct acl_entry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id;
};

static const char* acl_name(const char* kind) {
  return strcmp(kind, "default") == 0 ? "system.posix_acl_default" : "system.posix_acl_access";
}

// setacl PATH access|default ENTRY...; an entry is TAG:ID:PERMISSIONS, tag u U g G m o (capital: with an id)
static void step_setacl(char** args, int count) {
  static const char tags[] = "uUgGmo";
  static const uint16_t values[] = {1, 2, 4, 8, 16, 32};
  struct {
    uint32_t version;
    struct acl_entry entries[16];
  } acl = {2, {{0, 0, 0}}};
  for (int i = 2; i < count; ++i) {
    char tag = 0;
    unsigned id = 0;
    unsigned permissions = 0;
    if (sscanf(args[i], "%c:%u:%u", &tag, &id, &permissions) != 3 || strchr(tags, tag) == NULL) bad_step("bad entry");
    const int named = tag == 'U' || tag == 'G';
    acl.entries[i - 2] = (struct acl_entry){values[strchr(tags, tag) - tags], (uint16_t)permissions, named ? id : UINT32_MAX};
  }
  say_result(setxattr(args[0], acl_name(args[1]), &acl, 4 + (size_t)(count - 2) * sizeof(struct acl_entry), 0));
}

// getacl PATH access|default
static void step_getacl(char** args, int count) {
  (void)count;
  struct {
    uint32_t version;
    struct acl_entry entries[64];
  } acl;
  const ssize_t size = getxattr(args[0], acl_name(args[1]), &acl, sizeof acl);
  if (size < 0) {
    say_result(-1);
    return;
  }
  say_json("{\"value\":\"");
  const size_t entries = ((size_t)size - 4) / sizeof(struct acl_entry);
  for (size_t i = 0; i < entries; ++i) {
    say_more("%u:%d:%u ", acl.entries[i].tag, (int)acl.entries[i].id, acl.entries[i].permissions);
  }
  say_more("\"}");
}

// list PATH: sorted names, with their types as the listing has them, without . and ..
static void step_list(char** args, int count) {
  (void)count;
  DIR* const directory = opendir(args[0]);
  if (directory == NULL) {
    say_result(-1);
    return;
  }
  static char texts[1024][280];
  char* names[1024];
  int found = 0;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL && found < 1024;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(texts[found], sizeof texts[found], "%s %s", entry->d_name, type_of(DTTOIF(entry->d_type)));
    names[found] = texts[found];
    ++found;
  }
  closedir(directory);
  say_sorted(names, found);
}

// many PATH COUNT: makes a directory of so many files
static void step_many(char** args, int count) {
  (void)count;
  const long files = number(args[1]);
  int failed = mkdir(args[0], 0777);
  for (long i = 0; i < files && failed == 0; ++i) {
    char path[512];
    snprintf(path, sizeof path, "%s/file-%06ld", args[0], i);
    const int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    failed = fd < 0 || close(fd) != 0;
  }
  say_result(failed ? -1 : files);
}

static int is_dot(const struct dirent* entry) { return strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0; }

// empty PATH: unlinks each entry as it is listed; how many there were, and how many are left
static void step_empty(char** args, int count) {
  (void)count;
  DIR* const directory = opendir(args[0]);
  if (directory == NULL) {
    say_result(-1);
    return;
  }
  int gone = 0;
  int left = 0;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    if (!is_dot(entry)) gone += unlinkat(dirfd(directory), entry->d_name, 0) == 0;
  }
  rewinddir(directory);
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) left += !is_dot(entry);
  closedir(directory);
  say_json("{\"value\":{\"gone\":%d,\"left\":%d}}", gone, left);
}

// seekdir PATH: does each place that telldir gave lead to the entry that followed there, from the last to the first
static void step_seekdir(char** args, int count) {
  (void)count;
  DIR* const directory = opendir(args[0]);
  if (directory == NULL) {
    say_result(-1);
    return;
  }
  static long places[4096];
  static char names[4096][256];
  int found = 0;
  for (;;) {
    places[found] = telldir(directory);
    const struct dirent* const entry = readdir(directory);
    if (entry == NULL || found == 4095) break;
    snprintf(names[found++], sizeof names[0], "%s", entry->d_name);
  }
  int right = 0;
  for (int i = found - 1; i >= 0; --i) {
    seekdir(directory, places[i]);
    const struct dirent* const entry = readdir(directory);
    right += entry != NULL && strcmp(entry->d_name, names[i]) == 0;
  }
  closedir(directory);
  say_json("{\"value\":{\"entries\":%d,\"right\":%d}}", found, right);
}

static DIR* listing;

// opendir PATH, then entry (0: the end) and rewind: one listing at a time
static void step_opendir(char** args, int count) {
  (void)count;
  listing = opendir(args[0]);
  say_result(listing == NULL ? -1 : 0);
}

// entries: how many there are from here on, without . and ..
static void step_entries(char** args, int count) {
  (void)args;
  (void)count;
  int found = 0;
  for (struct dirent* entry; (entry = readdir(listing)) != NULL;) found += !is_dot(entry);
  say_result(found);
}

static void step_rewind(char** args, int count) {
  (void)args;
  (void)count;
  rewinddir(listing);
  say_result(0);
}

const struct step name_steps[] = {
    {"stat", 1, step_stat},
    {"lstat", 1, step_lstat},
    {"fstat", 1, step_fstat},
    {"same", 2, step_same},
    {"btime", 1, step_btime},
    {"times", 1, step_times},
    {"mark", 1, step_mark},
    {"moved", 1, step_moved},
    {"utimens", 3, step_utimens},
    {"futimens", 3, step_futimens},
    {"link", 2, step_link},
    {"linkto", 2, step_linkto},
    {"linkfd", 2, step_linkfd},
    {"linkproc", 2, step_linkproc},
    {"symlink", 2, step_symlink},
    {"readlink", 1, step_readlink},
    {"rename", 2, step_rename},
    {"unlink", 1, step_unlink},
    {"rmdir", 1, step_rmdir},
    {"mkdir", 1, step_mkdir},
    {"mknod", 3, step_mknod},
    {"chmod", 2, step_chmod},
    {"lchmod", 2, step_lchmod},
    {"fchmod", 2, step_fchmod},
    {"chown", 3, step_chown},
    {"lchown", 3, step_lchown},
    {"fchown", 3, step_fchown},
    {"umask", 1, step_umask},
    {"become", 2, step_become},
    {"access", 2, step_access},
    {"chdir", 1, step_chdir},
    {"fchdir", 1, step_fchdir},
    {"getcwd", 0, step_getcwd},
    {"setxattr", 3, step_setxattr},
    {"lsetxattr", 3, step_lsetxattr},
    {"getxattr", 2, step_getxattr},
    {"setcap", 1, step_setcap},
    {"removexattr", 2, step_removexattr},
    {"listxattr", 1, step_listxattr},
    {"setacl", 3, step_setacl},
    {"getacl", 2, step_getacl},
    {"list", 1, step_list},
    {"many", 2, step_many},
    {"empty", 1, step_empty},
    {"seekdir", 1, step_seekdir},
    {"opendir", 1, step_opendir},
    {"entries", 0, step_entries},
    {"rewind", 0, step_rewind},
    {NULL, 0, NULL},
};
