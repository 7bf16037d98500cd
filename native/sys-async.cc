/**
 * Calls that may take long, on libuv's thread pool; each returns a promise of the result or
 * `-errno`.
 *
 * The descriptors are the caller's: it keeps them open until the promise is settled.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <new>
#include <string>

#include "async-task.h"
#include "copy-data.h"
#include "fault-plan.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/** One call, described by its arguments. */
struct Task {
  /** Runs on the pool: it must not touch JavaScript. Returns the result or `-errno`. */
  int64_t (*run)(const Task& task);
  int fd = -1;
  int fd2 = -1;
  int mode = 0;
  bool flag = false;
  int64_t offset = 0;
  int64_t offset2 = 0;
  int64_t length = 0;
  std::string path{};
};

class Call final : public AsyncTask {
 public:
  explicit Call(const Task& task) : task_(task) {}

  bool Run() override {
    result_ = task_.run(task_);
    return true;
  }

  napi_value Result(napi_env env) override { return Number(env, result_); }

 private:
  const Task task_;
  int64_t result_ = 0;
};

template <typename Function>
int64_t Retry(const char* name, int fd, Function call) {
  const int64_t result = Change(name, fd, [&]() -> int64_t {
    int64_t made = call();
    while (made < 0 && errno == EINTR) made = call();
    return made;
  });
  return result < 0 ? -errno : result;
}

int64_t Sync(const Task& task) {
  if (task.flag) return Retry("fdatasync", task.fd, [&] { return fdatasync(task.fd); });
  return Retry("fsync", task.fd, [&] { return fsync(task.fd); });
}

napi_value Start(napi_env env, const Task& task) {
  return AsyncTask::Start(env, new (std::nothrow) Call(task));
}

napi_value FsyncAsync(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Task task{[](const Task& t) { return Sync(t); }};
  task.fd = args.Int(0);
  task.flag = args.Bool(1);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value WriteOutAsync(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  Task task{[](const Task& t) -> int64_t { return WriteOut(t.fd, true); }};
  task.fd = args.Int(0);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value SyncfsAsync(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  Task task{[](const Task& t) { return Retry("syncfs", t.fd, [&] { return syncfs(t.fd); }); }};
  task.fd = args.Int(0);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value FallocateAsync(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  Task task{[](const Task& t) {
    return Retry("fallocate", t.fd, [&] { return fallocate(t.fd, t.mode, t.offset, t.length); });
  }};
  task.fd = args.Int(0);
  task.mode = args.Int(1);
  task.offset = args.Int64(2);
  task.length = args.Int64(3);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value LseekAsync(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  Task task{[](const Task& t) -> int64_t {
    const off_t found = Look("lseek", t.fd, [&] { return lseek(t.fd, t.offset, t.mode); });
    return found < 0 ? -errno : found;
  }};
  task.fd = args.Int(0);
  task.offset = args.Int64(1);
  task.mode = args.Int(2);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value FtruncateAsync(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Task task{[](const Task& t) {
    return Retry("ftruncate", t.fd, [&] { return ftruncate(t.fd, t.length); });
  }};
  task.fd = args.Int(0);
  task.length = args.Int64(1);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value CopyDataAsync(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  Task task{[](const Task& t) { return CopyData(t.fd, t.fd2, t.offset, t.length, t.flag); }};
  task.fd = args.Int(0);
  task.fd2 = args.Int(1);
  task.offset = args.Int64(2);
  task.length = args.Int64(3);
  task.flag = args.Bool(4);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value CopyFileRangeAsync(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  Task task{[](const Task& t) { return CopyRange(t.fd, t.offset, t.fd2, t.offset2, t.length); }};
  task.fd = args.Int(0);
  task.offset = args.Int64(1);
  task.fd2 = args.Int(2);
  task.offset2 = args.Int64(3);
  task.length = args.Int64(4);
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

napi_value Umount2Async(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const Path target(args, 0);
  Task task{
      [](const Task& t) -> int64_t { return umount2(t.path.c_str(), t.mode) < 0 ? -errno : 0; }};
  task.mode = args.Int(1);
  const int error = args.TakeError();
  if (args.Failed()) return args.Failure();
  task.path = target.c_str();
  if (error != 0) {
    // What the call itself would say of such a path.
    task.mode = error;
    task.run = [](const Task& t) -> int64_t { return -t.mode; };
  }
  return Start(env, task);
}

/** roomForDescriptorsAsync of src/sys/syscalls.ts. */
napi_value RoomForDescriptorsAsync(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  Task task{[](const Task& t) -> int64_t {
    const int any = open("/", O_PATH | O_CLOEXEC);
    const int last = any < 0 ? -1 : fcntl(any, F_DUPFD_CLOEXEC, t.mode);
    const int64_t result = last < 0 ? -errno : 0;
    if (last >= 0) close(last);
    if (any >= 0) close(any);
    return result;
  }};
  task.mode = args.Int(0) - 1;
  if (args.Failed()) return args.Failure();
  return Start(env, task);
}

constexpr Function kFunctions[] = {
    {"fsyncAsync", FsyncAsync},         {"writeOutAsync", WriteOutAsync},
    {"syncfsAsync", SyncfsAsync},       {"lseekAsync", LseekAsync},
    {"ftruncateAsync", FtruncateAsync}, {"fallocateAsync", FallocateAsync},
    {"copyDataAsync", CopyDataAsync},   {"copyFileRangeAsync", CopyFileRangeAsync},
    {"umount2Async", Umount2Async},     {"roomForDescriptorsAsync", RoomForDescriptorsAsync},
};

}  // namespace

void RegisterAsync(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
