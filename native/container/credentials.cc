#include "credentials.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace plyfs {

int BoundCapabilities(uint64_t kept) {
  for (int capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) != 1) continue;
    if ((kept >> capability & 1) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
      return -errno;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return 0;
}

int SetIds(uint32_t uid, uint32_t gid, const uint32_t* groups, size_t group_count) {
  // A namespace with one id refuses it (user_namespaces(7), /proc/pid/setgroups).
  if (setgroups(group_count, groups) < 0 && !(errno == EPERM && group_count == 0)) return -errno;
  return setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

int KeepCapabilities(uint64_t kept) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct have[2] = {};
  __user_cap_data_struct next[2] = {};
  if (syscall(SYS_capget, &header, have) < 0) return -errno;
  for (int i = 0; i < 2; i++)
    next[i].effective = next[i].permitted =
        static_cast<uint32_t>(kept >> (32 * i)) & have[i].permitted;
  return syscall(SYS_capset, &header, next) < 0 ? -errno : 0;
}

}  // namespace plyfs
