#include "root-emulation.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "container/root-filter.h"
#include "emulated-ids.h"
#include "napi-helpers.h"
#include "native-thread.h"
#include "owned-fd.h"
#include "syscalls.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace plyfs {

#ifdef PLYFS_AUDIT_ARCH

namespace {

constexpr size_t kStackBytes = 128 * 1024;

/** What becomes of a call: it goes on as if nothing had stopped it, or has this result. */
struct Answer {
  bool proceeds;
  int64_t value;
};
constexpr Answer kProceed{true, 0};
constexpr Answer Fail(int error) { return {false, -error}; }
constexpr Answer Give(int64_t value) { return {false, value}; }

/** Who waits for an answer, and its memory. */
class Caller {
 public:
  Caller(int listener, const seccomp_notif& call)
      : listener_(listener), id_(call.id), pid_(static_cast<pid_t>(call.pid)) {}

  pid_t pid() const { return pid_; }

  /**
   * False once it was killed, when its number may be another's: asked after the last thing learned
   * through the number and before anything is done with it. What is answered then reaches nobody.
   * Only ENOENT says so: before Linux 5.9 this ioctl(2) had another number.
   */
  bool Alive() const {
    return ioctl(listener_, SECCOMP_IOCTL_NOTIF_ID_VALID, &id_) == 0 || errno != ENOENT;
  }

  bool Read(uint64_t address, void* to, size_t size) const {
    const iovec local{to, size};
    const iovec remote{reinterpret_cast<void*>(address), size};
    return process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
  }

  bool Write(uint64_t address, const void* from, size_t size) const {
    const iovec local{const_cast<void*>(from), size};
    const iovec remote{reinterpret_cast<void*>(address), size};
    return Alive() &&
           process_vm_writev(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
  }

  /**
   * A NUL-terminated path of at most PATH_MAX bytes. What follows it may be on a page that is not
   * there.
   */
  bool ReadPath(uint64_t address, char (&path)[PATH_MAX]) const {
    static const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    for (size_t length = 0; length < sizeof path;) {
      const uint64_t at = address + length;
      const size_t rest = sizeof path - length;
      const size_t here = page - at % page;
      const size_t size = here < rest ? here : rest;
      if (!Read(at, path + length, size)) return false;
      if (memchr(path + length, 0, size) != nullptr) return true;
      length += size;
    }
    return false;
  }

 private:
  const int listener_;
  const uint64_t id_;
  const pid_t pid_;
};

class Emulation {
 public:
  /**
   * Owns `listener`: closed, it makes calls that wait, and later ones, fail with ENOSYS. `proc` is
   * the caller's, and stays open.
   */
  Emulation(int listener, int proc, dev_t device, Credentials first)
      : listener_(listener), proc_(proc), device_(device), ids_(std::move(first)) {}

  /** Until no process has the filter any more, or the listener fails. */
  void Run() {
    seccomp_notif_sizes sizes{};
    if (unshare(CLONE_FS) < 0 || syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
      return;
    // Who was stopped waits for this thread alone: on one processor the switch costs least. Since
    // Linux 6.6.
    ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    std::vector<uint64_t> request(sizes.seccomp_notif / 8 + sizeof(seccomp_notif) / 8 + 1);
    std::vector<uint64_t> response(sizes.seccomp_notif_resp / 8 + sizeof(seccomp_notif_resp) / 8 +
                                   1);
    for (;;) {
      pollfd ready{listener_.get(), POLLIN, 0};
      if (poll(&ready, 1, -1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      // POLLERR tells that a signal was in the way (seccomp_notify_poll, kernel/seccomp.c); of
      // another kind of file RECV fails.
      if ((ready.revents & (POLLIN | POLLERR)) == 0) return;
      std::fill(request.begin(), request.end(), 0);
      auto* call = reinterpret_cast<seccomp_notif*>(request.data());
      if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, call) < 0) {
        // ENOENT: the caller was killed meanwhile.
        if (errno == ENOENT || errno == EINTR) continue;
        return;
      }
      const Answer answer = Handle(*call);
      std::fill(response.begin(), response.end(), 0);
      auto* reply = reinterpret_cast<seccomp_notif_resp*>(response.data());
      reply->id = call->id;
      if (answer.proceeds) {
        reply->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
      } else if (answer.value < 0) {
        reply->error = static_cast<int32_t>(answer.value);
      } else {
        reply->val = answer.value;
      }
      // ENOENT: the caller was killed, or a signal took it out of the call.
      ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, reply);
    }
  }

 private:
  Answer Handle(const seccomp_notif& call) {
    const Caller caller(listener_.get(), call);
    const __u64* args = call.data.args;
    const auto id = [args](size_t i) { return static_cast<uint32_t>(args[i]); };
    const auto fd = [args](size_t i) { return static_cast<int>(args[i]); };
    switch (call.data.nr) {
#ifdef __NR_stat
      case __NR_stat:
        return Stat(caller, AT_FDCWD, args[0], 0, args[1]);
      case __NR_lstat:
        return Stat(caller, AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW, args[1]);
      case __NR_chown:
        return Chown(caller, AT_FDCWD, args[0], 0, id(1), id(2));
      case __NR_lchown:
        return Chown(caller, AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW, id(1), id(2));
#endif
      case __NR_fstat:
        return Stat(caller, fd(0), 0, AT_EMPTY_PATH, args[1]);
      case __NR_newfstatat:
        return Stat(caller, fd(0), args[1], fd(3), args[2]);
      case __NR_statx:
        return Statx(caller, fd(0), args[1], fd(2), static_cast<unsigned>(args[3]), args[4]);
      case __NR_fchown:
        return Chown(caller, fd(0), 0, AT_EMPTY_PATH, id(1), id(2));
      case __NR_fchownat:
        return Chown(caller, fd(0), args[1], fd(4), id(2), id(3));
      case __NR_execve:
        return Execute(caller, AT_FDCWD, args[0], 0);
      case __NR_execveat:
        return Execute(caller, fd(0), args[1], fd(4));
      default:
        return HandleIds(caller, call.data.nr, args);
    }
  }

  Answer HandleIds(const Caller& caller, int call, const __u64* args) {
    const Credentials& current = ids_.Of(caller.pid());
    switch (call) {
      case __NR_getuid:
        return Give(current.user.real);
      case __NR_geteuid:
        return Give(current.user.effective);
      case __NR_getgid:
        return Give(current.group.real);
      case __NR_getegid:
        return Give(current.group.effective);
      case __NR_getresuid:
        return GiveThree(caller, args, current.user);
      case __NR_getresgid:
        return GiveThree(caller, args, current.group);
      case __NR_getgroups:
        return GetGroups(caller, static_cast<int>(args[0]), args[1], current.groups);
      default:
        return ChangeIds(caller, call, args, current);
    }
  }

  Answer ChangeIds(const Caller& caller, int call, const __u64* args, const Credentials& current) {
    const auto id = [args](size_t i) { return static_cast<uint32_t>(args[i]); };
    const bool privileged = current.privileged;
    Credentials next = current;
    switch (call) {
      case __NR_setuid:
        return BecomeUser(caller, current, next, next.user.SetOne(id(0), privileged));
      case __NR_setgid:
        return Become(caller, next, next.group.SetOne(id(0), privileged));
      case __NR_setreuid:
        return BecomeUser(caller, current, next, next.user.SetTwo(id(0), id(1), privileged));
      case __NR_setregid:
        return Become(caller, next, next.group.SetTwo(id(0), id(1), privileged));
      case __NR_setresuid:
        return BecomeUser(caller, current, next,
                          next.user.SetThree(id(0), id(1), id(2), privileged));
      case __NR_setresgid:
        return Become(caller, next, next.group.SetThree(id(0), id(1), id(2), privileged));
      // These two return the former id, whether or not it was changed.
      case __NR_setfsuid:
        Become(caller, next, next.user.SetFileSystem(id(0), privileged));
        return Give(current.user.file_system);
      case __NR_setfsgid:
        Become(caller, next, next.group.SetFileSystem(id(0), privileged));
        return Give(current.group.file_system);
      case __NR_setgroups:
        return SetGroups(caller, static_cast<int>(args[0]), args[1], next);
      case __NR_prctl: {
        // The kernel refuses other values.
        if (args[1] > 1) return kProceed;
        next.keeps = args[1] == 1;
        const Answer answer = Become(caller, next, 0);
        return answer.value < 0 ? answer : kProceed;
      }
      default:
        return kProceed;
    }
  }

  Answer BecomeUser(const Caller& caller, const Credentials& current, Credentials& next,
                    int error) {
    next.UserChanged(current.user);
    return Become(caller, next, error);
  }

  Answer Become(const Caller& caller, const Credentials& next, int error) {
    uint64_t number = 0;
    if (error == 0 && !caller.Alive()) error = ESRCH;
    if (error == 0) error = ids_.NumberOf(next, &number);
    if (error != 0) return Fail(error);
    return MarkProcess(caller.pid(), number, next.user.file_system, next.group.file_system) < 0
               ? Fail(EPERM)
               : Give(0);
  }

  static Answer GiveThree(const Caller& caller, const __u64* addresses, const Ids& ids) {
    const uint32_t values[] = {ids.real, ids.effective, ids.saved};
    for (size_t i = 0; i < 3; i++) {
      if (!caller.Write(addresses[i], &values[i], sizeof values[i])) return Fail(EFAULT);
    }
    return Give(0);
  }

  static Answer GetGroups(const Caller& caller, int room, uint64_t address,
                          const std::vector<uint32_t>& groups) {
    const int count = static_cast<int>(groups.size());
    if (room < 0 || (room > 0 && room < count)) return Fail(EINVAL);
    if (room > 0 && count > 0 &&
        !caller.Write(address, groups.data(), groups.size() * sizeof(uint32_t)))
      return Fail(EFAULT);
    return Give(count);
  }

  Answer SetGroups(const Caller& caller, int count, uint64_t address, Credentials& next) {
    if (!next.privileged) return Fail(EPERM);
    if (count < 0 || static_cast<size_t>(count) > kMaxGroups) return Fail(EINVAL);
    std::vector<uint32_t> groups(static_cast<size_t>(count));
    if (count > 0 && !caller.Read(address, groups.data(), groups.size() * sizeof(uint32_t)))
      return Fail(EFAULT);
    next.groups = std::move(groups);
    return Become(caller, next, 0);
  }

  // Files. What this thread cannot find, the kernel is left to answer for.

  /**
   * Looks paths up from the caller's root from now on. `/proc` is not below it: `proc_` is the
   * working directory.
   */
  bool EnterRoot(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "%d/root", pid);
    const OwnedFd root(openat(proc_, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct statx found {};
    if (root.get() < 0 ||
        statx(root.get(), "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &found) < 0)
      return false;
    const bool same = entered_ && (found.stx_mask & STATX_MNT_ID) != 0 &&
                      found.stx_mnt_id == root_.stx_mnt_id && found.stx_ino == root_.stx_ino &&
                      found.stx_dev_minor == root_.stx_dev_minor &&
                      found.stx_dev_major == root_.stx_dev_major;
    if (same) return true;
    entered_ = fchdir(root.get()) == 0 && chroot(".") == 0;
    root_ = found;
    // Outside the new root; descriptors keep it in reach.
    return fchdir(proc_) == 0 && entered_;
  }

  /** The file that the caller means, as an O_PATH descriptor, or -1. */
  int Open(const Caller& caller, int dirfd, uint64_t address, int flags) {
    char path[PATH_MAX];
    path[0] = '\0';
    if (address != 0 && !caller.ReadPath(address, path)) return -1;
    char from[40];
    if (dirfd == AT_FDCWD) {
      snprintf(from, sizeof from, "%d/cwd", caller.pid());
    } else {
      snprintf(from, sizeof from, "%d/fd/%d", caller.pid(), dirfd);
    }
    if (path[0] == '\0') {
      if ((flags & AT_EMPTY_PATH) == 0) return -1;
      const int file = openat(proc_, from, O_PATH | O_CLOEXEC);
      if (caller.Alive()) return file;
      if (file >= 0) close(file);
      return -1;
    }
    const bool absolute = path[0] == '/';
    const OwnedFd base(absolute ? -1 : openat(proc_, from, O_PATH | O_CLOEXEC));
    if ((!absolute && base.get() < 0) || !EnterRoot(caller.pid()) || !caller.Alive()) return -1;
    const int follow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
    return openat(base.get(), path, O_PATH | O_CLOEXEC | follow);
  }

  static void NameOf(int fd, char (&name)[32]) { snprintf(name, sizeof name, "self/fd/%d", fd); }

  /** False for what is not the union's, and for a file of 0:0, which the kernel shows as it is. */
  bool OwnerOf(int fd, uint32_t* uid, uint32_t* gid) const {
    char name[32];
    NameOf(fd, name);
    if (fchdir(proc_) < 0) return false;
    char value[32];
    const ssize_t size = getxattr(name, kOwnerAttribute, value, sizeof value - 1);
    if (size <= 0) return false;
    value[size] = '\0';
    return sscanf(value, "%u:%u", uid, gid) == 2;
  }

  Answer Stat(const Caller& caller, int dirfd, uint64_t path, int flags, uint64_t buffer) {
    const OwnedFd file(Open(caller, dirfd, path, flags));
    struct stat found {};
    if (file.get() < 0 || fstat(file.get(), &found) < 0 || found.st_dev != device_) return kProceed;
    uint32_t uid = 0, gid = 0;
    if (!OwnerOf(file.get(), &uid, &gid) || (uid == 0 && gid == 0)) return kProceed;
    found.st_uid = uid;
    found.st_gid = gid;
    return caller.Write(buffer, &found, sizeof found) ? Give(0) : Fail(EFAULT);
  }

  Answer Statx(const Caller& caller, int dirfd, uint64_t path, int flags, unsigned mask,
               uint64_t buffer) {
    const OwnedFd file(Open(caller, dirfd, path, flags));
    struct statx found {};
    if (file.get() < 0 ||
        statx(file.get(), "", AT_EMPTY_PATH | (flags & AT_STATX_SYNC_TYPE), mask, &found) < 0)
      return kProceed;
    if (makedev(found.stx_dev_major, found.stx_dev_minor) != device_) return kProceed;
    uint32_t uid = 0, gid = 0;
    if (!OwnerOf(file.get(), &uid, &gid) || (uid == 0 && gid == 0)) return kProceed;
    found.stx_uid = uid;
    found.stx_gid = gid;
    return caller.Write(buffer, &found, sizeof found) ? Give(0) : Fail(EFAULT);
  }

  Answer Chown(const Caller& caller, int dirfd, uint64_t path, int flags, uint32_t uid,
               uint32_t gid) {
    const OwnedFd file(Open(caller, dirfd, path, flags));
    struct stat found {};
    if (file.get() < 0 || fstat(file.get(), &found) < 0) return kProceed;
    if (!ValidOrNone(uid) || !ValidOrNone(gid)) return Fail(EINVAL);
    const Credentials& current = ids_.Of(caller.pid());
    if (found.st_dev != device_) {
      // Nowhere to keep it: a terminal, a volume.
      return current.privileged ? Give(0) : kProceed;
    }
    uint32_t owner = 0, group = 0;
    OwnerOf(file.get(), &owner, &group);
    if (!current.privileged) {
      const bool given =
          (uid != kNoId && uid != owner) || (gid != kNoId && gid != group && !current.InGroup(gid));
      if (current.user.file_system != owner || given) return Fail(EPERM);
    }
    char value[32];
    const int length =
        snprintf(value, sizeof value, "%d:%d", static_cast<int>(uid), static_cast<int>(gid));
    char name[32];
    NameOf(file.get(), name);
    if (fchdir(proc_) < 0 || !caller.Alive()) return kProceed;
    if (setxattr(name, kOwnerAttribute, value, static_cast<size_t>(length), 0) < 0)
      return Fail(errno);
    // chown(2) takes the set-id bits of a file away; the kernel, which remembers the mode, must
    // know it.
    const mode_t cleared = S_ISUID | ((found.st_mode & S_IXGRP) != 0 ? S_ISGID : 0u);
    if (S_ISREG(found.st_mode) && (found.st_mode & cleared) != 0)
      fchmodat(AT_FDCWD, name, found.st_mode & 07777 & ~cleared, 0);
    return Give(0);
  }

  /**
   * A set-id program changes the ids; any takes the kept capabilities from who is not root. The
   * kernel does the rest, and tells nobody when that fails (ENOEXEC, E2BIG): the caller has the new
   * ids then.
   */
  Answer Execute(const Caller& caller, int dirfd, uint64_t path, int flags) {
    const OwnedFd file(Open(caller, dirfd, path, flags));
    struct stat found {};
    if (file.get() < 0 || fstat(file.get(), &found) < 0 || !S_ISREG(found.st_mode) ||
        (found.st_mode & 0111) == 0)
      return kProceed;
    const bool set_user = (found.st_mode & S_ISUID) != 0;
    const bool set_group = (found.st_mode & S_ISGID) != 0 && (found.st_mode & S_IXGRP) != 0;
    uint32_t uid = kNoId, gid = kNoId;
    if ((set_user || set_group) && found.st_dev == device_ && !IsScript(file.get())) {
      uint32_t owner = 0, group = 0;
      OwnerOf(file.get(), &owner, &group);
      if (set_user) uid = owner;
      if (set_group) gid = group;
    }
    const Credentials& current = ids_.Of(caller.pid());
    Credentials next = current;
    next.Execute(uid, gid);
    if (next == current) return kProceed;
    const Answer answer = Become(caller, next, 0);
    return answer.value < 0 ? answer : kProceed;
  }

  /** Linux honours no set-id bit of a script. */
  bool IsScript(int fd) const {
    char name[32];
    NameOf(fd, name);
    if (fchdir(proc_) < 0) return true;
    const OwnedFd file(open(name, O_RDONLY | O_CLOEXEC));
    char start[2] = {};
    return file.get() < 0 || read(file.get(), start, sizeof start) != sizeof start ||
           (start[0] == '#' && start[1] == '!');
  }

  const OwnedFd listener_;
  /** A procfs that knows processes by the numbers that the listener tells. */
  const int proc_;
  /** The union's. */
  const dev_t device_;
  IdTable ids_;
  bool entered_ = false;
  struct statx root_ {};
};

void* Entry(void* argument) {
  auto* emulation = static_cast<Emulation*>(argument);
  emulation->Run();
  delete emulation;
  return nullptr;
}

/**
 * startRootEmulation(listener, proc, deviceMajor, deviceMinor, uid, gid, groups: Float64Array):
 * `listener` is closed when it ends, and when it fails.
 */
napi_value Start(napi_env env, napi_callback_info info) {
  Args<7> args(env, info);
  const int listener = args.Int(0);
  const int proc = args.Int(1);
  const dev_t device = makedev(args.Uint(2), args.Uint(3));
  const uint32_t uid = args.Uint(4);
  const uint32_t gid = args.Uint(5);
  const Doubles groups = args.Float64s(6);
  if (args.Failed()) return args.Failure();
  Credentials first;
  first.user = Ids::All(uid);
  first.group = Ids::All(gid);
  first.privileged = uid == 0;
  for (size_t i = 0; i < groups.length; i++)
    first.groups.push_back(static_cast<uint32_t>(groups.data[i]));
  auto* emulation = new Emulation(listener, proc, device, std::move(first));
  pthread_t thread;
  if (StartNativeThread(&thread, kStackBytes, "plyfs-root", Entry, emulation)) {
    pthread_detach(thread);
    return args.Value(0);
  }
  delete emulation;
  return args.Value(-EAGAIN);
}

/**
 * Whether calls of another process can be answered here. They need SECCOMP_USER_NOTIF_FLAG_CONTINUE
 * of Linux 5.5, which nothing tells of: pidfd_getfd(2) came with the next.
 */
napi_value Possible(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const uint32_t action = SECCOMP_RET_USER_NOTIF;
  if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0) return args.Result(-1);
  if (syscall(SYS_pidfd_getfd, -1, -1, 0) < 0 && errno == ENOSYS) return args.Result(-1);
  return args.Result(MarkingPossible());
}

}  // namespace

#else

namespace {

napi_value Start(napi_env env, napi_callback_info info) {
  Args<7> args(env, info);
  return args.Value(-ENOSYS);
}

napi_value Possible(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  return args.Value(-ENOSYS);
}

}  // namespace

#endif

namespace {

/**
 * emulatedIds(pid, out: Float64Array): in two numbers, because together they would leave a double
 * little room.
 */
napi_value EmulatedIds(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const auto pid = static_cast<pid_t>(args.Int(0));
  const Doubles out = args.Float64s(1);
  if (args.Failed()) return args.Failure();
  if (out.length < 2) {
    args.TooSmall(1, "2 doubles");
    return args.Failure();
  }
  uint32_t uid = 0, gid = 0;
  if (FileSystemIdsOf(pid, &uid, &gid) < 0) return args.Result(-1);
  out.data[0] = uid;
  out.data[1] = gid;
  return args.Value(0);
}

constexpr Function kFunctions[] = {
    {"rootEmulationPossible", Possible},
    {"startRootEmulation", Start},
    {"emulatedIds", EmulatedIds},
};

}  // namespace

void RegisterRootEmulation(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
