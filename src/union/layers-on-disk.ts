/**
 * Opening the directories that a union is made of, and refusing those that cannot be one. Every
 * refusal is a `PlyfsError`.
 */
import { readlinkSync } from 'node:fs';
import { bytesOf, textOf, type ByteString, type Name } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { sys } from '../sys/index.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
} from '../sys/constants.js';
import { hasOneDevice } from '../overlay/file-identity.js';
import { readMountTable } from '../host/mount-table.js';
import { openBothPrivately, openPrivately } from '../sys/private-mount.js';
import { StatField } from '../sys/syscalls.js';
import type { Devices } from '../overlay/devices.js';
import { DiskDirectory, type DirectoryDescriptors } from '../overlay/disk-directory.js';
import { isRootsAlone, OVERRIDE_NAMES, type OverrideBelief } from '../overlay/override-stat.js';
import type { Belief, Unbelieved } from '../overlay/belief.js';
import { UPPER, type Layer } from '../overlay/layer.js';
import { field, newStatBuffer } from '../overlay/stat-buffer.js';
import type { WhiteoutForm } from '../overlay/form.js';

/** What AUFS, or a tool that keeps its markers, leaves in the root of a layer. */
const AUFS_MARKERS = ['.wh..wh.aufs', '.wh..wh.plnk', '.wh..wh.orph', '.wh..wh..opq'] as Name[];

/**
 * What containers/storage (podman, buildah) leaves in the directory of its overlay driver, with the
 * word `true`, once it mounts by a program: from then on it unpacks whiteouts as .wh. files
 * (drivers/overlay/overlay.go, getMountProgramFlagFile and getWhiteoutFormat). A layer is the
 * directory `diff` of a directory there.
 */
const MOUNT_PROGRAM_MARKER = bytesOf('../../.has-mount-program');

const stat = newStatBuffer();
const probeBuffer = Buffer.alloc(512);
const HERE = bytesOf('.');
const ITSELF = '' as ByteString;

/** A directory of the host that was named on the command line, and is open. */
export interface OpenedDirectory {
  readonly path: ByteString;
  readonly fd: number;
  /** `identityOf`, to tell whether two are the same. */
  readonly identity: string;
  readonly device: string;
  /**
   * It may show directories of other devices: its file system has subvolumes or is made of others,
   * or something is mounted in it.
   */
  readonly severalDevices: boolean;
  /**
   * A private copy of its mount: other mounts below it, this union's among them, are not seen
   * through it.
   */
  readonly cloned: boolean;
}

type Role = 'lowerdir' | 'upperdir' | 'workdir';

/** Through a private, bare copy of its mount, where the caller may make one. */
export function openLayer(role: Role, path: ByteString): OpenedDirectory {
  let fd = openNamed(role, path);
  const inside = openPrivately(path);
  if (inside !== undefined) {
    sys.close(fd);
    fd = inside;
  }
  return described(path, fd, inside !== undefined);
}

/**
 * An upper and its workdir, through one private copy of their mount, where the caller may make one.
 */
export function openUpper(
  upper: ByteString,
  work: ByteString,
): [upper: OpenedDirectory, work: OpenedDirectory] {
  const upperFd = openNamed('upperdir', upper);
  let workFd: number;
  try {
    workFd = openNamed('workdir', work);
  } catch (error) {
    sys.close(upperFd);
    throw error;
  }
  const copied = openBothPrivately(upperFd, workFd);
  if (copied === undefined)
    return [described(upper, upperFd, false), described(work, workFd, false)];
  for (const fd of [upperFd, workFd]) sys.close(fd);
  return [described(upper, copied[0], true), described(work, copied[1], true)];
}

function openNamed(role: Role, path: ByteString): number {
  const fd = sys.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) throw cannotOpen(role, path, -fd);
  return fd;
}

function described(path: ByteString, fd: number, cloned: boolean): OpenedDirectory {
  sys.statx(fd, ITSELF, stat, 0);
  const severalDevices = !hasOneDevice(fd) || (!cloned && holdsMounts(fd));
  return { path, fd, identity: identityOf(stat), device: deviceOf(stat), severalDevices, cloned };
}

/** Also where that cannot be told, of a path too long to be written. */
function holdsMounts(fd: number): boolean {
  let path: string;
  try {
    path = readlinkSync(`/proc/self/fd/${fd}`, 'latin1');
  } catch {
    return true;
  }
  const inside = path === '/' ? path : `${path}/`;
  return readMountTable().some(
    ({ mountpoint }) => mountpoint !== path && mountpoint.startsWith(inside),
  );
}

function cannotOpen(role: Role, path: ByteString, errno: number): PlyfsError {
  const shown = textOf(path);
  switch (errno) {
    case E.ENOENT:
      return new PlyfsError(
        `${role}-missing`,
        `${role} ${shown} does not exist: check the path, or create the directory.`,
      );
    case E.ENOTDIR:
      return new PlyfsError(
        `${role}-not-directory`,
        `${role} ${shown} is not a directory: every layer is a directory.`,
      );
    case E.EACCES:
    case E.EPERM:
      return new PlyfsError(
        `${role}-denied`,
        `no permission to read ${role} ${shown}: run as its owner, or change its mode.`,
      );
    case E.EMFILE:
      return new PlyfsError(
        'too-many-files',
        `too many open files at ${role} ${shown}: raise the limit (ulimit -n).`,
      );
    default:
      return new PlyfsError(
        `${role}-unusable`,
        `cannot open ${role} ${shown} (${reasonOf(errno)}).`,
      );
  }
}

/** Device and inode number of statx(2)'s answer in entry 0. */
export function identityOf(of: Float64Array): string {
  return `${deviceOf(of)}:${field(of, 0, StatField.InoHigh)}:${field(of, 0, StatField.InoLow)}`;
}

function deviceOf(of: Float64Array): string {
  return `${field(of, 0, StatField.DevMajor)}:${field(of, 0, StatField.DevMinor)}`;
}

/** The identities of a directory and of all directories above it. */
export function ancestry(path: ByteString): string[] {
  const identities: string[] = [];
  let fd = sys.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  while (fd >= 0) {
    if (sys.statx(fd, ITSELF, stat, 0) < 0) break;
    const identity = identityOf(stat);
    if (identity === identities.at(-1)) break;
    identities.push(identity);
    const above = sys.openat(fd, bytesOf('..'), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    sys.close(fd);
    fd = above;
  }
  if (fd >= 0) sys.close(fd);
  return identities;
}

/**
 * Refuses layers that lie in each other in a way that a write would change a layer under the
 * union's feet.
 */
export function refuseOverlaps(
  lowers: readonly OpenedDirectory[],
  upper: OpenedDirectory,
  work: OpenedDirectory,
): void {
  if (upper.device !== work.device) {
    const [one, two] = [textOf(upper.path), textOf(work.path)];
    throw new PlyfsError(
      'workdir-other-filesystem',
      `upperdir ${one} and workdir ${two} are on different file systems: put both on one, so that files can be renamed between them.`,
    );
  }
  // Says EXDEV for two mounts before it says that `.` cannot be renamed (fs/namei.c, do_renameat2).
  if (sys.renameat2(work.fd, HERE, upper.fd, HERE, 0) === -E.EXDEV) {
    const [one, two] = [textOf(upper.path), textOf(work.path)];
    throw new PlyfsError(
      'workdir-other-mount',
      `upperdir ${one} and workdir ${two} are on different mounts of one file system: put both below one mount point, so that files can be renamed between them.`,
    );
  }
  const aboveUpper = ancestry(upper.path);
  const aboveWork = ancestry(work.path);
  const [upperPath, workPath] = [textOf(upper.path), textOf(work.path)];
  if (aboveUpper.includes(work.identity) || aboveWork.includes(upper.identity)) {
    throw new PlyfsError(
      'workdir-overlaps',
      `upperdir ${upperPath} and workdir ${workPath} lie in each other: give two separate directories.`,
    );
  }
  for (const lower of lowers) {
    const above = ancestry(lower.path);
    if (above.includes(upper.identity))
      throw insideChanging(lower, 'lower-inside-upper', `upperdir ${upperPath}`);
    if (above.includes(work.identity))
      throw insideChanging(lower, 'lower-inside-work', `workdir ${workPath}`);
  }
}

function insideChanging(lower: OpenedDirectory, code: string, where: string): PlyfsError {
  return new PlyfsError(
    code,
    `lowerdir ${textOf(lower.path)} lies inside ${where}, which changes: put one of them elsewhere.`,
  );
}

/** Which directories a union never enters, by `identityOf`. */
export type Traps = ReadonlySet<string>;

/**
 * The upper and the workdir where a lower layer has them in it: what lies there changes, so that
 * whoever comes to them through that layer meets ELOOP (fs/overlayfs/namei.c, ovl_lookup_single).
 * Null where no lower layer has.
 */
export function trapsIn(
  lowers: readonly OpenedDirectory[],
  upper: OpenedDirectory,
  work: OpenedDirectory,
): Traps | null {
  const above = new Set([...ancestry(upper.path), ...ancestry(work.path)]);
  return lowers.some(({ identity }) => above.has(identity))
    ? new Set([upper.identity, work.identity])
    : null;
}

/** Refuses a mount point at which the union would have to go through itself to reach a layer. */
export function refuseMountpoint(
  mountpoint: ByteString,
  lowers: readonly OpenedDirectory[],
  upper: OpenedDirectory | null,
): void {
  const [own, ...above] = ancestry(mountpoint);
  if (own === undefined) return;
  const shown = textOf(mountpoint);
  if (upper !== null && above.includes(upper.identity)) {
    throw new PlyfsError(
      'mountpoint-inside-upper',
      `mount point ${shown} lies inside upperdir ${textOf(upper.path)}: mount elsewhere.`,
    );
  }
  for (const lower of lowers) {
    if (!lower.cloned && above.includes(lower.identity)) {
      throw new PlyfsError(
        'mountpoint-inside-lower',
        `mount point ${shown} lies inside lowerdir ${textOf(lower.path)}: mount elsewhere, or run as root.`,
      );
    }
  }
}

/**
 * Whether a layer at `path` is one that containers/storage made for a mount program to read: in the
 * AUFS form.
 */
export function madeForMountProgram(path: ByteString): boolean {
  // Not from the layer's own descriptor: a private copy of a mount has nothing above it.
  const layer = sys.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (layer < 0) return false;
  const marker = sys.openat(layer, MOUNT_PROGRAM_MARKER, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  sys.close(layer);
  if (marker < 0) return false;
  const size = sys.pread(marker, probeBuffer, 0);
  sys.close(marker);
  return size > 0 && probeBuffer.toString('latin1', 0, size).trim() === 'true';
}

/** What a layer is, by its root directory and the form the caller declared. */
export function describeLayer(
  opened: OpenedDirectory,
  {
    index,
    bottom,
    form: declared,
  }: Pick<Layer, 'index' | 'bottom'> & { readonly form: WhiteoutForm | undefined },
  devices: Devices,
  belief: Belief,
  unbelieved: Unbelieved,
): Layer {
  const form =
    declared ??
    (AUFS_MARKERS.some((name) => sys.statx(opened.fd, name, stat, 0) >= 0) ? 'aufs' : 'overlay');
  const overrideStat = overrideOf(opened, belief, unbelieved);
  sys.statx(opened.fd, ITSELF, stat, 0);
  const device = devices.ofOpen(opened.fd, stat);
  const several = opened.severalDevices ? devices : null;
  return {
    index,
    form,
    device,
    devices: several,
    bottom,
    marks: belief.marks,
    overrideStat,
    unbelieved,
  };
}

/** What the layer's root says of its files' owners, if that is believed. */
function overrideOf(
  opened: OpenedDirectory,
  { overrides }: Belief,
  unbelieved: Unbelieved,
): OverrideBelief | undefined {
  const attribute = OVERRIDE_NAMES.find(
    (name) => sys.getxattrat(opened.fd, ITSELF, name, probeBuffer) >= 0,
  );
  if (attribute === undefined) return undefined;
  if (
    overrides === 'every' ||
    (sys.statx(opened.fd, ITSELF, stat, 0) >= 0 && isRootsAlone(stat, 0))
  )
    return { attribute, objects: overrides };
  unbelieved.owners(textOf(opened.path), attribute);
  return undefined;
}

export function rootOf(
  opened: OpenedDirectory,
  layer: Layer,
  descriptors: DirectoryDescriptors,
): DiskDirectory {
  return DiskDirectory.root(layer, descriptors, opened.fd, layer.index === UPPER && !opened.cloned);
}
