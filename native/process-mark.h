/**
 * The ids of an emulated process's new files (root-emulation.h), and a number that stands for its
 * credentials: kept in RLIMIT_LOCKS and RLIMIT_RSS, which Linux has used neither of since 2.4.
 * fork(2) and execve(2) hand both on as they do ids.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

namespace plyfs {

constexpr uint32_t kMaxEmulatedId = 0x7fffffff;

/**
 * Gives process `pid` (0: the caller) a number and the ids of its new files; hard limits stay. 0,
 * or -1 with errno.
 */
int MarkProcess(pid_t pid, uint64_t number, uint32_t uid, uint32_t gid);

/** The ids of new files of process `pid`: root's, when it is not marked. 0, or -1 with errno. */
int FileSystemIdsOf(pid_t pid, uint32_t* uid, uint32_t* gid);

}  // namespace plyfs
