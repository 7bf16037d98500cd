import { lstatSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { check, E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { StatField } from '../../src/sys/syscalls.js';
import {
  b,
  content,
  directory,
  file,
  longest,
  notUtf8,
  onNewAndOldKernels,
  open,
  pathFd,
  root,
  stat,
  tooLong,
} from './fixture.js';

const mode = (dirfd: number, name: string): number => stat(dirfd, name)(StatField.Mode) & 0o7777;

t.test('mkdirat, mknodat, umask, unlinkat', async (t) => {
  const { fd } = directory(t);
  const former = sys.umask(0o027);
  t.teardown(() => sys.umask(former));
  t.equal(sys.mkdirat(fd, notUtf8, 0o777), 0);
  t.equal(mode(fd, notUtf8), 0o750);
  t.equal(sys.umask(0), 0o027);
  t.equal(sys.mkdirat(fd, longest, 0o1777), 0);
  t.equal(mode(fd, longest), 0o1777);
  t.equal(sys.mkdirat(fd, notUtf8, 0o777), -E.EEXIST);
  t.equal(sys.mkdirat(fd, tooLong, 0o777), -E.ENAMETOOLONG);
  t.equal(sys.mkdirat(fd, b(''), 0o777), -E.ENOENT);
  t.equal(sys.mkdirat(-1, b('x'), 0o777), -E.EBADF);

  t.equal(sys.mknodat(fd, b('fifo'), c.S_IFIFO | 0o644, 0, 0), 0);
  t.equal(stat(fd, 'fifo')(StatField.Mode), c.S_IFIFO | 0o644);
  t.equal(sys.mknodat(fd, b('socket'), c.S_IFSOCK | 0o600, 0, 0), 0);
  t.equal(sys.mknodat(fd, b('whiteout'), c.S_IFCHR, 0, 0), 0, 'anyone may make a whiteout');
  t.equal(sys.mknodat(fd, b('fifo'), c.S_IFIFO | 0o644, 0, 0), -E.EEXIST);
  if (root) {
    t.equal(sys.mknodat(fd, b('block'), c.S_IFBLK | 0o600, 259, 70000), 0);
    const at = stat(fd, 'block');
    t.same(
      [at(StatField.Mode), at(StatField.RdevMajor), at(StatField.RdevMinor)],
      [c.S_IFBLK | 0o600, 259, 70000],
    );
  }

  t.equal(sys.unlinkat(fd, notUtf8, 0), -E.EISDIR);
  t.equal(sys.unlinkat(fd, notUtf8, c.AT_REMOVEDIR), 0);
  t.equal(sys.unlinkat(fd, b('fifo'), c.AT_REMOVEDIR), -E.ENOTDIR);
  t.equal(sys.unlinkat(fd, b('fifo'), 0), 0);
  t.equal(sys.unlinkat(fd, b('fifo'), 0), -E.ENOENT);
});

t.test('symlinkat and readlinkat', async (t) => {
  const { fd, path } = directory(t);
  const target = b('t\xffrget/'.repeat(140));
  t.equal(sys.symlinkat(target, fd, notUtf8), 0);
  const buffer = new Uint8Array(4096);
  const read = (length: number): string =>
    Buffer.from(buffer.subarray(0, check(length))).toString('latin1');
  t.equal(read(sys.readlinkat(fd, notUtf8, buffer)), target);
  t.equal(
    read(sys.readlinkat(pathFd(t, fd, notUtf8), b(''), buffer)),
    target,
    'of an O_PATH descriptor',
  );
  t.equal(sys.readlinkat(fd, notUtf8, buffer.subarray(0, 5)), 5, 'cut off');
  t.equal(sys.readlinkat(fd, notUtf8, new Uint8Array(0)), -E.EINVAL);
  t.equal(sys.readlinkat(fd, b('absent'), buffer), -E.ENOENT);
  file(t, fd, 'regular');
  t.equal(sys.readlinkat(fd, b('regular'), buffer), -E.EINVAL);
  t.equal(sys.symlinkat(b(''), fd, b('x')), -E.ENOENT);
  // XFS takes 1024 bytes at most.
  const long = sys.symlinkat(b('x'.repeat(4095)), fd, b('longest')) === 0 ? 4095 : 1023;
  if (long === 1023) t.equal(sys.symlinkat(b('x'.repeat(long)), fd, b('longest')), 0);
  t.equal(readlinkSync(`${path}/longest`).length, long);
  t.equal(sys.symlinkat(b('x'.repeat(4096)), fd, b('y')), -E.ENAMETOOLONG);
  t.equal(sys.symlinkat(b('x'), fd, b('longest')), -E.EEXIST);
});

t.test('linkat', async (t) => {
  await onNewAndOldKernels(t, (t) => {
    const { fd, bytes } = directory(t);
    file(t, fd, 'a', 'text');
    sys.symlinkat(b('a'), fd, b('link'));
    t.equal(sys.linkat(fd, b('a'), fd, notUtf8), 0);
    t.equal(stat(fd, notUtf8)(StatField.Nlink), 2);
    t.equal(sys.linkat(fd, b('link'), fd, b('link too')), 0);
    t.equal(stat(fd, 'link too')(StatField.Mode) & c.S_IFMT, c.S_IFLNK, 'the symbolic link itself');
    t.equal(sys.linkat(fd, b('a'), fd, notUtf8), -E.EEXIST);
    t.equal(sys.linkat(fd, b('absent'), fd, b('x')), -E.ENOENT);

    t.equal(sys.linkat(pathFd(t, fd, 'a'), b(''), fd, b('by descriptor')), 0);
    t.equal(stat(fd, 'a')(StatField.Nlink), 3);
    t.equal(sys.linkat(pathFd(t, fd, 'link'), b(''), fd, b('link by descriptor')), 0);
    t.equal(stat(fd, 'link')(StatField.Nlink), 3, 'of a symbolic link');
    t.equal(sys.linkat(pathFd(t, fd, 'a'), b(''), fd, b('by descriptor')), -E.EEXIST);

    const unnamed = check(
      sys.openat(c.AT_FDCWD, bytes, c.O_TMPFILE | c.O_RDWR | c.O_CLOEXEC, 0o640),
    );
    t.teardown(() => sys.close(unnamed));
    sys.pwrite(unnamed, Buffer.from('unnamed'), 0);
    t.equal(sys.linkat(unnamed, b(''), fd, b('named')), 0);
    t.equal(content(open(t, fd, 'named', c.O_RDONLY)), 'unnamed');
    t.equal(sys.linkat(-1, b(''), fd, b('x')), -E.EBADF);
    t.equal(sys.linkat(12345, b(''), fd, b('x')), -E.EBADF);
  });
});

t.test('renameat2', async (t) => {
  const { fd } = directory(t);
  sys.mkdirat(fd, b('dir'), 0o755);
  const into = open(t, fd, 'dir', c.O_DIRECTORY);
  file(t, fd, 'a', 'A');
  file(t, fd, 'b', 'B');
  t.equal(sys.renameat2(fd, b('a'), fd, b('b'), c.RENAME_NOREPLACE), -E.EEXIST);
  t.equal(sys.renameat2(fd, b('a'), fd, b('b'), c.RENAME_EXCHANGE), 0);
  t.equal(content(open(t, fd, 'a', c.O_RDONLY)), 'B');
  t.equal(sys.renameat2(fd, b('a'), into, notUtf8, 0), 0);
  t.equal(content(open(t, into, notUtf8, c.O_RDONLY)), 'B');
  t.equal(sys.renameat2(fd, b('a'), into, b('x'), 0), -E.ENOENT);
  t.equal(sys.renameat2(fd, b('b'), into, b('b'), c.RENAME_WHITEOUT), 0);
  const left = stat(fd, 'b');
  t.same(
    [left(StatField.Mode) & c.S_IFMT, left(StatField.RdevMajor), left(StatField.RdevMinor)],
    [c.S_IFCHR, 0, 0],
    'a whiteout is left',
  );
  t.equal(sys.renameat2(fd, b('dir'), into, b('inside itself'), 0), -E.EINVAL);
  t.equal(
    sys.renameat2(fd, b('dir'), fd, b('x'), c.RENAME_NOREPLACE | c.RENAME_EXCHANGE),
    -E.EINVAL,
  );
});

t.test('fchmodat', async (t) => {
  await onNewAndOldKernels(t, (t) => {
    const { fd } = directory(t);
    file(t, fd, notUtf8);
    sys.mkdirat(fd, b('dir'), 0o755);
    sys.mknodat(fd, b('fifo'), c.S_IFIFO | 0o600, 0, 0);
    sys.symlinkat(notUtf8, fd, b('link'));
    for (const name of [notUtf8, 'dir', 'fifo']) {
      t.equal(sys.fchmodat(fd, b(name), 0o4711), 0);
      t.equal(mode(fd, name), 0o4711);
      t.equal(sys.fchmodat(pathFd(t, fd, name), b(''), 0o1602), 0, 'of an O_PATH descriptor');
      t.equal(mode(fd, name), 0o1602);
    }
    t.equal(sys.fchmodat(fd, b('link'), 0o600), -E.EOPNOTSUPP);
    t.equal(sys.fchmodat(pathFd(t, fd, 'link'), b(''), 0o600), -E.EOPNOTSUPP);
    t.equal(mode(fd, notUtf8), 0o1602, 'the target is as it was');
    t.equal(mode(fd, 'link'), 0o777);
    t.equal(sys.fchmodat(fd, b('absent'), 0o600), -E.ENOENT);
    t.equal(sys.fchmodat(-1, b(''), 0o600), -E.EBADF);
    t.equal(sys.fchmodat(12345, b('x'), 0o600), -E.EBADF);
  });
});

t.test('fchownat', { skip: root ? false : 'needs root' }, async (t) => {
  const { fd } = directory(t);
  file(t, fd, 'a');
  sys.symlinkat(b('a'), fd, b('link'));
  const owner = (name: string): number[] => [
    stat(fd, name)(StatField.Uid),
    stat(fd, name)(StatField.Gid),
  ];
  t.equal(sys.fchownat(fd, b('link'), 1000, 4294967294), 0);
  t.same(owner('link'), [1000, 4294967294]);
  t.same(owner('a'), [0, 0], 'not followed');
  t.equal(sys.fchownat(fd, b('link'), -1, 5), 0);
  t.same(owner('link'), [1000, 5], '-1 leaves the user');
  t.equal(sys.fchownat(pathFd(t, fd, 'link'), b(''), 6, 0xffffffff), 0);
  t.same(owner('link'), [6, 5], 'of an O_PATH descriptor');
  t.equal(sys.fchownat(fd, b('absent'), 0, 0), -E.ENOENT);
});

t.test('utimensat', async (t) => {
  await onNewAndOldKernels(t, (t) => {
    const { fd, path } = directory(t);
    file(t, fd, 'a');
    sys.symlinkat(b('a'), fd, b('link'));
    const times = (name: string): number[] =>
      [StatField.AtimeSec, StatField.AtimeNsec, StatField.MtimeSec, StatField.MtimeNsec].map(
        (field) => stat(fd, name)(field),
      );
    t.equal(sys.utimensat(fd, b('a'), 1, 999999999, -5, 1), 0);
    t.same(times('a'), [1, 999999999, -5, 1], 'before 1970, to the nanosecond');
    t.equal(lstatSync(`${path}/a`, { bigint: true }).mtimeNs, -4999999999n);
    t.equal(sys.utimensat(fd, b('link'), 8589934592, 2, 3, 4), 0);
    t.same(times('link'), [8589934592, 2, 3, 4], 'of the symbolic link, beyond 2038');
    t.same(times('a'), [1, 999999999, -5, 1]);
    t.equal(sys.utimensat(pathFd(t, fd, 'link'), b(''), 5, 6, 0, c.UTIME_OMIT), 0);
    t.same(times('link'), [5, 6, 3, 4], 'of an O_PATH descriptor; UTIME_OMIT');
    t.equal(sys.utimensat(fd, b('a'), 0, c.UTIME_OMIT, 0, c.UTIME_NOW), 0);
    t.ok(Math.abs((times('a')[2] ?? 0) - Date.now() / 1000) < 100, 'UTIME_NOW');
    t.equal(sys.utimensat(fd, b('a'), 0, 1e9, 0, 0), -E.EINVAL);
    t.equal(sys.utimensat(pathFd(t, fd, 'a'), b(''), 0, 1e9, 0, 0), -E.EINVAL);
    t.equal(sys.utimensat(fd, b('absent'), 0, 0, 0, 0), -E.ENOENT);
    t.equal(sys.utimensat(12345, b(''), 0, 0, 0, 0), -E.EBADF);
  });
});
