/**
 * The first process of a container until it becomes the container's program:
 * `container-init SOCKET UNUSED`.
 *
 * It reads operations from SOCKET (operation.h), carries each out as it comes, and says over the
 * socket what came of it; it decides nothing. After the last, `execute`, it is the program, and the
 * socket is closed. Descriptors from UNUSED on are closed at the start.
 *
 * It is run from a sealed copy in memory and links no library: nothing that /proc tells of this
 * process (exe, map_files, fd, root, cwd) leads to a file of the host's once it has left the host's
 * tree, which comes before anything of the image can run. As runc and crun do since CVE-2019-5736.
 *
 * What it says is an `Outcome` for: `report`; an operation that sends a descriptor over another
 * socket, before it does; one that failed and is not tolerated, before it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "credentials.h"
#include "loopback.h"
#include "operation.h"
#include "process-mark.h"
#include "root-directory.h"
#include "root-filter.h"
#include "send-descriptor.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace plyfs {
namespace {

/** Of the operation with this number in the plan: 0, or an errno. */
struct Outcome {
  uint32_t index;
  uint32_t error;
};

class FirstProcess {
 public:
  explicit FirstProcess(int socket) : socket_(socket) {}

  /** Until the program is run; returns the exit status if it is not. */
  int Run() {
    bool failed = false;
    for (;; index_++) {
      const int received = operation_.Receive(socket_);
      if (received == 0) return EXIT_FAILURE;
      if (received > 0 && operation_.Has(kOtherwise) && !failed) continue;
      const int result = received < 0 ? received : CarryOut();
      failed = result < 0;
      if (!failed || (received > 0 && operation_.Has(kTolerated))) continue;
      Tell(-result);
      return EXIT_FAILURE;
    }
  }

 private:
  using Handler = int (FirstProcess::*)();
  struct Row {
    const char* name;
    Handler handler;
  };
  static const Row kRows[];

  int CarryOut() {
    for (const Row* row = kRows; row->name != nullptr; row++) {
      if (strcmp(row->name, operation_.name()) == 0) return (this->*row->handler)();
    }
    return -ENOSYS;
  }

  int Tell(int error) {
    const Outcome outcome{index_, static_cast<uint32_t>(error)};
    return send(socket_, &outcome, sizeof outcome, MSG_NOSIGNAL) < 0 ? -errno : 0;
  }

  int Malformed() const { return operation_.Malformed() ? -EINVAL : 0; }

  int Report() { return Malformed() < 0 ? -EINVAL : Tell(0); }

  int Unshare() {
    const int flags = operation_.Int();
    if (Malformed() < 0) return -EINVAL;
    return unshare(flags) < 0 ? -errno : 0;
  }

  // Mounts.

  int EnterRoot() {
    const char* const path = operation_.Text();
    return Malformed() < 0 ? -EINVAL : root_.Enter(path);
  }

  /** mount(TARGET, directory: 0|1, SOURCE, TYPE, FLAGS, DATA, ATTRIBUTES, recursive: 0|1) */
  int Mount() {
    const char* const target = operation_.Text();
    const mode_t type = operation_.Number() != 0 ? S_IFDIR : S_IFREG;
    MountRequest request{};
    request.source = operation_.Text();
    request.type = operation_.Text();
    request.flags = static_cast<unsigned long>(operation_.Number());
    request.data = operation_.Text();
    request.attributes = operation_.Number();
    request.recursive = operation_.Number() != 0;
    return Malformed() < 0 ? -EINVAL : root_.Mount(target, type, request);
  }

  /**
   * mask(PATH, FILE): hides a directory behind an empty one, anything else behind FILE, a path of
   * the host's. Not what is not there.
   */
  int Mask() {
    const char* const path = operation_.Text();
    const char* const file = operation_.Text();
    if (Malformed() < 0) return -EINVAL;
    const int place = root_.Open(path, O_PATH);
    if (place < 0) return 0;
    struct stat found;
    const MountRequest directory{"tmpfs", "tmpfs", MS_RDONLY, "size=0", 0, false};
    const MountRequest other{file, "", MS_BIND, "", 0, false};
    const int result =
        fstat(place, &found) < 0
            ? -errno
            : root_.MountOver(place, path, S_ISDIR(found.st_mode) ? directory : other);
    close(place);
    return result;
  }

  /** confine(PATH, ATTRIBUTES): takes them away from the tree at PATH, if there is one. */
  int Confine() {
    const char* const path = operation_.Text();
    const uint64_t attributes = operation_.Number();
    if (Malformed() < 0) return -EINVAL;
    const int place = root_.Open(path, O_PATH);
    if (place < 0) return 0;
    const int result =
        root_.MountOver(place, path, MountRequest{"", "", MS_BIND | MS_REC, "", attributes, false});
    close(place);
    return result;
  }

  int MakeDirectory() {
    const char* const path = operation_.Text();
    if (Malformed() < 0) return -EINVAL;
    const int made = root_.Make(path, S_IFDIR);
    if (made >= 0) close(made);
    return made < 0 ? made : 0;
  }

  /** link(TARGET, DIRECTORY, NAME) */
  int Link() {
    const char* const target = operation_.Text();
    const char* const path = operation_.Text();
    const char* const name = operation_.Text();
    if (Malformed() < 0) return -EINVAL;
    const int directory = root_.Open(path, O_PATH);
    if (directory < 0) return directory;
    const int result = symlinkat(target, directory, name) < 0 ? -errno : 0;
    close(directory);
    return result;
  }

  /**
   * terminal(SOCKET, ROWS, COLUMNS): one of the container's own /dev/pts, where its number is what
   * tty(1) says; sends the other end.
   */
  int OpenTerminal() {
    const int socket = operation_.Int();
    winsize size{};
    size.ws_row = static_cast<unsigned short>(operation_.Number());
    size.ws_col = static_cast<unsigned short>(operation_.Number());
    if (Malformed() < 0) return -EINVAL;
    const int master = root_.Open("/dev/pts/ptmx", O_RDWR | O_NOCTTY);
    if (master < 0) return master;
    const int result = OpenSlave(master, size);
    const int sent = result < 0 ? result : SendDescriptor(socket, master);
    close(master);
    return sent;
  }

  int OpenSlave(int master, const winsize& size) {
    const int unlocked = 0;
    unsigned number = 0;
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
      return -errno;
    char path[32];
    snprintf(path, sizeof path, "/dev/pts/%u", number);
    terminal_ = root_.Open(path, O_RDWR | O_NOCTTY);
    if (terminal_ < 0) return terminal_;
    if (size.ws_row > 0 && size.ws_col > 0) ioctl(master, TIOCSWINSZ, &size);
    return root_.Mount("/dev/console", S_IFREG,
                       MountRequest{DescriptorPath(terminal_).text, "", MS_BIND, "", 0, false});
  }

  int RestrictRoot() {
    const uint64_t attributes = operation_.Number();
    return Malformed() < 0 ? -EINVAL : root_.Restrict(attributes);
  }

  int Pivot() { return Malformed() < 0 ? -EINVAL : root_.Pivot(); }

  // What else is the container's own.

  int RaiseLoopback() { return Malformed() < 0 ? -EINVAL : LoopbackUp(); }

  int SetHostname() {
    const char* const name = operation_.Text();
    if (Malformed() < 0) return -EINVAL;
    return sethostname(name, strlen(name)) < 0 ? -errno : 0;
  }

  /**
   * A session keyring of its own: that of whoever started this is not the container's. A kernel
   * without keys has none to share.
   */
  int JoinKeyring() {
    if (Malformed() < 0) return -EINVAL;
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS ? -errno
                                                                                            : 0;
  }

  /**
   * What leads out of the root (a descriptor of the host's below /proc/self/fd) is no directory of
   * the container (CVE-2024-21626).
   */
  int EnterDirectory() {
    const char* const path = operation_.Text();
    if (Malformed() < 0) return -EINVAL;
    char where[PATH_MAX];
    return chdir(path) < 0 || getcwd(where, sizeof where) == nullptr ? -errno : 0;
  }

  // What the program is given, and gives up.

  /**
   * A session of its own with the terminal, if there is one, as its standard streams; no other
   * descriptor is handed on.
   */
  int BeginSession() {
    if (Malformed() < 0) return -EINVAL;
    // Already the leader where whoever started this one has made it one.
    setsid();
    if (terminal_ >= 0) {
      if (ioctl(terminal_, TIOCSCTTY, 0) < 0) return -errno;
      for (int fd = 0; fd <= 2; fd++) {
        if (dup2(terminal_, fd) < 0) return -errno;
      }
    }
    // Before Linux 5.11 one by one.
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
      for (int fd = 3; fd < 4096; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    umask(022);
    // What this process ignores, its program would.
    for (int signal = 1; signal < NSIG; signal++) ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, nullptr) < 0 ? -errno : 0;
  }

  /** The container's own /dev/null, in place of whatever this process was given. */
  int EmptyInput() {
    if (Malformed() < 0) return -EINVAL;
    const int device = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (device < 0) return -errno;
    const int result = dup2(device, STDIN_FILENO) < 0 ? -errno : 0;
    close(device);
    return result;
  }

  /** A soft limit, at most the hard one, which stays. */
  int LimitOpenFiles() {
    const rlim_t files = operation_.Number();
    if (Malformed() < 0) return -EINVAL;
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = files < limit.rlim_max ? files : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
  }

  int Bound() {
    const uint64_t kept = operation_.Number();
    return Malformed() < 0 ? -EINVAL : BoundCapabilities(kept);
  }

  int Keep() {
    const uint64_t kept = operation_.Number();
    return Malformed() < 0 ? -EINVAL : KeepCapabilities(kept);
  }

  /**
   * filter-calls(WORDS): what the program may ask of the kernel from here on; two words are a
   * struct sock_filter. Takes CAP_SYS_ADMIN.
   */
  int FilterCalls() {
    size_t count = 0;
    const uint32_t* const words = operation_.Numbers(&count);
    if (Malformed() < 0 || count == 0 || count % 2 != 0 || count / 2 > BPF_MAXINSNS) return -EINVAL;
    sock_fprog program{};
    program.len = static_cast<unsigned short>(count / 2);
    program.filter = reinterpret_cast<sock_filter*>(const_cast<uint32_t*>(words));
    // As runc has it: a filter is no reason to slow speculative loads down.
    const unsigned long flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0 ? -errno : 0;
  }

  /** ids(UID, GID, GROUPS) */
  int TakeIds() {
    const auto uid = static_cast<uint32_t>(operation_.Number());
    const auto gid = static_cast<uint32_t>(operation_.Number());
    size_t count = 0;
    const uint32_t* const groups = operation_.Numbers(&count);
    return Malformed() < 0 ? -EINVAL : SetIds(uid, gid, groups, count);
  }

  /**
   * emulate(SOCKET, UID, GID): the ids stay, and from here on the supervisor answers for others
   * (root-emulation.h): what hears of the calls is sent to it.
   */
  int Emulate() {
    const int socket = operation_.Int();
    const auto uid = static_cast<uint32_t>(operation_.Number());
    const auto gid = static_cast<uint32_t>(operation_.Number());
    if (Malformed() < 0) return -EINVAL;
    // Told first: after the filter is there, what it stops waits for who is to answer.
    const int told = Tell(0);
    if (told < 0) return told;
    if (MarkProcess(0, 0, uid, gid) < 0) return -errno;
    const int listener = InstallRootFilter();
    if (listener < 0) return -errno;
    const int sent = SendDescriptor(socket, listener);
    close(listener);
    return sent;
  }

  /** execute(PATHS, ARGUMENTS, ENVIRONMENT) */
  int Execute() {
    char** const programs = operation_.Texts();
    char** const arguments = operation_.Texts();
    char** const environment = operation_.Texts();
    if (Malformed() < 0) return -EINVAL;
    // As execvp(3): what is missing in one directory may be in the next, and a refusal counts more
    // than an absence.
    int error = ENOENT;
    for (char** program = programs; *program != nullptr; program++) {
      execve(*program, arguments, environment);
      if (errno == ENOENT || errno == ENOTDIR) continue;
      error = errno;
      if (errno != EACCES) break;
    }
    return -error;
  }

  const int socket_;
  uint32_t index_ = 0;
  Operation operation_;
  RootDirectory root_;
  /** The container's end of its terminal. */
  int terminal_ = -1;
};

const FirstProcess::Row FirstProcess::kRows[] = {
    {"report", &FirstProcess::Report},
    {"unshare", &FirstProcess::Unshare},
    {"enter-root", &FirstProcess::EnterRoot},
    {"mount", &FirstProcess::Mount},
    {"mask", &FirstProcess::Mask},
    {"confine", &FirstProcess::Confine},
    {"make-directory", &FirstProcess::MakeDirectory},
    {"link", &FirstProcess::Link},
    {"terminal", &FirstProcess::OpenTerminal},
    {"restrict-root", &FirstProcess::RestrictRoot},
    {"pivot", &FirstProcess::Pivot},
    {"loopback-up", &FirstProcess::RaiseLoopback},
    {"hostname", &FirstProcess::SetHostname},
    {"join-keyring", &FirstProcess::JoinKeyring},
    {"enter-directory", &FirstProcess::EnterDirectory},
    {"begin-session", &FirstProcess::BeginSession},
    {"empty-input", &FirstProcess::EmptyInput},
    {"limit-open-files", &FirstProcess::LimitOpenFiles},
    {"bound-capabilities", &FirstProcess::Bound},
    {"keep-capabilities", &FirstProcess::Keep},
    {"filter-calls", &FirstProcess::FilterCalls},
    {"ids", &FirstProcess::TakeIds},
    {"emulate", &FirstProcess::Emulate},
    {"execute", &FirstProcess::Execute},
    {nullptr, nullptr},
};

/** A descriptor's number, from 3 on; -1 for anything else. */
int DescriptorOf(const char* word) {
  char* end = nullptr;
  const long number = strtol(word, &end, 10);
  return *word != '\0' && *end == '\0' && number >= 3 && number <= INT_MAX
             ? static_cast<int>(number)
             : -1;
}

}  // namespace
}  // namespace plyfs

int main(int argc, char** argv) {
  const int socket = argc == 3 ? plyfs::DescriptorOf(argv[1]) : -1;
  const int unused = argc == 3 ? plyfs::DescriptorOf(argv[2]) : -1;
  if (socket < 0 || unused < 0) {
    fputs("This program is started by ply run.\n", stderr);
    return 2;
  }
  if (syscall(SYS_close_range, static_cast<unsigned>(unused), ~0U, 0U) < 0) {
    for (int fd = unused; fd < 4096; fd++) close(fd);
  }
  return plyfs::FirstProcess(socket).Run();
}
