/** An upper written by one is mounted by the other, and the same tree is seen. */
import { RENAME_EXCHANGE, O_WRONLY, S_IFCHR } from '../constants.js';
import { succeed } from '../../support/command.js';
import type { Actor } from '../actor.js';
import { kernel, overlayPrefix, type Mounter } from '../mounters.js';
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

/** Makes the origin of every type known: copied up, and some renamed as well. */
async function copyAllUp(mnt: Actor): Promise<void> {
  for (const name of ['file', 'link', 'fifo', 'socket', 'char', 'dir/file', 'dir', 'closed/deep'])
    await mnt.lchown(name, 1, 1);
  await mnt.rename('link', 'link2');
  await mnt.rename('fifo', 'dir/fifo2');
}

const copiedUp = [
  'file',
  'link2',
  'dir/fifo2',
  'socket',
  'char',
  'dir/file',
  'dir',
  'closed',
  'closed/deep',
];

export const exchangeCases: UnionCases = {
  'the kernel mounts an upper written here': {
    needsKernel: true,
    needsRoot: true,
    run: (s) => exchanged(s, 'ours'),
  },

  'an upper written by the kernel is mounted here': {
    needsKernel: true,
    needsRoot: true,
    run: (s) => exchanged(s, 'kernel'),
  },

  'the origin of every type is recorded as the kernel records it': {
    needsKernel: true,
    needsRoot: true,
    run: async (s) => {
      await asLowerTree(s);
      await s.disk.mknod('lower1/char', S_IFCHR | 0o600, 1, 3);
      const recorded = async (by: Mounter) => {
        await s.mount(by);
        await copyAllUp(s.mnt);
        await s.unmount();
        const marks: Record<string, string> = {};
        for (const name of copiedUp)
          marks[name] = Buffer.from(
            await s.disk.getxattr(`upper/${name}`, `${overlayPrefix}origin`),
            'latin1',
          ).toString('hex');
        for (const name of ['', 'dir', 'closed/deep'])
          marks[`impure ${name}`] = await s.disk
            .getxattr(`upper/${name}`, `${overlayPrefix}impure`)
            .catch(() => 'not set');
        return marks;
      };
      const ours = await recorded(s.mounter);
      await succeed([
        'sh',
        '-c',
        'rm -rf "$0"/upper "$0"/work && mkdir "$0"/upper "$0"/work',
        s.union.base,
      ]);
      const theirs = await recorded(kernel);
      s.t.same(ours, theirs);
      s.t.ok(
        copiedUp.every((name) => /^00fb/.test(ours[name] ?? '')),
        'none is empty',
      );
    },
  },

  "inode numbers in a kernel's upper are kept here": {
    needsKernel: true,
    needsRoot: true,
    run: async (s) => {
      await asLowerTree(s);
      await s.disk.mknod('lower1/char', S_IFCHR | 0o600, 1, 3);
      await s.mount(kernel);
      await copyAllUp(s.mnt);
      const inos = async () =>
        Promise.all(copiedUp.map(async (name) => (await s.mnt.lstat(name)).ino));
      const theirs = await inos();
      await s.remount();
      s.t.same(await inos(), theirs);
      for (const dir of ['.', 'dir', 'closed']) {
        for (const entry of await s.mnt.list(dir)) {
          if (entry.name !== '..')
            s.t.equal(
              entry.ino,
              (await s.mnt.lstat(`${dir}/${entry.name}`)).ino,
              `d_ino of ${dir}/${entry.name}`,
            );
        }
      }
    },
  },

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
      const inos = async () =>
        Promise.all(names.map(async (name) => (await s.mnt.lstat(name)).ino));
      const ours = await inos();
      await s.remount(kernel);
      s.t.same(await inos(), ours);
    },
  },
};
