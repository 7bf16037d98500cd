/** One name of every file type, for "whatever it is" cases. */
import type { Actor } from '../actor.js';
import { S_IFCHR, S_IFIFO, S_IFSOCK } from '../constants.js';

/** What `makeEveryType` makes for anyone; root gets `device` (the null device) too. */
export const plainTypes = ['file', 'dir', 'link', 'dirlink', 'fifo', 'socket'] as const;

/**
 * A file, a directory with something in it, symlinks to both, a dangling one, a FIFO, a socket, and
 * as root a device.
 */
export async function makeEveryType(actor: Actor): Promise<void> {
  await actor.put('file', 'content of a file\n', 0o640);
  await actor.mkdir('dir', 0o750);
  await actor.put('dir/inside', 'inside');
  await actor.symlink('file', 'link');
  await actor.symlink('dir', 'dirlink');
  await actor.symlink('nowhere', 'dangling');
  await actor.mknod('fifo', S_IFIFO | 0o620);
  await actor.mknod('socket', S_IFSOCK | 0o602);
  if (process.getuid?.() === 0) await actor.mknod('device', S_IFCHR | 0o666, 1, 3);
}
