/**
 * Root in a user namespace that has room for one id: calls that need others are answered by another process (seccomp_unotify(2)).
 *
 * chown(2) to an id without a place in the namespace fails in the kernel before any file system sees it, and stat(2) shows such an
 * owner as 65534. Both, and the calls that change and read a process's own ids, are stopped by a filter in the container and
 * answered by the supervisor outside: owners are kept by the union (`kOwnerAttribute`), ids of processes in two resource limits that Linux
 * has not used since 2.4, because fork(2) and execve(2) hand those on as they do ids.
 *
 * It is no security boundary: every process of the container is the same user to the kernel, and may do what that user may.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

namespace plyfs {

/** `uid:gid` of a file as the union keeps it; written with `-1` for one that stays. */
constexpr char kOwnerAttribute[] = "security.plyfs.owner";

/** The ids of new files of a process, packed into RLIMIT_LOCKS. Anything without the mark says root. */
constexpr uint64_t kPackedMark = uint64_t{1} << 62;
constexpr uint32_t kMaxEmulatedId = 0x7fffffff;

inline uint64_t PackIds(uint32_t uid, uint32_t gid) { return kPackedMark | uint64_t{uid} << 31 | gid; }

/** Puts the filter on the calling thread, and returns the descriptor that hears of its calls, or -1 with errno. */
int InstallRootFilter();

/** Gives process `pid` (0: the caller) the ids of entry `index` of the supervisor's table. 0 or -1 with errno. */
int MarkProcess(pid_t pid, uint64_t index, uint32_t uid, uint32_t gid);

}  // namespace plyfs
