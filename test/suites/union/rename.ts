/** Renames across layers: what works, what is EXDEV, and what is left behind. */
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../constants.js';
import { succeed } from '../../support/command.js';
import { overlayPrefix } from '../mounters.js';
import type { UnionCases, UnionScene } from './scene.js';

export const renameCases: UnionCases = {
  'a lower file is renamed: copied up, a whiteout at its old name': async (s) => {
    await s.lay('lower1', { file: 'content', link: '->file', 'dir/x': 'x' });
    await s.mount();
    await s.mnt.rename('file', 'dir/moved');
    await s.mnt.rename('link', 'link2');
    await s.isWhiteout('upper/file');
    await s.isWhiteout('upper/link');
    s.t.equal(await s.mnt.get('dir/moved'), 'content');
    s.t.same(await s.mnt.names(), ['dir', 'link2']);
    await s.remount();
    s.t.same(await s.mnt.names('dir'), ['moved', 'x']);
    s.t.equal(await s.mnt.readlink('link2'), 'file');
  },

  'an upper file renamed leaves a whiteout only where something is below': async (s) => {
    await s.lay('lower1', { below: 'x' });
    await s.mount();
    await s.mnt.put('new', 'x');
    await s.mnt.rename('new', 'newer');
    s.t.same(await s.inUpper(), ['newer']);
    await s.mnt.rename('newer', 'below');
    s.t.same(await s.inUpper(), ['below']);
    await s.mnt.rename('below', 'away');
    s.t.same(await s.inUpper(), ['away', 'below']);
    await s.isWhiteout('upper/below');
  },

  'a lower or merged directory is EXDEV, and mv copies it': async (s) => {
    await s.lay('lower1', { 'low/file': 'x', 'low/sub/deep': 'y', 'merged/a': 'a' });
    await s.lay('upper', { 'merged/b': 'b' });
    await s.mount();
    await s.fails('EXDEV', s.mnt.rename('low', 'other'));
    await s.fails('EXDEV', s.mnt.rename('merged', 'other'));
    await s.fails('EXDEV', s.mnt.rename('low', 'merged', RENAME_EXCHANGE));
    s.t.same(await s.mnt.names(), ['low', 'merged']);
    await succeed(['mv', `${s.union.mnt}/low`, `${s.union.mnt}/moved`]);
    await succeed(['mv', `${s.union.mnt}/merged`, `${s.union.mnt}/moved/sub/merged`]);
    s.t.same(await s.mnt.names(), ['moved']);
    s.t.equal(await s.mnt.get('moved/sub/deep'), 'y');
    s.t.same(await s.mnt.names('moved/sub/merged'), ['a', 'b']);
    await s.isWhiteout('upper/low');
    await s.remount();
    s.t.same(await s.mnt.names(), ['moved']);
    s.t.same(await s.mnt.names('moved/sub/merged'), ['a', 'b']);
  },

  'an upper directory onto a name that exists below becomes opaque': async (s) => {
    await s.lay('lower1', { 'dir/below': 'x', 'gone/below': 'x' });
    await s.mount();
    await s.mnt.unlink('dir/below');
    await s.mnt.mkdir('new');
    await s.mnt.put('new/own', 'x');
    await s.mnt.rename('new', 'dir');
    s.t.same(await s.mnt.names('dir'), ['own']);
    await s.isOpaque('upper/dir');
    await s.mnt.unlink('gone/below');
    await s.mnt.rmdir('gone');
    await s.mnt.mkdir('new');
    await s.mnt.rename('new', 'gone');
    await s.remount();
    s.t.same(await s.mnt.names('dir'), ['own']);
    s.t.same(await s.mnt.names('gone'), []);
  },

  'an opaque directory moved away leaves a whiteout': async (s) => {
    await s.lay('lower1', { 'dir/below': 'x' });
    await s.mount();
    await s.mnt.unlink('dir/below');
    await s.mnt.rmdir('dir');
    await s.mnt.mkdir('dir');
    await s.mnt.put('dir/own', 'x');
    await s.mnt.rename('dir', 'moved');
    s.t.same(await s.mnt.names(), ['moved']);
    await s.isWhiteout('upper/dir');
    await s.remount();
    s.t.same(await s.mnt.names(), ['moved']);
    s.t.same(await s.mnt.names('moved'), ['own']);
  },

  'a directory moved into a merged one never shows what was below its new name': async (s) => {
    await s.lay('lower1', { 'merged/name/below': 'x' });
    await s.mount();
    await s.mnt.unlink('merged/name/below');
    await s.mnt.rmdir('merged/name');
    await s.mnt.mkdir('new');
    await s.mnt.mkdir('new/sub');
    await s.mnt.rename('new', 'merged/name');
    s.t.same(await s.mnt.names('merged/name'), ['sub']);
    await s.remount();
    s.t.same(await s.mnt.names('merged/name'), ['sub']);
  },

  'RENAME_NOREPLACE counts lower names, not whiteouts': async (s) => {
    await s.lay('lower1', { a: 'a', b: 'b', 'c/': '' });
    await s.mount();
    await s.fails('EEXIST', s.mnt.rename('a', 'b', RENAME_NOREPLACE));
    await s.fails('EEXIST', s.mnt.rename('a', 'c', RENAME_NOREPLACE));
    await s.mnt.unlink('b');
    await s.mnt.rename('a', 'b', RENAME_NOREPLACE);
    s.t.equal(await s.mnt.get('b'), 'a');
    s.t.same(await s.mnt.names(), ['b', 'c']);
  },

  'RENAME_EXCHANGE of lower files and of an upper directory with one': async (s) => {
    await s.lay('lower1', { a: 'a', b: 'b', c: 'c' });
    await s.mount();
    await s.mnt.rename('a', 'b', RENAME_EXCHANGE);
    s.t.same([await s.mnt.get('a'), await s.mnt.get('b')], ['b', 'a']);
    await s.mnt.mkdir('new');
    await s.mnt.put('new/own', 'x');
    await s.mnt.rename('new', 'c', RENAME_EXCHANGE);
    await s.remount();
    s.t.same([await s.mnt.get('a'), await s.mnt.get('b'), await s.mnt.get('new')], ['b', 'a', 'c']);
    s.t.same(await s.mnt.names('c'), ['own']);
  },

  'RENAME_EXCHANGE of an upper directory with a file that hides a lower directory': async (s) => {
    await s.lay('lower1', { 'one/below': 'x', 'two/below': 'x' });
    await s.mount();
    for (const name of ['one', 'two']) {
      await s.mnt.unlink(`${name}/below`);
      await s.mnt.rmdir(name);
      await s.mnt.put(name, `a file, ${name}`);
      await s.mnt.mkdir(`${name}-new`);
      await s.mnt.put(`${name}-new/own`, 'x');
    }
    await s.mnt.rename('one-new', 'one', RENAME_EXCHANGE);
    await s.mnt.rename('two', 'two-new', RENAME_EXCHANGE);
    for (const when of ['at once', 'after a remount']) {
      for (const name of ['one', 'two']) {
        s.t.same(await s.mnt.names(name), ['own'], `${name} ${when}: nothing from below`);
        s.t.equal(await s.mnt.get(`${name}-new`), `a file, ${name}`, `${name}-new ${when}`);
      }
      if (when === 'at once') await s.remount();
    }
  },

  'RENAME_WHITEOUT is refused, and nothing moves': async (s) => {
    await s.lay('lower1', { a: 'a' });
    await s.mount();
    await s.mnt.put('new', 'x');
    for (const name of ['a', 'new'])
      await s.fails('EINVAL', s.mnt.rename(name, 'other', RENAME_WHITEOUT));
    s.t.same(await s.mnt.names(), ['a', 'new']);
  },

  'redirect_dir=on: a lower directory is renamed by a redirect': {
    needsRoot: true,
    options: ['redirect_dir=on'],
    run: async (s) => {
      await s.lay('lower1', { 'low/file': 'x', 'low/sub/deep': 'y', 'other/z': 'z' });
      await s.mount();
      await s.mnt.rename('low', 'renamed');
      await s.mnt.rename('renamed/sub', 'other/sub');
      s.t.same(await s.mnt.names(), ['other', 'renamed']);
      s.t.same(await s.mnt.names('renamed'), ['file']);
      s.t.equal(await s.mnt.get('other/sub/deep'), 'y');
      // Relative or absolute: both are read.
      s.t.match(await s.disk.getxattr('upper/renamed', `${overlayPrefix}redirect`), /^\/?low$/);
      s.t.equal(await s.disk.getxattr('upper/other/sub', `${overlayPrefix}redirect`), '/low/sub');
      await s.isWhiteout('upper/low');
      s.t.notOk((await s.inUpper()).includes('renamed/file'), 'nothing is copied');
      await s.remount();
      s.t.equal(await s.mnt.get('other/sub/deep'), 'y');
      s.t.equal(await s.mnt.get('renamed/file'), 'x');
    },
  },

  'redirects that others made are followed': {
    layers: 2,
    needsRoot: true,
    run: async (s) => {
      await s.lay('lower2', { 'old/sub/file': 'data', 'old/other': 'o', 'deep/dir/x': 'x' });
      await s.lay('lower1', { 'new/own': 'n', 'abs/': '' });
      await s.disk.setxattr('lower1/new', `${overlayPrefix}redirect`, 'old');
      await s.disk.setxattr('lower1/abs', `${overlayPrefix}redirect`, '/deep/dir');
      await s.whiteout('lower1/old');
      await s.mount();
      s.t.same(await s.mnt.names('new'), ['other', 'own', 'sub']);
      s.t.equal(await s.mnt.get('new/sub/file'), 'data');
      s.t.same(await s.mnt.names('abs'), ['x']);
      await s.fails('ENOENT', s.mnt.stat('old'));
      s.t.same(await s.mnt.listxattr('new'), []);
      await s.mnt.put('new/sub/file', 'changed');
      await s.remount();
      s.t.equal(await s.mnt.get('new/sub/file'), 'changed');
    },
  },

  'metacopies that others made are read with metacopy=on': {
    layers: 2,
    needsRoot: true,
    options: ['redirect_dir=on', 'metacopy=on'],
    run: readsMetacopy,
  },

  'metacopies that others made are read in every mode': {
    layers: 2,
    needsRoot: true,
    run: readsMetacopy,
  },
};

/** `big` of the upper layer has its metadata there and its data below. */
async function readsMetacopy(s: UnionScene): Promise<void> {
  await s.lay('lower2', { big: 'the data' });
  await s.lay('lower1', { big: '' });
  await s.disk.truncate('lower1/big', 8);
  await s.disk.setxattr('lower1/big', `${overlayPrefix}metacopy`, '');
  await s.disk.chmod('lower1/big', 0o601);
  await s.mount();
  s.t.equal(await s.mnt.get('big'), 'the data');
  s.t.equal((await s.mnt.lstat('big')).mode & 0o777, 0o601);
  s.t.equal((await s.mnt.lstat('big')).size, 8);
  await s.mnt.write(await s.mnt.open('big', 2), 'THE');
  s.t.equal(await s.mnt.get('big'), 'THE data');
  s.t.same(await s.mnt.listxattr('big'), []);
  await s.remount();
  s.t.equal(await s.mnt.get('big'), 'THE data');
  s.t.equal((await s.mnt.lstat('big')).mode & 0o777, 0o601);
}
