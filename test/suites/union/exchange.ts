/** An upper written by one is mounted by the other, and the same tree is seen. */
import { RENAME_EXCHANGE, O_WRONLY } from '../constants.js';
import type { Actor } from '../actor.js';
import { kernel } from '../mounters.js';
import { asLowerTree } from './lower-tree.js';
import type { UnionCases, UnionScene } from './scene.js';

/** Every kind of change that leaves its mark in an upper. */
async function change(mnt: Actor): Promise<void> {
  await mnt.write(await mnt.open('file', O_WRONLY), 'CHANGED');
  await mnt.chmod('closed/deep/file', 0o640);
  await mnt.rename('link', 'dir/link');
  await mnt.symlink('over a whiteout', 'link');
  await mnt.unlink('fifo');
  await mnt.rmdir('empty');
  await mnt.mkdir('empty');
  await mnt.put('empty/new', 'new');
  await mnt.mkdir('new');
  await mnt.mkdir('new/sub');
  await mnt.put('new/sub/file', 'x'.repeat(5000));
  await mnt.rename('new', 'moved');
  await mnt.put('old-name', 'x');
  await mnt.rename('old-name', 'socket', RENAME_EXCHANGE);
  await mnt.unlink('dir/file');
  await mnt.mkdir('dir/file');
  await mnt.put('dir/file/inside', 'a directory where a file was');
  await mnt.mknod('pipe', 0o010640);
  await mnt.link('moved/sub/file', 'dir/second-name');
  await mnt.setxattr('moved', 'user.note', 'kept');
  await mnt.utimens('moved/sub', [5, 6], [7, 8]);
  await mnt.utimens('dir', [9, 10], [11, 12]);
}

/** Gives and takes, then asserts that the given upper shows and works the same. */
async function exchanged(s: UnionScene, from: 'ours' | 'kernel'): Promise<void> {
  await asLowerTree(s);
  const [writer, reader] = from === 'ours' ? [s.mounter, kernel] : [kernel, s.mounter];
  await s.mount(writer);
  await change(s.mnt);
  const live = await s.shown({ nlink: true });
  await s.remount(writer);
  const again = await s.shown({ nlink: true });
  s.same(again, live, 'mounted again by its writer');
  await s.remount(reader);
  s.same(await s.shown({ nlink: true }), live, 'mounted by the other');
  await s.mnt.unlink('dir/file/inside');
  await s.mnt.rmdir('dir/file');
  await s.mnt.put('moved/sub/more', 'more');
  await s.mnt.chmod('socket', 0o600);
  const changed = await s.shown({ nlink: true });
  await s.remount(writer);
  s.same(await s.shown({ nlink: true }), changed, 'back at its writer, after more changes');
}

export const exchangeCases: UnionCases = {
  'the kernel mounts an upper written here': { needsKernel: true, needsRoot: true, run: (s) => exchanged(s, 'ours') },

  'an upper written by the kernel is mounted here': { needsKernel: true, needsRoot: true, run: (s) => exchanged(s, 'kernel') },

  "inode numbers agree with the kernel's after copy-up and rename": {
    needsKernel: true,
    needsRoot: true,
    run: async (s) => {
      await asLowerTree(s);
      await s.mount();
      await s.mnt.utimens('file', [1, 1], [1, 1]);
      await s.mnt.rename('fifo', 'pipe');
      await s.mnt.lchown('link', 1, 1);
      const names = ['file', 'pipe', 'link', 'socket', 'dir/file'];
      const inos = async () => Promise.all(names.map(async (name) => (await s.mnt.lstat(name)).ino));
      const ours = await inos();
      await s.remount(kernel);
      s.t.same(await inos(), ours);
    },
  },
};
