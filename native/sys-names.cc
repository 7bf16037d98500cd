/** Names: making, removing and renaming them, and what an inode says of itself. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fault-plan.h"
#include "kernel-features.h"
#include "napi-helpers.h"
#include "proc-path.h"
#include "syscalls.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace plyfs {
namespace {

napi_value Readlinkat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const Bytes buffer = args.Buffer(2);
  if (args.Failed()) return args.Failure();
  const size_t size = buffer.length > INT_MAX ? INT_MAX : buffer.length;
  return args.Result(Look("readlinkat", dirfd, [&] {
    return readlinkat(dirfd, name.c_str(), reinterpret_cast<char*>(buffer.data), size);
  }));
}

napi_value Mkdirat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const mode_t mode = args.Uint(2);
  if (args.Failed()) return args.Failure();
  return args.Result(Change("mkdirat", dirfd, [&] { return mkdirat(dirfd, name.c_str(), mode); }));
}

napi_value Mknodat(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const mode_t mode = args.Uint(2);
  const unsigned major = args.Uint(3);
  const unsigned minor = args.Uint(4);
  if (args.Failed()) return args.Failure();
  return args.Result(Change(
      "mknodat", dirfd, [&] { return mknodat(dirfd, name.c_str(), mode, makedev(major, minor)); }));
}

napi_value Symlinkat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const Path target(args, 0);
  const int dirfd = args.Int(1);
  const Path name(args, 2);
  if (args.Failed()) return args.Failure();
  return args.Result(
      Change("symlinkat", dirfd, [&] { return symlinkat(target.c_str(), dirfd, name.c_str()); }));
}

napi_value Linkat(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const int new_dirfd = args.Int(2);
  const Path new_name(args, 3);
  if (args.Failed()) return args.Failure();
  if (!name.empty()) {
    return args.Result(Change("linkat", dirfd, [&] {
      return linkat(dirfd, name.c_str(), new_dirfd, new_name.c_str(), 0);
    }));
  }
  if (linkat_empty_feature.Try()) {
    const auto link = [&] { return linkat(dirfd, "", new_dirfd, new_name.c_str(), AT_EMPTY_PATH); };
    if (Change("linkat", dirfd, link) == 0) return args.Value(0);
    // ENOENT is what linkat(2) says without CAP_DAC_READ_SEARCH.
    if (errno != ENOENT && errno != EPERM) return args.Result(-1);
  }
  const ProcPath self(dirfd, "");
  const auto link = [&] {
    return linkat(AT_FDCWD, self.c_str(), new_dirfd, new_name.c_str(), AT_SYMLINK_FOLLOW);
  };
  return args.Value(Change("linkat", dirfd, link) == 0 ? 0 : self.Error());
}

napi_value Unlinkat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const int flags = args.Int(2);
  if (args.Failed()) return args.Failure();
  return args.Result(
      Change("unlinkat", dirfd, [&] { return unlinkat(dirfd, name.c_str(), flags); }));
}

napi_value Renameat2(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const int new_dirfd = args.Int(2);
  const Path new_name(args, 3);
  const unsigned flags = args.Uint(4);
  if (args.Failed()) return args.Failure();
  const auto rename = [&] {
    return renameat2(dirfd, name.c_str(), new_dirfd, new_name.c_str(), flags);
  };
  return args.Result(Change("renameat2", dirfd, rename));
}

/**
 * Before Linux 6.6: some file systems changed a symbolic link's mode when reached through /proc,
 * hence the check.
 */
int ChmodThroughProc(int dirfd, const char* name, mode_t mode) {
  struct stat status;
  if (fstatat(dirfd, name, &status, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0) return -errno;
  if (S_ISLNK(status.st_mode)) return -EOPNOTSUPP;
  if (name[0] == '\0') {
    const ProcPath self(dirfd, "");
    return Change("fchmodat", dirfd, [&] { return chmod(self.c_str(), mode); }) == 0 ? 0
                                                                                     : self.Error();
  }
  const int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  // The name may be another file's by now.
  const int result = ChmodThroughProc(fd, "", mode);
  close(fd);
  return result;
}

int Chmod(int dirfd, const char* name, mode_t mode) {
  if (fchmodat2_feature.Try()) {
    const int empty = name[0] == '\0' ? AT_EMPTY_PATH : 0;
    const auto chmod = [&] {
      return syscall(SYS_fchmodat2, dirfd, name, mode, AT_SYMLINK_NOFOLLOW | empty);
    };
    if (Change("fchmodat", dirfd, chmod) == 0) return 0;
    if (errno != ENOSYS) return -errno;
    fchmodat2_feature.Set(false);
  }
  return ChmodThroughProc(dirfd, name, mode);
}

napi_value Fchmodat(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const mode_t mode = args.Uint(2);
  if (args.Failed()) return args.Failure();
  return args.Value(Chmod(dirfd, name.c_str(), mode));
}

napi_value Fchownat(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  const uid_t uid = args.Uint(2);
  const gid_t gid = args.Uint(3);
  if (args.Failed()) return args.Failure();
  const int empty = name.empty() ? AT_EMPTY_PATH : 0;
  const auto chown = [&] {
    return fchownat(dirfd, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW | empty);
  };
  return args.Result(Change("fchownat", dirfd, chown));
}

napi_value Utimensat(napi_env env, napi_callback_info info) {
  Args<6> args(env, info);
  const int dirfd = args.Int(0);
  const Path name(args, 1);
  timespec times[2]{};
  times[0].tv_sec = args.Int64(2);
  times[0].tv_nsec = args.Int64(3);
  times[1].tv_sec = args.Int64(4);
  times[1].tv_nsec = args.Int64(5);
  if (args.Failed()) return args.Failure();
  if (!name.empty()) {
    return args.Result(Change("utimensat", dirfd, [&] {
      return utimensat(dirfd, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    }));
  }
  if (utimensat_empty_feature.Try()) {
    if (Change("utimensat", dirfd, [&] { return utimensat(dirfd, "", times, AT_EMPTY_PATH); }) == 0)
      return args.Value(0);
    // An unknown flag is EINVAL, as wrong nanoseconds are: the other way tells them apart.
    if (errno != EINVAL && errno != ENOENT) return args.Result(-1);
  }
  const ProcPath self(dirfd, "");
  return args.Value(
      Change("utimensat", dirfd, [&] { return utimensat(AT_FDCWD, self.c_str(), times, 0); }) == 0
          ? 0
          : self.Error());
}

napi_value Umask(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const mode_t mask = args.Uint(0);
  if (args.Failed()) return args.Failure();
  return args.Value(umask(mask));
}

constexpr Function kFunctions[] = {
    {"readlinkat", Readlinkat}, {"mkdirat", Mkdirat},   {"mknodat", Mknodat},
    {"symlinkat", Symlinkat},   {"linkat", Linkat},     {"unlinkat", Unlinkat},
    {"renameat2", Renameat2},   {"fchmodat", Fchmodat}, {"fchownat", Fchownat},
    {"utimensat", Utimensat},   {"umask", Umask},
};

}  // namespace

void RegisterNames(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
