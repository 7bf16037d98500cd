/** Trees deeper than a path can lead, and few descriptors to go through them with. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import type { Test } from 'tap';
import { bytesOf, type ByteString } from '../../src/base/bytes.js';
import { check } from '../../src/base/errno.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_WRONLY,
} from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';

/** Levels: their path has twice as many bytes, which no system call takes. */
export const DEEP = 2500;
/** Every so many levels there is a file `f` of one byte beside the directory `d`. */
export const FILES_EVERY = 100;

/** Makes `levels` directories in one another below `directory`, which is made. */
export function makeDeepTree(directory: string, levels = DEEP): void {
  mkdirSync(directory);
  const name = bytesOf('d');
  const flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  let fd = check(sys.openat(AT_FDCWD, bytesOf(directory), flags, 0));
  for (let level = 1; level <= levels; level++) {
    check(sys.mkdirat(fd, name, 0o755));
    const next = check(sys.openat(fd, name, flags, 0));
    sys.close(fd);
    fd = next;
    if (level % FILES_EVERY === 0) makeFile(fd);
  }
  sys.close(fd);
}

function makeFile(dirfd: number): void {
  const file = check(sys.openat(dirfd, bytesOf('f'), O_CREAT | O_WRONLY | O_CLOEXEC, 0o644));
  check(sys.pwrite(file, Buffer.from('x'), 0));
  check(sys.utimensat(file, '' as ByteString, 1, 0, 1, 0));
  sys.close(file);
}

/** Paths in it from level `from` on, as a walk in byte order meets them, relative. */
export function deepPaths(levels = DEEP, from = 1): string[] {
  const paths: string[] = [];
  const files: string[] = [];
  let path = '';
  for (let level = 1; level <= levels; level++) {
    path = level === 1 ? 'd' : `${path}/d`;
    if (level < from) continue;
    paths.push(path);
    if (level % FILES_EVERY === 0) files.push(`${path}/f`);
  }
  return [...paths, ...files.reverse()];
}

/** While `work` runs this process has no more descriptors than some hundred. */
export async function withFewDescriptors<T>(t: Test, work: () => T | Promise<T>): Promise<T> {
  const limit = (soft: string): string =>
    execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${soft}:`], { encoding: 'utf8' });
  const before = execFileSync(
    'prlimit',
    [`--pid=${process.pid}`, '--nofile', '--output=SOFT', '--noheadings'],
    { encoding: 'utf8' },
  ).trim();
  limit('400');
  t.teardown(() => limit(before));
  try {
    return await work();
  } finally {
    limit(before);
  }
}
