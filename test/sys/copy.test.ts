import { statSync } from 'node:fs';
import t from 'tap';
import { check, E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { StatField } from '../../src/sys/syscalls.js';
import { b, content, directory, file, open, pathFd, stat } from './fixture.js';

const MiB = 1 << 20;
const block = (byte: string): Buffer => Buffer.alloc(65536, byte);

/** 8 MiB: data at 0, at 4 MiB, and holes between and after. */
function sparse(fd: number): void {
  check(sys.pwrite(fd, block('a'), 0));
  check(sys.pwrite(fd, block('b'), 4 * MiB));
  check(sys.ftruncate(fd, 8 * MiB));
}

const at = (fd: number, offset: number): string => {
  const buffer = Buffer.alloc(4);
  return buffer.toString('latin1', 0, check(sys.pread(fd, buffer, offset)));
};

/** Both ways: within a file system, and to another one, where copy_file_range is refused. */
const elsewhere = '/dev/shm';
const another = (() => {
  try {
    return statSync(elsewhere).dev !== statSync('/tmp').dev;
  } catch {
    return false;
  }
})();
const places: readonly (readonly [string, string | undefined])[] = another
  ? [
      ['the same file system', undefined],
      ['another file system', elsewhere],
    ]
  : [['the same file system', undefined]];

for (const [what, parent] of places) {
  t.test(`copyData to ${what}`, async (t) => {
    const { fd: dirfd } = directory(t);
    const { fd: toDirfd } = directory(t, parent);
    const from = file(t, dirfd, 'from');
    sparse(from);
    for (const reflink of [false, true]) {
      const name = `to ${reflink}`;
      const to = file(t, toDirfd, name);
      t.equal(sys.copyData(from, to, 0, 8 * MiB, reflink), 8 * MiB);
      t.equal(
        stat(toDirfd, name)(StatField.Size),
        8 * MiB,
        'it reaches to the end of the hole at the end',
      );
      t.same(
        [
          at(to, 0),
          at(to, 65532),
          at(to, 65536),
          at(to, 4 * MiB - 4),
          at(to, 4 * MiB),
          at(to, 8 * MiB - 4),
        ],
        ['aaaa', 'aaaa', '\0\0\0\0', '\0\0\0\0', 'bbbb', '\0\0\0\0'],
      );
      t.ok(stat(toDirfd, name)(StatField.Blocks) * 512 <= 4 * 65536, 'holes stay holes');
      t.equal(sys.lseek(to, 65536, c.SEEK_DATA), 4 * MiB);
      t.equal(sys.lseek(to, 4 * MiB + 65536, c.SEEK_DATA), -E.ENXIO);
    }

    const aligned = file(t, toDirfd, 'aligned');
    t.equal(sys.copyData(from, aligned, 4 * MiB, 65536, true), 65536, 'an aligned part');
    t.same(
      [at(aligned, 0), at(aligned, 4 * MiB), at(aligned, 4 * MiB + 65532)],
      ['\0\0\0\0', 'bbbb', 'bbbb'],
    );
    t.equal(stat(toDirfd, 'aligned')(StatField.Size), 4 * MiB + 65536);
    const part = file(t, toDirfd, 'part');
    t.equal(sys.copyData(from, part, 4 * MiB + 10, 100, true), 100, 'an unaligned part');
    t.equal(stat(toDirfd, 'part')(StatField.Size), 4 * MiB + 110);
    t.same(
      [at(part, 0), at(part, 4 * MiB + 6), at(part, 4 * MiB + 106)],
      ['\0\0\0\0', '\0\0\0\0', 'bbbb'],
    );
    t.equal(sys.copyData(from, part, 1 * MiB, 1 * MiB, false), 1 * MiB, 'a hole only');
    t.equal(stat(toDirfd, 'part')(StatField.Size), 4 * MiB + 110);
    t.equal(
      sys.copyData(from, part, 7 * MiB, 5 * MiB, false),
      1 * MiB,
      'less at the end of the file',
    );
    t.equal(stat(toDirfd, 'part')(StatField.Size), 8 * MiB);
    t.equal(sys.copyData(from, part, 8 * MiB, 1, false), 0);
    t.equal(sys.copyData(from, part, 0, 2 ** 62, false), 8 * MiB, 'no overflow');
    t.equal(sys.copyData(from, part, 2 ** 62, 2 ** 62, false), 0);
    t.equal(sys.copyData(from, part, -1, 1, false), -E.EINVAL);
    t.equal(sys.copyData(from, part, 0, -1, false), -E.EINVAL);
    t.equal(sys.copyData(-1, part, 0, 1, false), -E.EBADF);
    t.equal(sys.copyData(from, -1, 0, 1, true), -E.EBADF);
    t.equal(sys.copyData(from, open(t, toDirfd, 'part', c.O_RDONLY), 0, 1, true), -E.EBADF);
    t.equal(sys.copyData(pathFd(t, dirfd, 'from'), part, 0, 1, false), -E.EBADF);
  });
}

t.test('copyData of files without holes and of generated ones', async (t) => {
  const { fd: dirfd } = directory(t);
  const from = file(t, dirfd, 'from', 'x'.repeat(5000));
  const to = file(t, dirfd, 'to');
  t.equal(sys.copyData(from, to, 0, 5000, true), 5000);
  t.equal(content(to), 'x'.repeat(5000));
  const empty = file(t, dirfd, 'empty');
  t.equal(sys.copyData(empty, to, 0, 10, true), 0);
  const generated = open(t, c.AT_FDCWD, '/sys/kernel/mm/transparent_hugepage/enabled', c.O_RDONLY);
  const target = file(t, dirfd, 'generated');
  const copied = sys.copyData(generated, target, 0, 4096, false);
  t.equal(content(target), content(generated), 'whose size is a page, and content less');
  t.equal(copied, content(generated).length);
});

t.test('the asynchronous calls', async (t) => {
  const { fd: dirfd } = directory(t);
  const from = file(t, dirfd, 'from');
  sparse(from);
  const to = file(t, dirfd, 'to');
  t.same(
    await Promise.all([
      sys.copyDataAsync(from, to, 0, 8 * MiB, true),
      sys.fsyncAsync(from, false),
      sys.fsyncAsync(from, true),
      sys.syncfsAsync(dirfd),
      sys.fsyncAsync(-1, true),
      sys.syncfsAsync(-1),
      sys.copyDataAsync(from, -1, 0, 8 * MiB, true),
      sys.fallocateAsync(-1, 0, 0, 1),
      sys.copyFileRangeAsync(-1, 0, to, 0, 1),
    ]),
    [8 * MiB, 0, 0, 0, -E.EBADF, -E.EBADF, -E.EBADF, -E.EBADF, -E.EBADF],
  );
  t.equal(at(to, 4 * MiB), 'bbbb');
  t.equal(await sys.fallocateAsync(to, 0, 0, 9 * MiB), 0);
  t.equal(stat(dirfd, 'to')(StatField.Size), 9 * MiB);
  const range = file(t, dirfd, 'range');
  t.equal(await sys.copyFileRangeAsync(from, 4 * MiB, range, 3, 5), 5);
  t.equal(content(range), '\0\0\0bbbbb');
  t.equal(await sys.copyFileRangeAsync(from, 9 * MiB, range, 0, 5), 0, 'beyond the end');
  t.equal(await sys.copyFileRangeAsync(from, 0, from, 1, 5), -E.EINVAL, 'overlapping');
  const before = check(sys.openat(dirfd, b('many'), c.O_RDWR | c.O_CREAT | c.O_CLOEXEC, 0o600));
  t.ok(
    (await Promise.all(Array.from({ length: 200 }, () => sys.fsyncAsync(before, true)))).every(
      (result) => result === 0,
    ),
  );
  sys.close(before);
});
