/**
 * For tests: counts the system calls made on layers, and fails one of them or kills the process
 * around it.
 *
 * The environment's PLYFS_FAULT_PLAN names a file of at least `sizeof(FaultPlan)` bytes, which is
 * mapped when the addon is loaded. Whoever maps it too arms the plan, at any time, by filling in
 * the fields of the first half and storing `action` last; test/faults/fault-plan.ts does. Without
 * the variable a call costs one load and a branch that is not taken.
 *
 * Counted are the calls on files and directories of layers, whichever thread makes them: the main
 * thread, libuv's (sys-async.cc), the data path's (data-path.cc). Not counted are those that change
 * nothing and cannot reasonably fail (close, umask, flock), those on /dev/fuse, and mounting.
 */
#pragma once

#include <errno.h>
#include <stdint.h>

#include <atomic>

namespace plyfs {

enum class FaultAction : uint32_t { kOff, kCount, kKillBefore, kKillAfter, kFail };

/** A bit each: which calls a plan counts. */
enum class CallKind : uint32_t { kChange = 1, kLook = 2 };

/** A call that was counted. */
struct FaultLogEntry {
  /** Cut to 15 bytes and a NUL. */
  char name[16];
  /** Of the file the first descriptor refers to; 0 where there is none. */
  uint64_t inode;
  /** What the call returned, or `-errno`; INT64_MIN while it has not returned. */
  std::atomic<int64_t> result;
};

/** Shared memory; the layout is test/faults/fault-plan.ts's too. */
struct FaultPlan {
  static constexpr uint32_t kLogEntries = 2047;

  // The test's:
  std::atomic<uint32_t> action;
  /** Which of the counted calls, from 1. */
  uint32_t at;
  /** What it fails with: an errno. */
  uint32_t error;
  /** `CallKind` bits. */
  uint32_t kinds;
  // The process's:
  /**
   * How many were counted since the test set it to 0. Those beyond the log's length are counted
   * only.
   */
  std::atomic<uint32_t> calls;
  uint32_t reserved[3];
  FaultLogEntry log[kLogEntries];
};
static_assert(sizeof(FaultPlan) == 65536, "the layout that test/faults/fault-plan.ts reads");

/** Null unless the environment names a plan. Set once, when the addon is loaded. */
extern FaultPlan* fault_plan;

/** Maps the plan that the environment names. False, with errno, when it cannot be. */
bool LoadFaultPlan();

/** What `Before` found out about a call. */
struct CountedCall {
  /** Null: not counted. */
  FaultLogEntry* entry = nullptr;
  bool kill_after = false;
  /** Not 0: fails with this instead of being made. */
  int error = 0;
};

/** Does not return when the plan says so. */
CountedCall BeforeCall(CallKind kind, const char* name, int fd);
void AfterCall(const CountedCall& call, int64_t result);

/**
 * Makes a system call, or what the plan has for it instead. `call` returns a result, or -1 with
 * errno; so does this.
 */
template <typename Call>
auto Counted(CallKind kind, const char* name, int fd, Call call) -> decltype(call()) {
  if (__builtin_expect(fault_plan == nullptr, 1)) return call();
  const CountedCall counted = BeforeCall(kind, name, fd);
  if (counted.error != 0) {
    AfterCall(counted, -counted.error);
    errno = counted.error;
    return -1;
  }
  const auto result = call();
  const int error = errno;
  AfterCall(counted, result < 0 ? -error : static_cast<int64_t>(result));
  errno = error;
  return result;
}

template <typename Call>
auto Change(const char* name, int fd, Call call) -> decltype(call()) {
  return Counted(CallKind::kChange, name, fd, call);
}

template <typename Call>
auto Look(const char* name, int fd, Call call) -> decltype(call()) {
  return Counted(CallKind::kLook, name, fd, call);
}

}  // namespace plyfs
