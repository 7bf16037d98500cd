/**
 * Paths through /proc/self/fd, for the calls that have no `*at` form or refuse O_PATH descriptors.
 *
 * The last component of "/proc/self/fd/N" is a magic link: a call that follows links reaches the
 * very file N refers to, and goes no further when that is a symbolic link itself
 * (proc_pid_get_link, fs/proc/base.c).
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

namespace plyfs {

class ProcPath {
 public:
  ProcPath(int dirfd, const char* name) : dirfd_(dirfd) {
    const bool empty = name[0] == '\0';
    if (dirfd == AT_FDCWD || name[0] == '/') {
      snprintf(path_, sizeof path_, "%s", empty ? "." : name);
    } else if (empty) {
      snprintf(path_, sizeof path_, "/proc/self/fd/%d", dirfd);
    } else {
      // Longer than PATH_MAX is the kernel's to refuse.
      snprintf(path_, sizeof path_, "/proc/self/fd/%d/%s", dirfd, name);
    }
  }
  ProcPath(const ProcPath&) = delete;
  ProcPath& operator=(const ProcPath&) = delete;

  const char* c_str() const { return path_; }

  /**
   * `-errno` of a failed call on the path; a descriptor that is not open is EBADF, not a name that
   * /proc lacks.
   */
  int Error() const {
    const int error = errno;
    if ((error == ENOENT || error == ENOTDIR) && path_[0] == '/' && dirfd_ != AT_FDCWD &&
        fcntl(dirfd_, F_GETFD) < 0 && errno == EBADF && strncmp(path_, "/proc/self/fd/", 14) == 0) {
      return -EBADF;
    }
    return -error;
  }

 private:
  int dirfd_;
  char path_[PATH_MAX + 32];
};

}  // namespace plyfs
