/** Which layer a name comes from, and how directories merge. */
import { DT } from '../constants.js';
import type { UnionCases } from './scene.js';

export const lookupCases: UnionCases = {
  'the upper wins, then the lowers from the top': {
    layers: 3,
    run: async (s) => {
      await s.lay('lower3', { a: '3', b: '3', c: '3', d: '3' });
      await s.lay('lower2', { a: '2', b: '2', c: '2' });
      await s.lay('lower1', { a: '1', b: '1' });
      await s.lay('upper', { a: 'upper' });
      await s.mount();
      const contents = await Promise.all(['a', 'b', 'c', 'd'].map((name) => s.mnt.get(name)));
      s.t.same(contents, ['upper', '1', '2', '3']);
      s.t.same(await s.mnt.names(), ['a', 'b', 'c', 'd']);
    },
  },

  'directories merge through all layers, each name once': {
    layers: 3,
    run: async (s) => {
      await s.lay('lower3', { 'dir/from3': '3', 'dir/shared': '3', 'dir/sub/x3': '3' });
      await s.lay('lower2', { 'dir/from2': '2', 'dir/shared': '2', 'dir/sub/x2': '2' });
      await s.lay('lower1', { 'dir/sub/x1': '1', other: '1' });
      await s.lay('upper', { 'dir/fromUpper': 'u', 'dir/shared': 'u' });
      await s.mount();
      s.t.same(await s.mnt.names('dir'), ['from2', 'from3', 'fromUpper', 'shared', 'sub']);
      s.t.same(await s.mnt.names('dir/sub'), ['x1', 'x2', 'x3']);
      s.t.equal(await s.mnt.get('dir/shared'), 'u');
      const raw = await s.mnt.list('dir');
      s.t.equal(raw.filter((entry) => entry.name === '.' || entry.name === '..').length, 2);
      s.t.equal(raw.find((entry) => entry.name === 'sub')?.type, DT.dir);
    },
  },

  "attributes and xattrs of a merged directory are the topmost layer's": {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'dir/a': 'x', 'low/a': 'x' });
      await s.lay('lower1', { 'dir/b': 'x', 'low/b': 'x' });
      await s.lay('upper', { 'dir/c': 'x' });
      await s.disk.setxattr('lower2/dir', 'user.from', 'lower2');
      await s.disk.setxattr('lower1/dir', 'user.only-lower1', 'x');
      await s.disk.setxattr('upper/dir', 'user.from', 'upper');
      await s.disk.chmod('lower2/dir', 0o700);
      await s.disk.chmod('upper/dir', 0o711);
      await s.disk.chmod('lower1/low', 0o750);
      await s.disk.utimens('upper/dir', [10, 11], [12, 13]);
      await s.disk.utimens('lower1/low', [10, 11], [20, 21]);
      await s.mount();
      s.t.same(await s.mnt.listxattr('dir'), ['user.from']);
      s.t.equal(await s.mnt.getxattr('dir', 'user.from'), 'upper');
      s.t.equal((await s.mnt.lstat('dir')).mode & 0o777, 0o711);
      s.t.equal((await s.mnt.lstat('dir')).mtime, 12_000_000_013n);
      s.t.equal((await s.mnt.lstat('low')).mode & 0o777, 0o750);
      s.t.equal((await s.mnt.lstat('low')).mtime, 20_000_000_021n);
    },
  },

  'an opaque directory hides what is below, its own names stay': {
    layers: 3,
    run: async (s) => {
      await s.lay('lower3', { 'dir/three': '3', 'dir/sub/three': '3' });
      await s.lay('lower2', { 'dir/two': '2', 'dir/sub/two': '2' });
      await s.opaque('lower2/dir');
      await s.lay('lower1', { 'dir/one': '1' });
      await s.mount();
      s.t.same(await s.mnt.names('dir'), ['one', 'sub', 'two']);
      s.t.same(await s.mnt.names('dir/sub'), ['two']);
      await s.fails('ENOENT', s.mnt.stat('dir/three'));
      await s.fails('ENOENT', s.mnt.stat('dir/sub/three'));
    },
  },

  'a file hides a directory below it, and a directory a file': {
    layers: 3,
    run: async (s) => {
      await s.lay('lower3', { 'a/deep': '3', 'b/deep': '3', 'c/deep': '3' });
      await s.lay('lower2', { a: 'file', 'b/middle': '2', c: 'file' });
      await s.lay('lower1', { 'c/top': '1', b: '->a' });
      await s.mount();
      s.t.equal(await s.mnt.get('a'), 'file');
      s.t.equal(await s.mnt.readlink('b'), 'a');
      s.t.same(await s.mnt.names('c'), ['top'], 'a non-directory ends the search');
      await s.fails('ENOTDIR', s.mnt.stat('a/deep'));
      await s.fails('ENOENT', s.mnt.stat('c/deep'));
    },
  },

  'a directory over a file shows only itself, also when the file is removed below it': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { name: 'file' });
      await s.lay('lower1', { 'name/inside': 'x' });
      await s.mount();
      s.t.same(await s.mnt.names('name'), ['inside']);
      await s.mnt.unlink('name/inside');
      await s.mnt.rmdir('name');
      await s.fails('ENOENT', s.mnt.lstat('name'));
      await s.isWhiteout('upper/name');
      await s.remount();
      s.t.same(await s.mnt.names(), []);
    },
  },

  'without an upper the mount is read-only: EROFS, not EACCES': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'dir/file': 'content', link: '->dir' });
      await s.lay('lower1', { 'dir/other': 'x' });
      await s.mountReadOnly();
      s.t.same(await s.mnt.names('dir'), ['file', 'other']);
      s.t.equal(await s.mnt.get('dir/file'), 'content');
      const calls: Record<string, Promise<unknown>> = {
        create: s.mnt.open('new', 0o101),
        'open for writing': s.mnt.open('dir/file', 1),
        truncate: s.mnt.truncate('dir/file', 0),
        mkdir: s.mnt.mkdir('new'),
        rmdir: s.mnt.rmdir('dir'),
        unlink: s.mnt.unlink('dir/file'),
        symlink: s.mnt.symlink('x', 'new'),
        mknod: s.mnt.mknod('new', 0o010600),
        link: s.mnt.link('dir/file', 'new'),
        rename: s.mnt.rename('dir/file', 'new'),
        chmod: s.mnt.chmod('dir/file', 0o600),
        utimens: s.mnt.utimens('dir/file', [1, 1], [1, 1]),
        setxattr: s.mnt.setxattr('dir/file', 'user.a', 'b'),
        'access for writing': s.mnt.access('dir/file', 2),
      };
      for (const [what, call] of Object.entries(calls)) await s.fails('EROFS', call, what);
    },
  },

  'lower symlinks are followed inside the mount by the caller, never by the mount on the host': {
    layers: 2,
    run: async (s) => {
      const outside = `${s.union.base}/outside`;
      await s.disk.mkdir('outside');
      await s.disk.put('outside/secret', 'secret');
      await s.lay('lower2', { 'dir/file': 'below' });
      await s.lay('lower1', { dir: `->${outside}`, loop: '->loop', up: '->../../../../..' });
      await s.mount();
      s.t.equal(await s.mnt.readlink('dir'), outside);
      s.t.same(await s.mnt.names(), ['dir', 'loop', 'up']);
      await s.mnt.unlink('dir');
      await s.mnt.mkdir('dir');
      s.t.same(await s.mnt.names('dir'), []);
      await s.mnt.put('dir/secret', 'mine');
      s.t.equal(await s.disk.get('outside/secret'), 'secret');
    },
  },

  'sixty layers': {
    layers: 60,
    run: async (s) => {
      for (let i = 1; i <= 60; i++)
        await s.lay(`lower${i}`, {
          [`dir/own${i}`]: String(i),
          'dir/shared': String(i),
          [`d${i % 7}/f`]: String(i),
        });
      await s.mount();
      s.t.equal((await s.mnt.names('dir')).length, 61);
      s.t.equal(await s.mnt.get('dir/shared'), '1');
      s.t.equal(await s.mnt.get('dir/own60'), '60');
      s.t.same(await Promise.all([0, 1, 2, 3, 4, 5, 6].map((i) => s.mnt.get(`d${i}/f`))), [
        '7',
        '1',
        '2',
        '3',
        '4',
        '5',
        '6',
      ]);
    },
  },

  'paths of layers may hold colons, commas and backslashes': {
    layers: 0,
    run: async (s) => {
      for (const name of ['a:b', 'c,d', 'e\\f'])
        await s.lay(name, { [`from-${name.charAt(0)}`]: name });
      await s.mounter.mount(
        { lowers: ['a:b', 'e\\f'].map((name) => `${s.union.base}/${name}`) },
        s.union.mnt,
      );
      const actor = await s.start();
      s.t.same(await actor.names(), ['from-a', 'from-e']);
    },
  },
};
