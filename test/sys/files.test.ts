import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { check, E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { b, content, directory, file, longest, notUtf8, open, pathFd, tooLong } from './fixture.js';

const TEXT_OFFSET = 19;

/** The entries of raw linux_dirent64 records. */
function* entries(records: Buffer): Generator<{ name: string; type: number }> {
  for (let at = 0; at < records.length; at += records.readUInt16LE(at + 16)) {
    const end = records.indexOf(0, at + TEXT_OFFSET);
    yield {
      name: records.toString('latin1', at + TEXT_OFFSET, end),
      type: records.readUInt8(at + 18),
    };
  }
}

t.test('openat and close', async (t) => {
  const { fd, bytes } = directory(t);
  for (const name of ['a', notUtf8, longest]) {
    const made = sys.openat(fd, b(name), c.O_RDWR | c.O_CREAT | c.O_EXCL | c.O_CLOEXEC, 0o600);
    t.ok(made > 2, name);
    t.equal(sys.close(made), 0);
    t.equal(sys.close(made), -E.EBADF);
    t.equal(sys.openat(fd, b(name), c.O_RDWR | c.O_CREAT | c.O_EXCL, 0o600), -E.EEXIST);
  }
  t.equal(sys.openat(fd, tooLong, c.O_RDONLY, 0), -E.ENAMETOOLONG);
  t.equal(
    sys.openat(fd, b('a/'.repeat(3000)), c.O_RDONLY, 0),
    -E.ENAMETOOLONG,
    'longer than a path can be',
  );
  t.equal(
    sys.openat(fd, b('./'.repeat(2047) + 'a'), c.O_RDONLY | c.O_DIRECTORY, 0),
    -E.ENOTDIR,
    'the longest path',
  );
  t.equal(
    sys.openat(fd, b('./'.repeat(2047) + 'aa'), c.O_RDONLY, 0),
    -E.ENAMETOOLONG,
    'one byte more',
  );
  t.equal(sys.openat(fd, b('a\0b'), c.O_RDONLY, 0), -E.EINVAL, 'a NUL inside');
  t.equal(sys.openat(fd, b('absent'), c.O_RDONLY, 0), -E.ENOENT);
  t.equal(sys.openat(-1, b('a'), c.O_RDONLY, 0), -E.EBADF);
  t.equal(sys.close(open(t, c.AT_FDCWD, `${bytes}/a`, c.O_RDONLY)), 0, 'AT_FDCWD');

  sys.symlinkat(b('a'), fd, b('link'));
  t.equal(sys.openat(fd, b('link'), c.O_RDONLY | c.O_NOFOLLOW, 0), -E.ELOOP);
});

t.test('openat of the empty path opens the same file anew', async (t) => {
  const { fd } = directory(t);
  file(t, fd, 'a', 'text');
  sys.symlinkat(b('a'), fd, b('link'));
  const anew = open(t, pathFd(t, fd, 'a'), '', c.O_RDONLY | c.O_NOFOLLOW);
  t.equal(content(anew), 'text');
  t.equal(
    sys.openat(pathFd(t, fd, 'link'), b(''), c.O_RDONLY, 0),
    -E.ELOOP,
    'a symbolic link cannot be read',
  );
  t.equal(sys.openat(12345, b(''), c.O_RDONLY, 0), -E.EBADF);
  t.equal(sys.openat(-7, b(''), c.O_RDONLY, 0), -E.EBADF);
  t.ok(open(t, c.AT_FDCWD, '', c.O_RDONLY | c.O_DIRECTORY) > 0, 'the working directory');
});

t.test('openat2', async (t) => {
  const { fd } = directory(t);
  file(t, fd, 'a');
  sys.symlinkat(b('a'), fd, b('link'));
  const made = sys.openat2(fd, b('a'), c.O_RDONLY | c.O_CLOEXEC, 0, c.RESOLVE_BENEATH);
  t.ok(made > 2);
  sys.close(made);
  t.equal(sys.openat2(fd, b('link'), c.O_RDONLY, 0, c.RESOLVE_NO_SYMLINKS), -E.ELOOP);
  t.equal(sys.openat2(fd, b('../x'), c.O_RDONLY, 0, c.RESOLVE_BENEATH), -E.EXDEV);
  t.equal(sys.openat2(fd, b(''), c.O_RDONLY, 0, 0), -E.ENOENT);
});

t.test('dup is close-on-exec', async (t) => {
  const { fd } = directory(t);
  const copy = check(sys.dup(fd));
  t.not(copy, fd);
  const { readFileSync } = await import('node:fs');
  t.ok(
    parseInt(
      /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${copy}`, 'latin1'))?.[1] ?? '',
      8,
    ) & c.O_CLOEXEC,
  );
  t.equal(sys.close(copy), 0);
  t.equal(sys.dup(copy), -E.EBADF);
});

t.test('getdents64', async (t) => {
  const { fd } = directory(t);
  file(t, fd, 'regular');
  file(t, fd, notUtf8);
  sys.mkdirat(fd, b('dir'), 0o755);
  sys.symlinkat(b('x'), fd, b('link'));
  const list = open(t, fd, '.', c.O_RDONLY | c.O_DIRECTORY);
  const buffer = Buffer.alloc(4096);
  const length = check(sys.getdents64(list, buffer));
  const found = [...entries(buffer.subarray(0, length))].sort((x, y) => (x.name < y.name ? -1 : 1));
  t.same(found, [
    { name: '.', type: c.DT_DIR },
    { name: '..', type: c.DT_DIR },
    { name: notUtf8, type: c.DT_REG },
    { name: 'dir', type: c.DT_DIR },
    { name: 'link', type: c.DT_LNK },
    { name: 'regular', type: c.DT_REG },
  ]);
  t.equal(sys.getdents64(list, buffer), 0, 'the end');
  t.equal(sys.lseek(list, 0, c.SEEK_SET), 0);
  t.equal(sys.getdents64(list, Buffer.alloc(8)), -E.EINVAL, 'no room for one entry');
  t.equal(sys.getdents64(list, new Uint8Array(0)), -E.EINVAL);
  t.equal(sys.getdents64(pathFd(t, fd, 'dir'), buffer), -E.EBADF, 'O_PATH');
  t.equal(sys.getdents64(open(t, fd, 'regular', c.O_RDONLY), buffer), -E.ENOTDIR);
});

t.test('pread, pwrite, lseek, ftruncate, fsync', async (t) => {
  const { fd: dirfd } = directory(t);
  const fd = file(t, dirfd, 'a');
  const whole = Buffer.from('0123456789');
  t.equal(sys.pwrite(fd, whole.subarray(3, 7), 2), 4, 'a view with an offset');
  t.equal(content(fd), '\0\x003456');
  const into = new Uint8Array(8).fill(0x2e);
  t.equal(sys.pread(fd, into.subarray(1, 4), 3), 3);
  t.equal(Buffer.from(into).toString('latin1'), '.456....', 'only the view is written');
  t.equal(sys.pread(fd, into, 100), 0, 'beyond the end');
  t.equal(sys.pread(fd, new Uint8Array(0), 0), 0);
  t.equal(sys.pread(fd, into, -1), -E.EINVAL);
  t.equal(sys.pread(dirfd, into, 0), -E.EISDIR);

  const far = 2 ** 33 + 5;
  t.equal(sys.ftruncate(fd, far), 0);
  t.equal(sys.lseek(fd, 0, c.SEEK_END), far, 'beyond 32 bits');
  t.equal(sys.pwrite(fd, whole, far), 10);
  t.equal(sys.pread(fd, into, far + 2), 8);
  t.equal(sys.lseek(fd, far + 100, c.SEEK_DATA), -E.ENXIO);
  t.equal(sys.ftruncate(fd, -1), -E.EINVAL);
  t.equal(sys.ftruncate(dirfd, 0), -E.EINVAL);
  t.equal(sys.fsync(fd), 0);
  t.equal(sys.fsync(-1), -E.EBADF);
  t.equal(sys.fsync(pathFd(t, dirfd, 'a')), -E.EBADF);
});

t.test('fallocate', async (t) => {
  const { fd: dirfd } = directory(t);
  const fd = file(t, dirfd, 'a', 'x'.repeat(8192));
  t.equal(sys.fallocate(fd, 0, 0, 16384), 0);
  t.equal(sys.lseek(fd, 0, c.SEEK_END), 16384);
  t.equal(sys.fallocate(fd, c.FALLOC_FL_PUNCH_HOLE | c.FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  t.equal(content(fd).slice(4094, 4098), '\0\0xx');
  t.equal(sys.fallocate(fd, 0, 0, 0), -E.EINVAL);
  t.equal(sys.fallocate(open(t, dirfd, 'a', c.O_RDONLY), 0, 0, 1), -E.EBADF);
});

t.test('flock between two open descriptions', async (t) => {
  const { fd: dirfd } = directory(t);
  const one = file(t, dirfd, 'a');
  const two = open(t, dirfd, 'a', c.O_RDONLY);
  t.equal(sys.flock(one, c.LOCK_EX), 0);
  t.equal(sys.flock(two, c.LOCK_EX | c.LOCK_NB), -E.EAGAIN);
  t.equal(sys.flock(two, c.LOCK_SH | c.LOCK_NB), -E.EAGAIN);
  t.equal(sys.flock(one, c.LOCK_UN), 0);
  t.equal(sys.flock(two, c.LOCK_SH | c.LOCK_NB), 0);
  t.equal(sys.flock(one, c.LOCK_SH | c.LOCK_NB), 0, 'shared');
  t.equal(sys.flock(-1, c.LOCK_SH), -E.EBADF);
});

t.test('wrong types throw, and nothing is done', async (t) => {
  const { fd } = directory(t);
  const untyped = sys as unknown as Record<string, (...args: unknown[]) => unknown>;
  const wrong = (name: string, ...args: unknown[]): void => {
    t.throws(
      () => untyped[name]?.(...args),
      { name: 'TypeError', message: new RegExp(`^${name}: argument \\d must be `) },
      name,
    );
  };
  wrong('openat');
  wrong('openat', 'x', 'a', 0, 0);
  wrong('openat', fd, 5, 0, 0);
  wrong('openat', fd, 'made', c.O_CREAT | c.O_RDWR);
  wrong('openat', fd, Buffer.from('made'), 0, 0);
  wrong('pread', fd, 'buffer', 0);
  wrong('pread', fd, new ArrayBuffer(8), 0);
  wrong('pread', fd, new Float64Array(8), 0);
  wrong('pread', fd, new Uint8Array(8), 0n);
  wrong('pwrite', fd, null, 0);
  wrong('copyData', fd, fd, 0, 0, 1);
  wrong('statx', fd, '', new Uint8Array(512), 0);
  wrong('fsyncAsync', fd);
  wrong('getxattrat', fd, '', 'user.a', 'x');
  t.equal(sys.openat(fd, b('made'), c.O_RDONLY, 0), -E.ENOENT);
  t.throws(() => sys.statx(fd, b(''), new Float64Array(23), 0), RangeError);
  t.throws(() => sys.fstatfs(fd, new Float64Array(9)), RangeError);
  t.throws(() => sys.fsuuid(fd, new Uint8Array(15)), RangeError);
  t.throws(() => sys.name_to_handle_at(fd, b(''), new Uint8Array(7), 0), RangeError);
});

t.test('a buffer that was transferred away is empty', async (t) => {
  const { fd: dirfd } = directory(t);
  const fd = file(t, dirfd, 'a', 'text');
  const gone = new Uint8Array(64);
  structuredClone(gone, { transfer: [gone.buffer] });
  t.equal(sys.pread(fd, gone, 0), 0);
  const doubles = new Float64Array(64);
  structuredClone(doubles, { transfer: [doubles.buffer] });
  t.throws(() => sys.statx(dirfd, b(''), doubles, 0), RangeError);
});

t.test('a descriptor is the same number as in Node', async (t) => {
  const fd = openSync('/dev/null', 'r');
  t.equal(sys.pread(fd, new Uint8Array(1), 0), 0);
  closeSync(fd);
});
