/** statx(2), of one name and of many. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault-plan.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/** The order of `StatField` (src/sys/syscalls.ts). */
constexpr size_t kStatFields = 24;
constexpr size_t kResultField = 23;

/** How many entries of a batch share one handle scope. */
constexpr uint32_t kScopeEntries = 256;

/** Of the largest 64-bit number a double makes 2^63, which none is. */
double Seconds(const statx_timestamp& time) {
  constexpr double kLargest = 9223372036854774784.0;
  const auto seconds = static_cast<double>(time.tv_sec);
  return seconds < kLargest ? seconds : kLargest;
}

int StatInto(int dirfd, const char* name, double* out) {
  struct statx st;
  const int empty = name[0] == '\0' ? AT_EMPTY_PATH : 0;
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_AS_STAT | empty;
  if (Look("statx", dirfd,
           [&] { return statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, &st); }) < 0)
    return -errno;
  out[0] = st.stx_mask;
  out[1] = st.stx_mode;
  out[2] = st.stx_nlink;
  out[3] = st.stx_uid;
  out[4] = st.stx_gid;
  out[5] = static_cast<uint32_t>(st.stx_ino);
  out[6] = static_cast<uint32_t>(st.stx_ino >> 32);
  out[7] = static_cast<double>(st.stx_size);
  out[8] = static_cast<double>(st.stx_blocks);
  out[9] = st.stx_blksize;
  out[10] = st.stx_rdev_major;
  out[11] = st.stx_rdev_minor;
  out[12] = st.stx_dev_major;
  out[13] = st.stx_dev_minor;
  out[14] = Seconds(st.stx_atime);
  out[15] = st.stx_atime.tv_nsec;
  out[16] = Seconds(st.stx_mtime);
  out[17] = st.stx_mtime.tv_nsec;
  out[18] = Seconds(st.stx_ctime);
  out[19] = st.stx_ctime.tv_nsec;
  out[20] = Seconds(st.stx_btime);
  out[21] = st.stx_btime.tv_nsec;
  out[22] = static_cast<uint32_t>(st.stx_attributes);
  out[kResultField] = 0;
  return 0;
}

napi_value Statx(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Doubles out = args.Float64s(2);
  const uint32_t index = args.Uint(3);
  if (args.Failed()) return args.Failure();
  if (index >= out.length / kStatFields) {
    args.TooSmall(2, "STAT_FIELDS doubles at the index");
    return args.Failure();
  }
  return args.Value(StatInto(dirfd, name.c_str(), out.data + index * kStatFields));
}

/** `args` reads each name; a bad name fails its own entry, a value that is no string the call. */
bool StatEntries(Args<4>& args, int dirfd, napi_value names, uint32_t from, uint32_t to,
                 double* out) {
  char name[PATH_MAX + 1];
  for (uint32_t i = from; i < to; i++) {
    napi_value value = nullptr;
    // Fails with an exception pending when a getter threw.
    if (napi_get_element(args.env(), names, i, &value) != napi_ok) return false;
    args.StringValue(value, 1, name, sizeof name);
    if (args.Thrown()) return false;
    const int bad = args.TakeError();
    double* entry = out + i * kStatFields;
    entry[kResultField] = bad != 0 ? -bad : StatInto(dirfd, name, entry);
  }
  return true;
}

napi_value StatxMany(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const uint32_t count = args.Uint(2);
  const Doubles out = args.Float64s(3);
  uint32_t length = 0;
  if (!args.Failed() && napi_get_array_length(env, args.At(1), &length) != napi_ok)
    args.WrongType(1, "an array of byte strings");
  if (!args.Failed() && count > length) args.TooSmall(1, "count names");
  if (!args.Failed() && count > out.length / kStatFields)
    args.TooSmall(3, "count times STAT_FIELDS doubles");
  if (args.Failed()) return args.Failure();

  for (uint32_t i = 0; i < count; i += kScopeEntries) {
    const uint32_t end = count - i < kScopeEntries ? count : i + kScopeEntries;
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return nullptr;
    const bool done = StatEntries(args, dirfd, args.At(1), i, end, out.data);
    napi_close_handle_scope(env, scope);
    if (!done) return nullptr;
  }
  return args.Value(count);
}

constexpr Function kFunctions[] = {
    {"statx", Statx},
    {"statxMany", StatxMany},
};

}  // namespace

void RegisterStat(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
