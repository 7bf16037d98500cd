/**
 * Where other union file systems are known to have failed (overlay-semantics, "Where peers are
 * known to fail").
 *
 * Each row of that list, and the test that has it; without a file: a case below.
 *
 * | row | test |
 * |---|---|
 * | SQLite in WAL mode, 90 MB copied up | integration/sqlite-wal.test.ts |
 * | mmap and close thousands of files | 'thousands of files mapped and closed, more than there are descriptors'; union/open-files.test.ts '5,000 files opened in turn and 2,000 mapped, with 256 descriptors; all are given back' |
 * | 262,144 mkdir/rmdir | integration/load-directories.test.ts '262,144 mkdir and rmdir: …'; 'thousands of directories made and removed' |
 * | 10,000 entries in one directory | '10,000 entries over two layers are listed once each, also after some are deleted' |
 * | 130,000 entries in one directory | integration/load-directories.test.ts '130,000 entries in one directory: …' |
 * | rm -rf of 8,000 lower files | 'rm -rf of 8,000 lower files, and rmdir of what is left' |
 * | memory falls back after drop_caches | `givesBack` (load/watched.ts), after each load in integration/load-*.test.ts and integration/sqlite-wal.test.ts |
 * | tar never says "file changed", chown -R leaves mtimes | 'tar never says that a file changed as it was read, and chown -R leaves mtimes alone' |
 * | a grandchild of an opaque directory | 'a grandchild of an opaque directory never shows what lies below' |
 * | mv dir other; cp -r other dir | 'mv dir other; cp -r other dir' |
 * | a symlink over a whiteout, after remounting | 'a symlink made over a whiteout is there after remounting' |
 * | the kernel mounts an upper written here: stat of every name | "every name listed can be stat'ed, here and by the kernel" |
 * | a 0700 lower directory | 'a 0700 lower directory is still 0700 after a copy-up beneath it' |
 * | device and symlink mtimes | 'device and symlink mtimes survive copy-up' |
 * | a 256-byte name | posix/names.ts 'a name of 255 bytes works, one of 256 is ENAMETOOLONG everywhere' |
 * | a 4,095-byte path relative to a deep directory | posix/names.ts 'a path of 4,095 bytes works, one of 4,096 is ENAMETOOLONG', 'relative to a deep directory, paths reach deeper than PATH_MAX' |
 * | fstat of an open, unlinked file | posix/open.ts 'an unlinked open file has nlink 0 and still reads and writes' |
 * | mknod c 0 0 | 'mknod of a character device 0:0 is EPERM and damages nothing' |
 * | a lower /dev/tty can be unlinked | 'a lower terminal device can be changed and unlinked: nothing opens it' |
 * | an xattr on a symlink | xattrs.ts 'an xattr set on a symlink stays on the symlink' |
 * | the daemon is killed | union/peer-failures.test.ts |
 */
import { O_CREAT, O_RDONLY, O_RDWR, PROT_READ, MAP_SHARED, S_IFCHR } from '../constants.js';
import { run, succeed } from '../../support/command.js';
import { kernel } from '../mounters.js';
import type { UnionCases, UnionScene } from './scene.js';

/** `count` empty files in a directory of a layer. */
async function fill(s: UnionScene, dir: string, count: number): Promise<void> {
  await s.disk.mkdir(dir);
  for (let i = 0; i < count; i += 1000) {
    const names = Array.from(
      { length: Math.min(1000, count - i) },
      (_, k) => `${dir}/file-${String(i + k).padStart(6, '0')}`,
    );
    await Promise.all(names.map((name) => s.disk.mknod(name, 0o100644)));
  }
}

export const peerFailureCases: UnionCases = {
  'rm -rf of 8,000 lower files, and rmdir of what is left': async (s) => {
    await fill(s, 'lower1/many', 8000);
    await s.mount();
    s.t.equal((await s.mnt.names('many')).length, 8000);
    await succeed(['rm', '-rf', `${s.union.mnt}/many`]);
    s.t.same(await s.mnt.names(), []);
    s.t.same(await s.inUpper(), ['many']);
    await s.isWhiteout('upper/many');
  },

  '10,000 entries over two layers are listed once each, also after some are deleted': {
    layers: 2,
    run: async (s) => {
      await fill(s, 'lower2/many', 8000);
      await fill(s, 'lower1/many', 3000);
      await s.lay('upper', { 'many/own': 'x' });
      await s.mount();
      const names = await s.mnt.names('many');
      s.t.equal(names.length, 8001);
      s.t.equal(new Set(names).size, 8001);
      for (let i = 0; i < 8000; i += 100)
        await s.mnt.unlink(`many/file-${String(i).padStart(6, '0')}`);
      s.t.equal((await s.mnt.names('many')).length, 7921);
    },
  },

  'thousands of files mapped and closed, more than there are descriptors': async (s) => {
    await fill(s, 'lower1/many', 3000);
    await s.mount();
    for (let i = 0; i < 3000; i++) {
      const name = `many/file-${String(i).padStart(6, '0')}`;
      const fd = await s.mnt.open(name, i % 3 === 0 ? O_RDWR : O_RDONLY);
      if (i % 3 === 0) await s.mnt.write(fd, 'x');
      const map = await s.mnt.mmap(fd, 4096, PROT_READ, MAP_SHARED);
      await s.mnt.close(fd);
      await s.mnt.munmap(map);
    }
    s.t.equal(await s.mnt.get('many/file-002997'), 'x');
  },

  'thousands of directories made and removed': async (s) => {
    await s.lay('lower1', { 'dir/x': 'x' });
    await s.mount();
    for (let i = 0; i < 20; i++) {
      const names = Array.from({ length: 200 }, (_, k) => `dir/d${i}-${k}`);
      await Promise.all(names.map((name) => s.mnt.mkdir(name)));
      await Promise.all(names.map((name) => s.mnt.rmdir(name)));
    }
    s.t.same(await s.mnt.names('dir'), ['x']);
    s.t.same(await s.inUpper(), ['dir']);
  },

  'tar never says that a file changed as it was read, and chown -R leaves mtimes alone': {
    needsRoot: true,
    layers: 2,
    run: async (s) => {
      for (let i = 0; i < 50; i++) {
        await s.lay('lower2', { [`dir${i % 5}/file${i}`]: `content ${i}` });
        await s.lay('lower1', { [`dir${i % 5}/more${i}`]: `content ${i}` });
      }
      await s.mount();
      const tar = async () => {
        const { status, stderr } = await run([
          'tar',
          '-C',
          s.union.mnt,
          '-cf',
          `${s.union.base}/out.tar`,
          '.',
        ]);
        s.t.match({ status, stderr }, { status: 0, stderr: '' });
      };
      await tar();
      const mtimes = async () =>
        [...(await s.shown())].map(([path, text]) => `${path} ${/mtime (\d+)/.exec(text)?.[1]}`);
      const before = await mtimes();
      await succeed(['chown', '-R', '12:34', s.union.mnt]);
      s.t.same(await mtimes(), before);
      await tar();
      s.t.match(await s.mnt.lstat('dir3/more3'), { uid: 12, gid: 34 });
    },
  },

  'a grandchild of an opaque directory never shows what lies below': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'a/b/c/below': 'x', 'a/b/below': 'x' });
      await s.lay('lower1', { 'a/b/c/own': 'x' });
      await s.opaque('lower1/a');
      await s.lay('upper', { 'a/b/c/upper': 'x' });
      await s.mount();
      s.t.same(await s.mnt.names('a/b'), ['c']);
      s.t.same(await s.mnt.names('a/b/c'), ['own', 'upper']);
    },
  },

  'mv dir other; cp -r other dir': async (s) => {
    await s.lay('lower1', { 'dir/file': 'x', 'dir/sub/deep': 'y' });
    await s.mount();
    const at = (name: string) => `${s.union.mnt}/${name}`;
    await succeed(['mv', at('dir'), at('other')]);
    await succeed(['cp', '-r', at('other'), at('dir')]);
    s.t.same(await s.mnt.names('dir/sub'), ['deep']);
    await s.remount();
    s.t.equal(await s.mnt.get('dir/sub/deep'), 'y');
    s.t.equal(await s.mnt.get('other/file'), 'x');
  },

  'a symlink made over a whiteout is there after remounting': async (s) => {
    await s.lay('lower1', { name: 'x', 'dir/inside': 'x' });
    await s.mount();
    await s.mnt.unlink('name');
    await s.mnt.symlink('target', 'name');
    await s.mnt.unlink('dir/inside');
    await s.mnt.rmdir('dir');
    await s.mnt.symlink('name', 'dir');
    await s.remount();
    s.t.equal(await s.mnt.readlink('name'), 'target');
    s.t.equal(await s.mnt.readlink('dir'), 'name');
  },

  "every name listed can be stat'ed, here and by the kernel": {
    needsKernel: true,
    needsRoot: true,
    run: async (s) => {
      await fill(s, 'lower1/many', 200);
      await s.mount();
      for (let i = 0; i < 200; i += 2)
        await s.mnt.unlink(`many/file-${String(i).padStart(6, '0')}`);
      for (let i = 0; i < 200; i += 4)
        await s.mnt.put(`many/file-${String(i).padStart(6, '0')}`, 'again');
      const ours = await s.shown();
      s.t.notOk([...ours.values()].some((text) => text.startsWith('unreadable')));
      await s.remount(kernel);
      s.same(await s.shown(), ours, 'the kernel shows the same');
    },
  },

  'a 0700 lower directory is still 0700 after a copy-up beneath it': async (s) => {
    await s.lay('lower1', { 'closed/deep/file': 'x', 'closed/other': 'x' });
    await s.disk.chmod('lower1/closed', 0o700);
    await s.disk.chmod('lower1/closed/deep', 0o700);
    await s.mount();
    await s.mnt.put('closed/deep/file', 'changed');
    await s.mnt.unlink('closed/other');
    for (const path of ['closed', 'closed/deep']) {
      s.t.equal((await s.mnt.lstat(path)).mode & 0o7777, 0o700, `${path} through the mount`);
      s.t.equal((await s.disk.lstat(`upper/${path}`)).mode & 0o7777, 0o700, `${path} in the upper`);
    }
    await s.remount();
    for (const path of ['closed', 'closed/deep'])
      s.t.equal((await s.mnt.lstat(path)).mode & 0o7777, 0o700, `${path} after a remount`);
  },

  'device and symlink mtimes survive copy-up': {
    needsRoot: true,
    run: async (s) => {
      await s.disk.mknod('lower1/device', S_IFCHR | 0o600, 1, 3);
      await s.lay('lower1', { link: '->nowhere' });
      const names = ['device', 'link'];
      for (const name of names)
        await s.disk.utimens(`lower1/${name}`, [1_000_000_000, 1], [1_234_567_890, 987_654_321]);
      await s.mount();
      for (const name of names) await s.mnt.lchown(name, 12, 34);
      s.t.same(await s.inUpper(), names);
      for (const name of names) {
        s.t.match(await s.mnt.lstat(name), { uid: 12, mtime: 1_234_567_890_987_654_321n }, name);
        s.t.equal(
          (await s.disk.lstat(`upper/${name}`)).mtime,
          1_234_567_890_987_654_321n,
          `${name} in the upper`,
        );
      }
      await s.remount();
      for (const name of names)
        s.t.equal(
          (await s.mnt.lstat(name)).mtime,
          1_234_567_890_987_654_321n,
          `${name} after a remount`,
        );
    },
  },

  'mknod of a character device 0:0 is EPERM and damages nothing': {
    needsRoot: true,
    run: async (s) => {
      await s.lay('lower1', { name: 'x' });
      await s.mount();
      await s.fails('EPERM', s.mnt.mknod('new', S_IFCHR | 0o600, 0, 0));
      await s.fails('EEXIST', s.mnt.mknod('name', S_IFCHR | 0o600, 0, 0));
      s.t.same(await s.mnt.names(), ['name']);
      s.t.same(await s.inUpper(), []);
    },
  },

  'a lower terminal device can be changed and unlinked: nothing opens it': {
    needsRoot: true,
    run: async (s) => {
      await s.disk.mknod('lower1/tty', S_IFCHR | 0o666, 5, 0);
      await s.disk.mknod('lower1/console', S_IFCHR | 0o600, 5, 1);
      await s.mount();
      await s.mnt.chmod('tty', 0o620);
      await s.mnt.unlink('tty');
      await s.mnt.rename('console', 'moved');
      s.t.same(await s.mnt.names(), ['moved']);
      s.t.match(await s.mnt.lstat('moved'), { rdev: '5:1' });
    },
  },

  'reads go on while a large file is copied up': async (s) => {
    const fd = await s.disk.open('lower1/big', O_CREAT | O_RDWR);
    for (let i = 0; i < 128; i++) await s.disk.write(fd, 'x'.repeat(1 << 20), i << 20);
    await s.lay('lower1', { small: 'content' });
    await s.mount();
    const other = await s.start();
    const copying = other.chmod('big', 0o600);
    s.t.equal(await s.mnt.get('small'), 'content');
    await copying;
    s.t.equal((await s.mnt.lstat('big')).size, 128 << 20);
  },
};
