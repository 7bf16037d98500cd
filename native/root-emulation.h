/**
 * Root in a user namespace that has room for one id: calls that need others are answered by another
 * process (seccomp_unotify(2)).
 *
 * chown(2) to an id without a place in the namespace fails in the kernel before any file system
 * sees it, and stat(2) shows such an owner as 65534. Both, and the calls that change and read a
 * process's own ids, are stopped by a filter in the container (container/root-filter.h) and
 * answered by the supervisor outside: owners are kept by the union (`kOwnerAttribute`), ids of
 * processes in RLIMIT_RSS and RLIMIT_LOCKS (process-mark.h). These two limits belong to the
 * emulation: a container that sets one is told that it has, and nothing is changed (nor is the
 * former value returned, which prlimit(2) may ask for); reading one shows what the emulation put
 * there. Programs that the filter does not see (of another architecture) can set them, and so
 * choose whom they are taken for.
 *
 * It is no security boundary: every process of the container is the same user to the kernel, and
 * may do what that user may.
 */
#pragma once

namespace plyfs {

/** `uid:gid` of a file as the union keeps it; written with `-1` for one that stays. */
constexpr char kOwnerAttribute[] = "security.plyfs.owner";

}  // namespace plyfs
