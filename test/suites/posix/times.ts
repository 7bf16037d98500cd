/** utimensat(2), and which times each operation updates (POSIX; man 7 inode). */
import {
  O_RDONLY,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  UTIME_NOW,
  UTIME_OMIT,
} from '../constants.js';
import { asRoot, nobody, type PosixCases, type Scene } from '../posix-suite.js';
import { makeEveryType } from './types.js';

const old = 1_000_000_000_123_456_789n;
const oldTime = [1_000_000_000, 123_456_789] as const;

/** Gives names an old atime and mtime. */
async function age(s: Scene, ...names: string[]): Promise<void> {
  for (const name of names) await s.actor.utimens(name, oldTime, oldTime);
}

/** Asserts which of mtime and ctime an operation on `path` moved. */
async function moves(
  s: Scene,
  path: string,
  expected: 'both' | 'ctime' | 'nothing',
  act: () => Promise<unknown>,
  what: string,
): Promise<void> {
  const before = await s.actor.lstat(path);
  await act();
  const after = await s.actor.lstat(path);
  const moved =
    after.mtime !== before.mtime
      ? after.ctime !== before.ctime
        ? 'both'
        : 'mtime'
      : after.ctime !== before.ctime
        ? 'ctime'
        : 'nothing';
  s.t.equal(moved, expected, what);
}

export const timeCases: PosixCases = {
  'utimens sets nanoseconds on every type': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of ['file', 'dir', 'link', 'dangling', 'fifo', 'socket']) {
      await s.actor.utimens(type, [1_234_567_890, 123_456_789], [987_654_321, 999_999_999]);
      s.t.match(
        await s.actor.lstat(type),
        { atime: 1_234_567_890_123_456_789n, mtime: 987_654_321_999_999_999n },
        type,
      );
    }
  },

  'utimens takes times before 1970 and after 2038': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    await s.actor.utimens('old', [-1000, 5], [4_000_000_000, 7]);
    s.t.match(await s.actor.lstat('old'), {
      atime: -999_999_999_995n,
      mtime: 4_000_000_000_000_000_007n,
    });
  },

  'nanoseconds that are none are EINVAL': async (s) => {
    await s.actor.put('old', 'x');
    await age(s, 'old');
    await s.settle();
    for (const nsec of [1_000_000_000, -1, UTIME_NOW + 1]) {
      await s.fails('EINVAL', s.actor.utimens('old', [1, nsec], [1, 0]), `atime ${nsec}`);
      await s.fails('EINVAL', s.actor.utimens('old', [1, 0], [1, nsec]), `mtime ${nsec}`);
    }
    s.t.match(await s.actor.lstat('old'), { atime: old, mtime: old });
  },

  'setting times moves ctime to now': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    const before = BigInt(Date.now()) * 1_000_000n - 20_000_000n;
    for (const type of ['file', 'dir', 'link', 'fifo']) {
      await s.actor.utimens(type, [1, 2], [3, 4]);
      const { ctime } = await s.actor.lstat(type);
      s.t.ok(ctime >= before && ctime <= BigInt(Date.now() + 1000) * 1_000_000n, type);
    }
  },

  'a write of nothing changes no time': async (s) => {
    await s.actor.put('old', 'content');
    await age(s, 'old');
    await s.settle();
    const fd = await s.actor.open('old', O_WRONLY);
    await moves(s, 'old', 'nothing', () => s.actor.write(fd, ''), 'write');
  },

  'renaming updates both directories, an exchange too': async (s) => {
    for (const dir of ['from', 'to']) await s.actor.mkdir(dir);
    for (const name of ['from/a', 'from/b', 'to/c', 'to/d']) await s.actor.put(name, name);
    await age(s, 'from', 'to');
    await s.settle();
    await moves(s, 'from', 'both', () => s.actor.rename('from/a', 'to/a'), 'renamed from here');
    await age(s, 'from', 'to');
    await moves(
      s,
      'to',
      'both',
      () => s.actor.rename('from/b', 'to/c'),
      'renamed over a name here',
    );
    await s.actor.put('from/e', 'x');
    for (const dir of ['from', 'to']) {
      await age(s, 'from', 'to');
      await moves(
        s,
        dir,
        'both',
        () => s.actor.rename('from/e', 'to/d', RENAME_EXCHANGE),
        `an exchange with ${dir}`,
      );
    }
  },

  'UTIME_OMIT leaves one time, UTIME_NOW sets it to now': async (s) => {
    await s.actor.put('old', 'x');
    await age(s, 'old');
    await s.settle();
    await s.actor.utimens('old', [0, UTIME_OMIT], [5, 6]);
    s.t.match(await s.actor.lstat('old'), { atime: old, mtime: 5_000_000_006n });
    await s.actor.utimens('old', [7, 8], [0, UTIME_OMIT]);
    s.t.match(await s.actor.lstat('old'), { atime: 7_000_000_008n, mtime: 5_000_000_006n });
    const before = await s.actor.lstat('old');
    await s.actor.utimens('old', [0, UTIME_OMIT], [0, UTIME_OMIT]);
    s.t.same(await s.actor.lstat('old'), before, 'both omitted: nothing happens');
    await s.actor.utimens('old', [0, UTIME_NOW], [0, UTIME_OMIT]);
    const now = await s.actor.lstat('old');
    s.t.ok(now.atime > old && now.mtime === 5_000_000_006n);
    await s.actor.utimens('old', [0, UTIME_OMIT], [0, UTIME_NOW]);
    s.t.ok((await s.actor.lstat('old')).mtime > old);
  },

  'futimens works on descriptors for reading and of directories': async (s) => {
    await s.actor.put('old', 'x');
    await s.actor.mkdir('dir');
    await s.settle();
    for (const name of ['old', 'dir']) {
      await s.actor.futimens(await s.actor.open(name), [1, 2], [3, 4]);
      s.t.match(await s.actor.lstat(name), { atime: 1_000_000_002n, mtime: 3_000_000_004n }, name);
    }
  },

  'explicit times need the owner, "now" needs write permission': asRoot(async (s) => {
    await s.actor.put('writable', 'x');
    await s.actor.chmod('writable', 0o666);
    await s.actor.put('closed', 'x', 0o644);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EPERM', user.utimens('writable', [1, 2], [3, 4]));
    await s.fails('EPERM', user.utimens('writable', [0, UTIME_NOW], [0, UTIME_OMIT]));
    await user.utimens('writable', [0, UTIME_NOW], [0, UTIME_NOW]);
    await s.fails('EACCES', user.utimens('closed', [0, UTIME_NOW], [0, UTIME_NOW]));
  }),

  'reading leaves mtime and ctime alone': async (s) => {
    await s.actor.put('old', 'x'.repeat(100));
    await s.actor.mkdir('dir');
    await age(s, 'old', 'dir');
    await s.settle();
    await moves(s, 'old', 'nothing', () => s.actor.get('old'), 'read');
    await moves(s, 'dir', 'nothing', () => s.actor.names('dir'), 'readdir');
    await moves(s, 'old', 'nothing', () => s.actor.open('old', O_RDONLY), 'open');
    s.t.equal((await s.actor.lstat('old')).mtime, old);
  },

  'write and truncation update mtime and ctime': async (s) => {
    for (const name of ['written', 'grown', 'cut', 'opened', 'same'])
      await s.actor.put(name, 'content');
    await age(s, 'written', 'grown', 'cut', 'opened', 'same');
    await s.settle();
    const fd = await s.actor.open('written', O_WRONLY);
    await moves(s, 'written', 'both', () => s.actor.write(fd, 'x'), 'write');
    await moves(s, 'grown', 'both', () => s.actor.truncate('grown', 100), 'growing');
    await moves(s, 'cut', 'both', () => s.actor.truncate('cut', 1), 'cutting');
    await moves(s, 'opened', 'both', () => s.actor.open('opened', O_WRONLY | 0o1000), 'O_TRUNC');
    await age(s, 'cut');
    await moves(s, 'cut', 'nothing', () => s.actor.open('cut', O_WRONLY), 'opening for writing');
  },

  'chmod, chown, link, rename and xattrs update only ctime': async (s) => {
    await s.actor.put('old', 'x');
    await age(s, 'old');
    await s.settle();
    const id = [process.getuid?.() ?? 0, process.getgid?.() ?? 0] as const;
    await moves(s, 'old', 'ctime', () => s.actor.chmod('old', 0o600), 'chmod');
    await moves(s, 'old', 'ctime', () => s.actor.lchown('old', ...id), 'chown');
    await moves(s, 'old', 'ctime', () => s.actor.link('old', 'new'), 'link');
    await moves(s, 'old', 'ctime', () => s.actor.unlink('new'), 'unlink of another name');
    await moves(s, 'old', 'ctime', () => s.actor.setxattr('old', 'user.a', 'b'), 'setxattr');
    await moves(s, 'old', 'ctime', () => s.actor.removexattr('old', 'user.a'), 'removexattr');
    s.t.equal((await s.actor.lstat('old')).mtime, old);
    await s.actor.rename('old', 'new', RENAME_NOREPLACE);
    s.t.equal((await s.actor.lstat('new')).mtime, old, 'rename keeps mtime');
  },

  'what changes a directory updates its mtime and ctime': async (s) => {
    await s.actor.mkdir('dir');
    for (const name of ['a', 'b', 'c']) await s.actor.put(`dir/${name}`, 'x');
    await s.actor.mkdir('dir/empty');
    await s.actor.put('outside', 'x');
    await age(s, 'dir');
    await s.settle();
    const both = (what: string, act: () => Promise<unknown>) => moves(s, 'dir', 'both', act, what);
    await both('create', () => s.actor.put('dir/new', 'x'));
    await both('mkdir', () => s.actor.mkdir('dir/newdir'));
    await both('symlink', () => s.actor.symlink('x', 'dir/newlink'));
    await both('mknod', () => s.actor.mknod('dir/newfifo', 0o010600));
    await both('link', () => s.actor.link('outside', 'dir/hard'));
    await both('unlink', () => s.actor.unlink('dir/a'));
    await both('rmdir', () => s.actor.rmdir('dir/empty'));
    await both('rename within', () => s.actor.rename('dir/b', 'dir/b2'));
    await both('rename out', () => s.actor.rename('dir/b2', 'b3'));
    await both('rename in', () => s.actor.rename('b3', 'dir/b4'));
    await both('rename over', () => s.actor.rename('outside', 'dir/c'));
    await age(s, 'dir');
    await moves(
      s,
      'dir',
      'nothing',
      () => s.actor.put('dir/c', 'changed'),
      'writing to a file within',
    );
    await moves(s, 'dir', 'nothing', () => s.actor.chmod('dir/c', 0o600), 'chmod of a file within');
    await moves(
      s,
      'dir',
      'nothing',
      () => s.actor.unlink('dir/missing').catch(() => undefined),
      'a failed unlink',
    );
    s.t.equal((await s.actor.lstat('dir')).mtime, old);
  },

  'a new name has the time of now': async (s) => {
    await s.settle();
    const before = BigInt(Date.now()) * 1_000_000n - 20_000_000n;
    await s.actor.put('new', 'x');
    await s.actor.mkdir('newdir');
    await s.actor.symlink('x', 'newlink');
    for (const name of ['new', 'newdir', 'newlink']) {
      const st = await s.actor.lstat(name);
      s.t.ok(st.mtime >= before && st.ctime >= before && st.atime >= before, name);
      s.t.ok(st.mtime <= BigInt(Date.now() + 1000) * 1_000_000n, name);
    }
  },
};
