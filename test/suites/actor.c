/*
 * A process that makes system calls on request, so that a test can act on a mount as several users
 * at once, keep descriptors, locks and mappings open across steps, and see exact errnos.
 *
 * One request a line: OP ARG..., an argument being a decimal number, bytes as `x` and hexadecimal
 * digits, or `$`, the number that the last openat or mmap gave. One reply a line: the result or
 * -errno, then what the call returned, in the same notation. The reply to a line that begins with
 * `+` may wait for the next.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/btrfs.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_ARGS 24
static char* arg[MAX_ARGS];
static size_t length[MAX_ARGS];
static int args;

enum { MAPPINGS = 4096 };

static struct {
  unsigned char* address;
  size_t length;
} maps[MAPPINGS];

static int mapped(long long slot) { return slot >= 0 && slot < MAPPINGS && maps[slot].address; }

/* An access to a mapping beyond the end of its file. */
static sigjmp_buf beyond_the_end;

static void on_sigbus(int signal) {
  (void)signal;
  siglongjmp(beyond_the_end, 1);
}

static void fail(const char* why) {
  fprintf(stderr, "actor: %s\n", why);
  exit(2);
}

/* What the last openat or mmap gave. */
static long long given = -1;

static long long number(int i) {
  if (i >= args || arg[i][0] == 'x') fail("a number is missing");
  if (arg[i][0] == '$') return given;
  return strtoll(arg[i], NULL, 10);
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

/* Decodes once, in place; the result is NUL-terminated. */
static char* bytes(int i) {
  if (i >= args || arg[i][0] != 'x') fail("bytes are missing");
  char *in = arg[i] + 1, *out = arg[i] + 1;
  while (in[0] && in[1]) {
    *out++ = (char)(digit(in[0]) << 4 | digit(in[1]));
    in += 2;
  }
  *out = 0;
  length[i] = (size_t)(out - (arg[i] + 1));
  return arg[i] + 1;
}

static void put_bytes(const void* data, size_t n) {
  static const char digits[] = "0123456789abcdef";
  const unsigned char* p = data;
  fputs(" x", stdout);
  for (size_t i = 0; i < n; i++) {
    putchar(digits[p[i] >> 4]);
    putchar(digits[p[i] & 15]);
  }
}

static void result(long long r) { printf("%lld", r < 0 ? (long long)-errno : r); }

static long long nanoseconds(struct timespec t) {
  return (long long)t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put_stat(int r, const struct stat* s) {
  result(r);
  if (r < 0) return;
  printf(" %u %llu %u %u %llu %lld %lld %u %u %u %u %lld %lld %lld", s->st_mode,
         (unsigned long long)s->st_nlink, s->st_uid, s->st_gid, (unsigned long long)s->st_ino,
         (long long)s->st_size, (long long)s->st_blocks, major(s->st_rdev), minor(s->st_rdev),
         major(s->st_dev), minor(s->st_dev), nanoseconds(s->st_atim), nanoseconds(s->st_mtim),
         nanoseconds(s->st_ctim));
}

struct linux_dirent64 {
  uint64_t d_ino;
  int64_t d_off;
  unsigned short d_reclen;
  unsigned char d_type;
  char d_name[];
};

static void put_entries(const char* buffer, long n) {
  for (long at = 0; at < n;) {
    const struct linux_dirent64* d = (const void*)(buffer + at);
    put_bytes(d->d_name, strlen(d->d_name));
    printf(" %llu %u %lld", (unsigned long long)d->d_ino, d->d_type, (long long)d->d_off);
    at += d->d_reclen;
  }
}

/* Bytes as runs: a byte, how often it comes, and so on. */
static void put_runs(const unsigned char* data, size_t n) {
  for (size_t at = 0; at < n;) {
    size_t end = at;
    while (end < n && data[end] == data[at]) end++;
    printf(" %u %zu", data[at], end - at);
    at = end;
  }
}

/*
 * Everything that a tree shows, in no order. For each name: its path, the number and type that the
 * directory tells, 0 or -errno, and after 0: mode, links, owner, group, inode number, size, device
 * numbers, modification time, a checksum of a file's bytes, where a symbolic link leads, how many
 * attributes there are, and each one's name and value. A failed call among these is the name's
 * -errno.
 */
enum { TREE_PATH = 1 << 14 };

static uint64_t checksum(const char* path, int* error) {
  static unsigned char chunk[1 << 20];
  uint64_t sum = 14695981039346656037u;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    *error = errno;
    return 0;
  }
  for (int over = 0; !over;) {
    size_t have = 0;
    while (have < sizeof chunk) {
      ssize_t n = read(fd, chunk + have, sizeof chunk - have);
      if (n < 0) *error = errno;
      if (n <= 0) {
        over = 1;
        break;
      }
      have += (size_t)n;
    }
    size_t at = 0;
    for (; at + 8 <= have; at += 8) {
      uint64_t word;
      memcpy(&word, chunk + at, 8);
      sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
      sum ^= sum >> 29;
    }
    for (; at < have; at++) sum = (sum ^ chunk[at]) * 1099511628211u;
  }
  close(fd);
  return sum;
}

static void put_tree(char* path, size_t root, uint64_t told_number, unsigned told_type) {
  static char names[1 << 16], value[1 << 16], target[1 << 13];
  struct stat s;
  int error = 0;
  uint64_t sum = 0;
  ssize_t leads = 0, listed = 0;
  put_bytes(path + root, strlen(path + root));
  printf(" %llu %u", (unsigned long long)told_number, told_type);
  if (lstat(path, &s) < 0) {
    printf(" %d", -errno);
    return;
  }
  if (S_ISREG(s.st_mode)) sum = checksum(path, &error);
  if (S_ISLNK(s.st_mode) && (leads = readlink(path, target, sizeof target)) < 0) error = errno;
  if ((listed = llistxattr(path, names, sizeof names)) < 0) error = errno;
  if (error) {
    printf(" %d", -error);
    return;
  }
  printf(" 0 %u %llu %u %u %llu %lld %u %u %lld %llu", s.st_mode, (unsigned long long)s.st_nlink,
         s.st_uid, s.st_gid, (unsigned long long)s.st_ino, (long long)s.st_size, major(s.st_rdev),
         minor(s.st_rdev), nanoseconds(s.st_mtim), (unsigned long long)sum);
  put_bytes(target, (size_t)leads);
  int count = 0;
  for (ssize_t at = 0; at < listed; at += (ssize_t)strlen(names + at) + 1) count++;
  printf(" %d", count);
  for (ssize_t at = 0; at < listed; at += (ssize_t)strlen(names + at) + 1) {
    ssize_t n = lgetxattr(path, names + at, value, sizeof value);
    put_bytes(names + at, strlen(names + at));
    if (n < 0)
      printf(" %d", -errno);
    else
      put_bytes(value, (size_t)n);
  }
  if (!S_ISDIR(s.st_mode)) return;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    printf(" x2f 0 0 %d", -errno);
    return;
  }
  size_t length = strlen(path), size = 0, have = 0;
  char* entries = NULL;
  for (;;) {
    if (size - have < 4096 && !(entries = realloc(entries, size += 32768))) fail("no memory");
    long n = syscall(SYS_getdents64, fd, entries + have, size - have);
    if (n <= 0) break;
    have += (size_t)n;
  }
  close(fd);
  for (size_t at = 0; at < have;) {
    const struct linux_dirent64* d = (const void*)(entries + at);
    at += d->d_reclen;
    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
    if (length + 1 + strlen(d->d_name) >= TREE_PATH) fail("the tree is too deep");
    path[length] = '/';
    strcpy(path + length + 1, d->d_name);
    put_tree(path, root, d->d_ino, d->d_type);
    path[length] = 0;
  }
  free(entries);
}

static int remove_one(const char* path, const struct stat* s, int type, struct FTW* at) {
  (void)s, (void)type, (void)at;
  return remove(path);
}

static struct timespec timespec_of(long long sec, long long nsec) {
  return (struct timespec){.tv_sec = sec, .tv_nsec = nsec};
}

static void run_command(void) {
  const char* op = arg[0];
  struct stat s;
  static char buffer[1 << 20];

#define IS(name) (strcmp(op, name) == 0)
  if (IS("openat"))
    result(given = openat((int)number(1), bytes(2), (int)number(3), (mode_t)number(4)));
  else if (IS("close"))
    result(close((int)number(1)));
  else if (IS("dup"))
    result(dup((int)number(1)));
  else if (IS("read") || IS("runs")) {
    size_t want = (size_t)number(2);
    char* data = malloc(want + 1);
    ssize_t n = number(3) < 0 ? read((int)number(1), data, want)
                              : pread((int)number(1), data, want, number(3));
    result(n);
    if (n >= 0 && IS("runs"))
      put_runs((unsigned char*)data, (size_t)n);
    else if (n >= 0)
      put_bytes(data, (size_t)n);
    free(data);
  } else if (IS("write")) {
    char* data = bytes(2);
    result(number(3) < 0 ? write((int)number(1), data, length[2])
                         : pwrite((int)number(1), data, length[2], number(3)));
  } else if (IS("fill")) {
    /* fd, a byte, how often, offset */
    size_t n = (size_t)number(3);
    char* data = memset(malloc(n + 1), (int)number(2), n);
    result(number(4) < 0 ? write((int)number(1), data, n)
                         : pwrite((int)number(1), data, n, number(4)));
    free(data);
  } else if (IS("lseek"))
    result(lseek((int)number(1), number(2), (int)number(3)));
  else if (IS("stat"))
    put_stat(stat(bytes(1), &s), &s);
  else if (IS("lstat"))
    put_stat(lstat(bytes(1), &s), &s);
  else if (IS("fstat"))
    put_stat(fstat((int)number(1), &s), &s);
  else if (IS("tree")) {
    static char path[TREE_PATH];
    const char* root = bytes(1);
    if (length[1] >= sizeof path) fail("the path is too long");
    strcpy(path, root);
    printf("0");
    put_tree(path, length[1], 0, 0);
  } else if (IS("remove"))
    result(nftw(bytes(1), remove_one, 64, FTW_DEPTH | FTW_PHYS));
  else if (IS("mount")) {
    /* type, target, options */
    char* type = bytes(1);
    result(mount(type, bytes(2), type, 0, bytes(3)));
  } else if (IS("umount"))
    result(umount2(bytes(1), 0));
  else if (IS("access"))
    result(faccessat(AT_FDCWD, bytes(1), (int)number(2), AT_EACCESS));
  else if (IS("mkdir"))
    result(mkdir(bytes(1), (mode_t)number(2)));
  else if (IS("rmdir"))
    result(rmdir(bytes(1)));
  else if (IS("unlink"))
    result(unlink(bytes(1)));
  else if (IS("rename"))
    result(syscall(SYS_renameat2, AT_FDCWD, bytes(1), AT_FDCWD, bytes(2), (unsigned)number(3)));
  else if (IS("link"))
    result(linkat(AT_FDCWD, bytes(1), AT_FDCWD, bytes(2), (int)number(3)));
  else if (IS("symlink"))
    result(symlink(bytes(1), bytes(2)));
  else if (IS("readlink")) {
    ssize_t n = readlink(bytes(1), buffer, (size_t)number(2));
    result(n);
    if (n >= 0) put_bytes(buffer, (size_t)n);
  } else if (IS("mknod"))
    result(mknod(bytes(1), (mode_t)number(2), makedev(number(3), number(4))));
  else if (IS("chmod"))
    result(chmod(bytes(1), (mode_t)number(2)));
  else if (IS("fchmod"))
    result(fchmod((int)number(1), (mode_t)number(2)));
  else if (IS("lchown"))
    result(lchown(bytes(1), (uid_t)number(2), (gid_t)number(3)));
  else if (IS("chown"))
    result(chown(bytes(1), (uid_t)number(2), (gid_t)number(3)));
  else if (IS("fchown"))
    result(fchown((int)number(1), (uid_t)number(2), (gid_t)number(3)));
  else if (IS("utimens")) {
    struct timespec times[2] = {timespec_of(number(2), number(3)),
                                timespec_of(number(4), number(5))};
    result(utimensat(AT_FDCWD, bytes(1), times, AT_SYMLINK_NOFOLLOW));
  } else if (IS("futimens")) {
    struct timespec times[2] = {timespec_of(number(2), number(3)),
                                timespec_of(number(4), number(5))};
    result(futimens((int)number(1), times));
  } else if (IS("truncate"))
    result(truncate(bytes(1), number(2)));
  else if (IS("ftruncate"))
    result(ftruncate((int)number(1), number(2)));
  else if (IS("fallocate"))
    result(fallocate((int)number(1), (int)number(2), number(3), number(4)));
  else if (IS("fsync"))
    result(fsync((int)number(1)));
  else if (IS("fdatasync"))
    result(fdatasync((int)number(1)));
  else if (IS("copy_file_range")) {
    off_t from = number(2), to = number(4);
    result(copy_file_range((int)number(1), &from, (int)number(3), &to, (size_t)number(5),
                           (unsigned)number(6)));
  } else if (IS("sendfile")) {
    /* to, from, offset in `from`, length */
    off_t from = number(3);
    result(sendfile((int)number(1), (int)number(2), &from, (size_t)number(4)));
  } else if (IS("ioctl")) {
    uint32_t word = (uint32_t)number(3);
    memcpy(buffer, &word, sizeof word);
    result(ioctl((int)number(1), (unsigned long)number(2), buffer));
  } else if (IS("subvolume")) {
    struct btrfs_ioctl_vol_args volume = {0};
    const char* name = bytes(2);
    if (length[2] >= sizeof volume.name) fail("the name is too long");
    memcpy(volume.name, name, length[2]);
    result(ioctl((int)number(1), BTRFS_IOC_SUBVOL_CREATE, &volume));
  } else if (IS("lsetxattr")) {
    char* value = bytes(3);
    result(lsetxattr(bytes(1), bytes(2), value, length[3], (int)number(4)));
  } else if (IS("lgetxattr")) {
    size_t size = (size_t)number(3);
    ssize_t n = lgetxattr(bytes(1), bytes(2), size ? buffer : NULL, size);
    result(n);
    if (n >= 0 && size) put_bytes(buffer, (size_t)n);
  } else if (IS("fgetxattr")) {
    /* fd, name: the value's size */
    result(fgetxattr((int)number(1), bytes(2), NULL, 0));
  } else if (IS("llistxattr")) {
    size_t size = (size_t)number(2);
    ssize_t n = llistxattr(bytes(1), size ? buffer : NULL, size);
    result(n);
    if (n >= 0 && size) put_bytes(buffer, (size_t)n);
  } else if (IS("lremovexattr"))
    result(lremovexattr(bytes(1), bytes(2)));
  else if (IS("getdents")) {
    long n = syscall(SYS_getdents64, (int)number(1), buffer, (size_t)number(2));
    result(n);
    if (n > 0) put_entries(buffer, n);
  } else if (IS("list")) {
    int fd = open(bytes(1), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    result(fd);
    if (fd >= 0) {
      long n;
      while ((n = syscall(SYS_getdents64, fd, buffer, 32768)) > 0) put_entries(buffer, n);
      close(fd);
    }
  } else if (IS("listfd")) {
    /* fd, size of the buffer: a small one has the reader come back several times */
    long n = lseek((int)number(1), 0, SEEK_SET);
    if (n < 0)
      result(n);
    else {
      n = syscall(SYS_getdents64, (int)number(1), buffer, (size_t)number(2));
      result(n);
      while (n > 0) {
        put_entries(buffer, n);
        n = syscall(SYS_getdents64, (int)number(1), buffer, (size_t)number(2));
      }
    }
  } else if (IS("chdir"))
    result(chdir(bytes(1)));
  else if (IS("fchdir"))
    result(fchdir((int)number(1)));
  else if (IS("umask"))
    result(umask((mode_t)number(1)));
  else if (IS("become")) {
    gid_t groups[MAX_ARGS];
    int count = args - 3;
    for (int i = 0; i < count; i++) groups[i] = (gid_t)number(3 + i);
    int r = setgroups((size_t)count, groups);
    if (r == 0) r = setresgid((gid_t)number(2), (gid_t)number(2), (gid_t)number(2));
    if (r == 0) r = setresuid((uid_t)number(1), (uid_t)number(1), (uid_t)number(1));
    result(r);
  } else if (IS("as")) {
    /* For a while: root's saved user id remains, and with it the way back. */
    gid_t groups[MAX_ARGS];
    int count = args - 3;
    for (int i = 0; i < count; i++) groups[i] = (gid_t)number(3 + i);
    int r = seteuid(0);
    if (r == 0) r = setgroups((size_t)count, groups);
    if (r == 0) r = setegid((gid_t)number(2));
    if (r == 0) r = seteuid((uid_t)number(1));
    result(r);
  } else if (IS("drop_capabilities")) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    result(syscall(SYS_capset, &header, none));
  } else if (IS("limit")) {
    /* The largest file this process may write; EFBIG instead of a signal beyond it. */
    struct rlimit limit = {.rlim_cur = (rlim_t)number(1), .rlim_max = RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    result(setrlimit(RLIMIT_FSIZE, &limit));
  } else if (IS("flock"))
    result(flock((int)number(1), (int)number(2)));
  else if (IS("lock")) {
    /* fd, command (F_GETLK, F_SETLK, F_SETLKW or the OFD forms), type, start, length */
    struct flock l = {
        .l_type = (short)number(3), .l_whence = SEEK_SET, .l_start = number(4), .l_len = number(5)};
    result(fcntl((int)number(1), (int)number(2), &l));
    printf(" %d", l.l_type);
  } else if (IS("mmap")) {
    /* fd, length, protection, flags, offset: returns a slot */
    int slot = 0;
    while (slot < MAPPINGS && maps[slot].address) slot++;
    if (slot == MAPPINGS) fail("too many mappings");
    void* p =
        mmap(NULL, (size_t)number(2), (int)number(3), (int)number(4), (int)number(1), number(5));
    if (p != MAP_FAILED) {
      maps[slot].address = p;
      maps[slot].length = (size_t)number(2);
    }
    result(given = p == MAP_FAILED ? -1 : slot);
  } else if ((IS("peek") || IS("poke") || IS("msync") || IS("munmap")) && !mapped(number(1))) {
    errno = EBADF;
    result(-1);
  } else if (IS("peek") || IS("poke")) {
    /* mapping, offset, length or bytes: EFAULT where a program would get SIGBUS */
    unsigned char* at = maps[number(1)].address + number(2);
    int peek = IS("peek");
    char* data = peek ? buffer : bytes(3);
    size_t n = peek ? (size_t)number(3) : length[3];
    if (n > sizeof buffer) fail("too much of a mapping at once");
    if (sigsetjmp(beyond_the_end, 1) == 0) {
      if (peek)
        memcpy(data, at, n);
      else
        memcpy(at, data, n);
      printf("0");
      if (peek) put_bytes(data, n);
    } else {
      errno = EFAULT;
      result(-1);
    }
  } else if (IS("msync"))
    result(msync(maps[number(1)].address, maps[number(1)].length, MS_SYNC));
  else if (IS("munmap")) {
    result(munmap(maps[number(1)].address, maps[number(1)].length));
    maps[number(1)].address = NULL;
  } else if (IS("statvfs")) {
    struct statvfs v;
    int r = statvfs(bytes(1), &v);
    result(r);
    if (r == 0)
      printf(" %lu %llu %llu %llu %lu", v.f_bsize, (unsigned long long)v.f_blocks,
             (unsigned long long)v.f_bfree, (unsigned long long)v.f_files, v.f_namemax);
  } else if (IS("bind")) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char* path = bytes(1);
    if (length[1] >= sizeof name.sun_path) fail("the socket's path is too long");
    memcpy(name.sun_path, path, length[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int r = bind(fd, (struct sockaddr*)&name, sizeof name);
    result(r < 0 ? r : fd);
  } else if (IS("exec")) {
    /*
     * The exit status of a program without arguments, 256 when execve failed (then its errno
     * follows).
     */
    char* path = bytes(1);
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) fail("pipe");
    pid_t child = fork();
    if (child == 0) {
      char *argv[] = {path, NULL}, *envp[] = {NULL};
      dup2(2, 1);
      execve(path, argv, envp);
      int e = errno;
      if (write(report[1], &e, sizeof e) < 0) _exit(255);
      _exit(255);
    }
    close(report[1]);
    int e = 0, status = 0;
    ssize_t n = read(report[0], &e, sizeof e);
    close(report[0]);
    waitpid(child, &status, 0);
    if (n > 0) {
      errno = e;
      result(-1);
    } else
      result(WEXITSTATUS(status));
  } else
    fail(op);
#undef IS
}

int main(void) {
  char* line = NULL;
  size_t capacity = 0;
  signal(SIGBUS, on_sigbus);
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  while (getline(&line, &capacity, stdin) > 0) {
    args = 0;
    for (char* p = strtok(line, " \n"); p && args < MAX_ARGS; p = strtok(NULL, " \n"))
      arg[args++] = p;
    if (args == 0) continue;
    int more = arg[0][0] == '+';
    arg[0] += more;
    run_command();
    putchar('\n');
    if (!more) fflush(stdout);
  }
  return 0;
}
