#include "root-emulation.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "napi-helpers.h"
#include "native-thread.h"
#include "syscalls.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#if defined(__x86_64__)
#define PLYFS_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define PLYFS_AUDIT_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define PLYFS_AUDIT_ARCH AUDIT_ARCH_RISCV64
#endif

namespace plyfs {

int MarkProcess(pid_t pid, uint64_t index, uint32_t uid, uint32_t gid) {
  const rlimit identity{index, RLIM_INFINITY};
  const rlimit files{PackIds(uid, gid), RLIM_INFINITY};
  return prlimit(pid, RLIMIT_RSS, &identity, nullptr) < 0 || prlimit(pid, __RLIMIT_LOCKS, &files, nullptr) < 0 ? -1 : 0;
}

#ifdef PLYFS_AUDIT_ARCH

namespace {

constexpr int kEmulated[] = {
#ifdef __NR_stat
    __NR_stat, __NR_lstat, __NR_chown, __NR_lchown,
#endif
    __NR_fstat, __NR_newfstatat, __NR_statx, __NR_fchown, __NR_fchownat,
    __NR_getuid, __NR_geteuid, __NR_getgid, __NR_getegid, __NR_getresuid, __NR_getresgid, __NR_getgroups,
    __NR_setuid, __NR_setgid, __NR_setreuid, __NR_setregid, __NR_setresuid, __NR_setresgid, __NR_setfsuid, __NR_setfsgid,
    __NR_setgroups, __NR_execve, __NR_execveat,
};
constexpr size_t kEmulatedCount = sizeof kEmulated / sizeof *kEmulated;

/** NGROUPS_MAX of linux/limits.h is this; nobody has so many. */
constexpr size_t kMaxGroups = 65536;
constexpr uint32_t kNoId = UINT32_MAX;
constexpr size_t kStackBytes = 128 * 1024;

struct Ids {
  uint32_t real = 0, effective = 0, saved = 0, files = 0;
  bool operator==(const Ids& other) const {
    return real == other.real && effective == other.effective && saved == other.saved && files == other.files;
  }
  bool Has(uint32_t id) const { return id == real || id == effective || id == saved; }
};

struct Credentials {
  Ids user, group;
  std::vector<uint32_t> groups;
  /** Stands for the capabilities that these calls ask for. */
  bool privileged = true;
  /** PR_SET_KEEPCAPS: they outlive the last of root's ids. */
  bool keeps = false;
  bool operator==(const Credentials& other) const {
    return user == other.user && group == other.group && groups == other.groups && privileged == other.privileged && keeps == other.keeps;
  }
};

/** What becomes of a call: it goes on as if nothing had stopped it, or has this result. */
struct Answer {
  bool proceeds;
  int64_t value;
};
constexpr Answer kProceed{true, 0};
constexpr Answer Fail(int error) { return {false, -error}; }
constexpr Answer Give(int64_t value) { return {false, value}; }

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

bool ReadMemory(pid_t pid, uint64_t address, void* to, size_t size) {
  const iovec local{to, size};
  const iovec remote{reinterpret_cast<void*>(address), size};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

bool WriteMemory(pid_t pid, uint64_t address, const void* from, size_t size) {
  const iovec local{const_cast<void*>(from), size};
  const iovec remote{reinterpret_cast<void*>(address), size};
  return process_vm_writev(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

/** A NUL-terminated path of at most PATH_MAX bytes. What follows it may be on a page that is not there. */
bool ReadPath(pid_t pid, uint64_t address, char (&path)[PATH_MAX]) {
  static const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (size_t length = 0; length < sizeof path;) {
    const uint64_t at = address + length;
    const size_t rest = sizeof path - length;
    const size_t here = page - at % page;
    const size_t size = here < rest ? here : rest;
    if (!ReadMemory(pid, at, path + length, size)) return false;
    if (memchr(path + length, 0, size) != nullptr) return true;
    length += size;
  }
  return false;
}

class Emulation {
 public:
  Emulation(int listener, int proc, dev_t device, Credentials first) : listener_(listener), proc_(proc), device_(device) {
    known_.push_back(std::move(first));
  }

  void Run() {
    seccomp_notif_sizes sizes{};
    if (unshare(CLONE_FS) < 0 || syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0) return;
    // Who was stopped waits for this thread alone: on one processor the switch costs least. Since Linux 6.6.
    ioctl(listener_, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    std::vector<uint64_t> request(sizes.seccomp_notif / 8 + sizeof(seccomp_notif) / 8 + 1);
    std::vector<uint64_t> response(sizes.seccomp_notif_resp / 8 + sizeof(seccomp_notif_resp) / 8 + 1);
    for (;;) {
      pollfd ready{listener_, POLLIN, 0};
      if (poll(&ready, 1, -1) < 0 && errno != EINTR) return;
      if ((ready.revents & (POLLIN | POLLHUP)) == POLLHUP) return;
      std::fill(request.begin(), request.end(), 0);
      auto* call = reinterpret_cast<seccomp_notif*>(request.data());
      if (ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, call) < 0) continue;
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
      ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, reply);
    }
  }

 private:
  Answer Handle(const seccomp_notif& call) {
    const auto pid = static_cast<pid_t>(call.pid);
    const __u64* args = call.data.args;
    const auto id = [args](size_t i) { return static_cast<uint32_t>(args[i]); };
    const auto fd = [args](size_t i) { return static_cast<int>(args[i]); };
    switch (call.data.nr) {
#ifdef __NR_stat
      case __NR_stat:
        return Stat(pid, AT_FDCWD, args[0], 0, args[1]);
      case __NR_lstat:
        return Stat(pid, AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW, args[1]);
      case __NR_chown:
        return Chown(pid, AT_FDCWD, args[0], 0, id(1), id(2));
      case __NR_lchown:
        return Chown(pid, AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW, id(1), id(2));
#endif
      case __NR_fstat:
        return Stat(pid, fd(0), 0, AT_EMPTY_PATH, args[1]);
      case __NR_newfstatat:
        return Stat(pid, fd(0), args[1], fd(3), args[2]);
      case __NR_statx:
        return Statx(pid, fd(0), args[1], fd(2), static_cast<unsigned>(args[3]), args[4]);
      case __NR_fchown:
        return Chown(pid, fd(0), 0, AT_EMPTY_PATH, id(1), id(2));
      case __NR_fchownat:
        return Chown(pid, fd(0), args[1], fd(4), id(2), id(3));
      case __NR_execve:
        return Execute(pid, AT_FDCWD, args[0], 0);
      case __NR_execveat:
        return Execute(pid, fd(0), args[1], fd(4));
      default:
        return HandleIds(call);
    }
  }

  Answer HandleIds(const seccomp_notif& call) {
    const auto pid = static_cast<pid_t>(call.pid);
    const __u64* args = call.data.args;
    const auto id = [args](size_t i) { return static_cast<uint32_t>(args[i]); };
    Credentials current = Of(pid);
    const bool privileged = current.privileged;
    switch (call.data.nr) {
      case __NR_getuid:
        return Give(current.user.real);
      case __NR_geteuid:
        return Give(current.user.effective);
      case __NR_getgid:
        return Give(current.group.real);
      case __NR_getegid:
        return Give(current.group.effective);
      case __NR_getresuid:
        return GiveThree(pid, args, current.user);
      case __NR_getresgid:
        return GiveThree(pid, args, current.group);
      case __NR_getgroups:
        return GetGroups(pid, static_cast<int>(args[0]), args[1], current.groups);
      case __NR_setgroups:
        return SetGroups(pid, static_cast<int>(args[0]), args[1], current);
      case __NR_setuid:
        return BecomeUser(pid, current, SetOne(current.user, id(0), privileged));
      case __NR_setgid:
        return Become(pid, current, SetOne(current.group, id(0), privileged));
      case __NR_setreuid:
        return BecomeUser(pid, current, SetTwo(current.user, id(0), id(1), privileged));
      case __NR_setregid:
        return Become(pid, current, SetTwo(current.group, id(0), id(1), privileged));
      case __NR_setresuid:
        return BecomeUser(pid, current, SetThree(current.user, id(0), id(1), id(2), privileged));
      case __NR_setresgid:
        return Become(pid, current, SetThree(current.group, id(0), id(1), id(2), privileged));
      case __NR_setfsuid:
        return SetFiles(pid, current, current.user, id(0), privileged);
      case __NR_setfsgid:
        return SetFiles(pid, current, current.group, id(0), privileged);
      case __NR_prctl:
        current.keeps = args[1] == 1;
        Become(pid, current, 0);
        return kProceed;
      default:
        return kProceed;
    }
  }

  // Ids of processes. The rules are those of kernel/sys.c.

  Credentials Of(pid_t pid) const {
    rlimit identity{};
    if (prlimit(pid, RLIMIT_RSS, nullptr, &identity) < 0 || identity.rlim_cur >= known_.size()) return known_[0];
    return known_[identity.rlim_cur];
  }

  /** After a change of user ids: what becomes of capabilities (capabilities(7), "Effect of user ID changes"). */
  Answer BecomeUser(pid_t pid, Credentials& next, int error) {
    const Ids old = Of(pid).user;
    if (old.Has(0) && !next.user.Has(0)) {
      next.privileged = next.privileged && next.keeps;
    } else if ((old.effective == 0) != (next.user.effective == 0)) {
      next.privileged = next.user.effective == 0;
    }
    return Become(pid, next, error);
  }

  Answer Become(pid_t pid, const Credentials& next, int error) {
    if (error != 0) return Fail(error);
    size_t index = 0;
    while (index < known_.size() && !(known_[index] == next)) index++;
    if (index == known_.size()) known_.push_back(next);
    return MarkProcess(pid, index, next.user.files, next.group.files) < 0 ? Fail(EPERM) : Give(0);
  }

  static bool Valid(uint32_t id) { return id <= kMaxEmulatedId; }

  static int SetOne(Ids& ids, uint32_t id, bool privileged) {
    if (!Valid(id)) return EINVAL;
    if (privileged) {
      ids = Ids{id, id, id, id};
      return 0;
    }
    if (id != ids.real && id != ids.saved) return EPERM;
    ids.effective = ids.files = id;
    return 0;
  }

  static int SetTwo(Ids& ids, uint32_t real, uint32_t effective, bool privileged) {
    const Ids old = ids;
    if (real != kNoId) {
      if (!Valid(real)) return EINVAL;
      if (!privileged && real != old.real && real != old.effective) return EPERM;
      ids.real = real;
    }
    if (effective != kNoId) {
      if (!Valid(effective)) return EINVAL;
      if (!privileged && !old.Has(effective)) return EPERM;
      ids.effective = effective;
    }
    if (real != kNoId || (effective != kNoId && effective != old.real)) ids.saved = ids.effective;
    ids.files = ids.effective;
    return 0;
  }

  static int SetThree(Ids& ids, uint32_t real, uint32_t effective, uint32_t saved, bool privileged) {
    const Ids old = ids;
    for (const uint32_t id : {real, effective, saved}) {
      if (id == kNoId) continue;
      if (!Valid(id)) return EINVAL;
      if (!privileged && !old.Has(id)) return EPERM;
    }
    if (real != kNoId) ids.real = real;
    if (effective != kNoId) ids.effective = effective;
    if (saved != kNoId) ids.saved = saved;
    ids.files = ids.effective;
    return 0;
  }

  /** Returns the former id, whether or not it was changed. */
  Answer SetFiles(pid_t pid, Credentials& current, Ids& ids, uint32_t id, bool privileged) {
    const uint32_t former = ids.files;
    if (!Valid(id) || !(privileged || ids.Has(id) || id == former)) return Give(former);
    ids.files = id;
    Become(pid, current, 0);
    return Give(former);
  }

  static Answer GiveThree(pid_t pid, const __u64* addresses, const Ids& ids) {
    const uint32_t values[] = {ids.real, ids.effective, ids.saved};
    for (size_t i = 0; i < 3; i++) {
      if (!WriteMemory(pid, addresses[i], &values[i], sizeof values[i])) return Fail(EFAULT);
    }
    return Give(0);
  }

  static Answer GetGroups(pid_t pid, int room, uint64_t address, const std::vector<uint32_t>& groups) {
    const int count = static_cast<int>(groups.size());
    if (room < 0 || (room > 0 && room < count)) return Fail(EINVAL);
    if (room > 0 && count > 0 && !WriteMemory(pid, address, groups.data(), groups.size() * sizeof(uint32_t))) return Fail(EFAULT);
    return Give(count);
  }

  Answer SetGroups(pid_t pid, int count, uint64_t address, Credentials& current) {
    if (!current.privileged) return Fail(EPERM);
    if (count < 0 || static_cast<size_t>(count) > kMaxGroups) return Fail(EINVAL);
    std::vector<uint32_t> groups(static_cast<size_t>(count));
    if (count > 0 && !ReadMemory(pid, address, groups.data(), groups.size() * sizeof(uint32_t))) return Fail(EFAULT);
    current.groups = std::move(groups);
    return Become(pid, current, 0);
  }

  // Files. What this thread cannot find, the kernel is left to answer for.

  /** Looks paths up from the caller's root from now on. `/proc` is not below it: `proc_` is the working directory. */
  bool EnterRoot(pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "%d/root", pid);
    const Descriptor root(openat(proc_, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct statx found{};
    if (root.get() < 0 || statx(root.get(), "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &found) < 0) return false;
    const bool same = entered_ && (found.stx_mask & STATX_MNT_ID) != 0 && found.stx_mnt_id == root_.stx_mnt_id &&
                      found.stx_ino == root_.stx_ino && found.stx_dev_minor == root_.stx_dev_minor && found.stx_dev_major == root_.stx_dev_major;
    if (same) return true;
    entered_ = fchdir(root.get()) == 0 && chroot(".") == 0;
    root_ = found;
    // Outside the new root; descriptors keep it in reach.
    return fchdir(proc_) == 0 && entered_;
  }

  /** The file that the caller means, as an O_PATH descriptor, or -1. */
  int Open(pid_t pid, int dirfd, uint64_t address, int flags) {
    char path[PATH_MAX];
    path[0] = '\0';
    if (address != 0 && !ReadPath(pid, address, path)) return -1;
    char from[40];
    if (dirfd == AT_FDCWD) {
      snprintf(from, sizeof from, "%d/cwd", pid);
    } else {
      snprintf(from, sizeof from, "%d/fd/%d", pid, dirfd);
    }
    if (path[0] == '\0') return (flags & AT_EMPTY_PATH) == 0 ? -1 : openat(proc_, from, O_PATH | O_CLOEXEC);
    if (!EnterRoot(pid)) return -1;
    const int follow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
    if (path[0] == '/') return openat(AT_FDCWD, path, O_PATH | O_CLOEXEC | follow);
    const Descriptor base(openat(proc_, from, O_PATH | O_CLOEXEC));
    return base.get() < 0 ? -1 : openat(base.get(), path, O_PATH | O_CLOEXEC | follow);
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

  Answer Stat(pid_t pid, int dirfd, uint64_t path, int flags, uint64_t buffer) {
    const Descriptor file(Open(pid, dirfd, path, flags));
    struct stat found{};
    if (file.get() < 0 || fstat(file.get(), &found) < 0 || found.st_dev != device_) return kProceed;
    uint32_t uid = 0, gid = 0;
    if (!OwnerOf(file.get(), &uid, &gid) || (uid == 0 && gid == 0)) return kProceed;
    found.st_uid = uid;
    found.st_gid = gid;
    return WriteMemory(pid, buffer, &found, sizeof found) ? Give(0) : Fail(EFAULT);
  }

  Answer Statx(pid_t pid, int dirfd, uint64_t path, int flags, unsigned mask, uint64_t buffer) {
    const Descriptor file(Open(pid, dirfd, path, flags));
    struct statx found{};
    if (file.get() < 0 || statx(file.get(), "", AT_EMPTY_PATH | (flags & AT_STATX_SYNC_TYPE), mask, &found) < 0) return kProceed;
    if (makedev(found.stx_dev_major, found.stx_dev_minor) != device_) return kProceed;
    uint32_t uid = 0, gid = 0;
    if (!OwnerOf(file.get(), &uid, &gid) || (uid == 0 && gid == 0)) return kProceed;
    found.stx_uid = uid;
    found.stx_gid = gid;
    return WriteMemory(pid, buffer, &found, sizeof found) ? Give(0) : Fail(EFAULT);
  }

  Answer Chown(pid_t pid, int dirfd, uint64_t path, int flags, uint32_t uid, uint32_t gid) {
    const Descriptor file(Open(pid, dirfd, path, flags));
    struct stat found{};
    if (file.get() < 0 || fstat(file.get(), &found) < 0) return kProceed;
    if ((uid != kNoId && !Valid(uid)) || (gid != kNoId && !Valid(gid))) return Fail(EINVAL);
    const Credentials caller = Of(pid);
    if (found.st_dev != device_) {
      // Nowhere to keep it: a terminal, a volume.
      return caller.privileged ? Give(0) : kProceed;
    }
    uint32_t owner = 0, group = 0;
    OwnerOf(file.get(), &owner, &group);
    if (!caller.privileged) {
      const bool in_group = gid == caller.group.files || Contains(caller.groups, gid);
      if (caller.user.files != owner || (uid != kNoId && uid != owner) || (gid != kNoId && gid != group && !in_group)) return Fail(EPERM);
    }
    char value[32];
    const int length = snprintf(value, sizeof value, "%d:%d", static_cast<int>(uid), static_cast<int>(gid));
    char name[32];
    NameOf(file.get(), name);
    if (fchdir(proc_) < 0) return kProceed;
    if (setxattr(name, kOwnerAttribute, value, static_cast<size_t>(length), 0) < 0) return Fail(errno);
    // chown(2) takes the set-id bits of a file away; the kernel, which remembers the mode, must know it.
    const mode_t cleared = S_ISUID | ((found.st_mode & S_IXGRP) != 0 ? S_ISGID : 0u);
    if (S_ISREG(found.st_mode) && (found.st_mode & cleared) != 0) fchmodat(AT_FDCWD, name, found.st_mode & 07777 & ~cleared, 0);
    return Give(0);
  }

  /** A set-id program changes the ids; any takes the kept capabilities from who is not root. The kernel does the rest. */
  Answer Execute(pid_t pid, int dirfd, uint64_t path, int flags) {
    Credentials next = Of(pid);
    const Credentials before = next;
    const Descriptor file(Open(pid, dirfd, path, flags));
    struct stat found{};
    if (file.get() < 0 || fstat(file.get(), &found) < 0 || !S_ISREG(found.st_mode) || (found.st_mode & 0111) == 0) return kProceed;
    const bool set_user = (found.st_mode & S_ISUID) != 0;
    const bool set_group = (found.st_mode & S_ISGID) != 0 && (found.st_mode & S_IXGRP) != 0;
    if ((set_user || set_group) && found.st_dev == device_ && !IsScript(file.get())) {
      uint32_t uid = 0, gid = 0;
      OwnerOf(file.get(), &uid, &gid);
      if (set_user) next.user.effective = uid;
      if (set_group) next.group.effective = gid;
    }
    next.user.saved = next.user.files = next.user.effective;
    next.group.saved = next.group.files = next.group.effective;
    next.privileged = next.user.effective == 0 || next.user.real == 0;
    next.keeps = false;
    if (!(next == before)) Become(pid, next, 0);
    return kProceed;
  }

  /** Linux honours no set-id bit of a script. */
  bool IsScript(int fd) const {
    char name[32];
    NameOf(fd, name);
    if (fchdir(proc_) < 0) return true;
    const Descriptor file(open(name, O_RDONLY | O_CLOEXEC));
    char start[2] = {};
    return file.get() < 0 || read(file.get(), start, sizeof start) != sizeof start || (start[0] == '#' && start[1] == '!');
  }

  static bool Contains(const std::vector<uint32_t>& groups, uint32_t id) {
    for (const uint32_t group : groups) {
      if (group == id) return true;
    }
    return false;
  }

  const int listener_;
  /** A procfs that knows processes by the numbers that the listener tells. */
  const int proc_;
  /** The union's. */
  const dev_t device_;
  /** By index; the first is what the container began as. */
  std::vector<Credentials> known_;
  bool entered_ = false;
  struct statx root_{};
};

void* Entry(void* argument) {
  auto* emulation = static_cast<Emulation*>(argument);
  emulation->Run();
  delete emulation;
  return nullptr;
}

/** startRootEmulation(listener, proc, deviceMajor, deviceMinor, uid, gid, groups: Float64Array) */
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
  first.user = Ids{uid, uid, uid, uid};
  first.group = Ids{gid, gid, gid, gid};
  first.privileged = uid == 0;
  for (size_t i = 0; i < groups.length; i++) first.groups.push_back(static_cast<uint32_t>(groups.data[i]));
  auto* emulation = new Emulation(listener, proc, device, std::move(first));
  pthread_t thread;
  if (StartNativeThread(&thread, kStackBytes, "plyfs-root", Entry, emulation)) {
    pthread_detach(thread);
    return args.Value(0);
  }
  delete emulation;
  return args.Value(-EAGAIN);
}

}  // namespace

int InstallRootFilter() {
  std::vector<sock_filter> code;
  code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  // Programs of another architecture (32-bit ones) go without.
  code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PLYFS_AUDIT_ARCH, 1, 0));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  // Of prctl(2) only PR_SET_KEEPCAPS. Its low half comes first on every processor that this is for.
  code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_prctl, 0, 4));
  code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)));
  code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_KEEPCAPS, 0, 1));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  for (size_t i = 0; i < kEmulatedCount; i++) {
    // To the last instruction, past what is left of these and the one that allows.
    const auto jump = static_cast<__u8>(kEmulatedCount - i);
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<__u32>(kEmulated[i]), jump, 0));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  sock_fprog program{};
  program.len = static_cast<unsigned short>(code.size());
  program.filter = code.data();
  // A signal does not take a process out of a call that is being answered: execve(2) and chown(2) never fail with EINTR. Since Linux 5.19.
  constexpr unsigned long listener = SECCOMP_FILTER_FLAG_NEW_LISTENER;
  const long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
  if (fd >= 0 || errno != EINVAL) return static_cast<int>(fd);
  return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener, &program));
}

/** Whether calls of another process can be answered here: Linux 5.5 and newer (SECCOMP_USER_NOTIF_FLAG_CONTINUE), on some processors. */
napi_value Possible(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const uint32_t action = SECCOMP_RET_USER_NOTIF;
  return args.Result(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

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

int InstallRootFilter() {
  errno = ENOSYS;
  return -1;
}

#endif

namespace {

/** The ids that a process's new files get: uid * 2^31 + gid would not fit a double with room to spare, so they come one by one. */
napi_value EmulatedIds(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const auto pid = static_cast<pid_t>(args.Int(0));
  const Doubles out = args.Float64s(1);
  if (args.Failed()) return args.Failure();
  if (out.length < 2) {
    args.TooSmall(1, "2 doubles");
    return args.Failure();
  }
  rlimit files{};
  if (prlimit(pid, __RLIMIT_LOCKS, nullptr, &files) < 0) return args.Result(-1);
  const bool marked = files.rlim_cur != RLIM_INFINITY && (files.rlim_cur & kPackedMark) != 0;
  out.data[0] = marked ? static_cast<double>((files.rlim_cur ^ kPackedMark) >> 31) : 0;
  out.data[1] = marked ? static_cast<double>(files.rlim_cur & kMaxEmulatedId) : 0;
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
