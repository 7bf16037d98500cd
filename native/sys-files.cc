/** Descriptors: opening, reading, writing, their size and their locks. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>

#include "fault-plan.h"
#include "napi-helpers.h"
#include "proc-path.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/**
 * How often an openat2(2) is tried that the kernel gave up on. Bounded: whoever renames without
 * pause must not hold a request for ever.
 */
constexpr int kOpenat2Tries = 128;

CallKind KindOf(int open_flags) {
  return (open_flags & (O_CREAT | O_TRUNC)) != 0 || (open_flags & O_TMPFILE) == O_TMPFILE
             ? CallKind::kChange
             : CallKind::kLook;
}

napi_value Openat(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const Path path(args, 1);
  const int flags = args.Int(2);
  const mode_t mode = args.Uint(3);
  if (args.Failed()) return args.Failure();
  const CallKind kind = KindOf(flags);
  if (!path.empty())
    return args.Result(
        Counted(kind, "openat", dirfd, [&] { return openat(dirfd, path.c_str(), flags, mode); }));
  // O_NOFOLLOW would stop at the magic link itself; behind it nothing is followed anyway.
  const ProcPath self(dirfd, "");
  const int fd =
      Counted(kind, "openat", dirfd, [&] { return open(self.c_str(), flags & ~O_NOFOLLOW, mode); });
  return args.Value(fd < 0 ? self.Error() : fd);
}

napi_value Openat2(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int dirfd = args.Int(0);
  const Path path(args, 1);
  open_how how{};
  how.flags = static_cast<uint32_t>(args.Int(2));
  how.mode = args.Uint(3);
  how.resolve = args.Uint(4);
  if (args.Failed()) return args.Failure();
  return args.Result(Counted(KindOf(args.Int(2)), "openat2", dirfd, [&] {
    // Any rename or mount on the machine while a `..` is resolved beneath a root makes the kernel
    // give up with EAGAIN (openat2(2)).
    long fd = -1;
    for (int tries = 0; tries < kOpenat2Tries; tries++) {
      fd = syscall(SYS_openat2, dirfd, path.c_str(), &how, sizeof how);
      if (fd >= 0 || errno != EAGAIN) break;
    }
    return fd;
  }));
}

napi_value Close(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int fd = args.Int(0);
  if (args.Failed()) return args.Failure();
  return args.Result(close(fd));
}

napi_value Dup(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int fd = args.Int(0);
  if (args.Failed()) return args.Failure();
  return args.Result(Look("dup", fd, [&] { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }));
}

napi_value Getdents64(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const Bytes buffer = args.Buffer(1);
  if (args.Failed()) return args.Failure();
  // The kernel takes the count as an unsigned int.
  const size_t count = buffer.length > INT_MAX ? INT_MAX : buffer.length;
  return args.Result(
      Look("getdents64", fd, [&] { return syscall(SYS_getdents64, fd, buffer.data, count); }));
}

napi_value Lseek(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int fd = args.Int(0);
  const off_t offset = args.Int64(1);
  const int whence = args.Int(2);
  if (args.Failed()) return args.Failure();
  return args.Result(Look("lseek", fd, [&] { return lseek(fd, offset, whence); }));
}

napi_value Pread(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int fd = args.Int(0);
  const Bytes buffer = args.Buffer(1);
  const off_t offset = args.Int64(2);
  if (args.Failed()) return args.Failure();
  return args.Result(
      Look("pread", fd, [&] { return pread(fd, buffer.data, buffer.length, offset); }));
}

napi_value Pwrite(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int fd = args.Int(0);
  const Bytes buffer = args.Buffer(1);
  const off_t offset = args.Int64(2);
  if (args.Failed()) return args.Failure();
  return args.Result(
      Change("pwrite", fd, [&] { return pwrite(fd, buffer.data, buffer.length, offset); }));
}

napi_value Fsync(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int fd = args.Int(0);
  if (args.Failed()) return args.Failure();
  return args.Result(Change("fsync", fd, [&] { return fsync(fd); }));
}

napi_value Ftruncate(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const off_t size = args.Int64(1);
  if (args.Failed()) return args.Failure();
  return args.Result(Change("ftruncate", fd, [&] { return ftruncate(fd, size); }));
}

napi_value Fallocate(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int fd = args.Int(0);
  const int mode = args.Int(1);
  const off_t offset = args.Int64(2);
  const off_t length = args.Int64(3);
  if (args.Failed()) return args.Failure();
  return args.Result(Change("fallocate", fd, [&] { return fallocate(fd, mode, offset, length); }));
}

napi_value Flock(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const int operation = args.Int(1);
  if (args.Failed()) return args.Failure();
  return args.Result(flock(fd, operation));
}

napi_value ExitNow(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int status = args.Int(0);
  if (args.Failed()) return args.Failure();
  _exit(status);
}

constexpr Function kFunctions[] = {
    {"openat", Openat},         {"openat2", Openat2},
    {"close", Close},           {"dup", Dup},
    {"getdents64", Getdents64}, {"lseek", Lseek},
    {"pread", Pread},           {"pwrite", Pwrite},
    {"fsync", Fsync},           {"ftruncate", Ftruncate},
    {"fallocate", Fallocate},   {"flock", Flock},
    {"exitNow", ExitNow},
};

}  // namespace

void RegisterFiles(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
