/** Flags of files: FS_IOC_GETFLAGS and its kin (ioctl_getflags(2), ioctl_fsgetxattr(2)). */
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "fault-plan.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/**
 * fileFlags of src/sys/syscalls.ts. The kernel takes and gives an int for the first two, whatever
 * their numbers say.
 */
napi_value FileFlags(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int fd = args.Int(0);
  const uint32_t request = args.Uint(1);
  const Bytes value = args.Buffer(2);
  if (args.Failed()) return args.Failure();
  const bool flags = request == FS_IOC_GETFLAGS || request == FS_IOC_SETFLAGS;
  const bool sets = request == FS_IOC_SETFLAGS || request == FS_IOC_FSSETXATTR;
  if (!flags && !sets && request != FS_IOC_FSGETXATTR) return args.Value(-ENOTTY);
  const size_t size = flags ? sizeof(int) : sizeof(fsxattr);
  if (value.length < size) {
    args.TooSmall(2, "the 4 bytes of flags, or 28 of struct fsxattr");
    return args.Failure();
  }
  // JavaScript's buffers need not be aligned.
  union {
    int number;
    fsxattr attributes;
    uint8_t bytes[sizeof(fsxattr)];
  } copy{};
  memcpy(copy.bytes, value.data, size);
  const auto call = [&] { return ioctl(fd, request, &copy); };
  if (Counted(sets ? CallKind::kChange : CallKind::kLook, "ioctl", fd, call) < 0)
    return args.Result(-1);
  if (!sets) memcpy(value.data, copy.bytes, size);
  return args.Value(0);
}

constexpr Function kFunctions[] = {
    {"fileFlags", FileFlags},
};

}  // namespace

void RegisterFileFlags(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
