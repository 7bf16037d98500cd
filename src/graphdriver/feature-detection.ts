/**
 * What the file system of a home and the kernel's overlay can do, found out by trying, as Docker's
 * overlay2 does when it starts (moby, daemon/graphdriver/overlay2/check.go,
 * overlayutils/overlayutils.go).
 *
 * Trials are made in a directory of their own in the home, and leave nothing behind.
 */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  writeFileSync,
  chmodSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { reasonOf } from '../base/system-error.js';
import {
  AT_FDCWD,
  DT_UNKNOWN,
  MNT_DETACH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  S_IFCHR,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { listDirectory } from '../overlay/directory-entries.js';
import { codeOf, isDirectory } from './home.js';
import { removeTree } from '../overlay/remove-tree.js';
import { inUserNamespace } from '../sys/privilege.js';
import { overlayPrefix, ownMarks, type OverlayPrefix } from '../overlay/private-xattrs.js';

/** statfs(2) f_type, under the names that `docker info` shows (moby, graphdriver, FsNames). */
const fileSystems: Readonly<Record<number, string>> = {
  0x61756673: 'aufs',
  0x9123683e: 'btrfs',
  0x28cd3d45: 'cramfs',
  0xf15f: 'ecryptfs',
  0xef53: 'extfs',
  0xf2f52010: 'f2fs',
  0x65735546: 'fuseblk',
  0x47504653: 'gpfs',
  0x3153464a: 'jfs',
  0x6969: 'nfs',
  0x794c7630: 'overlayfs',
  0x858458f6: 'ramfs',
  0x52654973: 'reiserfs',
  0xff534d42: 'smb',
  0x73717368: 'squashfs',
  0x1021994: 'tmpfs',
  0xbacbacbc: 'vxfs',
  0x58465342: 'xfs',
  0x2fc12fc1: 'zfs',
};

/** Of the nearest directory that exists. */
export function backingFileSystem(path: string): string {
  const out = new Float64Array(10);
  const fd = sys.openat(AT_FDCWD, bytesOf(existing(path)), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return '<unknown>';
  const result = sys.fstatfs(fd, out);
  sys.close(fd);
  return (result < 0 ? undefined : fileSystems[out[0]!]) ?? '<unknown>';
}

/** The directory itself, or the nearest above it that exists. */
export function existing(path: string): string {
  let at = path;
  while (!isDirectory(at) && at !== dirname(at)) at = dirname(at);
  return at;
}

/** What a union's upper needs of the file system. */
export interface LayerFeatures {
  /** Directories say what their entries are. */
  readonly dType: boolean;
  /** Character devices 0:0 can be made; else errno. */
  readonly whiteouts: true | number;
  /** Where overlayfs's attributes go; undefined: nowhere. */
  readonly xattrs: OverlayPrefix | undefined;
}

export function tryLayer(home: string): LayerFeatures {
  return inTrial(home, (directory) => {
    mkdirSync(join(directory, 'd'));
    const fd = sys.openat(AT_FDCWD, bytesOf(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    try {
      const dType = listDirectory(fd).every((entry) => entry.type !== DT_UNKNOWN);
      const made = sys.mknodat(fd, bytesOf('w'), S_IFCHR, 0, 0);
      const prefix = overlayPrefix(ownMarks());
      const set = sys.setxattrat(fd, bytesOf('d'), bytesOf(`${prefix}opaque`), yes, 0);
      return { dType, whiteouts: made < 0 ? -made : true, xattrs: set < 0 ? undefined : prefix };
    } finally {
      sys.close(fd);
    }
  });
}

/** What the kernel's overlay does on the file system of a home. */
export interface KernelOverlay {
  /** Undefined when it can be mounted; else one sentence. */
  readonly unsupported: string | undefined;
  readonly metacopy: boolean;
  /** An upper holds the whole difference to what lies below, and nothing but that. */
  readonly nativeDiff: boolean;
}

export function tryKernelOverlay(home: string): KernelOverlay {
  return inTrial(home, (directory) => {
    const first = mountTrial(directory, 'multiple', []);
    if (first.result < 0) {
      const why =
        first.result === -E.ENODEV
          ? 'this kernel has no overlay: load the module with modprobe overlay'
          : `the kernel refuses to mount an overlay there (${reasonOf(-first.result)})`;
      return { unsupported: why, metacopy: false, nativeDiff: false };
    }
    first.unmount();
    return {
      unsupported: undefined,
      metacopy: usesMetacopy(directory),
      nativeDiff: !copiesOpaqueOrRedirects(directory),
    };
  });
}

/** What the module was loaded with, for a home that nothing may be tried in. */
export function assumedKernelOverlay(): KernelOverlay {
  const on = (name: string): boolean => {
    try {
      return readFileSync(`/sys/module/overlay/parameters/${name}`, 'latin1').trim() === 'Y';
    } catch {
      return false;
    }
  };
  return { unsupported: undefined, metacopy: on('metacopy'), nativeDiff: !on('redirect_dir') };
}

const yes = Buffer.from('y');

function inTrial<T>(home: string, use: (directory: string) => T): T {
  const directory = mkdtempSync(join(existing(home), 'check-overlayfs-support'));
  try {
    return use(directory);
  } finally {
    removeTree(directory);
  }
}

interface Trial {
  /** 0 or `-errno`. */
  readonly result: number;
  readonly upper: string;
  readonly merged: string;
  unmount(): void;
}

/** An overlay of two lowers; `files`: paths below `NAME/`, a directory where it ends in a slash. */
function mountTrial(
  directory: string,
  name: string,
  files: readonly string[],
  prepare?: (at: string) => void,
): Trial {
  const at = join(directory, name);
  const [upper, merged] = [join(at, 'upper'), join(at, 'merged')];
  for (const part of ['l1', 'l2', 'upper', 'work', 'merged'])
    mkdirSync(join(at, part), { recursive: true });
  for (const file of files) {
    if (file.endsWith('/')) mkdirSync(join(at, file));
    else writeFileSync(join(at, file), 'foo', { mode: 0o700 });
  }
  prepare?.(at);
  const options = `lowerdir=${at}/l2:${at}/l1,upperdir=${upper},workdir=${at}/work${inUserNamespace() ? ',userxattr' : ''}`;
  const result = sys.mount(
    bytesOf('overlay'),
    bytesOf(merged),
    bytesOf('overlay'),
    0,
    bytesOf(options),
  );
  return { result, upper, merged, unmount: () => void sys.umount2(bytesOf(merged), MNT_DETACH) };
}

function attribute(path: string, name: string): string | undefined {
  const buffer = Buffer.alloc(256);
  const prefix = overlayPrefix(ownMarks());
  const size = sys.getxattrat(AT_FDCWD, bytesOf(path), (prefix + name) as ByteString, buffer);
  return size < 0 ? undefined : buffer.toString('latin1', 0, size);
}

/** Whether a chmod copies up no data. */
function usesMetacopy(directory: string): boolean {
  const trial = mountTrial(directory, 'metacopy', ['l1/f']);
  if (trial.result < 0) return false;
  try {
    chmodSync(join(trial.merged, 'f'), 0o600);
    return attribute(join(trial.upper, 'f'), 'metacopy') !== undefined;
  } finally {
    trial.unmount();
  }
}

/**
 * The two ways in which an upper says something else than what was changed: either asks for naive
 * diffs.
 */
function copiesOpaqueOrRedirects(directory: string): boolean {
  const prefix = overlayPrefix(ownMarks());
  const trial = mountTrial(directory, 'opaque', ['l1/d/', 'l1/d1/', 'l2/d/'], (at) => {
    sys.setxattrat(AT_FDCWD, bytesOf(`${at}/l2/d`), bytesOf(`${prefix}opaque`), yes, 0);
  });
  if (trial.result < 0) return true;
  try {
    // Copies up `d`, which is opaque below: before Linux 4.8 the mark was copied with it.
    writeFileSync(join(trial.merged, 'd/f'), '');
    if (attribute(join(trial.upper, 'd'), 'opaque') === 'y') return true;
    renameSync(join(trial.merged, 'd1'), join(trial.merged, 'd2'));
    return attribute(join(trial.upper, 'd2'), 'redirect') === 'd1';
  } catch (error) {
    // A kernel that does not redirect says so.
    return codeOf(error) !== 'EXDEV';
  } finally {
    trial.unmount();
  }
}
