/** A directory of one test's own, as the calls want it: a descriptor, and byte strings. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { ByteString } from '../../src/base/bytes.js';
import { bytesOf } from '../../src/base/bytes.js';
import { check } from '../../src/base/errno.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDWR,
} from '../../src/sys/constants.js';
import { sys, useNewCalls } from '../../src/sys/index.js';
import { STAT_FIELDS, type StatField } from '../../src/sys/syscalls.js';

export const root = process.geteuid?.() === 0;

/** A byte string from text whose characters are bytes. */
export const b = (bytes: string): ByteString => bytes as ByteString;
/** A name that is not UTF-8. */
export const notUtf8 = b('caf\xe9 \xff\x01');
export const longest = b('n'.repeat(255));
export const tooLong = b('n'.repeat(256));

export interface Directory {
  readonly path: string;
  readonly bytes: ByteString;
  /** O_RDONLY. */
  readonly fd: number;
}

/** Empty; removed after the test. `parent`: where, if not in the system's temporary directory. */
export function directory(t: Test, parent = tmpdir()): Directory {
  const path = mkdtempSync(join(parent, 'plyfs-sys-'));
  const bytes = bytesOf(path);
  const fd = check(sys.openat(AT_FDCWD, bytes, O_DIRECTORY | O_CLOEXEC, 0));
  t.teardown(() => {
    sys.close(fd);
    rmSync(path, { recursive: true, force: true });
  });
  return { path, bytes, fd };
}

/** Opens, and closes after the test. */
export function open(t: Test, dirfd: number, name: string, flags: number, mode = 0o644): number {
  const fd = check(sys.openat(dirfd, b(name), flags | O_CLOEXEC, mode), name);
  t.teardown(() => sys.close(fd));
  return fd;
}

export function file(t: Test, dirfd: number, name: string, content = ''): number {
  const fd = open(t, dirfd, name, O_RDWR | O_CREAT);
  if (content !== '') check(sys.pwrite(fd, Buffer.from(content, 'latin1'), 0));
  return fd;
}

/** A descriptor of the name itself, symbolic link or not. */
export const pathFd = (t: Test, dirfd: number, name: string): number =>
  open(t, dirfd, name, O_PATH | O_NOFOLLOW);

export function stat(dirfd: number, name: string): (field: StatField) => number {
  const out = new Float64Array(STAT_FIELDS);
  check(sys.statx(dirfd, b(name), out, 0), name);
  return (field) => out[field] ?? NaN;
}

export function content(fd: number): string {
  const buffer = Buffer.alloc(1 << 16);
  return buffer.toString('latin1', 0, check(sys.pread(fd, buffer, 0)));
}

/** Runs `body` with the calls of the running kernel, and again as on an older one. */
export async function onNewAndOldKernels(t: Test, body: (t: Test) => void): Promise<void> {
  await t.test('with the newest calls', async (sub) => body(sub));
  await t.test('without them', async (sub) => {
    useNewCalls(false);
    sub.teardown(() => useNewCalls(true));
    body(sub);
  });
}
