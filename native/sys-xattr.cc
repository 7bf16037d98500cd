/**
 * Extended attributes by directory descriptor and name.
 *
 * A name: getxattrat(2) and its kin (Linux 6.13), which an older kernel lacks. The empty name:
 * fgetxattr(2), which refuses O_PATH descriptors with EBADF. What remains goes through
 * /proc/self/fd, at twice the cost and more.
 */
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fault-plan.h"
#include "kernel-features.h"
#include "napi-helpers.h"
#include "proc-path.h"
#include "syscalls.h"

#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif

namespace plyfs {
namespace {

/** struct xattr_args of linux/xattr.h. */
struct XattrArgs {
  uint64_t value;
  uint32_t size;
  uint32_t flags;
};

/**
 * The largest value the kernel takes (XATTR_SIZE_MAX). A larger buffer must not wrap in 32 bits.
 */
constexpr size_t kLargestValue = 65536;

/** Whether to try the `*at` call; after it, `Refused` tells whether it exists. */
bool ByName(const Path& name) { return !name.empty() && xattrat_feature.Try(); }

bool Refused() {
  if (errno != ENOSYS) return false;
  xattrat_feature.Set(false);
  return true;
}

/**
 * The kernel allocates and clears as much memory as it is told to fill: what is asked for first.
 */
constexpr size_t kUsualValue = 512;

size_t Clamp(size_t length) { return length > kLargestValue ? kLargestValue : length; }

/** `call`, which returns a result or `-errno`, counted as one whichever way it goes. */
template <typename Call>
int64_t CountedXattr(CallKind kind, const char* what, int dirfd, Call call) {
  int64_t result = Counted(kind, what, dirfd, [&]() -> int64_t {
    const int64_t value = call();
    if (value >= 0) return value;
    errno = static_cast<int>(-value);
    return -1;
  });
  return result < 0 ? -errno : result;
}

/** `fill` with a small part of the buffer, and with all of it for the few that need it. */
template <typename Fill>
int64_t Fitted(Bytes buffer, Fill fill) {
  if (buffer.length <= kUsualValue) return fill(buffer);
  const int64_t result = fill(Bytes{buffer.data, kUsualValue});
  return result == -ERANGE ? fill(buffer) : result;
}

int64_t Get(int dirfd, const Path& name, const char* attribute, Bytes buffer) {
  const size_t size = Clamp(buffer.length);
  if (ByName(name)) {
    XattrArgs value{reinterpret_cast<uintptr_t>(buffer.data), static_cast<uint32_t>(size), 0};
    const int64_t result = syscall(SYS_getxattrat, dirfd, name.c_str(), AT_SYMLINK_NOFOLLOW,
                                   attribute, &value, sizeof value);
    if (result >= 0) return result;
    if (!Refused()) return -errno;
  }
  if (name.empty()) {
    const int64_t result = fgetxattr(dirfd, attribute, buffer.data, size);
    if (result >= 0) return result;
    if (errno != EBADF) return -errno;
  }
  const ProcPath path(dirfd, name.c_str());
  const int64_t result = name.empty() ? getxattr(path.c_str(), attribute, buffer.data, size)
                                      : lgetxattr(path.c_str(), attribute, buffer.data, size);
  return result >= 0 ? result : path.Error();
}

int64_t List(int dirfd, const Path& name, Bytes buffer) {
  const size_t size = Clamp(buffer.length);
  char* const data = reinterpret_cast<char*>(buffer.data);
  if (ByName(name)) {
    const int64_t result =
        syscall(SYS_listxattrat, dirfd, name.c_str(), AT_SYMLINK_NOFOLLOW, data, size);
    if (result >= 0) return result;
    if (!Refused()) return -errno;
  }
  if (name.empty()) {
    const int64_t result = flistxattr(dirfd, data, size);
    if (result >= 0) return result;
    if (errno != EBADF) return -errno;
  }
  const ProcPath path(dirfd, name.c_str());
  const int64_t result =
      name.empty() ? listxattr(path.c_str(), data, size) : llistxattr(path.c_str(), data, size);
  return result >= 0 ? result : path.Error();
}

int Set(int dirfd, const Path& name, const char* attribute, Bytes value, int flags) {
  if (value.length > kLargestValue) return -E2BIG;
  if (ByName(name)) {
    XattrArgs args{reinterpret_cast<uintptr_t>(value.data), static_cast<uint32_t>(value.length),
                   static_cast<uint32_t>(flags)};
    if (syscall(SYS_setxattrat, dirfd, name.c_str(), AT_SYMLINK_NOFOLLOW, attribute, &args,
                sizeof args) == 0)
      return 0;
    if (!Refused()) return -errno;
  }
  if (name.empty()) {
    if (fsetxattr(dirfd, attribute, value.data, value.length, flags) == 0) return 0;
    if (errno != EBADF) return -errno;
  }
  const ProcPath path(dirfd, name.c_str());
  const int result = name.empty()
                         ? setxattr(path.c_str(), attribute, value.data, value.length, flags)
                         : lsetxattr(path.c_str(), attribute, value.data, value.length, flags);
  return result == 0 ? 0 : path.Error();
}

int Remove(int dirfd, const Path& name, const char* attribute) {
  if (ByName(name)) {
    if (syscall(SYS_removexattrat, dirfd, name.c_str(), AT_SYMLINK_NOFOLLOW, attribute) == 0)
      return 0;
    if (!Refused()) return -errno;
  }
  if (name.empty()) {
    if (fremovexattr(dirfd, attribute) == 0) return 0;
    if (errno != EBADF) return -errno;
  }
  const ProcPath path(dirfd, name.c_str());
  const int result =
      name.empty() ? removexattr(path.c_str(), attribute) : lremovexattr(path.c_str(), attribute);
  return result == 0 ? 0 : path.Error();
}

napi_value Getxattrat(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Path attribute(args, 2);
  const Bytes buffer = args.BufferOrNull(3);
  if (args.Failed()) return args.Failure();
  const auto get = [&] {
    return Fitted(buffer, [&](Bytes part) { return Get(dirfd, name, attribute.c_str(), part); });
  };
  return args.Value(CountedXattr(CallKind::kLook, "getxattrat", dirfd, get));
}

napi_value Listxattrat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Bytes buffer = args.BufferOrNull(2);
  if (args.Failed()) return args.Failure();
  const auto list = [&] {
    return Fitted(buffer, [&](Bytes part) { return List(dirfd, name, part); });
  };
  return args.Value(CountedXattr(CallKind::kLook, "listxattrat", dirfd, list));
}

napi_value Setxattrat(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Path attribute(args, 2);
  const Bytes value = args.Buffer(3);
  const int flags = args.Int(4);
  if (args.Failed()) return args.Failure();
  const auto set = [&] { return Set(dirfd, name, attribute.c_str(), value, flags); };
  return args.Value(CountedXattr(CallKind::kChange, "setxattrat", dirfd, set));
}

napi_value Removexattrat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Path attribute(args, 2);
  if (args.Failed()) return args.Failure();
  const auto remove = [&] { return Remove(dirfd, name, attribute.c_str()); };
  return args.Value(CountedXattr(CallKind::kChange, "removexattrat", dirfd, remove));
}

constexpr Function kFunctions[] = {
    {"getxattrat", Getxattrat},
    {"listxattrat", Listxattrat},
    {"setxattrat", Setxattrat},
    {"removexattrat", Removexattrat},
};

}  // namespace

void RegisterXattrs(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
