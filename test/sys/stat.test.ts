import { lstatSync } from 'node:fs';
import t from 'tap';
import { E } from '../../src/base/errno.js';
import * as c from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { STAT_FIELDS, StatField } from '../../src/sys/syscalls.js';
import { b, directory, file, longest, notUtf8, pathFd, root, stat, tooLong } from './fixture.js';

t.test('statx says what lstat says', async (t) => {
  const { fd, path } = directory(t);
  file(t, fd, 'regular', 'text');
  sys.mkdirat(fd, b('dir'), 0o751);
  sys.symlinkat(b('nowhere'), fd, b('link'));
  sys.mknodat(fd, b('fifo'), c.S_IFIFO | 0o640, 0, 0);
  const names = ['regular', 'dir', 'link', 'fifo'];
  if (root) {
    sys.mknodat(fd, b('device'), c.S_IFCHR | 0o600, 259, 70000);
    names.push('device');
  }
  for (const name of names) {
    const expected = lstatSync(`${path}/${name}`, { bigint: true });
    for (const [what, get] of [
      ['by name', stat(fd, name)],
      ['by descriptor', stat(pathFd(t, fd, name), '')],
      ['by path', stat(c.AT_FDCWD, `${Buffer.from(path).toString('latin1')}/${name}`)],
    ] as const) {
      t.match(
        {
          mode: get(StatField.Mode),
          nlink: get(StatField.Nlink),
          uid: get(StatField.Uid),
          gid: get(StatField.Gid),
          ino: BigInt(get(StatField.InoHigh)) * 2n ** 32n + BigInt(get(StatField.InoLow)),
          size: get(StatField.Size),
          blocks: get(StatField.Blocks),
          blksize: get(StatField.Blksize),
          mtime: BigInt(get(StatField.MtimeSec)) * 10n ** 9n + BigInt(get(StatField.MtimeNsec)),
          atime: BigInt(get(StatField.AtimeSec)) * 10n ** 9n + BigInt(get(StatField.AtimeNsec)),
          ctime: BigInt(get(StatField.CtimeSec)) * 10n ** 9n + BigInt(get(StatField.CtimeNsec)),
          result: get(StatField.Result),
        },
        {
          mode: Number(expected.mode),
          nlink: Number(expected.nlink),
          uid: Number(expected.uid),
          gid: Number(expected.gid),
          ino: expected.ino,
          size: Number(expected.size),
          blocks: Number(expected.blocks),
          blksize: Number(expected.blksize),
          mtime: expected.mtimeNs,
          atime: expected.atimeNs,
          ctime: expected.ctimeNs,
          result: 0,
        },
        `${name} ${what}`,
      );
      t.equal(get(StatField.Mask) & 0x7ff, 0x7ff);
    }
  }
  if (root)
    t.same(
      [stat(fd, 'device')(StatField.RdevMajor), stat(fd, 'device')(StatField.RdevMinor)],
      [259, 70000],
    );
  t.ok(stat(c.AT_FDCWD, '/proc')(StatField.Attributes) & c.STATX_ATTR_MOUNT_ROOT, 'a mount root');
});

t.test('statx fills its own entry only', async (t) => {
  const { fd } = directory(t);
  const backing = new Float64Array(STAT_FIELDS * 4 + 2).fill(-7);
  const out = backing.subarray(1, 1 + STAT_FIELDS * 3);
  t.equal(sys.statx(fd, b(''), out, 1), 0);
  t.ok(backing.subarray(0, 1 + STAT_FIELDS).every((value) => value === -7));
  t.ok(backing.subarray(1 + STAT_FIELDS * 2).every((value) => value === -7));
  t.throws(() => sys.statx(fd, b(''), out, 3), RangeError);
  t.throws(() => sys.statx(fd, b(''), out, -1), RangeError);
  t.equal(sys.statx(fd, b('absent'), out, 0), -E.ENOENT);
  t.equal(sys.statx(fd, tooLong, out, 0), -E.ENAMETOOLONG);
  t.equal(sys.statx(-1, b('a'), out, 0), -E.EBADF);
  t.equal(sys.statx(-1, b(''), out, 0), -E.EBADF);
});

t.test('statxMany', async (t) => {
  const { fd } = directory(t);
  const names = Array.from({ length: 600 }, (_, i) => b(`file ${i}`));
  names[0] = notUtf8;
  names[1] = longest;
  for (const name of names)
    sys.close(sys.openat(fd, name, c.O_CREAT | c.O_WRONLY | c.O_CLOEXEC, 0o600));
  names.push(b('absent'), b('a\0b'), tooLong, b(''));
  const out = new Float64Array(STAT_FIELDS * names.length);
  t.equal(sys.statxMany(fd, names, names.length, out), names.length);
  const result = (i: number): number => out[i * STAT_FIELDS + StatField.Result] ?? NaN;
  const single = new Float64Array(STAT_FIELDS);
  for (let i = 0; i < 600; i++) {
    sys.statx(fd, names[i] ?? b(''), single, 0);
    if (!single.every((value, field) => out[i * STAT_FIELDS + field] === value))
      t.fail(`entry ${i}`);
  }
  t.same([600, 601, 602, 603].map(result), [-E.ENOENT, -E.EINVAL, -E.ENAMETOOLONG, 0]);

  out.fill(-7);
  t.equal(sys.statxMany(fd, names, 2, out), 2);
  t.equal(out[2 * STAT_FIELDS], -7, 'no entry beyond count');
  t.equal(sys.statxMany(fd, names, 0, new Float64Array(0)), 0);
  t.throws(() => sys.statxMany(fd, names, names.length + 1, new Float64Array(1e5)), RangeError);
  t.throws(() => sys.statxMany(fd, names, 2, new Float64Array(2 * STAT_FIELDS - 1)), RangeError);
  t.throws(() => sys.statxMany(fd, names, -1, out), RangeError);
  t.throws(() => sys.statxMany(fd, [b('a'), 5 as unknown as typeof notUtf8], 2, out), TypeError);
  t.throws(() => sys.statxMany(fd, 'ab' as unknown as [], 2, out), TypeError);
  const trap = Object.defineProperty([b('a')], 0, {
    get() {
      throw new Error('from the getter');
    },
  });
  t.throws(() => sys.statxMany(fd, trap, 1, out), { message: 'from the getter' });
});
