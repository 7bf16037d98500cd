/*
 * Ways out of a container, each tried in a process of its own: `attempts PID KEY SERIAL SOCKET
 * DEVICE`, of the host: a process, the description and the number of a key, the name of an abstract
 * socket that listens, and the number of a block device. Prints `NAME: ERROR` for what is refused,
 * `NAME: reached` for what is not. What is not refused changes nothing outside the namespaces of
 * mounts and of the host's name that the program is in: an argument does nothing, or a file is
 * opened and left alone.
 *
 * `attempts key NAME` adds a key to the caller's user keyring and prints its number; `attempts
 * unlink SERIAL` takes it out again; `attempts value SERIAL` prints what it holds.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t host_process;
static const char* key_name;
static int key_serial;
static const char* socket_name;
static dev_t host_device;

/* 0: reached. */
static int outcome(long result) { return result < 0 ? errno : 0; }

static int opens(const char* path, int flags) {
  int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd >= 0) close(fd);
  return outcome(fd);
}

/* Of a call whose arguments do nothing: reached when it is the arguments that it refuses. */
static int asked(long result) {
  return result < 0 && (errno == EPERM || errno == ENOSYS) ? errno : 0;
}

/* Whether anything is in it: a masked file is empty. */
static int reads(const char* path) {
  char byte;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno;
  ssize_t got = read(fd, &byte, 1);
  return got < 0 ? errno : got == 0 ? ENODATA : 0;
}

static int lists(const char* path) {
  DIR* directory = opendir(path);
  if (directory == NULL) return errno;
  int entries = 0;
  while (readdir(directory) != NULL) entries++;
  closedir(directory);
  return entries > 2 ? 0 : ENODATA;
}

/* A device of this number, made in `directory`, can be opened. */
static int opens_device(const char* directory, mode_t type, dev_t device) {
  char path[64];
  snprintf(path, sizeof path, "%s/device-%d", directory, getpid());
  if (mknod(path, type | 0600, device) < 0) return errno;
  int result = opens(path, O_RDONLY);
  unlink(path);
  return result;
}

/* Descriptors. */
static int try_further_descriptors(void) {
  for (int fd = 3; fd < 1024; fd++)
    if (fcntl(fd, F_GETFD) >= 0) return 0;
  return EBADF;
}
static int try_directory_descriptor(void) {
  struct stat found;
  for (int fd = 0; fd < 1024; fd++)
    if (fstat(fd, &found) == 0 &&
        (S_ISDIR(found.st_mode) || S_ISREG(found.st_mode) || S_ISBLK(found.st_mode)))
      return 0;
  return EBADF;
}

/* /proc */
static int same_root(const char* path) {
  struct stat own, other;
  if (stat("/", &own) < 0 || stat(path, &other) < 0) return errno;
  return own.st_ino == other.st_ino && own.st_dev == other.st_dev ? EXDEV : 0;
}
static int try_root_of_first(void) { return same_root("/proc/1/root/"); }
static int try_above_root_of_first(void) { return same_root("/proc/1/root/../../.."); }
static int try_cwd_of_first(void) { return same_root("/proc/1/cwd/../../../../.."); }
static int try_process_of_host(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/cmdline", host_process);
  return reads(path);
}
static int try_sysrq(void) { return opens("/proc/sysrq-trigger", O_WRONLY); }
static int try_kcore(void) { return reads("/proc/kcore"); }
static int try_keys(void) { return reads("/proc/keys"); }
static int try_timer_list(void) { return reads("/proc/timer_list"); }
static int try_kmsg(void) { return opens("/proc/kmsg", O_RDONLY); }
static int try_core_pattern(void) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int try_drop_caches(void) { return opens("/proc/sys/vm/drop_caches", O_WRONLY); }
static int try_binfmt(void) { return opens("/proc/sys/fs/binfmt_misc/register", O_WRONLY); }
static int try_affinity(void) { return opens("/proc/irq/default_smp_affinity", O_WRONLY); }
static int try_bus(void) {
  return statvfs("/proc/bus", &(struct statvfs){0}) < 0
             ? errno
             : opens("/proc/bus/input/devices", O_WRONLY);
}
static int try_oom_score(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  return outcome(write(fd, "-1000", 5));
}
static int try_scsi(void) { return lists("/proc/scsi"); }
static int try_acpi(void) { return lists("/proc/acpi"); }

/* /sys */
static int try_sys_write(void) { return opens("/sys/kernel/rcu_expedited", O_WRONLY); }
static int try_sys_cpu(void) { return opens("/sys/devices/system/cpu/cpu1/online", O_WRONLY); }
static int try_firmware(void) { return lists("/sys/firmware"); }

/* /dev */
static int try_unknown_devices(void) {
  static const char known[] =
      " . .. null zero full random urandom tty console fd stdin stdout stderr ptmx pts shm mqueue "
      "core ";
  DIR* directory = opendir("/dev");
  if (directory == NULL) return errno;
  struct dirent* entry;
  while ((entry = readdir(directory)) != NULL) {
    char word[300];
    snprintf(word, sizeof word, " %s ", entry->d_name);
    if (strstr(known, word) == NULL) return 0;
  }
  return ENOENT;
}
static int try_memory_device(void) { return opens_device("/tmp", S_IFCHR, makedev(1, 1)); }
static int try_log_device(void) { return opens_device("/tmp", S_IFCHR, makedev(1, 11)); }
static int try_log_device_in_dev(void) { return opens_device("/dev", S_IFCHR, makedev(1, 11)); }
static int try_log_device_in_shm(void) { return opens_device("/dev/shm", S_IFCHR, makedev(1, 11)); }
/* Of the image: number 1:3, whose use harms nobody. */
static int try_image_device(void) { return opens("/node", O_RDONLY); }
static int try_disk(void) { return opens_device("/tmp", S_IFBLK, host_device); }
static int try_fuse_device(void) { return opens_device("/tmp", S_IFCHR, makedev(10, 229)); }

/* Keyrings. */
static int try_search_key(void) {
  return outcome(syscall(SYS_request_key, "user", key_name, NULL, 0));
}
static int try_read_key(void) {
  char value[64];
  return outcome(syscall(SYS_keyctl, KEYCTL_READ, key_serial, value, sizeof value));
}
static int try_change_key(void) {
  return outcome(syscall(SYS_keyctl, KEYCTL_UPDATE, key_serial, "changed", 7));
}
static int try_link_key(void) {
  return outcome(syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING));
}
static int try_add_key(void) {
  return outcome(syscall(SYS_add_key, "user", "plyfs-attempt", "x", 1, KEY_SPEC_PROCESS_KEYRING));
}

/* Control groups. */
static int try_cgroup_of_host(void) { return opens("/sys/fs/cgroup/cgroup.procs", O_WRONLY); }
static int try_unified_cgroup_of_host(void) {
  return opens("/sys/fs/cgroup/unified/cgroup.procs", O_WRONLY);
}
static int try_release_agent(void) {
  return opens("/sys/fs/cgroup/memory/release_agent", O_WRONLY);
}
static int try_mount_cgroup2(void) { return outcome(mount("none", "/tmp", "cgroup2", 0, "")); }
static int try_mount_cgroup(void) { return outcome(mount("none", "/tmp", "cgroup", 0, "memory")); }
static int try_group_namespace(void) { return outcome(unshare(CLONE_NEWCGROUP)); }
static int try_paths_of_groups(void) {
  FILE* file = fopen("/proc/self/cgroup", "re");
  if (file == NULL) return errno;
  char line[4096];
  while (fgets(line, sizeof line, file) != NULL)
    if (strcmp(strrchr(line, ':'), ":/\n") != 0) return 0;
  return ENOENT;
}

/* Processes of the host. That there is nothing at the address is told to who may look. */
static int foreign(long result) { return result < 0 && errno != EFAULT ? errno : 0; }
static int try_signal_process(void) { return outcome(kill(host_process, 0)); }
static int try_trace_process(void) {
  return outcome(ptrace(PTRACE_SEIZE, host_process, NULL, NULL));
}
static int try_read_process(void) {
  char byte;
  struct iovec local = {&byte, 1}, remote = {(void*)0x400000, 1};
  return foreign(process_vm_readv(host_process, &local, 1, &remote, 1, 0));
}
static int try_write_process(void) {
  char byte = 0;
  struct iovec local = {&byte, 1}, remote = {(void*)0x400000, 1};
  return foreign(process_vm_writev(host_process, &local, 1, &remote, 1, 0));
}
static int try_pidfd_process(void) { return outcome(syscall(SYS_pidfd_open, host_process, 0)); }
static int try_compare_process(void) {
  return outcome(syscall(SYS_kcmp, host_process, getpid(), 0, 0, 0));
}
static int try_descriptor_of_first(void) {
  int process = syscall(SYS_pidfd_open, 1, 0);
  return process < 0 ? errno : outcome(syscall(SYS_pidfd_getfd, process, 0, 0));
}
static int try_advise_process(void) {
  return asked(syscall(SYS_process_madvise, -1, NULL, 0, 4, 0));
}
static int try_nice_process(void) {
  /* A limit that whoever started all this was given is no capability. */
  if (setrlimit(RLIMIT_NICE, &(struct rlimit){0, 0}) < 0 || setpriority(PRIO_PROCESS, 0, 19) < 0)
    return errno;
  return outcome(setpriority(PRIO_PROCESS, 0, -20));
}

/* Namespaces. */
static int try_user_namespace(void) { return asked(unshare(CLONE_NEWUSER)); }
static int try_all_namespaces(void) {
  return asked(
      unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWPID | CLONE_NEWNET));
}
static int try_mount_namespace(void) { return asked(unshare(CLONE_NEWNS)); }
static int try_clone_namespace(void) {
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
  if (child == 0) _exit(0);
  return asked(child);
}
static int try_clone3_namespace(void) {
  uint64_t arguments[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
  long child = syscall(SYS_clone3, arguments, sizeof arguments);
  if (child == 0) _exit(0);
  return outcome(child);
}
static int try_join_namespace(void) {
  int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? errno : outcome(setns(fd, 0));
}

/* Set-id programs. */
static int try_set_id_program(void) {
  static char copy[4 << 20];
  const int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
            to = open("/tmp/set-id", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  const ssize_t size = from < 0 || to < 0 ? -1 : read(from, copy, sizeof copy);
  if (size < 0 || write(to, copy, size) != size || fchmod(to, 04755) < 0) return errno;
  close(to);
  const pid_t child = fork();
  if (child == 0) {
    if (setresgid(33, 33, 33) < 0 || setresuid(33, 33, 33) < 0) _exit(errno);
    execl("/tmp/set-id", "set-id", "as-root", NULL);
    _exit(errno);
  }
  int status;
  if (child < 0 || waitpid(child, &status, 0) < 0) return errno;
  return WEXITSTATUS(status);
}

/* Mounts. */
static int try_mount_tmpfs(void) { return outcome(mount("none", "/tmp", "tmpfs", 0, "")); }
static int try_mount_proc(void) { return outcome(mount("none", "/tmp", "proc", 0, "")); }
static int try_mount_bind(void) { return outcome(mount("/", "/tmp", NULL, MS_BIND, NULL)); }
static int try_remount(void) {
  return asked(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static int try_propagate(void) { return outcome(mount(NULL, "/", NULL, MS_SHARED, NULL)); }
static int try_unmask(void) { return asked(umount2("/proc/kcore", MNT_DETACH)); }
static int try_unconfine(void) { return asked(umount2("/proc/sys", MNT_DETACH)); }
static int try_open_tree(void) {
  return outcome(syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
}
static int try_move_mount(void) {
  return asked(syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0));
}
static int try_fsopen(void) { return outcome(syscall(SYS_fsopen, "tmpfs", 0)); }
static int try_mount_setattr(void) {
  return asked(syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, (uint64_t[4]){0, 1, 0, 0}, 32));
}
static int try_pivot_root(void) { return asked(syscall(SYS_pivot_root, "/", "/")); }
static int try_handle(void) {
  struct {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
  } root;
  int mount_id, fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  root.head.handle_bytes = MAX_HANDLE_SZ;
  /* Where a file system gives none, any handle does: the call is refused before it is looked at. */
  if (name_to_handle_at(AT_FDCWD, "/", &root.head, &mount_id, 0) < 0) root.head.handle_bytes = 8;
  return asked(open_by_handle_at(fd, &root.head, O_RDONLY));
}
static int try_chroot_twice(void) {
  mkdir("/tmp/inner", 0700);
  if (chroot("/tmp/inner") < 0) return errno;
  for (int i = 0; i < 64; i++)
    if (chdir("..") < 0) return errno;
  struct stat here;
  if (chroot(".") < 0 || stat("/proc/1/root", &here) < 0) return errno;
  return try_above_root_of_first();
}

/* Sockets. */
static int try_abstract_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path + 1, socket_name, strlen(socket_name));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  /* Who listens may have bound the name alone, or all of the address with zeros after it. */
  const size_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(socket_name);
  if (connect(fd, (struct sockaddr*)&address, length) == 0) return 0;
  return outcome(connect(fd, (struct sockaddr*)&address, sizeof address));
}
static int try_packet_socket(void) {
  return outcome(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}
static int try_virtual_socket(void) {
  return outcome(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
static int try_crypto_socket(void) {
  return outcome(socket(38 /* AF_ALG */, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}
/* Adds nothing: there is no such interface. */
static int try_route(void) {
  struct {
    struct nlmsghdr header;
    struct ifinfomsg link;
  } request = {{sizeof request, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
               {.ifi_index = 0x7ffffff0}};
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    char more[256];
  } answer;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 ||
      recv(fd, &answer, sizeof answer, 0) < 0)
    return errno;
  return answer.error.error == -EPERM ? EPERM : 0;
}

/* What a kernel is asked by its administrator. */
static int try_bpf(void) {
  union bpf_attr map = {
      .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
  return outcome(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}
static int try_perf(void) {
  struct perf_event_attr event = {
      .type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK};
  return outcome(syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
}
static int try_userfaultfd(void) { return outcome(syscall(SYS_userfaultfd, O_CLOEXEC)); }
static int try_io_uring(void) { return outcome(syscall(SYS_io_uring_setup, 1, (char[128]){0})); }
/* With flags that there are not: without, it would let go of a kernel that is loaded. */
static int try_kexec(void) { return asked(syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0xff00UL)); }
static int try_kexec_file(void) {
#ifdef SYS_kexec_file_load
  return asked(syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, 0UL));
#else
  return ENOSYS;
#endif
}
static int try_module(void) { return asked(syscall(SYS_init_module, NULL, 0UL, "")); }
static int try_module_file(void) { return asked(syscall(SYS_finit_module, -1, "", 0)); }
static int try_unload_module(void) {
  return asked(syscall(SYS_delete_module, "plyfs-no-such-module", O_NONBLOCK));
}
static int try_kernel_log(void) {
  return asked(syscall(SYS_syslog, 10 /* SYSLOG_ACTION_SIZE_BUFFER */, NULL, 0));
}
/* Without its magic numbers the call does nothing, whoever makes it. */
static int try_reboot_machine(void) { return asked(syscall(SYS_reboot, 0, 0, 0, NULL)); }
static int try_set_time(void) { return asked(syscall(SYS_settimeofday, NULL, NULL)); }
static int try_swap(void) { return asked(swapon("/plyfs-no-such-file", 0)); }
static int try_quota(void) { return asked(quotactl(QCMD(Q_SYNC, USRQUOTA), "/dev/null", 0, NULL)); }
static int try_account(void) { return asked(syscall(SYS_acct, "/plyfs-no-such-file")); }
static int try_port(void) {
#ifdef SYS_iopl
  return asked(syscall(SYS_iopl, 3));
#else
  return ENOSYS;
#endif
}
static int try_hang_up(void) { return outcome(syscall(SYS_vhangup)); }
static int try_hostname(void) { return outcome(syscall(SYS_sethostname, "", 0)); }
static int try_fanotify(void) { return outcome(syscall(SYS_fanotify_init, 0, 0)); }
static int try_memory_policy(void) { return outcome(syscall(SYS_set_mempolicy, 0, NULL, 0)); }
static int try_random_addresses(void) { return outcome(personality(ADDR_NO_RANDOMIZE)); }
static int try_old_personality(void) {
  return outcome(personality(0x0001 /* PER_SVR4, without its flags */));
}
static int try_inject_input(void) {
  int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (terminal < 0) return errno;
  return outcome(ioctl(terminal, TIOCSTI, ""));
}
static int try_inject_into_stream(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (ioctl(fd, TIOCSTI, "") == 0) return 0;
  return errno;
}

static const struct {
  const char* name;
  int (*try)(void);
} attempts[] = {
#define ATTEMPT(what) \
  {                   \
#what, try_##what \
  }
    ATTEMPT(further_descriptors),
    ATTEMPT(directory_descriptor),
    ATTEMPT(root_of_first),
    ATTEMPT(above_root_of_first),
    ATTEMPT(cwd_of_first),
    ATTEMPT(process_of_host),
    ATTEMPT(sysrq),
    ATTEMPT(kcore),
    ATTEMPT(keys),
    ATTEMPT(timer_list),
    ATTEMPT(kmsg),
    ATTEMPT(core_pattern),
    ATTEMPT(drop_caches),
    ATTEMPT(binfmt),
    ATTEMPT(affinity),
    ATTEMPT(bus),
    ATTEMPT(oom_score),
    ATTEMPT(scsi),
    ATTEMPT(acpi),
    ATTEMPT(sys_write),
    ATTEMPT(sys_cpu),
    ATTEMPT(firmware),
    ATTEMPT(unknown_devices),
    ATTEMPT(memory_device),
    ATTEMPT(log_device),
    ATTEMPT(log_device_in_dev),
    ATTEMPT(log_device_in_shm),
    ATTEMPT(image_device),
    ATTEMPT(disk),
    ATTEMPT(fuse_device),
    ATTEMPT(search_key),
    ATTEMPT(read_key),
    ATTEMPT(change_key),
    ATTEMPT(link_key),
    ATTEMPT(add_key),
    ATTEMPT(cgroup_of_host),
    ATTEMPT(unified_cgroup_of_host),
    ATTEMPT(release_agent),
    ATTEMPT(mount_cgroup2),
    ATTEMPT(mount_cgroup),
    ATTEMPT(group_namespace),
    ATTEMPT(paths_of_groups),
    ATTEMPT(signal_process),
    ATTEMPT(trace_process),
    ATTEMPT(read_process),
    ATTEMPT(write_process),
    ATTEMPT(pidfd_process),
    ATTEMPT(compare_process),
    ATTEMPT(descriptor_of_first),
    ATTEMPT(advise_process),
    ATTEMPT(nice_process),
    ATTEMPT(user_namespace),
    ATTEMPT(all_namespaces),
    ATTEMPT(mount_namespace),
    ATTEMPT(clone_namespace),
    ATTEMPT(clone3_namespace),
    ATTEMPT(join_namespace),
    ATTEMPT(set_id_program),
    ATTEMPT(mount_tmpfs),
    ATTEMPT(mount_proc),
    ATTEMPT(mount_bind),
    ATTEMPT(remount),
    ATTEMPT(propagate),
    ATTEMPT(unmask),
    ATTEMPT(unconfine),
    ATTEMPT(open_tree),
    ATTEMPT(move_mount),
    ATTEMPT(fsopen),
    ATTEMPT(mount_setattr),
    ATTEMPT(pivot_root),
    ATTEMPT(handle),
    ATTEMPT(chroot_twice),
    ATTEMPT(abstract_socket),
    ATTEMPT(packet_socket),
    ATTEMPT(virtual_socket),
    ATTEMPT(crypto_socket),
    ATTEMPT(route),
    ATTEMPT(bpf),
    ATTEMPT(perf),
    ATTEMPT(userfaultfd),
    ATTEMPT(io_uring),
    ATTEMPT(kexec),
    ATTEMPT(kexec_file),
    ATTEMPT(module),
    ATTEMPT(module_file),
    ATTEMPT(unload_module),
    ATTEMPT(kernel_log),
    ATTEMPT(reboot_machine),
    ATTEMPT(set_time),
    ATTEMPT(swap),
    ATTEMPT(quota),
    ATTEMPT(account),
    ATTEMPT(port),
    ATTEMPT(hang_up),
    ATTEMPT(hostname),
    ATTEMPT(fanotify),
    ATTEMPT(memory_policy),
    ATTEMPT(random_addresses),
    ATTEMPT(old_personality),
    ATTEMPT(inject_input),
    ATTEMPT(inject_into_stream),
};

static int own_key(const char* what, const char* argument) {
  if (strcmp(what, "key") == 0) {
    const long serial = syscall(SYS_add_key, "user", argument, "secret", 6, KEY_SPEC_USER_KEYRING);
    if (serial < 0) return errno;
    /* The user's, whatever keyring the process has: possession is not what gives it away. */
    syscall(SYS_keyctl, KEYCTL_SETPERM, serial, 0x3f3f0000);
    printf("%ld\n", serial);
    return 0;
  }
  if (strcmp(what, "unlink") == 0)
    return outcome(syscall(SYS_keyctl, KEYCTL_UNLINK, atoi(argument), KEY_SPEC_USER_KEYRING));
  char value[64] = "";
  if (syscall(SYS_keyctl, KEYCTL_READ, atoi(argument), value, sizeof value - 1) < 0) return errno;
  puts(value);
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "as-root") == 0) return geteuid() == 0 ? 0 : EPERM;
  if (argc == 3) return own_key(argv[1], argv[2]);
  if (argc != 6) return 2;
  host_process = atoi(argv[1]);
  key_name = argv[2];
  key_serial = atoi(argv[3]);
  socket_name = argv[4];
  unsigned major_number = 0, minor_number = 0;
  sscanf(argv[5], "%u:%u", &major_number, &minor_number);
  host_device = makedev(major_number, minor_number);
  mkdir("/tmp", 01777);
  /* Outside of a container: what is linked is linked to a keyring that ends with this program. */
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
    const pid_t child = fork();
    if (child == 0) _exit(attempts[i].try());
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0) return 3;
    const char* said = !WIFEXITED(status)         ? "ended by a signal"
                       : WEXITSTATUS(status) == 0 ? "reached"
                                                  : strerrorname_np(WEXITSTATUS(status));
    printf("%s: %s\n", attempts[i].name, said == NULL ? "?" : said);
  }
  return 0;
}
