/** What makes a process a container, where no program of the system does it: pivot_root in the process itself, terminals, and the last step, execve. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "emulated-ids.h"
#include "fd-passing.h"
#include "napi-helpers.h"
#include "root-filter.h"
#include "syscalls.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

namespace plyfs {
namespace {

/** The mount below `root` becomes the root of this mount namespace, and the former one is gone from it (pivot_root(2), "."). */
napi_value PivotRoot(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int root = args.Int(0);
  if (args.Failed()) return args.Failure();
  if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0) return args.Result(-1);
  return args.Result(chdir("/"));
}

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

struct MountAttributes {
  uint64_t set, clear, propagation, userns;
};

napi_value MountSetattr(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int dirfd = args.Int(0);
  const Path path(args, 1);
  const unsigned flags = args.Uint(2);
  MountAttributes attributes{args.Uint(3), args.Uint(4), 0, 0};
  if (args.Failed()) return args.Failure();
  return args.Result(syscall(SYS_mount_setattr, dirfd, path.c_str(), flags | (path.empty() ? AT_EMPTY_PATH : 0), &attributes, sizeof attributes));
}

napi_value SetHostname(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const Path name(args, 0);
  if (args.Failed()) return args.Failure();
  return args.Result(sethostname(name.c_str(), name.length()));
}

/** A new network namespace has its loopback interface, switched off. */
napi_value LoopbackUp(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return args.Result(-1);
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const int result = ioctl(socket, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
  close(socket);
  return args.Value(result);
}

/** Unlocks the terminal behind the open /dev/pts/ptmx and returns its number. */
napi_value UnlockTerminal(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int master = args.Int(0);
  if (args.Failed()) return args.Failure();
  const int unlocked = 0;
  unsigned number = 0;
  if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0) return args.Result(-1);
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

napi_value SendFd(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int socket = args.Int(0);
  const int fd = args.Int(1);
  if (args.Failed()) return args.Failure();
  return args.Value(SendDescriptor(socket, fd));
}

/** An array of byte strings, of any length. */
bool ReadStrings(ArgumentReader& args, size_t index, std::vector<std::string>& out) {
  if (args.Failed()) return false;
  uint32_t count = 0;
  if (napi_get_array_length(args.env(), args.At(index), &count) != napi_ok) {
    args.WrongType(index, "an array of byte strings");
    return false;
  }
  for (uint32_t i = 0; i < count; i++) {
    napi_value value = nullptr;
    size_t length = 0;
    if (napi_get_element(args.env(), args.At(index), i, &value) != napi_ok ||
        napi_get_value_string_latin1(args.env(), value, nullptr, 0, &length) != napi_ok) {
      args.WrongType(index, "an array of byte strings");
      return false;
    }
    std::string text(length + 1, '\0');
    napi_get_value_string_latin1(args.env(), value, text.data(), length + 1, &length);
    text.resize(length);
    if (text.find('\0') != std::string::npos) {
      args.Fail(EINVAL);
      return false;
    }
    out.push_back(std::move(text));
  }
  return true;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/** No program run from here on can have more than `kept`. Takes CAP_SETPCAP. */
int BoundCapabilities(uint64_t kept) {
  for (int capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) != 1) continue;
    if ((kept >> capability & 1) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return -1;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return 0;
}

/** What the thread has from here on: `kept` of it. */
int KeepCapabilities(uint64_t kept) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct have[2] = {};
  __user_cap_data_struct next[2] = {};
  if (syscall(SYS_capget, &header, have) < 0) return -1;
  for (int i = 0; i < 2; i++) next[i].effective = next[i].permitted = static_cast<uint32_t>(kept >> (32 * i)) & have[i].permitted;
  return static_cast<int>(syscall(SYS_capset, &header, next));
}

void ResetSignals() {
  // What this process ignores, its program would.
  for (int signal = 1; signal < NSIG; signal++) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

/**
 * execContainer(programs, argv, env, [uid, gid, ...groups], capabilities: [low, high], terminal, filterSocket, limit): returns only -errno.
 * The credentials are this thread's alone, by bare system calls: execve(2) leaves no other.
 */
napi_value ExecContainer(napi_env env, napi_callback_info info) {
  Args<8> args(env, info);
  std::vector<std::string> programs, argv, environment;
  ReadStrings(args, 0, programs);
  ReadStrings(args, 1, argv);
  ReadStrings(args, 2, environment);
  const Doubles ids = args.Float64s(3);
  const Doubles capabilities = args.Float64s(4);
  const int terminal = args.Int(5);
  const int filter_socket = args.Int(6);
  const auto files = static_cast<rlim_t>(args.Int64(7));
  if (args.Failed()) return args.Failure();
  if (ids.length < 2 || capabilities.length < 2) {
    args.TooSmall(3, "the ids and the capabilities");
    return args.Failure();
  }
  const auto uid = static_cast<uint32_t>(ids.data[0]);
  const auto gid = static_cast<uint32_t>(ids.data[1]);
  std::vector<gid_t> groups;
  for (size_t i = 2; i < ids.length; i++) groups.push_back(static_cast<gid_t>(ids.data[i]));
  const uint64_t kept = static_cast<uint64_t>(capabilities.data[1]) << 32 | static_cast<uint64_t>(capabilities.data[0]);
  std::vector<char*> words = Pointers(argv);
  std::vector<char*> variables = Pointers(environment);

  // Already the leader where a program of its own has started this one as such.
  setsid();
  if (terminal >= 0) {
    if (ioctl(terminal, TIOCSCTTY, 0) < 0) return args.Result(-1);
    for (int fd = 0; fd <= 2; fd++) {
      if (dup2(terminal, fd) < 0) return args.Result(-1);
    }
  }
  // Node keeps its own from its children, unless it passes them on.
  for (int fd = 0; fd <= 2; fd++) fcntl(fd, F_SETFD, 0);
  // CLOSE_RANGE_CLOEXEC; before Linux 5.11 one by one.
  if (syscall(SYS_close_range, 3u, ~0u, 4u) < 0) {
    for (int fd = 3; fd < 4096; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = files < limit.rlim_max ? files : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  ::umask(022);
  // The session keyring of whoever started this is not the container's (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).
  syscall(SYS_keyctl, 1, nullptr);
  if (BoundCapabilities(kept) < 0) return args.Result(-1);
  if (filter_socket >= 0) {
    if (MarkProcess(0, 0, uid, gid) < 0) return args.Result(-1);
    const int listener = InstallRootFilter();
    if (listener < 0) return args.Result(-1);
    const int sent = SendDescriptor(filter_socket, listener);
    close(listener);
    if (sent < 0) return args.Value(sent);
    if (KeepCapabilities(kept) < 0) return args.Result(-1);
  } else {
    // Only as root of a namespace with several ids, where these calls are allowed.
    if (syscall(SYS_setgroups, groups.size(), groups.data()) < 0 && !(errno == EPERM && groups.empty())) return args.Result(-1);
    // Another user than root has no capabilities then.
    if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0) return args.Result(-1);
    if (KeepCapabilities(kept) < 0) return args.Result(-1);
  }
  ResetSignals();
  // As execvp(3): what is missing in one directory may be in the next, and a refusal counts more than an absence.
  int error = ENOENT;
  for (const std::string& program : programs) {
    execve(program.c_str(), words.data(), variables.data());
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (errno != EACCES) break;
  }
  return args.Value(-error);
}

constexpr Function kFunctions[] = {
    {"unshare", Unshare},               {"setns", Setns},
    {"pivotRoot", PivotRoot},           {"mount_setattr", MountSetattr},   {"sethostname", SetHostname}, {"loopbackUp", LoopbackUp},
    {"unlockTerminal", UnlockTerminal}, {"setWindowSize", SetWindowSize}, {"sendFd", SendFd},           {"execContainer", ExecContainer},
};

}  // namespace

void RegisterSandbox(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
