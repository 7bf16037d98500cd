/**
 * Files that are whole or not there, also after a crash: written aside, flushed, renamed (moby,
 * pkg/ioutils, fswriters.go).
 *
 * The name aside is `.tmp-NAME` and random digits in the same directory, as moby's, so that either
 * program knows the other's leftovers.
 */
import { randomInt } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Leftovers of writers that were killed begin so. */
export const TEMPORARY_PREFIX = '.tmp-';

/**
 * `mode` holds whatever the umask. Throws what node:fs throws, and then the old file is as it was
 * and nothing is left aside.
 */
export function writeFileDurably(path: string, data: string | Uint8Array, mode: number): void {
  const aside = join(dirname(path), `${TEMPORARY_PREFIX}${basename(path)}${randomInt(2 ** 47)}`);
  const fd = openSync(aside, 'wx', mode);
  try {
    try {
      const bytes = typeof data === 'string' ? Buffer.from(data) : data;
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      fchmodSync(fd, mode);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** What was created, renamed and removed in it is there, or gone, after a crash. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
