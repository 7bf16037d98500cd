/** st_ino, st_dev, d_ino and link counts: one file stays one file. */
import { O_WRONLY, S_IFBLK, S_IFCHR } from '../constants.js';
import { asLowerTree } from './lower-tree.js';
import type { UnionCases } from './scene.js';

const everyName = [
  'file',
  'dir',
  'dir/file',
  'link',
  'fifo',
  'socket',
  'empty',
  'closed/deep/file',
];

export const inodeNumberCases: UnionCases = {
  'st_ino stays across copy-up, for every type': async (s) => {
    await asLowerTree(s);
    await s.mount();
    const before = new Map(
      await Promise.all(everyName.map(async (name) => [name, await s.mnt.lstat(name)] as const)),
    );
    for (const name of everyName) {
      await s.mnt.utimens(name, [1, 1], [1, 1]);
      s.t.match(
        await s.mnt.lstat(name),
        { ino: before.get(name)?.ino, dev: before.get(name)?.dev },
        name,
      );
    }
    for (const entry of await s.mnt.list('.')) {
      if (entry.name !== '..')
        s.t.equal(entry.ino, (await s.mnt.lstat(entry.name)).ino, `d_ino of ${entry.name}`);
    }
  },

  'st_ino stays across copy-up and a remount': async (s) => {
    await asLowerTree(s);
    await s.mount();
    const inos = async (names: readonly string[]) =>
      Promise.all(names.map(async (name) => (await s.mnt.lstat(name)).ino));
    const names = everyName.filter((name) => !['dir', 'empty'].includes(name));
    const before = await inos(names);
    for (const name of names) await s.mnt.utimens(name, [1, 1], [1, 1]);
    await s.remount();
    s.t.same(await inos(names), before);
    for (const entry of await s.mnt.list('.')) {
      if (entry.name !== '..')
        s.t.equal(entry.ino, (await s.mnt.lstat(entry.name)).ino, `d_ino of ${entry.name}`);
    }
  },

  'st_ino stays across rename and a remount': async (s) => {
    await asLowerTree(s);
    await s.mount();
    const names = ['file', 'link', 'fifo', 'socket'];
    const before = await Promise.all(names.map(async (name) => (await s.mnt.lstat(name)).ino));
    for (const name of names) await s.mnt.rename(name, `dir/${name}2`);
    const after = () =>
      Promise.all(names.map(async (name) => (await s.mnt.lstat(`dir/${name}2`)).ino));
    s.t.same(await after(), before);
    await s.remount();
    s.t.same(await after(), before);
  },

  'every type keeps its number through copy-up, rename and remounts, directories in their place': {
    needsRoot: true,
    run: async (s) => {
      await asLowerTree(s);
      await s.disk.mknod('lower1/char', S_IFCHR | 0o600, 1, 3);
      await s.disk.mknod('lower1/block', S_IFBLK | 0o600, 7, 200);
      await s.disk.symlink('nowhere', 'lower1/dangling');
      await s.mount();
      const moved = [
        'file',
        'link',
        'fifo',
        'socket',
        'char',
        'block',
        'dangling',
        'closed/deep/file',
      ];
      const directories = ['dir', 'empty', 'closed', 'closed/deep'];
      const before = new Map<string, bigint>();
      for (const name of [...moved, ...directories])
        before.set(name, (await s.mnt.lstat(name)).ino);
      const now = async (at: (name: string) => string) => {
        for (const [name, ino] of before)
          s.t.equal((await s.mnt.lstat(moved.includes(name) ? at(name) : name)).ino, ino, name);
        for (const entry of await s.mnt.list('dir')) {
          if (entry.name !== '..')
            s.t.equal(
              entry.ino,
              (await s.mnt.lstat(`dir/${entry.name}`)).ino,
              `d_ino of dir/${entry.name}`,
            );
        }
      };
      for (const name of moved) await s.mnt.lchown(name, 1, 1);
      for (const name of directories) await s.mnt.chmod(name, 0o755);
      await now((name) => name);
      await s.remount();
      await now((name) => name);
      const place = (name: string) => `dir/${name.replaceAll('/', '-')}-moved`;
      for (const name of moved) await s.mnt.rename(name, place(name));
      await now(place);
      await s.remount();
      await now(place);
    },
  },

  'a directory renamed by a redirect keeps its number, and all that is in it': {
    needsRoot: true,
    options: ['redirect_dir=on'],
    run: async (s) => {
      await asLowerTree(s);
      await s.mount();
      const [top, file] = [
        (await s.mnt.lstat('closed')).ino,
        (await s.mnt.lstat('closed/deep/file')).ino,
      ];
      await s.mnt.rename('closed', 'dir/opened');
      for (const when of ['at once', 'after a remount']) {
        s.t.equal((await s.mnt.lstat('dir/opened')).ino, top, when);
        s.t.equal((await s.mnt.lstat('dir/opened/deep/file')).ino, file, when);
        for (const entry of await s.mnt.list('dir'))
          if (entry.name !== '..')
            s.t.equal(
              entry.ino,
              (await s.mnt.lstat(`dir/${entry.name}`)).ino,
              `d_ino of ${entry.name} ${when}`,
            );
        await s.remount();
      }
      await s.mnt.put('dir/opened/deep/file', 'changed');
      await s.remount();
      s.t.equal((await s.mnt.lstat('dir/opened/deep/file')).ino, file, 'copied up');
    },
  },

  'different files have different numbers, on one device': {
    layers: 3,
    run: async (s) => {
      for (const layer of ['lower1', 'lower2', 'lower3', 'upper'])
        await s.lay(layer, { [`of-${layer}`]: 'x', [`dir/of-${layer}`]: 'x', [`d-${layer}/`]: '' });
      await s.mount();
      const seen = new Map<bigint, string>();
      const devices = new Set<string>();
      for (const dir of ['.', 'dir']) {
        for (const name of await s.mnt.names(dir)) {
          const st = await s.mnt.lstat(`${dir}/${name}`);
          s.t.equal(seen.get(st.ino), undefined, `${dir}/${name}`);
          seen.set(st.ino, name);
          devices.add(st.dev);
        }
      }
      s.t.equal(devices.size, 1);
      s.t.equal(seen.size, 13);
    },
  },

  'two names of one lower file stay one file when changed through either': async (s) => {
    await s.lay('lower1', { a: 'content', 'dir/': '' });
    await s.disk.link('lower1/a', 'lower1/dir/b');
    await s.mount();
    const before = await s.mnt.lstat('a');
    s.t.match(await s.mnt.lstat('dir/b'), { ino: before.ino, nlink: 2 });
    await s.mnt.write(await s.mnt.open('dir/b', O_WRONLY), 'CON');
    s.t.equal(await s.mnt.get('a'), 'CONtent');
    s.t.match(await s.mnt.lstat('a'), { ino: before.ino, nlink: 2 });
    s.t.match(await s.mnt.lstat('dir/b'), { ino: before.ino, nlink: 2 });
    await s.mnt.chmod('a', 0o604);
    s.t.equal((await s.mnt.lstat('dir/b')).mode & 0o777, 0o604);
    await s.mnt.link('a', 'c');
    s.t.match(await s.mnt.lstat('dir/b'), { nlink: 3 });
    await s.mnt.unlink('a');
    s.t.equal(await s.mnt.get('dir/b'), 'CONtent');
    s.t.match(await s.mnt.lstat('c'), { nlink: 2, ino: before.ino });
  },

  'two names of an upper file are one': async (s) => {
    await s.mount();
    await s.mnt.put('a', 'x');
    await s.mnt.link('a', 'b');
    await s.remount();
    const [a, b] = [await s.mnt.lstat('a'), await s.mnt.lstat('b')];
    s.t.equal(a.ino, b.ino);
    s.t.equal(a.nlink, 2);
    await s.mnt.put('b', 'changed');
    s.t.equal(await s.mnt.get('a'), 'changed');
    await s.mnt.unlink('a');
    s.t.equal((await s.mnt.lstat('b')).nlink, 1);
  },
};
