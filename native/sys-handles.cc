/** What identifies a file across mounts: file handles and the file system's UUID. */
#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fault-plan.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/** MAX_HANDLE_SZ of fcntl.h: what the kernel takes at most. */
constexpr size_t kLargestHandle = 128;
constexpr size_t kHandleHeader = sizeof(file_handle);

/** A struct file_handle with room behind it; JavaScript's buffers need not be aligned for one. */
union HandleStorage {
  file_handle handle;
  uint8_t bytes[kHandleHeader + kLargestHandle];
};

napi_value NameToHandleAt(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Bytes buffer = args.Buffer(2);
  const int added = args.Int(3);
  if (args.Failed()) return args.Failure();
  if (buffer.length < kHandleHeader) {
    args.TooSmall(2, "the 8 bytes a file handle starts with");
    return args.Failure();
  }
  HandleStorage storage{};
  const size_t room = buffer.length - kHandleHeader;
  storage.handle.handle_bytes = room > kLargestHandle ? kLargestHandle : room;
  int mount_id = 0;
  const int flags = added | (name.empty() ? AT_EMPTY_PATH : 0);
  const auto handle = [&] {
    return name_to_handle_at(dirfd, name.c_str(), &storage.handle, &mount_id, flags);
  };
  if (Look("name_to_handle", dirfd, handle) < 0) return args.Result(-1);
  const size_t length = kHandleHeader + storage.handle.handle_bytes;
  if (length > buffer.length || length > sizeof storage.bytes) return args.Value(-EOVERFLOW);
  memcpy(buffer.data, storage.bytes, length);
  return args.Value(length);
}

napi_value OpenByHandleAt(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int mount_fd = args.Int(0);
  const Bytes handle = args.Buffer(1);
  const int flags = args.Int(2);
  if (args.Failed()) return args.Failure();
  HandleStorage storage{};
  if (handle.length < kHandleHeader || handle.length > sizeof storage.bytes)
    return args.Value(-EINVAL);
  memcpy(storage.bytes, handle.data, handle.length);
  if (storage.handle.handle_bytes > handle.length - kHandleHeader) return args.Value(-EINVAL);
  return args.Result(Look("open_by_handle", mount_fd,
                          [&] { return open_by_handle_at(mount_fd, &storage.handle, flags); }));
}

/** linux/fs.h, since Linux 6.9. */
struct FsUuid2 {
  uint8_t length;
  uint8_t uuid[16];
};
#define PLYFS_FS_IOC_GETFSUUID _IOR(0x15, 0, FsUuid2)

/** fs/ext4/ext4.h, since Linux 6.0; the size in the number is that of the first two fields. */
struct Ext4Uuid {
  uint32_t length;
  uint32_t flags;
  uint8_t uuid[16];
};
#define PLYFS_EXT4_IOC_GETFSUUID _IOC(_IOC_READ, 'f', 44, 8)

/**
 * linux/btrfs.h, struct btrfs_ioctl_fs_info_args. Its fsid is the UUID that the kernel knows the
 * file system by (fs/btrfs/disk-io.c, s_uuid).
 */
struct BtrfsInfo {
  uint64_t max_id;
  uint64_t num_devices;
  uint8_t fsid[16];
  uint8_t rest[1024 - 32];
};
#define PLYFS_BTRFS_IOC_FS_INFO _IOR(0x94, 31, BtrfsInfo)

int Uuid(int fd, uint8_t* uuid) {
  FsUuid2 answer{};
  if (ioctl(fd, PLYFS_FS_IOC_GETFSUUID, &answer) == 0) {
    if (answer.length != sizeof answer.uuid) return -ENOTTY;
    memcpy(uuid, answer.uuid, sizeof answer.uuid);
    return sizeof answer.uuid;
  }
  if (errno == EBADF) return -EBADF;
  Ext4Uuid ext4{};
  ext4.length = sizeof ext4.uuid;
  if (ioctl(fd, PLYFS_EXT4_IOC_GETFSUUID, &ext4) == 0 && ext4.length == sizeof ext4.uuid) {
    memcpy(uuid, ext4.uuid, sizeof ext4.uuid);
    return sizeof ext4.uuid;
  }
  BtrfsInfo btrfs{};
  if (ioctl(fd, PLYFS_BTRFS_IOC_FS_INFO, &btrfs) == 0) {
    memcpy(uuid, btrfs.fsid, sizeof btrfs.fsid);
    return sizeof btrfs.fsid;
  }
  // File systems refuse an unknown ioctl with ENOTTY, EINVAL, ENOSYS or EOPNOTSUPP.
  return -ENOTTY;
}

napi_value Fsuuid(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const Bytes buffer = args.Buffer(1);
  if (args.Failed()) return args.Failure();
  if (buffer.length < sizeof FsUuid2::uuid) {
    args.TooSmall(1, "16 bytes");
    return args.Failure();
  }
  return args.Value(Uuid(fd, buffer.data));
}

constexpr Function kFunctions[] = {
    {"name_to_handle_at", NameToHandleAt},
    {"open_by_handle_at", OpenByHandleAt},
    {"fsuuid", Fsuuid},
};

}  // namespace

void RegisterHandles(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
