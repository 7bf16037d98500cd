/** Making containers and their terminals, where no program of the system does it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loopback.h"
#include "napi-helpers.h"
#include "syscalls.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif

namespace plyfs {
namespace {

/** Of this thread: what it forks from now on, and its mounts. */
napi_value Unshare(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int flags = args.Int(0);
  if (args.Failed()) return args.Failure();
  return args.Result(unshare(flags));
}

napi_value Setns(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const int type = args.Int(1);
  if (args.Failed()) return args.Failure();
  return args.Result(setns(fd, type));
}

napi_value RaiseLoopback(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  return args.Value(LoopbackUp());
}

/** Unlocks the terminal behind the open /dev/pts/ptmx and returns its number. */
napi_value UnlockTerminal(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int master = args.Int(0);
  if (args.Failed()) return args.Failure();
  const int unlocked = 0;
  unsigned number = 0;
  if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
    return args.Result(-1);
  return args.Value(number);
}

napi_value SetWindowSize(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int fd = args.Int(0);
  winsize size{};
  size.ws_row = static_cast<unsigned short>(args.Uint(1));
  size.ws_col = static_cast<unsigned short>(args.Uint(2));
  if (args.Failed()) return args.Failure();
  return args.Result(ioctl(fd, TIOCSWINSZ, &size));
}

/**
 * A file in memory, close-on-exec, that may be executed and sealed; before Linux 6.3 any may be
 * executed.
 */
napi_value MemfdCreate(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const Path name(args, 0);
  if (args.Failed()) return args.Failure();
  constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = memfd_create(name.c_str(), flags | MFD_EXEC);
  return args.Result(fd < 0 && errno == EINVAL ? memfd_create(name.c_str(), flags) : fd);
}

napi_value AddSeals(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const unsigned seals = args.Uint(1);
  if (args.Failed()) return args.Failure();
  return args.Result(fcntl(fd, F_ADD_SEALS, seals));
}

constexpr Function kFunctions[] = {
    {"unshare", Unshare},
    {"setns", Setns},
    {"loopbackUp", RaiseLoopback},
    {"unlockTerminal", UnlockTerminal},
    {"setWindowSize", SetWindowSize},
    {"memfdCreate", MemfdCreate},
    {"addSeals", AddSeals},
};

}  // namespace

void RegisterSandbox(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
