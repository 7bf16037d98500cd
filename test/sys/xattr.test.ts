import t from 'tap';
import { E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import {
  b,
  directory,
  file,
  notUtf8,
  onNewAndOldKernels,
  open,
  pathFd,
  root,
  tooLong,
} from './fixture.js';

const value = Buffer.from([0, 1, 0xff, 0x41]);

function get(dirfd: number, name: string, attribute: string): Buffer | number {
  const buffer = Buffer.alloc(c.XATTR_SIZE_MAX);
  const length = sys.getxattrat(dirfd, b(name), b(attribute), buffer);
  return length < 0 ? length : buffer.subarray(0, length);
}

function list(dirfd: number, name: string): string[] {
  const buffer = Buffer.alloc(c.XATTR_LIST_MAX);
  const length = sys.listxattrat(dirfd, b(name), buffer);
  return buffer.toString('latin1', 0, length).split('\0').slice(0, -1).sort();
}

t.test('of a file', async (t) => {
  await onNewAndOldKernels(t, (t) => {
    const { fd, bytes } = directory(t);
    file(t, fd, notUtf8);
    const set = sys.setxattrat(fd, notUtf8, b('user.a\xff'), value, 0);
    if (set === -E.EOPNOTSUPP) {
      t.comment('the file system of the temporary directory has no user xattrs');
      return;
    }
    t.equal(set, 0);
    const handle = pathFd(t, fd, notUtf8);
    for (const [what, dirfd, name] of [
      ['by name', fd, notUtf8],
      ['by O_PATH descriptor', handle, ''],
      ['by readable descriptor', open(t, fd, notUtf8, c.O_RDONLY), ''],
      ['by path', c.AT_FDCWD, `${bytes}/${notUtf8}`],
      ['by absolute path, whatever the descriptor', fd, `${bytes}/${notUtf8}`],
    ] as const) {
      t.same(get(dirfd, name, 'user.a\xff'), value, what);
      t.same(list(dirfd, name), ['user.a\xff'], what);
    }
    t.equal(sys.getxattrat(fd, notUtf8, b('user.a\xff'), null), 4, 'the size');
    t.equal(sys.listxattrat(fd, notUtf8, null), 8);
    t.equal(sys.getxattrat(fd, notUtf8, b('user.a\xff'), new Uint8Array(3)), -E.ERANGE);
    t.equal(sys.listxattrat(fd, notUtf8, new Uint8Array(3)), -E.ERANGE);
    t.equal(sys.setxattrat(fd, notUtf8, b('user.a\xff'), value, c.XATTR_CREATE), -E.EEXIST);
    t.equal(sys.setxattrat(handle, b(''), b('user.b'), value, c.XATTR_REPLACE), -E.ENODATA);
    t.equal(
      sys.setxattrat(handle, b(''), b('user.b'), new Uint8Array(0), c.XATTR_CREATE),
      0,
      'an empty value',
    );
    t.same(get(fd, notUtf8, 'user.b'), Buffer.alloc(0));
    t.same(list(handle, ''), ['user.a\xff', 'user.b']);
    t.equal(sys.removexattrat(handle, b(''), b('user.b')), 0);
    t.equal(sys.setxattrat(fd, b(''), b('user.dir'), value, 0), 0, 'of the directory, readable');
    t.same(list(fd, ''), ['user.dir']);
    t.equal(sys.removexattrat(fd, b(''), b('user.dir')), 0);
    t.equal(sys.removexattrat(fd, b(''), b('user.dir')), -E.ENODATA);
    t.equal(sys.removexattrat(fd, notUtf8, b('user.b')), -E.ENODATA);
    t.equal(get(fd, notUtf8, 'user.b'), -E.ENODATA);
    t.equal(
      sys.setxattrat(fd, notUtf8, b('user.big'), new Uint8Array(c.XATTR_SIZE_MAX + 1), 0),
      -E.E2BIG,
    );
    t.equal(sys.setxattrat(fd, notUtf8, b(`user.${tooLong}`), value, 0), -E.ERANGE);
    t.equal(sys.setxattrat(fd, notUtf8, b('user.\0'), value, 0), -E.EINVAL);
    t.equal(sys.setxattrat(fd, notUtf8, b('nonsense'), value, 0), -E.EOPNOTSUPP);
    t.equal(get(fd, 'absent', 'user.a'), -E.ENOENT);
    t.equal(get(12345, '', 'user.a'), -E.EBADF);
    t.equal(get(12345, 'x', 'user.a'), -E.EBADF);
    t.equal(get(-5, '', 'user.a'), -E.EBADF);
    t.equal(get(fd, `${notUtf8}/x`, 'user.a'), -E.ENOTDIR);
    t.equal(get(pathFd(t, fd, notUtf8), 'x', 'user.a'), -E.ENOTDIR);
    t.equal(
      sys.getxattrat(c.AT_FDCWD, b(''), b('user.none'), null),
      -E.ENODATA,
      'the working directory',
    );
  });
});

t.test(
  'of a symbolic link, a fifo and a device',
  { skip: root ? false : 'needs root' },
  async (t) => {
    await onNewAndOldKernels(t, (t) => {
      const { fd } = directory(t);
      file(t, fd, 'target');
      sys.symlinkat(b('target'), fd, b('link'));
      sys.mknodat(fd, b('fifo'), c.S_IFIFO | 0o600, 0, 0);
      sys.mknodat(fd, b('device'), c.S_IFCHR | 0o600, 1, 3);
      sys.mkdirat(fd, b('dir'), 0o700);
      for (const name of ['link', 'fifo', 'device', 'dir']) {
        const handle = pathFd(t, fd, name);
        t.equal(sys.setxattrat(fd, b(name), b('trusted.a'), value, 0), 0, name);
        t.same(get(handle, '', 'trusted.a'), value);
        t.equal(sys.setxattrat(handle, b(''), b('trusted.b'), value, 0), 0);
        t.same(get(fd, name, 'trusted.b'), value);
        t.same(list(handle, ''), ['trusted.a', 'trusted.b']);
        t.equal(sys.removexattrat(handle, b(''), b('trusted.a')), 0);
        t.same(list(fd, name), ['trusted.b']);
        if (name !== 'dir') t.equal(sys.setxattrat(fd, b(name), b('user.a'), value, 0), -E.EPERM);
      }
      t.same(list(fd, 'target'), [], 'the target has none');
    });
  },
);
