/**
 * Mounting by the kernel's overlayfs, with the options that Docker gives it (moby,
 * daemon/graphdriver/overlay2/overlay.go, Get).
 */
import { existsSync } from 'node:fs';
import { bytesOf } from '../../base/bytes.js';
import { check, E } from '../../base/errno.js';
import { PlyfsError } from '../../base/error.js';
import { reasonOf } from '../../base/system-error.js';
import {
  AT_FDCWD,
  MS_NODEV,
  MS_NOSUID,
  MS_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
} from '../../sys/constants.js';
import { sys } from '../../sys/index.js';
import type { Mounter, UnionMount } from '../mounter.js';
import { emptyDirectory } from '../../host/runtime-directory.js';
import { inUserNamespace } from '../../sys/privilege.js';
import { unmount } from '../../host/unmount.js';

/** Bytes of mount(2)'s data, its NUL not counted: a page. */
const DATA_LIMIT = 4095;

export const kernelMounter: Mounter = {
  name: 'kernel',

  unsupported() {
    if (process.geteuid?.() !== 0) return "the kernel's overlay takes root, or a user namespace";
    return undefined;
  },

  recipe(mount) {
    assertSuitable(mount);
    const { from, data } = chooseOptions(mount);
    return {
      by: 'mount',
      source: mount.source,
      type: 'overlay',
      flags: flagsOf(mount),
      data,
      from: from ?? '/',
    };
  },

  async mount(mount) {
    assertSuitable(mount);
    const result = mountOverlay(mount);
    if (result < 0) {
      const remedy =
        result === -E.ENODEV
          ? 'load the kernel module with modprobe overlay, or mount by fuse'
          : 'dmesg tells more; or mount by fuse';
      throw new PlyfsError(
        'mount-failed',
        `the kernel refuses to mount ${mount.source} at ${mount.target} (${reasonOf(-result)}): ${remedy}.`,
      );
    }
  },

  unmount: (target, { lazy = false } = {}) => unmount(target, lazy),
};

interface Directories {
  readonly lowers: readonly string[];
  readonly upper?: { readonly path: string; readonly work: string };
}

function assertSuitable({ form, source }: Pick<UnionMount, 'form' | 'source'>): void {
  if (form === 'overlay') return;
  throw new PlyfsError(
    'mounter-unsuitable',
    `the kernel's overlay cannot read the .wh. files of ${source}: mount it by fuse.`,
  );
}

function flagsOf({ readOnly, suid, dev }: Pick<UnionMount, 'readOnly' | 'suid' | 'dev'>): number {
  return (readOnly ? MS_RDONLY : 0) | (suid ? 0 : MS_NOSUID) | (dev ? 0 : MS_NODEV);
}

/** The options that fit a page, and where the relative paths in them start. */
function chooseOptions(mount: Omit<UnionMount, 'target'>): { data: string; from?: string } {
  const data = overlayOptions(mount);
  if (Buffer.byteLength(data) <= DATA_LIMIT) return { data };
  const shorter = mount.relative === undefined ? data : overlayOptions(mount.relative);
  const length = Buffer.byteLength(shorter);
  if (mount.relative !== undefined && length <= DATA_LIMIT)
    return { data: shorter, from: mount.relative.from };
  throw new PlyfsError(
    'mount-options-too-long',
    `the names of the ${mount.lowers.length} layers of ${mount.source} take ${length} bytes, and the kernel takes ${DATA_LIMIT}: mount it by fuse.`,
  );
}

/** 0 or `-errno`. */
function mountOverlay(mount: UnionMount): number {
  const source = bytesOf(mount.source);
  const target = bytesOf(mount.target);
  const type = bytesOf('overlay');
  const { data, from } = chooseOptions(mount);
  if (from === undefined) return sys.mount(source, target, type, flagsOf(mount), bytesOf(data));
  const start = check(
    sys.openat(AT_FDCWD, bytesOf(from), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0),
    from,
  );
  try {
    return sys.mountFrom(start, source, target, type, flagsOf(mount), bytesOf(data));
  } finally {
    sys.close(start);
  }
}

/**
 * The options of a union; without an upper it is read-only, and the kernel wants two lowers then.
 */
export function overlayOptions({ lowers, upper }: Directories): string {
  const words: string[] = [];
  // Where the module knows it: an index would tie the upper to this very mount's layers.
  if (existsSync('/sys/module/overlay/parameters/index')) words.push('index=off');
  if (inUserNamespace()) words.push('userxattr');
  const all = upper === undefined && lowers.length === 1 ? [...lowers, emptyDirectory()] : lowers;
  words.push(`lowerdir=${all.map(escaped).join(':')}`);
  if (upper !== undefined)
    words.push(`upperdir=${escaped(upper.path)}`, `workdir=${escaped(upper.work)}`);
  return words.join(',');
}

function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}
