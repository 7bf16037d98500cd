/**
 * `plyfs -o remount,…`: other options of the VFS for a mount that is there (mount(8), "remount").
 * The kernel keeps them; the process that serves the mount goes on as it is.
 */
import { textOf, type ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { parseRemountOptions } from './mount-options.js';
import { remountNative } from '../fuse/mount.js';
import { mountAt, type MountEntry } from '../host/mount-table.js';
import { UPPER } from '../overlay/layer.js';
import { askStack } from './control-client.js';
import { resolvedMountpoint } from './unmount-directory.js';

/**
 * `subtype`: what the mount table has behind `fuse.` for mounts that are meant. `warn` takes a
 * sentence about each option without effect. Throws `not-mounted`, `remount-failed`, UsageError.
 */
export async function remount(
  directory: ByteString,
  lists: readonly ByteString[],
  { subtype, warn }: { subtype: string; warn: (sentence: string) => void },
): Promise<void> {
  const mountpoint = resolvedMountpoint(directory);
  const where = textOf(directory);
  const entry = mountAt(mountpoint);
  if (entry?.type !== `fuse.${subtype}`) {
    throw new PlyfsError(
      'not-mounted',
      `${where} is not a mount point of plyfs, so there is nothing to remount: leave out remount to mount.`,
    );
  }
  const { mount, ignored } = parseRemountOptions(lists, entry.options);
  for (const sentence of ignored) warn(sentence);
  // Linux asks nobody (fs/fuse/inode.c, fuse_reconfigure), and each change would be refused.
  if (entry.options.includes('ro') && !mount.readOnly && !(await hasUpper(entry))) {
    throw new PlyfsError(
      'remount-failed',
      `${where} has no upper directory to write to: mount it anew, with upperdir and workdir.`,
    );
  }
  const result = remountNative(mountpoint, mount);
  if (result === -E.EPERM) {
    throw new PlyfsError(
      'remount-failed',
      `only root may remount ${where}: unmount it and mount it again, or ask as root.`,
    );
  }
  if (result === -E.EBUSY) {
    throw new PlyfsError(
      'remount-failed',
      `${where} has files that are open for writing: close them, and make it read-only then.`,
    );
  }
  if (result < 0)
    throw new PlyfsError(
      'remount-failed',
      `the kernel refuses to remount ${where} (${reasonOf(-result)}).`,
    );
}

/** A process that cannot be asked is believed to have one. */
async function hasUpper(entry: MountEntry): Promise<boolean> {
  try {
    const { layers } = await askStack(entry);
    return layers.some(({ index }) => index === UPPER);
  } catch {
    return true;
  }
}
