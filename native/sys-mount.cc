/** Mounts, file system statistics, and the process's own limits and name. */
#include <malloc.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault-plan.h"
#include "napi-helpers.h"
#include "native-thread.h"
#include "syscalls.h"

#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif

namespace plyfs {
namespace {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

constexpr size_t kMountStackBytes = 64 * 1024;

/** mount(2) tells an absent argument from an empty one; here the empty string is the absent one. */
const char* OrNull(const Path& path) { return path.empty() ? nullptr : path.c_str(); }

napi_value Mount(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const Path source(args, 0);
  const Path target(args, 1);
  const Path type(args, 2);
  const auto flags = static_cast<unsigned long>(args.Int64(3));
  const Path data(args, 4);
  if (args.Failed()) return args.Failure();
  return args.Result(mount(source.c_str(), target.c_str(), OrNull(type), flags, OrNull(data)));
}

struct MountRequest {
  int dirfd;
  const char* source;
  const char* target;
  const char* type;
  unsigned long flags;
  const char* data;
  int result;
};

void* MountInThread(void* argument) {
  auto* request = static_cast<MountRequest*>(argument);
  const bool mounted =
      unshare(CLONE_FS) == 0 && fchdir(request->dirfd) == 0 &&
      mount(request->source, request->target, request->type, request->flags, request->data) == 0;
  request->result = mounted ? 0 : -errno;
  return nullptr;
}

/** The working directory is the process's: a thread with one of its own does it. */
napi_value MountFrom(napi_env env, napi_callback_info info) {
  Args<6> args(env, info);
  const int dirfd = args.Int(0);
  const Path source(args, 1);
  const Path target(args, 2);
  const Path type(args, 3);
  const auto flags = static_cast<unsigned long>(args.Int64(4));
  const Path data(args, 5);
  if (args.Failed()) return args.Failure();
  MountRequest request{dirfd, source.c_str(), target.c_str(), OrNull(type), flags, OrNull(data), 0};
  pthread_t thread;
  if (!StartNativeThread(&thread, kMountStackBytes, "plyfs-mount", MountInThread, &request))
    return args.Value(-EAGAIN);
  pthread_join(thread, nullptr);
  return args.Value(request.result);
}

napi_value Umount2(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const Path target(args, 0);
  const int flags = args.Int(1);
  if (args.Failed()) return args.Failure();
  return args.Result(umount2(target.c_str(), flags));
}

napi_value OpenTree(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int dirfd = args.Int(0);
  const Path path(args, 1);
  const unsigned flags = args.Uint(2);
  if (args.Failed()) return args.Failure();
  const unsigned empty = path.empty() ? AT_EMPTY_PATH : 0;
  return args.Result(syscall(SYS_open_tree, dirfd, path.c_str(), flags | empty));
}

napi_value Fstatfs(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const Doubles out = args.Float64s(1);
  if (args.Failed()) return args.Failure();
  if (out.length < 10) {
    args.TooSmall(1, "10 doubles");
    return args.Failure();
  }
  struct statfs status;
  if (Look("fstatfs", fd, [&] { return fstatfs(fd, &status); }) < 0) return args.Result(-1);
  out.data[0] = static_cast<uint32_t>(status.f_type);
  out.data[1] = static_cast<double>(status.f_bsize);
  out.data[2] = static_cast<double>(status.f_blocks);
  out.data[3] = static_cast<double>(status.f_bfree);
  out.data[4] = static_cast<double>(status.f_bavail);
  out.data[5] = static_cast<double>(status.f_files);
  out.data[6] = static_cast<double>(status.f_ffree);
  out.data[7] = static_cast<double>(status.f_namelen);
  out.data[8] = static_cast<double>(status.f_frsize);
  out.data[9] = static_cast<double>(status.f_flags);
  return args.Value(0);
}

int64_t FromLimit(rlim_t limit) {
  return limit > static_cast<rlim_t>(kMaxSafeInteger) ? kMaxSafeInteger
                                                      : static_cast<int64_t>(limit);
}

napi_value GetNofile(napi_env env, napi_callback_info) {
  rlimit limit{};
  // Cannot fail: the resource and the pointer are valid.
  getrlimit(RLIMIT_NOFILE, &limit);
  napi_value pair = nullptr;
  if (napi_create_array_with_length(env, 2, &pair) != napi_ok) return nullptr;
  napi_set_element(env, pair, 0, Number(env, FromLimit(limit.rlim_cur)));
  napi_set_element(env, pair, 1, Number(env, FromLimit(limit.rlim_max)));
  return pair;
}

napi_value SetNofile(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int64_t soft = args.Int64(0);
  if (args.Failed()) return args.Failure();
  if (soft < 0) return args.Value(-EINVAL);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return args.Result(-1);
  limit.rlim_cur = soft >= kMaxSafeInteger ? RLIM_INFINITY : static_cast<rlim_t>(soft);
  return args.Result(setrlimit(RLIMIT_NOFILE, &limit));
}

napi_value SetProcessName(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const Path name(args, 0);
  if (args.Failed()) return args.Failure();
  return args.Result(prctl(PR_SET_NAME, name.c_str(), 0, 0, 0));
}

napi_value TrimMemory(napi_env env, napi_callback_info) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return Undefined(env);
}

constexpr Function kFunctions[] = {
    {"mount", Mount},           {"mountFrom", MountFrom},
    {"umount2", Umount2},       {"open_tree", OpenTree},
    {"fstatfs", Fstatfs},       {"getNofile", GetNofile},
    {"setNofile", SetNofile},   {"setProcessName", SetProcessName},
    {"trimMemory", TrimMemory},
};

}  // namespace

void RegisterMounts(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
