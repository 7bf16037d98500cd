#include "root-filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace plyfs {

#ifdef PLYFS_AUDIT_ARCH

namespace {

constexpr int kEmulated[] = {
#ifdef __NR_stat
    __NR_stat,     __NR_lstat,      __NR_chown,     __NR_lchown,
#endif
    __NR_fstat,    __NR_newfstatat, __NR_statx,     __NR_fchown,    __NR_fchownat,  __NR_getuid,
    __NR_geteuid,  __NR_getgid,     __NR_getegid,   __NR_getresuid, __NR_getresgid, __NR_getgroups,
    __NR_setuid,   __NR_setgid,     __NR_setreuid,  __NR_setregid,  __NR_setresuid, __NR_setresgid,
    __NR_setfsuid, __NR_setfsgid,   __NR_setgroups, __NR_execve,    __NR_execveat,
};
constexpr size_t kEmulatedCount = sizeof kEmulated / sizeof *kEmulated;

}  // namespace

int InstallRootFilter() {
  // Of an argument the low half is first on every processor that this is for.
  const auto argument = [](size_t index) {
    return static_cast<__u32>(offsetof(seccomp_data, args) + index * sizeof(__u64));
  };
  const auto load = [](size_t offset) -> sock_filter {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<__u32>(offset));
  };
  const auto unless = [](__u32 value, __u8 skipped) -> sock_filter {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped);
  };
  const auto when = [](__u32 value, __u8 skipped) -> sock_filter {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, skipped, 0);
  };
  const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_filter notify = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
  const sock_filter pretend = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO);
  const sock_filter first[] = {
      load(offsetof(seccomp_data, arch)),
      // Programs of another architecture (32-bit ones) go without.
      when(PLYFS_AUDIT_ARCH, 1),
      allow,
      load(offsetof(seccomp_data, nr)),
      // Of prctl(2) only PR_SET_KEEPCAPS.
      unless(__NR_prctl, 4),
      load(argument(0)),
      unless(PR_SET_KEEPCAPS, 1),
      notify,
      allow,
      // The two limits that hold ids are never set by the container; what asks for it is told that
      // it was done.
      unless(__NR_prlimit64, 9),
      load(argument(1)),
      when(RLIMIT_RSS, 1),
      unless(__RLIMIT_LOCKS, 5),
      load(argument(2)),
      unless(0, 2),
      load(argument(2) + sizeof(__u32)),
      when(0, 1),
      pretend,
      allow,
#ifdef __NR_setrlimit
      unless(__NR_setrlimit, 5),
      load(argument(0)),
      when(RLIMIT_RSS, 1),
      unless(__RLIMIT_LOCKS, 1),
      pretend,
      allow,
#endif
  };
  constexpr size_t first_count = sizeof first / sizeof *first;
  sock_filter code[first_count + kEmulatedCount + 2];
  memcpy(code, first, sizeof first);
  size_t length = first_count;
  for (size_t i = 0; i < kEmulatedCount; i++) {
    // To the last instruction, past what is left of these and the one that allows.
    const auto jump = static_cast<__u8>(kEmulatedCount - i);
    code[length++] = when(static_cast<__u32>(kEmulated[i]), jump);
  }
  code[length++] = allow;
  code[length++] = notify;
  sock_fprog program{};
  program.len = static_cast<unsigned short>(length);
  program.filter = code;
  // A signal does not take a process out of a call that is being answered: execve(2) and chown(2)
  // never fail with EINTR. Since Linux 5.19.
  constexpr unsigned long listener = SECCOMP_FILTER_FLAG_NEW_LISTENER;
  const long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                          listener | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
  if (fd >= 0 || errno != EINVAL) return static_cast<int>(fd);
  return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener, &program));
}

#else

int InstallRootFilter() {
  errno = ENOSYS;
  return -1;
}

#endif

}  // namespace plyfs
