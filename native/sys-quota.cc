/** Project ids and project quotas (ioctl_fs_fsgetxattr(2), quotactl(2)). */
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/quota.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "napi-helpers.h"
#include "syscalls.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif

namespace plyfs {
namespace {

/** PRJQUOTA of the kernel's headers, which the C library's lack. */
constexpr int kProjectQuota = 2;
/** Quota limits are in basic blocks (linux/dqblk_xfs.h). */
constexpr int64_t kBlockBytes = 512;

napi_value GetProjectId(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int fd = args.Int(0);
  if (args.Failed()) return args.Failure();
  fsxattr attributes{};
  if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0) return args.Result(-1);
  return args.Value(attributes.fsx_projid);
}

napi_value SetProjectId(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const uint32_t id = args.Uint(1);
  if (args.Failed()) return args.Failure();
  fsxattr attributes{};
  if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0) return args.Result(-1);
  attributes.fsx_projid = id;
  attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
  return args.Result(ioctl(fd, FS_IOC_FSSETXATTR, &attributes));
}

napi_value SetProjectQuota(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int fd = args.Int(0);
  const Path device(args, 1);
  const uint32_t id = args.Uint(2);
  const int64_t bytes = args.Int64(3);
  if (args.Failed()) return args.Failure();
  if (bytes < 0) return args.Value(-EINVAL);
  fs_disk_quota quota{};
  quota.d_version = FS_DQUOT_VERSION;
  quota.d_id = id;
  quota.d_flags = FS_PROJ_QUOTA;
  quota.d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT;
  quota.d_blk_hardlimit = static_cast<uint64_t>(bytes / kBlockBytes);
  quota.d_blk_softlimit = quota.d_blk_hardlimit;
  const int command = QCMD(Q_XSETQLIM, kProjectQuota);
  const int64_t result = syscall(SYS_quotactl_fd, fd, command, id, &quota);
  if (result == 0 || errno != ENOSYS || device.empty()) return args.Result(result);
  return args.Result(syscall(SYS_quotactl, command, device.c_str(), id, &quota));
}

constexpr Function kFunctions[] = {
    {"getProjectId", GetProjectId},
    {"setProjectId", SetProjectId},
    {"setProjectQuota", SetProjectQuota},
};

}  // namespace

void RegisterQuota(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
