/**
 * The seccomp filter of a container whose root is emulated: which calls wait for the supervisor's
 * answer (root-emulation.h).
 */
#pragma once

#if defined(__x86_64__)
#define PLYFS_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define PLYFS_AUDIT_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define PLYFS_AUDIT_ARCH AUDIT_ARCH_RISCV64
#endif

namespace plyfs {

/**
 * Puts the filter on the calling thread, and returns the descriptor that hears of its calls, or -1
 * with errno (ENOSYS on other processors).
 */
int InstallRootFilter();

}  // namespace plyfs
