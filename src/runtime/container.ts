/**
 * Process 1 of a container, until it becomes the container's program: makes the mounts, leaves the host's tree, gives up what a container may not have.
 *
 * Everything here is done on the main thread, without waiting: a mount namespace, a root directory and credentials are a thread's own until execve(2). Nothing of the image is believed:
 * each mount point is looked up within the root by the kernel (openat2(2), RESOLVE_IN_ROOT), and mounted at by its descriptor.
 */
import { closeSync, lstatSync } from 'node:fs';
import { dirname } from 'node:path/posix';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { check, E, Errno, errnoName } from '../base/errno.js';
import { messageOf, PlyfsError } from '../base/error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { capabilityMask, defaultCapabilities } from './capabilities.js';
import { deviceLinks, devices, maskedPaths, readOnlyPaths, standardMounts, type StandardMount } from './container-mounts.js';
import { failureOf, SandboxError } from './failure.js';
import { readMessage, writeMessage } from './messages.js';
import { CONTROL_FD, FILTER_FD, TERMINAL_FD, type ContainerMessage, type ContainerProcess, type SandboxPlan } from './plan.js';
import { contentsOf } from './read-in-root.js';
import { findUser, type User } from './user.js';

const NOTHING = '' as ByteString;
const PATH = c.O_PATH | c.O_CLOEXEC;
/** Soft limit of open files: select(2) knows no higher numbers, and who needs more raises it. */
const OPEN_FILES = 1024;

/** The root file system, from inside. */
class Root {
  readonly fd: number;

  constructor(path: string) {
    this.fd = check(sys.openat(c.AT_FDCWD, bytesOf(path), PATH | c.O_DIRECTORY, 0), path);
  }

  /** As the container would find it. A descriptor, or -errno. */
  open(path: string, flags = PATH): number {
    return sys.openat2(this.fd, path as ByteString, flags, 0, c.RESOLVE_IN_ROOT);
  }

  /** Opens `path`, and makes it first if it is not there, with the directories above. */
  make(path: string, kind: 'directory' | 'file'): number {
    const found = this.open(path);
    if (found !== -E.ENOENT) return check(found, path);
    const above = this.make(dirname(path), 'directory');
    try {
      const name = path.slice(path.lastIndexOf('/') + 1) as ByteString;
      const made = kind === 'directory' ? sys.mkdirat(above, name, 0o755) : sys.mknodat(above, name, c.S_IFREG | 0o644, 0, 0);
      if (made !== -E.EEXIST) check(made, path);
    } finally {
      sys.close(above);
    }
    // A link that leads nowhere is there and cannot be opened.
    return check(this.open(path), path);
  }

  /** Has `mount` mount at `path` within the root, and returns a descriptor of what is there then. */
  mount(path: string, kind: 'directory' | 'file', mount: (target: ByteString) => number): number {
    const at = this.make(path, kind);
    try {
      const result = mount(descriptorPath(at));
      if (result < 0)
        throw new PlyfsError(
          'container-mount-failed',
          `Cannot mount at ${textOf(path as ByteString)} in the container (${errnoName(-result)}).`,
        );
    } finally {
      sys.close(at);
    }
    return check(this.open(path), path);
  }

  /** Text of a file, a character a byte; empty where there is none. */
  read(path: string): string {
    const fd = this.open(path, c.O_RDONLY | c.O_CLOEXEC | c.O_NONBLOCK);
    if (fd < 0) return '';
    try {
      return contentsOf(fd);
    } catch {
      return '';
    } finally {
      closeSync(fd);
    }
  }
}

function descriptorPath(fd: number): ByteString {
  return bytesOf(`/proc/self/fd/${fd}`);
}

const flagOf: Readonly<Record<string, number>> = {
  nosuid: c.MS_NOSUID,
  nodev: c.MS_NODEV,
  noexec: c.MS_NOEXEC,
  strictatime: c.MS_STRICTATIME,
  ro: c.MS_RDONLY,
};

function mountStandard(root: Root, { target, type, source, options }: StandardMount): number {
  let flags = 0;
  for (const option of options) flags |= flagOf[option] ?? 0;
  const data = options.filter((option) => flagOf[option] === undefined).join(',');
  return root.mount(target, 'directory', (at) => sys.mount(bytesOf(source), at, bytesOf(type), flags, bytesOf(data)));
}

/** Takes away from the mount at `fd`, and those below with `recursive`: `attributes`, MOUNT_ATTR_*. */
function restrict(fd: number, attributes: number, recursive = false): void {
  const result = sys.mount_setattr(fd, NOTHING, recursive ? c.AT_RECURSIVE : 0, attributes, 0);
  if (result !== -E.ENOSYS) {
    check(result, 'mount_setattr');
    return;
  }
  // Before Linux 5.12. The flags that a mount has of the host's must stay.
  const status = new Float64Array(10);
  check(sys.fstatfs(fd, status), 'statfs');
  const kept = (status[9] as number) & (c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC | c.MS_NOATIME | c.MS_NODIRATIME);
  check(sys.mount(NOTHING, descriptorPath(fd), NOTHING, c.MS_REMOUNT | c.MS_BIND | kept | attributes, NOTHING), 'remount');
}

function bind(root: Root, source: string, target: string, kind: 'directory' | 'file', flags = c.MS_BIND): number {
  return root.mount(target, kind, (at) => sys.mount(source as ByteString, at, NOTHING, flags, NOTHING));
}

function mountDevices(root: Root): void {
  const dev = check(root.open('/dev'), '/dev');
  for (const device of devices) sys.close(bind(root, `/dev/${device}`, `/dev/${device}`, 'file'));
  for (const [name, to] of deviceLinks) check(sys.symlinkat(bytesOf(to), dev, bytesOf(name)), name);
  sys.close(dev);
}

/** A sysfs of the container's own where it has a network of its own or is the machine's root; the host's otherwise. */
function mountSys(root: Root): void {
  const flags = c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC;
  const at = root.make('/sys', 'directory');
  const own = sys.mount(bytesOf('sysfs'), descriptorPath(at), bytesOf('sysfs'), flags, NOTHING);
  sys.close(at);
  if (own >= 0) return;
  const host = bind(root, '/sys', '/sys', 'directory', c.MS_BIND | c.MS_REC);
  restrict(host, c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC, true);
  sys.close(host);
}

const stat = new Float64Array(64);

function isDirectory(fd: number): boolean {
  check(sys.statx(fd, NOTHING, stat, 0), 'stat');
  return ((stat[1] as number) & c.S_IFMT) === c.S_IFDIR;
}

function hidePaths(root: Root): void {
  for (const path of maskedPaths) {
    const there = root.open(path);
    if (there < 0) continue;
    const directory = isDirectory(there);
    sys.close(there);
    const masked = directory
      ? root.mount(path, 'directory', (at) => sys.mount(bytesOf('tmpfs'), at, bytesOf('tmpfs'), c.MS_RDONLY, bytesOf('size=0')))
      : bind(root, '/dev/null', path, 'file');
    sys.close(masked);
  }
  for (const path of readOnlyPaths) {
    const there = root.open(path);
    if (there < 0) continue;
    const bound = root.mount(path, 'directory', (at) => sys.mount(at, at, NOTHING, c.MS_BIND | c.MS_REC, NOTHING));
    restrict(bound, c.MOUNT_ATTR_RDONLY);
    sys.close(there);
    sys.close(bound);
  }
}

function mountVolumes(root: Root, plan: SandboxPlan): void {
  const depth = (path: string): number => path.split('/').length;
  for (const { source, target, readOnly } of [...plan.volumes].sort((a, b) => depth(a.target) - depth(b.target))) {
    const kind = lstatSync(Buffer.from(source, 'latin1')).isDirectory() ? 'directory' : 'file';
    const bound = bind(root, source, target, kind, c.MS_BIND | c.MS_REC);
    restrict(bound, c.MOUNT_ATTR_NODEV | (readOnly ? c.MOUNT_ATTR_RDONLY : 0), true);
    sys.close(bound);
  }
}

/** A terminal of the container's own /dev/pts: its number there is what tty(1) says. Returns the container's end. */
function openTerminal(root: Root, { rows, columns }: { rows: number; columns: number }): number {
  const master = check(root.open('/dev/pts/ptmx', c.O_RDWR | c.O_NOCTTY | c.O_CLOEXEC), 'ptmx');
  const number = check(sys.unlockTerminal(master), 'ptmx');
  const path = `/dev/pts/${number}`;
  const slave = check(root.open(path, c.O_RDWR | c.O_NOCTTY | c.O_CLOEXEC), path);
  if (rows > 0 && columns > 0) sys.setWindowSize(master, rows, columns);
  sys.close(root.mount('/dev/console', 'file', (at) => sys.mount(descriptorPath(slave), at, NOTHING, c.MS_BIND, NOTHING)));
  check(sys.sendFd(TERMINAL_FD, master), 'sendmsg');
  sys.close(master);
  return slave;
}

/** Paths to try, as a shell does. */
function programsFor(word: ByteString, env: readonly ByteString[]): ByteString[] {
  if (word.includes('/')) return [word];
  const path = env.findLast((variable) => variable.startsWith('PATH='))?.slice('PATH='.length) ?? '';
  return path.split(':').map((directory) => (directory === '' ? `./${word}` : `${directory}/${word}`) as ByteString);
}

/** Where it cannot be made, entering it tells why. */
function makeDirectory(root: Root, cwd: ByteString): void {
  try {
    sys.close(root.make(cwd, 'directory'));
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
  }
}

function enterDirectory(cwd: ByteString): void {
  const where = textOf(cwd);
  try {
    process.chdir(where);
  } catch (error) {
    throw new SandboxError({
      status: 126,
      code: 'workdir-unusable',
      sentence: `The working directory ${where} cannot be entered in the container (${messageOf(error)}): choose another with -w.`,
    });
  }
}

function run(plan: SandboxPlan): never {
  const namespaces = sys.unshare(c.CLONE_NEWNS | c.CLONE_NEWCGROUP);
  // A kernel without cgroups.
  if (namespaces < 0) check(sys.unshare(c.CLONE_NEWNS), 'unshare');
  const root = new Root(`${plan.scratch}/root`);
  const many = plan.ids === 'host' || plan.ids === 'ranges';
  for (const mount of standardMounts({ terminalGroup: many })) {
    try {
      sys.close(mountStandard(root, mount));
    } catch (error) {
      // A kernel without message queues.
      if (mount.type !== 'mqueue') throw error;
    }
    if (mount.target === '/dev') mountDevices(root);
  }
  mountSys(root);
  hidePaths(root);
  for (const name of Object.keys(plan.etc)) sys.close(bind(root, `${plan.scratch}/etc/${name}`, `/etc/${name}`, 'file'));
  mountVolumes(root, plan);
  const terminal = plan.terminal === undefined ? -1 : openTerminal(root, plan.terminal);
  const user = findUser(plan.process.user, (path) => root.read(path));
  makeDirectory(root, plan.process.cwd);
  restrict(root.fd, c.MOUNT_ATTR_NODEV | (plan.readOnly ? c.MOUNT_ATTR_RDONLY : 0));
  check(sys.pivotRoot(root.fd), 'pivot_root');
  sys.close(root.fd);
  if (plan.network === 'none') sys.loopbackUp();
  check(sys.sethostname(bytesOf(plan.hostname)), 'sethostname');
  enterDirectory(plan.process.cwd);
  return become(plan, user, terminal);
}

function become({ ids, process: wanted }: SandboxPlan, user: User, terminal: number): never {
  if (ids === 'single' && (user.uid !== 0 || user.gid !== 0)) {
    throw new PlyfsError('ids-missing', 'Only root can be had here: have a range of ids granted in /etc/subuid and /etc/subgid.');
  }
  const all = [user.uid, user.gid, ...user.groups];
  writeMessage(CONTROL_FD, { ids: all } satisfies ContainerMessage);
  const env = wanted.env.some((variable) => variable.startsWith('HOME=')) ? wanted.env : [...wanted.env, `HOME=${user.home}` as ByteString];
  const [word] = wanted.args as [ByteString];
  const error = sys.execContainer(
    programsFor(word, env),
    wanted.args,
    env,
    new Float64Array(all),
    capabilityMask(Object.values(defaultCapabilities)),
    terminal,
    ids === 'emulated' ? FILTER_FD : -1,
    OPEN_FILES,
  );
  throw notRun(wanted, -error);
}

function notRun({ args }: ContainerProcess, errno: number): SandboxError {
  const word = textOf(args[0] as ByteString);
  if (errno === E.ENOENT) {
    return new SandboxError({
      status: 127,
      code: 'program-missing',
      sentence: `${word} is not in the container: name a program of the image.`,
    });
  }
  const why = errno === E.EACCES ? 'permission denied' : errnoName(errno);
  return new SandboxError({ status: 126, code: 'program-unusable', sentence: `${word} cannot be run in the container (${why}).` });
}

try {
  run(readMessage(CONTROL_FD) as SandboxPlan);
} catch (error) {
  writeMessage(CONTROL_FD, { failed: failureOf(error) } satisfies ContainerMessage);
  sys.exitNow(1);
}
