/*
 * idmapped-mount SOURCE TARGET "ONDISK SHOWN LENGTH": binds SOURCE at TARGET with ids mapped
 * (mount_setattr(2), MOUNT_ATTR_IDMAP), users and groups alike. The mapping is that of a user
 * namespace whose only process lives as long as this one needs it. Exits with 2 where the kernel or
 * the file system knows no such mounts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* linux/mount.h */
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4
#define MOUNT_ATTR_IDMAP 0x00100000
struct mount_attributes {
  uint64_t set, clear, propagation, userns_fd;
};

static void fail(const char* what) {
  int unknown = errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP;
  perror(what);
  exit(unknown ? 2 : 1);
}

static void put(pid_t pid, const char* file, const char* text) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) fail(path);
  close(fd);
}

int main(int argc, char** argv) {
  int ready[2];
  if (argc != 4 || pipe2(ready, O_CLOEXEC) < 0) return 1;
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWUSER) < 0) fail("unshare");
    if (write(ready[1], "", 1) < 0) return 1;
    pause();
    return 0;
  }
  close(ready[1]);
  char byte;
  if (child < 0 || read(ready[0], &byte, 1) != 1) fail("user namespace");
  put(child, "uid_map", argv[3]);
  put(child, "gid_map", argv[3]);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/user", child);
  int namespace = open(path, O_RDONLY | O_CLOEXEC);
  if (namespace < 0) fail(path);
  int tree = (int)syscall(SYS_open_tree, AT_FDCWD, argv[1], OPEN_TREE_CLONE | O_CLOEXEC);
  if (tree < 0) fail("open_tree");
  struct mount_attributes attributes = {.set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t) namespace};
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
    fail("mount_setattr");
  if (syscall(SYS_move_mount, tree, "", AT_FDCWD, argv[2], MOVE_MOUNT_F_EMPTY_PATH) < 0)
    fail("move_mount");
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return 0;
}
