/** Mounting by the kernel's overlayfs, with the options that Docker gives it (moby, daemon/graphdriver/overlay2/overlay.go, Get). */
import { existsSync } from 'node:fs';
import { bytesOf } from '../../base/bytes.js';
import { check, E, errnoName } from '../../base/errno.js';
import { PlyfsError } from '../../base/error.js';
import { AT_FDCWD, MS_RDONLY, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../../sys/constants.js';
import { sys } from '../../sys/index.js';
import type { Mounter, UnionMount } from '../mounter.js';
import { emptyDirectory } from '../runtime-directory.js';
import { inUserNamespace } from '../user-namespace.js';
import { unmount } from './unmount.js';

/** Bytes of mount(2)'s data, its NUL not counted: a page. */
const DATA_LIMIT = 4095;

export const kernelMounter: Mounter = {
  name: 'kernel',

  unsupported() {
    if (process.geteuid?.() !== 0) return "the kernel's overlay takes root, or a user namespace";
    return undefined;
  },

  async mount(mount) {
    if (mount.form !== 'overlay') {
      throw new PlyfsError('mounter-unsuitable', `the kernel's overlay cannot read the .wh. files of ${mount.source}: mount it by fuse.`);
    }
    const result = mountOverlay(mount);
    if (result < 0) {
      const remedy =
        result === -E.ENODEV ? 'load the kernel module with modprobe overlay, or mount by fuse' : 'dmesg tells more; or mount by fuse';
      throw new PlyfsError(
        'mount-failed',
        `the kernel refuses to mount ${mount.source} at ${mount.target} (${errnoName(-result)}): ${remedy}.`,
      );
    }
  },

  unmount: (target, { lazy = false } = {}) => unmount(target, lazy),
};

interface Directories {
  readonly lowers: readonly string[];
  readonly upper?: { readonly path: string; readonly work: string };
}

/** 0 or `-errno`. */
function mountOverlay(mount: UnionMount): number {
  const source = bytesOf(mount.source);
  const target = bytesOf(mount.target);
  const type = bytesOf('overlay');
  const flags = mount.readOnly ? MS_RDONLY : 0;
  const data = bytesOf(overlayOptions(mount));
  if (data.length <= DATA_LIMIT) return sys.mount(source, target, type, flags, data);
  const shorter = mount.relative === undefined ? data : bytesOf(overlayOptions(mount.relative));
  if (mount.relative === undefined || shorter.length > DATA_LIMIT) {
    throw new PlyfsError(
      'mount-options-too-long',
      `the names of the ${mount.lowers.length} layers at ${mount.target} take ${shorter.length} bytes, and the kernel takes ${DATA_LIMIT}: mount it by fuse.`,
    );
  }
  const from = check(sys.openat(AT_FDCWD, bytesOf(mount.relative.from), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), mount.relative.from);
  try {
    return sys.mountFrom(from, source, target, type, flags, shorter);
  } finally {
    sys.close(from);
  }
}

/** The options of a union; without an upper it is read-only, and the kernel wants two lowers then. */
export function overlayOptions({ lowers, upper }: Directories): string {
  const words: string[] = [];
  // Where the module knows it: an index would tie the upper to this very mount's layers.
  if (existsSync('/sys/module/overlay/parameters/index')) words.push('index=off');
  if (inUserNamespace()) words.push('userxattr');
  const all = upper === undefined && lowers.length === 1 ? [...lowers, emptyDirectory()] : lowers;
  words.push(`lowerdir=${all.map(escaped).join(':')}`);
  if (upper !== undefined) words.push(`upperdir=${escaped(upper.path)}`, `workdir=${escaped(upper.work)}`);
  return words.join(',');
}

function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}
