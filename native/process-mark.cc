#include "process-mark.h"

#include <sys/resource.h>

namespace plyfs {
namespace {

/** In RLIMIT_LOCKS, with 31 bits each of the uid and the gid below it. */
constexpr uint64_t kPackedMark = uint64_t{1} << 62;

uint64_t PackIds(uint32_t uid, uint32_t gid) { return kPackedMark | uint64_t{uid} << 31 | gid; }

/** The hard limit stays: once finite, it cannot be raised again. */
int SetSoftLimit(pid_t pid, __rlimit_resource resource, uint64_t value) {
  rlimit limit{};
  if (prlimit(pid, resource, nullptr, &limit) < 0) return -1;
  limit.rlim_cur = value;
  return prlimit(pid, resource, &limit, nullptr);
}

}  // namespace

int MarkProcess(pid_t pid, uint64_t number, uint32_t uid, uint32_t gid) {
  return SetSoftLimit(pid, RLIMIT_RSS, number) < 0
             ? -1
             : SetSoftLimit(pid, __RLIMIT_LOCKS, PackIds(uid, gid));
}

int FileSystemIdsOf(pid_t pid, uint32_t* uid, uint32_t* gid) {
  rlimit files{};
  if (prlimit(pid, __RLIMIT_LOCKS, nullptr, &files) < 0) return -1;
  const bool marked = files.rlim_cur != RLIM_INFINITY && (files.rlim_cur & kPackedMark) != 0;
  *uid = marked ? static_cast<uint32_t>((files.rlim_cur ^ kPackedMark) >> 31) : 0;
  *gid = marked ? static_cast<uint32_t>(files.rlim_cur & kMaxEmulatedId) : 0;
  return 0;
}

}  // namespace plyfs
