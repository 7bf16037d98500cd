/**
 * Unmounting what plyfs mounted at a directory, whoever serves it and whether or not that answers.
 */
import { realpathSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';
import { E } from '../base/errno.js';
import { reasonOf } from '../base/system-error.js';
import { FUSE_TYPE, unmountServed } from '../host/mount-server.js';
import { mountAt } from '../host/mount-table.js';

/** Throws `not-mounted`, `mount-busy` and `umount-failed`. */
export async function unmountDirectory(
  directory: ByteString,
  options: { lazy: boolean },
): Promise<void> {
  const mountpoint = resolvedMountpoint(directory);
  if (mountAt(mountpoint)?.type !== FUSE_TYPE) {
    throw new PlyfsError(
      'not-mounted',
      `${textOf(directory)} is not a mount point of plyfs: \`ply mounts\` lists them.`,
    );
  }
  const result = await unmountServed(mountpoint, options.lazy);
  if (result === -E.EBUSY) {
    throw new PlyfsError(
      'mount-busy',
      `${textOf(directory)} cannot be unmounted: something still uses it: end that, or say --lazy.`,
    );
  }
  if (result === -E.EPERM)
    throw new PlyfsError(
      'umount-failed',
      `${textOf(directory)} cannot be unmounted: it belongs to another user, or fusermount3 is not installed (package fuse3).`,
    );
  if (result < 0)
    throw new PlyfsError(
      'umount-failed',
      `${textOf(directory)} cannot be unmounted: ${reasonOf(-result)}.`,
    );
}

/**
 * Absolute and without symbolic links. A mount whose server has died cannot be looked at, only the
 * directory it is in.
 */
export function resolvedMountpoint(directory: ByteString): ByteString {
  try {
    return realpathSync
      .native(Buffer.from(directory, 'latin1'), 'buffer')
      .toString('latin1') as ByteString;
  } catch {
    const [, parent = '', name = ''] = /^(.*\/)?([^/]+)\/*$/s.exec(textOf(directory)) ?? [];
    try {
      return bytesOf(
        `${realpathSync.native(parent === '' ? '.' : parent).replace(/\/$/, '')}/${name}`,
      );
    } catch {
      return directory;
    }
  }
}
