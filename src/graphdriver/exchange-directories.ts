/** Two directories that change places. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncDirectory } from '../base/durable-file.js';
import { bytesOf } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { AT_FDCWD, RENAME_EXCHANGE } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { exists } from './home.js';

/**
 * By one system call, where both are; one that is missing counts as empty. Throws
 * `exchange-failed`, and then they are where they were.
 */
export function exchangeDirectories(one: string, other: string): void {
  if (!exists(one) && !exists(other)) return;
  for (const path of [one, other]) if (!exists(path)) mkdirSync(path, { mode: 0o700 });
  const result = sys.renameat2(AT_FDCWD, bytesOf(one), AT_FDCWD, bytesOf(other), RENAME_EXCHANGE);
  if (result < 0) {
    // Directories of different project quotas are different file systems to rename(2); some, as
    // NFS, cannot exchange anything.
    const why =
      result === -E.EXDEV ? 'their sizes are limited apart from each other' : reasonOf(-result);
    throw new PlyfsError(
      'exchange-failed',
      `${one} and ${other} cannot be exchanged (${why}): remove the container, and make another.`,
    );
  }
  for (const path of new Set([dirname(one), dirname(other)])) syncDirectory(path);
}
