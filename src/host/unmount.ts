/** Taking away what a mounter made. */
import { statfs } from 'node:fs/promises';
import { bytesOf } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { unmountServed } from './mount-server.js';

/** Throws `mount-busy`, `not-mounted`, `umount-failed`. */
export async function unmount(target: string, lazy: boolean): Promise<void> {
  const result = await unmountServed(bytesOf(target), lazy);
  switch (result) {
    case -E.EBUSY:
      // Nobody can use what has no server any more.
      if (!lazy && (await isDead(target))) return unmount(target, true);
      throw new PlyfsError(
        'mount-busy',
        `${target} is in use: end what uses it, or unmount it lazily.`,
      );
    case -E.EINVAL:
    case -E.ENOENT:
      throw new PlyfsError(
        'not-mounted',
        `nothing is mounted at ${target}: \`ply mounts\` lists what is.`,
      );
    default:
      if (result < 0)
        throw new PlyfsError(
          'umount-failed',
          `${target} cannot be unmounted (${reasonOf(-result)}): try it as the user who mounted it.`,
        );
  }
}

/**
 * The process that served the mount has ended, and all access to it fails: the kernel says
 * ENOTCONN.
 */
export async function isDead(target: string): Promise<boolean> {
  try {
    await statfs(target);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOTCONN';
  }
}
