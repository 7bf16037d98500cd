#include "fault-plan.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace plyfs {

FaultPlan* fault_plan = nullptr;

bool LoadFaultPlan() {
  const char* const path = getenv("PLYFS_FAULT_PLAN");
  if (path == nullptr || fault_plan != nullptr) return true;
  const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  struct stat info;
  // A shorter file would be a bus error later.
  if (fstat(fd, &info) == 0 && info.st_size < static_cast<off_t>(sizeof(FaultPlan)))
    errno = EINVAL;
  else {
    void* const memory =
        mmap(nullptr, sizeof(FaultPlan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED) fault_plan = static_cast<FaultPlan*>(memory);
  }
  const int error = errno;
  close(fd);
  errno = error;
  return fault_plan != nullptr;
}

namespace {

/** Ends the process here and now: no thread gets back from the kernel into user space after it. */
[[noreturn]] void Die() {
  for (;;) kill(getpid(), SIGKILL);
}

uint64_t InodeOf(int fd) {
  struct stat info;
  return fd >= 0 && fstat(fd, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

CountedCall BeforeCall(CallKind kind, const char* name, int fd) {
  CountedCall call;
  const auto action = fault_plan->action.load(std::memory_order_acquire);
  if (action == static_cast<uint32_t>(FaultAction::kOff) ||
      (fault_plan->kinds & static_cast<uint32_t>(kind)) == 0)
    return call;
  const uint64_t inode = InodeOf(fd);
  // Threads agree on who makes the call of a number here.
  const uint32_t number = fault_plan->calls.fetch_add(1, std::memory_order_acq_rel) + 1;
  if (number <= FaultPlan::kLogEntries) {
    call.entry = &fault_plan->log[number - 1];
    strncpy(call.entry->name, name, sizeof call.entry->name - 1);
    call.entry->inode = inode;
    call.entry->result.store(INT64_MIN, std::memory_order_release);
  }
  if (number != fault_plan->at) return call;
  switch (static_cast<FaultAction>(action)) {
    case FaultAction::kKillBefore:
      Die();
    case FaultAction::kKillAfter:
      call.kill_after = true;
      break;
    case FaultAction::kFail:
      call.error = static_cast<int>(fault_plan->error);
      break;
    case FaultAction::kOff:
    case FaultAction::kCount:
      break;
  }
  return call;
}

void AfterCall(const CountedCall& call, int64_t result) {
  if (call.entry != nullptr) call.entry->result.store(result, std::memory_order_release);
  if (call.kill_after) Die();
}

}  // namespace plyfs
