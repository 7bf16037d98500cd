/** What brings a lower file into the upper, what does not, and what it keeps on the way. */
import {
  O_APPEND,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  R_OK,
  S_IFCHR,
  S_IFIFO,
  SEEK_DATA,
  W_OK,
} from '../constants.js';
import type { Actor, Stat } from '../actor.js';
import { asLowerTree } from './lower-tree.js';
import type { UnionCases, UnionScene } from './scene.js';

/** Asserts that `act` on the lower file `file` brings it into the upper. */
async function triggers(
  s: UnionScene,
  name: string,
  act: (mnt: Actor, name: string) => Promise<unknown>,
  what: string,
): Promise<void> {
  await act(s.mnt, name);
  s.t.ok((await s.inUpper()).includes(name), `${what} copies up`);
}

/** For utimens: access and modification time, of seconds and nanoseconds. */
function times({ atime, mtime }: Stat): [[number, number], [number, number]] {
  const parts = (time: bigint): [number, number] => [
    Number(time / 1_000_000_000n),
    Number(time % 1_000_000_000n),
  ];
  return [parts(atime), parts(mtime)];
}

export const copyUpCases: UnionCases = {
  'reading, listing, opening for writing and asking for access copy nothing': async (s) => {
    await s.lay('lower1', { file: 'content', 'dir/a': 'x', link: '->file' });
    await s.mount();
    await s.mnt.get('file');
    await s.mnt.names('dir');
    await s.mnt.readlink('link');
    await s.mnt.access('file', R_OK | W_OK);
    await s.mnt.access('dir', W_OK);
    await s.mnt.statvfs('.');
    await s.mnt.listxattr('file');
    await s.mnt.fsync(await s.mnt.open('file', O_RDONLY));
    s.t.same(await s.inUpper(), []);
  },

  'opening for writing without writing copies nothing': async (s) => {
    await s.lay('lower1', { file: 'content' });
    await s.mount();
    for (const flags of [O_RDWR, O_WRONLY, O_WRONLY | O_APPEND, O_CREAT | O_RDWR])
      await s.mnt.close(await s.mnt.open('file', flags));
    s.t.same(await s.inUpper(), []);
  },

  'operations that fail copy nothing': async (s) => {
    await s.lay('lower1', { file: 'content', 'dir/a': 'x' });
    await s.mount();
    await s.fails('ENOTEMPTY', s.mnt.rmdir('dir'));
    await s.fails('EISDIR', s.mnt.rename('file', 'dir'));
    await s.fails('EEXIST', s.mnt.link('file', 'dir'));
    await s.fails('EEXIST', s.mnt.mkdir('dir'));
    await s.fails('ENOENT', s.mnt.unlink('dir/missing'));
    await s.fails('ENODATA', s.mnt.removexattr('file', 'user.none'));
    s.t.same(await s.inUpper(), []);
  },

  'the first change of any kind copies up': async (s) => {
    const acts: Record<string, (mnt: Actor, name: string) => Promise<unknown>> = {
      write: async (mnt, name) => mnt.write(await mnt.open(name, O_RDWR), 'x'),
      append: async (mnt, name) => mnt.write(await mnt.open(name, O_WRONLY | O_APPEND), 'x'),
      truncate: (mnt, name) => mnt.truncate(name, 3),
      trunc: (mnt, name) => mnt.open(name, O_WRONLY | O_TRUNC),
      chmod: (mnt, name) => mnt.chmod(name, 0o600),
      chown: (mnt, name) => mnt.lchown(name, process.getuid?.() ?? 0, process.getgid?.() ?? 0),
      utimens: (mnt, name) => mnt.utimens(name, [1, 1], [1, 1]),
      setxattr: (mnt, name) => mnt.setxattr(name, 'user.a', 'b'),
      removexattr: (mnt, name) => mnt.removexattr(name, 'user.there'),
      link: (mnt, name) => mnt.link(name, `${name}2`),
      fallocate: async (mnt, name) => mnt.fallocate(await mnt.open(name, O_RDWR), 0, 0, 4096),
    };
    for (const name of Object.keys(acts)) {
      await s.lay('lower1', { [name]: 'content' });
      await s.disk.setxattr(`lower1/${name}`, 'user.there', 'x');
    }
    const before = await s.held('lower1');
    await s.mount();
    for (const [name, act] of Object.entries(acts)) await triggers(s, name, act, name);
    s.same(await s.held('lower1'), before, 'the lower is untouched');
  },

  'a copied-up file keeps content, owner, mode, times and xattrs; its directory keeps its own':
    async (s) => {
      await asLowerTree(s);
      await s.mount();
      const before = await s.shown();
      for (const path of ['file', 'dir/file', 'closed/deep/file']) {
        await s.mnt.setxattr(path, 'user.added', 'x');
        await s.mnt.removexattr(path, 'user.added');
      }
      for (const path of ['fifo', 'dir', 'empty']) {
        const { mode } = await s.mnt.lstat(path);
        await s.mnt.chmod(path, mode & 0o7777);
      }
      s.same(await s.shown(), before, 'nothing but ctime changed');
      s.t.ok((await s.inUpper()).includes('closed/deep/file'));
      await s.remount();
      s.same(await s.shown(), before, 'after a remount too');
      s.t.equal(
        (await s.disk.lstat('upper/closed')).mode & 0o777,
        0o700,
        'a 0700 parent stays 0700',
      );
    },

  'symlinks and special files keep owner, mode and times when copied up': {
    needsRoot: true,
    run: async (s) => {
      await asLowerTree(s);
      await s.disk.mknod('lower1/device', S_IFCHR, 5, 1);
      await s.disk.chmod('lower1/device', 0o620);
      const names = ['link', 'fifo', 'socket', 'device'];
      for (const [i, name] of names.entries())
        await s.disk.lchown(`lower1/${name}`, 1010 + i, 2020 + i);
      // Of whole milliseconds: fuse-native has no others.
      await s.disk.utimens('lower1/device', [77, 7_000_000], [88, 8_000_000]);
      await s.mount();
      const before = await s.shown();
      // By what leaves owner and mode alone: a chown, also to the same owner, would mend a lost
      // one.
      for (const name of names) {
        const [atime, mtime] = times(await s.mnt.lstat(name));
        await s.mnt.utimens(name, atime, mtime);
        s.t.ok((await s.inUpper()).includes(name), name);
      }
      s.same(await s.shown(), before, 'nothing but ctime changed');
      for (const [i, name] of names.entries()) {
        const { uid, gid } = await s.disk.lstat(`upper/${name}`);
        s.t.same([uid, gid], [1010 + i, 2020 + i], `${name} in the upper`);
      }
      for (const name of names) {
        await s.mnt.rename(name, `${name}2`);
        await s.mnt.rename(`${name}2`, name);
      }
      const { mtime, mode, uid, rdev } = await s.disk.lstat('upper/device');
      s.t.match(
        { mtime, mode, uid, rdev },
        { mtime: 88_008_000_000n, mode: S_IFCHR | 0o620, uid: 1013, rdev: '5:1' },
      );
    },
  },

  'missing parents are copied up with their attributes, and keep their mtime': async (s) => {
    await s.lay('lower1', { 'a/b/c/file': 'x' });
    for (const [i, path] of ['a/b/c', 'a/b', 'a'].entries()) {
      await s.disk.setxattr(`lower1/${path}`, 'user.n', String(i));
      await s.disk.chmod(`lower1/${path}`, 0o700 + i);
      await s.disk.utimens(`lower1/${path}`, [100 + i, 1], [200 + i, 2]);
    }
    await s.mount();
    const before = await s.shown();
    await s.mnt.chmod('a/b/c/file', (await s.mnt.lstat('a/b/c/file')).mode & 0o7777);
    s.same(await s.shown(), before, 'through the mount');
    for (const [i, path] of ['a/b/c', 'a/b', 'a'].entries()) {
      const st = await s.disk.lstat(`upper/${path}`);
      s.t.match(
        { mode: st.mode & 0o777, mtime: st.mtime },
        { mode: 0o700 + i, mtime: BigInt(200 + i) * 1_000_000_000n + 2n },
        path,
      );
      s.t.equal(await s.disk.getxattr(`upper/${path}`, 'user.n'), String(i));
    }
  },

  'a truncating open copies no data': async (s) => {
    const fd = await s.disk.open('lower1/big', O_CREAT | O_WRONLY);
    for (let i = 0; i < 64; i++) await s.disk.write(fd, 'x'.repeat(1 << 20), i << 20);
    await s.disk.close(fd);
    await s.mount();
    const out = await s.mnt.open('big', O_WRONLY | O_TRUNC);
    const st = await s.disk.lstat('upper/big');
    s.t.match({ size: st.size, blocks: st.blocks < 64 }, { size: 0, blocks: true });
    await s.mnt.write(out, 'new');
    s.t.equal(await s.mnt.get('big'), 'new');
  },

  'holes stay holes': async (s) => {
    const fd = await s.disk.open('lower1/sparse', O_CREAT | O_RDWR);
    await s.disk.ftruncate(fd, 1 << 30);
    await s.disk.write(fd, 'island', 1 << 29);
    await s.disk.close(fd);
    await s.mount();
    await s.mnt.chmod('sparse', 0o600);
    const st = await s.disk.lstat('upper/sparse');
    s.t.equal(st.size, 1 << 30);
    s.t.ok(st.blocks <= 8192, `${st.blocks} blocks`);
    const copy = await s.mnt.open('sparse', O_RDONLY);
    s.t.equal(await s.mnt.read(copy, 6, 1 << 29), 'island');
    s.t.equal(await s.disk.lseek(await s.disk.open('upper/sparse'), 0, SEEK_DATA), 1 << 29);
  },

  'nothing is left in the workdir': async (s) => {
    await s.lay('lower1', { a: 'x', 'dir/b': 'x', 'dir2/c': 'x' });
    await s.mount();
    await s.mnt.put('a', 'changed');
    await s.mnt.unlink('dir/b');
    await s.mnt.rmdir('dir');
    await s.mnt.mkdir('dir');
    await s.mnt.rename('a', 'dir/a');
    await s.unmount();
    const tree = await s.held('work', { mtime: false });
    const left = [...tree].filter(
      ([path, text]) => !text.startsWith('dir ') && path !== '.' && !/^[^/]*\/incompat/.test(path),
    );
    // The kernel keeps one whiteout in its workdir, to link from.
    s.t.same(
      left.filter(([, text]) => !text.startsWith('char')).map(([path]) => path),
      [],
    );
  },

  'a lower FIFO is copied up without being opened': async (s) => {
    await s.disk.mknod('lower1/pipe', S_IFIFO | 0o622);
    await s.mount();
    await s.mnt.chmod('pipe', 0o600);
    s.t.ok((await s.inUpper()).includes('pipe'));
    s.t.equal((await s.disk.lstat('upper/pipe')).mode, S_IFIFO | 0o600);
  },

  'a file open for reading sees what is written after its copy-up': async (s) => {
    await s.lay('lower1', { file: 'before' });
    await s.mount();
    const reader = await s.mnt.open('file');
    s.t.equal(await s.mnt.read(reader, 6, 0), 'before');
    const other = await s.start();
    await other.write(await other.open('file', O_WRONLY), 'AFTER!');
    s.t.equal(await s.mnt.read(reader, 6, 0), 'AFTER!');
    s.t.equal((await s.mnt.fstat(reader)).ino, (await s.mnt.lstat('file')).ino);
  },

  'a copy-up that an ordinary user causes keeps owner and directories, though he could not make them':
    {
      needsRoot: true,
      run: async (s) => {
        await s.lay('lower1', { 'dir/file': 'content' });
        await s.disk.lchown('lower1/dir/file', 7, 8);
        await s.disk.chmod('lower1/dir/file', 0o666);
        await s.disk.setxattr('lower1/dir/file', 'trusted.secret', 'x');
        await s.mount();
        const user = await s.start({ identity: { uid: 65534, gid: 65534 } });
        await user.write(await user.open('dir/file', O_WRONLY), 'CON');
        s.t.equal(await s.mnt.get('dir/file'), 'CONtent');
        s.t.match(await s.disk.lstat('upper/dir/file'), { uid: 7, gid: 8 });
        s.t.equal(await s.disk.getxattr('upper/dir/file', 'trusted.secret'), 'x');
        s.t.match(await s.disk.lstat('upper/dir'), { uid: 0, gid: 0 });
      },
    },

  "times beyond what the upper's file system stores become what it makes of them": async (s) => {
    await s.lay('lower1', { file: 'content' });
    await s.mount();
    await s.disk.put('beside', 'content');
    // After 2446, what ext4 stores; from 2^53 on, what a double does not hold to the second; before
    // 1901.
    for (const seconds of [15_032_385_536, 2 ** 40, 2 ** 53, 2 ** 62, -(2 ** 40), -(2 ** 60)]) {
      await s.mnt.utimens('file', [seconds, 0], [seconds, 0]);
      await s.disk.utimens('beside', [seconds, 0], [seconds, 0]);
      const { atime, mtime } = await s.disk.lstat('beside');
      s.t.match(
        await s.mnt.lstat('file'),
        { atime, mtime },
        `${seconds} s, as on the upper's file system itself`,
      );
    }
  },
};
