/** Deletion markers: which forms are read, and what a deletion leaves in the upper. */
import { O_DIRECTORY, O_RDONLY, S_IFMT, S_IFCHR } from '../constants.js';
import { overlayPrefix } from '../mounters.js';
import type { UnionCases, UnionScene } from './scene.js';

async function showsOpaque(s: UnionScene, form: string, opaque: boolean): Promise<void> {
  await s.lay('lower2', { 'dir/below': 'x' });
  await s.lay('lower1', { 'dir/own': 'x' });
  await s.disk.setxattr('lower1/dir', form, 'y');
  await s.mount();
  s.t.same(await s.mnt.names('dir'), opaque ? ['own'] : ['below', 'own']);
}

export const whiteoutCases: UnionCases = {
  'a whiteout hides the name below, not above, and is never shown': {
    layers: 3,
    run: async (s) => {
      await s.lay('lower3', { gone: '3', 'dir/gone': '3', 'tree/deep/file': '3', back: '3' });
      await s.lay('lower2', { 'dir/stays': '2' });
      for (const path of ['gone', 'dir/gone', 'tree', 'back']) await s.whiteout(`lower2/${path}`);
      await s.lay('lower1', { back: '1', 'tree/new': '1' });
      await s.mount();
      s.t.same(await s.mnt.names(), ['back', 'dir', 'tree']);
      s.t.same(await s.mnt.names('dir'), ['stays']);
      s.t.same(await s.mnt.names('tree'), ['new']);
      s.t.equal(await s.mnt.get('back'), '1');
      await s.fails('ENOENT', s.mnt.lstat('gone'));
      await s.fails('ENOENT', s.mnt.lstat('dir/gone'));
      await s.fails('ENOENT', s.mnt.stat('tree/deep'));
    },
  },

  'a whiteout over nothing is not shown either': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'dir/x': 'x' });
      await s.lay('lower1', { 'dir/y': 'y', 'alone/z': 'z' });
      for (const path of ['nothing', 'dir/nothing', 'alone/nothing'])
        await s.whiteout(`lower1/${path}`);
      await s.mount();
      s.t.same(await s.mnt.names(), ['alone', 'dir']);
      s.t.same(await s.mnt.names('dir'), ['x', 'y']);
      for (const path of ['nothing', 'dir/nothing', 'alone/nothing'])
        await s.fails('ENOENT', s.mnt.lstat(path), path);
      s.t.same((await s.mnt.names('alone')).includes('z'), true);
    },
  },

  'a lower whiteout holds after the directory was copied up and forgotten by the kernel': {
    layers: 3,
    needsRoot: true,
    run: async (s) => {
      await s.lay('lower3', { 'dir/sub/gone': '3', 'dir/sub/tree/file': '3', 'dir/kept': '3' });
      await s.lay('lower2', { 'dir/sub/two': '2' });
      for (const path of ['gone', 'tree']) await s.whiteout(`lower2/dir/sub/${path}`);
      await s.lay('lower1', { 'dir/sub/one': '1' });
      await s.mount();
      s.t.same(await s.mnt.names('dir'), ['kept', 'sub']);
      s.t.same(await s.mnt.names('dir/sub'), ['one', 'two']);
      await s.mnt.put('dir/sub/new', 'x');
      // The parent stays known; only what is below it is asked for anew.
      const parent = await s.mnt.open('dir', O_RDONLY | O_DIRECTORY);
      await s.forget();
      s.t.same(await s.mnt.names('dir/sub'), ['new', 'one', 'two']);
      for (const path of ['dir/sub/gone', 'dir/sub/tree'])
        await s.fails('ENOENT', s.mnt.lstat(path), path);
      s.t.equal(await s.mnt.get('dir/sub/two'), '2');
      await s.mnt.close(parent);
    },
  },

  'a character device with other numbers is a device': {
    layers: 1,
    needsRoot: true,
    run: async (s) => {
      await s.disk.mknod('lower1/null', S_IFCHR | 0o666, 1, 3);
      await s.disk.mknod('lower1/odd', S_IFCHR | 0o666, 0, 1);
      await s.mount();
      s.t.same(await s.mnt.names(), ['null', 'odd']);
      s.t.match(await s.mnt.lstat('odd'), { rdev: '0:1' });
    },
  },

  'the xattr form is read: overlay.whiteout in a directory of opaque=x': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'dir/gone': '2', 'dir/kept': '2', 'dir/real': '2' });
      await s.lay('lower1', { 'dir/gone': '', 'dir/real': '' });
      await s.disk.setxattr('lower1/dir', `${overlayPrefix}opaque`, 'x');
      await s.disk.setxattr('lower1/dir/gone', `${overlayPrefix}whiteout`, 'y');
      await s.mount();
      s.t.same(await s.mnt.names('dir'), ['kept', 'real']);
      await s.fails('ENOENT', s.mnt.stat('dir/gone'));
      s.t.equal(await s.mnt.get('dir/real'), '');
    },
  },

  'opaque of users is read with userxattr': {
    layers: 2,
    options: ['userxattr'],
    run: (s) => showsOpaque(s, 'user.overlay.opaque', true),
  },

  'opaque of fuse-overlayfs is read with userxattr': {
    layers: 2,
    options: ['userxattr'],
    run: (s) => showsOpaque(s, 'user.fuseoverlayfs.opaque', true),
  },

  'what any user can set is no mark to root': {
    layers: 2,
    needsRoot: true,
    run: async (s) => {
      await showsOpaque(s, 'user.overlay.opaque', false);
      s.t.equal(
        await s.mnt.getxattr('dir', 'user.overlay.opaque'),
        'y',
        'it is an attribute like any other',
      );
      await s.mnt.setxattr('dir', 'user.overlay.opaque', 'n');
      s.t.equal(await s.disk.getxattr('upper/dir', 'user.overlay.opaque'), 'n', 'on disk too');
    },
  },

  'AUFS markers are read with -o whiteout=aufs, and never shown': {
    layers: 2,
    options: ['whiteout=aufs'],
    run: async (s) => {
      await s.lay('lower2', {
        gone: 'x',
        kept: 'x',
        'dir/below': 'x',
        'dir/sub/below': 'x',
        own: 'below',
      });
      await s.lay('lower1', {
        '.wh.gone': '',
        'dir/.wh..wh..opq': '',
        'dir/own': 'x',
        '.wh.own': '',
        own: 'same layer',
      });
      await s.mount();
      s.t.same(await s.mnt.names(), ['dir', 'kept', 'own']);
      s.t.same(await s.mnt.names('dir'), ['own']);
      s.t.equal(await s.mnt.get('own'), 'same layer', 'a marker hides lower layers only');
      await s.fails('ENOENT', s.mnt.stat('gone'));
      await s.fails('ENOENT', s.mnt.stat('.wh.gone'));
    },
  },

  'deleting what is below leaves a whiteout, what is only in the upper nothing': async (s) => {
    await s.lay('lower1', { file: 'x', link: '->file', 'dir/a': 'x', 'dir/b': 'x' });
    await s.mount();
    await s.mnt.put('new', 'x');
    await s.mnt.mkdir('newdir');
    await s.mnt.put('newdir/x', 'x');
    await s.mnt.unlink('newdir/x');
    await s.mnt.rmdir('newdir');
    await s.mnt.unlink('new');
    s.t.same(await s.inUpper(), []);
    await s.mnt.unlink('file');
    await s.mnt.unlink('link');
    await s.mnt.unlink('dir/a');
    s.t.same(await s.inUpper(), ['dir', 'dir/a', 'file', 'link']);
    for (const path of ['file', 'link', 'dir/a']) await s.isWhiteout(`upper/${path}`);
    s.t.same(await s.mnt.names(), ['dir']);
    s.t.same(await s.mnt.names('dir'), ['b']);
    await s.isOpaque('upper/dir', false);
    await s.remount();
    s.t.same(await s.mnt.names(), ['dir']);
  },

  'deleting a copied-up file leaves a whiteout': async (s) => {
    await s.lay('lower1', { file: 'x' });
    await s.mount();
    await s.mnt.put('file', 'changed');
    await s.mnt.unlink('file');
    await s.isWhiteout('upper/file');
    await s.fails('ENOENT', s.mnt.stat('file'));
  },

  'making a name again removes its whiteout': async (s) => {
    await s.lay('lower1', { a: 'x', b: 'x', c: 'x', d: 'x' });
    await s.mount();
    for (const name of ['a', 'b', 'c', 'd']) await s.mnt.unlink(name);
    await s.mnt.put('a', 'again');
    await s.mnt.symlink('target', 'b');
    await s.mnt.mknod('c', 0o010644);
    await s.mnt.link('a', 'd');
    s.t.equal(await s.mnt.get('a'), 'again');
    s.t.equal(await s.mnt.readlink('b'), 'target');
    s.t.equal((await s.mnt.lstat('d')).nlink, 2);
    await s.remount();
    s.t.same(await s.mnt.names(), ['a', 'b', 'c', 'd']);
    s.t.equal(await s.mnt.readlink('b'), 'target');
    s.t.equal((await s.disk.lstat('upper/c')).mode & S_IFMT, 0o010000);
  },

  'mkdir over a whiteout makes an opaque directory': async (s) => {
    await s.lay('lower1', { 'dir/below': 'x', 'dir/sub/below': 'x', file: 'x' });
    await s.mount();
    await s.mnt.unlink('dir/below');
    await s.mnt.unlink('dir/sub/below');
    await s.mnt.rmdir('dir/sub');
    await s.mnt.rmdir('dir');
    await s.isWhiteout('upper/dir');
    await s.mnt.mkdir('dir', 0o711);
    await s.isOpaque('upper/dir');
    s.t.same(await s.mnt.names('dir'), []);
    await s.mnt.mkdir('dir/sub');
    s.t.same(await s.mnt.names('dir/sub'), []);
    await s.mnt.unlink('file');
    await s.mnt.mkdir('file');
    s.t.same(await s.mnt.names('file'), []);
    await s.remount();
    s.t.same(await s.mnt.names('dir'), ['sub']);
    s.t.same(await s.mnt.names('dir/sub'), []);
    s.t.equal((await s.mnt.lstat('dir')).mode & 0o777, 0o711);
  },

  'rmdir of a directory whose entries are all deleted succeeds': async (s) => {
    await s.lay('lower1', { 'dir/a': 'x', 'dir/b/c': 'x' });
    await s.mount();
    await s.mnt.unlink('dir/a');
    await s.fails('ENOTEMPTY', s.mnt.rmdir('dir'));
    await s.mnt.unlink('dir/b/c');
    await s.mnt.rmdir('dir/b');
    await s.mnt.rmdir('dir');
    await s.fails('ENOENT', s.mnt.lstat('dir'));
    s.t.same(await s.inUpper(), ['dir']);
    await s.isWhiteout('upper/dir');
  },

  'rmdir of an upper directory that holds only whiteouts leaves nothing': async (s) => {
    await s.lay('upper', { 'dir/': '' });
    await s.whiteout('upper/dir/x');
    await s.whiteout('upper/dir/y');
    await s.mount();
    s.t.same(await s.mnt.names('dir'), []);
    await s.mnt.rmdir('dir');
    s.t.same(await s.inUpper(), []);
  },

  'a file over a removed directory, then removed, shows nothing of the directory': async (s) => {
    await s.lay('lower1', { 'name/inside': 'x' });
    await s.mount();
    await s.mnt.unlink('name/inside');
    await s.mnt.rmdir('name');
    await s.mnt.put('name', 'file');
    s.t.equal(await s.mnt.get('name'), 'file');
    await s.mnt.unlink('name');
    await s.isWhiteout('upper/name');
    await s.mnt.mkdir('name');
    s.t.same(await s.mnt.names('name'), []);
    await s.fails('ENOENT', s.mnt.stat('name/inside'));
  },

  'whiteouts of a lower layer stay when the upper is written over them': {
    layers: 2,
    run: async (s) => {
      await s.lay('lower2', { 'dir/a': 'x', 'dir/b': 'x' });
      await s.lay('lower1', { 'dir/': '' });
      await s.whiteout('lower1/dir/a');
      await s.mount();
      await s.mnt.put('dir/new', 'x');
      await s.mnt.unlink('dir/new');
      s.t.same(await s.mnt.names('dir'), ['b']);
      await s.mnt.put('dir/a', 'again');
      await s.mnt.unlink('dir/a');
      await s.fails('ENOENT', s.mnt.stat('dir/a'));
      await s.mnt.unlink('dir/b');
      await s.mnt.rmdir('dir');
      s.t.same(await s.mnt.names(), []);
    },
  },
};
