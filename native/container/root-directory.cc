#include "root-directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

namespace plyfs {
namespace {

/**
 * A rename or mount anywhere on the machine while a `..` is resolved beneath a root makes the
 * kernel give up with EAGAIN (openat2(2)).
 */
constexpr int kOpenat2Tries = 128;

struct MountAttributes {
  uint64_t set, clear, propagation, userns;
};

int RestrictMount(int fd, uint64_t attributes, bool recursive) {
  if (attributes == 0) return 0;
  MountAttributes request{attributes, 0, 0, 0};
  if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &request,
              sizeof request) == 0)
    return 0;
  if (errno != ENOSYS) return -errno;
  // Before Linux 5.12; MOUNT_ATTR_* and MS_* are the same numbers for these. The flags that a mount
  // has of the host's must stay.
  struct statfs status;
  if (fstatfs(fd, &status) < 0) return -errno;
  const auto kept = static_cast<unsigned long>(status.f_flags) &
                    (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME);
  return mount("", DescriptorPath(fd).text, nullptr, MS_REMOUNT | MS_BIND | kept | attributes,
               nullptr) < 0
             ? -errno
             : 0;
}

const char* OrNull(const char* text) { return text[0] == '\0' ? nullptr : text; }

}  // namespace

DescriptorPath::DescriptorPath(int fd) { snprintf(text, sizeof text, "/proc/self/fd/%d", fd); }

RootDirectory::~RootDirectory() {
  if (fd_ >= 0) close(fd_);
}

int RootDirectory::Enter(const char* path) {
  fd_ = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return fd_ < 0 ? -errno : 0;
}

int RootDirectory::Open(const char* path, int flags) const {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT;
  long fd = -1;
  for (int tries = 0; tries < kOpenat2Tries; tries++) {
    fd = syscall(SYS_openat2, fd_, path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return fd < 0 ? -errno : static_cast<int>(fd);
}

int RootDirectory::Make(const char* path, mode_t type) const {
  const int found = Open(path, O_PATH);
  if (found != -ENOENT) return found;
  const size_t length = strlen(path);
  char above[PATH_MAX];
  if (length >= sizeof above) return -ENAMETOOLONG;
  // From the root down: `above` is the path of the directory that `parent` is.
  int parent = Open("/", O_PATH);
  for (size_t start = 0; parent >= 0 && start < length;) {
    if (path[start] == '/') {
      start++;
      continue;
    }
    const size_t end = start + strcspn(path + start, "/");
    const bool last = path[end + strspn(path + end, "/")] == '\0';
    memcpy(above, path, end);
    above[end] = '\0';
    int next = Open(above, O_PATH);
    if (next == -ENOENT) {
      const char* const name = above + start;
      const bool directory = !last || type == S_IFDIR;
      const int made =
          directory ? mkdirat(parent, name, 0755) : mknodat(parent, name, S_IFREG | 0644, 0);
      // A link that leads nowhere is there and cannot be opened.
      next = made < 0 && errno != EEXIST ? -errno : Open(above, O_PATH);
    }
    close(parent);
    parent = next;
    start = end;
  }
  return parent;
}

int RootDirectory::Mount(const char* path, mode_t type, const MountRequest& request) const {
  const int place = Make(path, type);
  if (place < 0) return place;
  const int result = MountOver(place, path, request);
  close(place);
  return result;
}

int RootDirectory::MountOver(int place, const char* path, const MountRequest& request) const {
  const DescriptorPath at(place);
  const char* const source = request.source[0] == '\0' ? at.text : request.source;
  if (mount(source, at.text, OrNull(request.type), request.flags, OrNull(request.data)) < 0)
    return -errno;
  // The descriptor is of what lies below the mount now.
  const int mounted = Open(path, O_PATH);
  if (mounted < 0) return mounted;
  const int result = RestrictMount(mounted, request.attributes, request.recursive);
  close(mounted);
  return result;
}

int RootDirectory::Restrict(uint64_t attributes) const {
  return RestrictMount(fd_, attributes, false);
}

int RootDirectory::Pivot() {
  if (fchdir(fd_) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
      chdir("/") < 0)
    return -errno;
  close(fd_);
  fd_ = -1;
  return 0;
}

}  // namespace plyfs
