/**
 * Control groups of a container's own (cgroups(7), cgroup_namespaces(7)).
 *
 * Below the group that this process is in, in each hierarchy, one is made for the container, and
 * its first process is moved there before it leaves for a cgroup namespace: that namespace's root
 * is then the container's group, and whatever is mounted inside shows nothing else. Where none can
 * be made (an ordinary user to whom no group was delegated, a hierarchy that is not mounted) the
 * namespace's root is this process's own group, and what keeps the container from it is that it can
 * mount nothing.
 *
 * Who made a group holds flock(2) on it and removes it at the end. After a SIGKILL nobody does: the
 * next container that is started from the same group, or `ply gc` there, removes what no one holds
 * and no process is in.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path/posix';
import { textOf } from '../base/bytes.js';
import { LOCK_EX, LOCK_NB, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { readMountTable } from '../host/mount-table.js';

const PREFIX = 'plyfs-';
const NAME = /^plyfs-[0-9a-f]{16}$/;
/**
 * Before it is locked, a new group looks like one that was left: who tidies up may take it away.
 */
const ATTEMPTS = 3;

/** The groups that this process is in: a directory for each hierarchy that is mounted here. */
export function ownGroups(): string[] {
  const mounts = readMountTable().filter(({ type }) => type === 'cgroup' || type === 'cgroup2');
  const found: string[] = [];
  for (const line of readText('/proc/self/cgroup').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const wanted = controllers.split(',');
    const mount = mounts.findLast(({ type, options, root }) => {
      const shown =
        type === 'cgroup2'
          ? controllers === ''
          : controllers !== '' && wanted.every((word) => options.includes(word));
      return shown && within(path, textOf(root)) !== undefined;
    });
    if (mount !== undefined)
      found.push(join(textOf(mount.mountpoint), within(path, textOf(mount.root)) as string));
  }
  return found;
}

/**
 * `path` from `root` on; undefined where it is not below. A group outside of this process's cgroup
 * namespace begins with `/..`.
 */
function within(path: string, root: string): string | undefined {
  if (path.startsWith('/..')) return undefined;
  if (root === '/' || path === root) return root === '/' ? path : '/';
  return path.startsWith(`${root}/`) ? path.slice(root.length) : undefined;
}

export interface ContainerGroups {
  /** Those that the process could be moved to. */
  readonly directories: readonly string[];
  /** Once no process is in them. */
  remove(): void;
}

/**
 * Makes the groups and moves the process `pid`, a number of this PID namespace, to them: to each
 * where that is possible. Never throws.
 */
export function moveToOwnGroups(pid: number): ContainerGroups {
  const parents = ownGroups();
  for (const parent of parents) removeLeftGroups(parent);
  const held = new Map<string, number>();
  for (const parent of parents) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const directory = join(parent, `${PREFIX}${randomBytes(8).toString('hex')}`);
      const fd = makeGroup(parent, directory);
      if (fd === undefined) continue;
      if (tried(() => writeFileSync(join(directory, 'cgroup.procs'), String(pid)))) {
        held.set(directory, fd);
        break;
      }
      release(directory, fd);
    }
  }
  return {
    directories: [...held.keys()],
    remove: () => {
      for (const [directory, fd] of held) release(directory, fd);
      held.clear();
    },
  };
}

/**
 * Removes the groups below this process's own that were left by a container which nobody could end
 * in order.
 */
export function removeLeftContainerGroups(): void {
  for (const parent of ownGroups()) removeLeftGroups(parent);
}

/** A descriptor that holds the lock of the new group, or undefined. */
function makeGroup(parent: string, directory: string): number | undefined {
  if (!tried(() => mkdirSync(directory, 0o755))) return undefined;
  const fd = lock(directory);
  if (fd === undefined) return undefined;
  // A group of the cpuset controller of version 1 takes processes once it was given processors and
  // memory.
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const value = readText(join(parent, file)).trim();
    if (value !== '' && readText(join(directory, file)).trim() === '')
      tried(() => writeFileSync(join(directory, file), value));
  }
  return fd;
}

function removeLeftGroups(parent: string): void {
  let names: string[] = [];
  tried(() => (names = readdirSync(parent).filter((name) => NAME.test(name))));
  for (const name of names) {
    const directory = join(parent, name);
    const fd = lock(directory);
    if (fd !== undefined) release(directory, fd);
  }
}

/** Undefined where somebody has it, or it is gone. */
function lock(directory: string): number | undefined {
  let fd: number | undefined;
  if (
    !tried(() => (fd = openSync(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC))) ||
    fd === undefined
  )
    return undefined;
  if (sys.flock(fd, LOCK_EX | LOCK_NB) === 0) return fd;
  closeSync(fd);
  return undefined;
}

/** What processes are still in stays, for the next who looks. */
function release(directory: string, fd: number): void {
  tried(() => rmdirSync(directory));
  closeSync(fd);
}

function tried(action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
