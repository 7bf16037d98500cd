/**
 * The root file system of a container before it is the root. Nothing of it is believed: each path
 * is looked up within it by the kernel (openat2(2), RESOLVE_IN_ROOT, which follows no magic link),
 * and mounted at by its descriptor.
 *
 * What returns an int returns 0 or a descriptor, or `-errno`.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

namespace plyfs {

/** Below /proc/self/fd: for calls that take a path. */
struct DescriptorPath {
  explicit DescriptorPath(int fd);
  char text[32];
};

/** What a mount is given. An empty `source` is the place itself; an empty `type` or `data` none. */
struct MountRequest {
  const char* source;
  const char* type;
  unsigned long flags;
  const char* data;
  /** MOUNT_ATTR_*, which take something away. */
  uint64_t attributes;
  /** For the mounts below as well. */
  bool recursive;
};

class RootDirectory {
 public:
  ~RootDirectory();
  int Enter(const char* path);

  /** As the container would find it. O_CLOEXEC is added. */
  int Open(const char* path, int flags) const;
  /**
   * As `Open` with O_PATH; what is not there is made first: `type` S_IFDIR or S_IFREG, and the
   * directories above.
   */
  int Make(const char* path, mode_t type) const;
  /** At `path`, which is made as `type` if it is not there. */
  int Mount(const char* path, mode_t type, const MountRequest& request) const;
  /** At a place that is there already. */
  int MountOver(int place, const char* path, const MountRequest& request) const;
  /** Takes `attributes` away from the mount of the root itself. */
  int Restrict(uint64_t attributes) const;
  /**
   * The mount whose root this is becomes the root of the mount namespace, and the former one is
   * gone from it (pivot_root(2), ".").
   */
  int Pivot();

 private:
  int fd_ = -1;
};

}  // namespace plyfs
