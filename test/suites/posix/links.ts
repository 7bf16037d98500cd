/** link(2), symlink(2), readlink(2), and the resolution of symbolic links. */
import { AT_SYMLINK_FOLLOW, O_RDWR, S_IFLNK, S_IFMT } from '../constants.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

export const linkCases: PosixCases = {
  'link gives a second name to the same file': async (s) => {
    await s.actor.put('old', 'content', 0o640);
    await s.settle();
    await s.actor.link('old', 'new');
    const [first, second] = [await s.actor.lstat('old'), await s.actor.lstat('new')];
    s.t.equal(first.ino, second.ino);
    s.t.match([first.nlink, second.nlink], [2, 2]);
    await s.actor.put('new', 'changed');
    s.t.equal(await s.actor.get('old'), 'changed');
    await s.actor.chmod('old', 0o600);
    s.t.equal((await s.actor.lstat('new')).mode & 0o777, 0o600);
    await s.actor.unlink('old');
    s.t.match(await s.actor.lstat('new'), { nlink: 1, ino: first.ino });
    s.t.equal(await s.actor.get('new'), 'changed');
  },

  'link works for every type but directories (EPERM)': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of ['file', 'link', 'fifo', 'socket', 'dangling']) {
      await s.actor.link(type, `${type}2`);
      s.t.equal((await s.actor.lstat(type)).ino, (await s.actor.lstat(`${type}2`)).ino, type);
      s.t.equal((await s.actor.lstat(type)).nlink, 2, type);
    }
    await s.fails('EPERM', s.actor.link('dir', 'new'));
  },

  'link onto an existing name is EEXIST, of a missing one ENOENT': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.fails('EEXIST', s.actor.link('file', 'dir'));
    await s.fails('EEXIST', s.actor.link('file', 'link'));
    await s.fails('EEXIST', s.actor.link('file', 'file'));
    await s.fails('ENOENT', s.actor.link('missing', 'new'));
    await s.fails('ENOTDIR', s.actor.link('file/x', 'new'));
    await s.fails('ENOENT', s.actor.link('file', 'missing/new'));
    s.t.equal((await s.actor.lstat('file')).nlink, 1);
  },

  'AT_SYMLINK_FOLLOW links the target': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.link('link', 'new', AT_SYMLINK_FOLLOW);
    s.t.equal((await s.actor.lstat('new')).ino, (await s.actor.lstat('file')).ino);
  },

  'names linked before are one file': async (s) => {
    await s.actor.put('old', 'content');
    await s.actor.mkdir('dir');
    await s.actor.link('old', 'dir/other');
    await s.settle();
    s.t.equal((await s.actor.lstat('old')).ino, (await s.actor.lstat('dir/other')).ino);
    s.t.equal((await s.actor.lstat('old')).nlink, 2);
    await s.actor.put('old', 'changed');
    s.t.equal(
      await s.actor.get('dir/other'),
      'changed',
      'written through one, read through the other',
    );
    s.t.equal((await s.actor.lstat('old')).ino, (await s.actor.lstat('dir/other')).ino);
    s.t.equal((await s.actor.lstat('old')).nlink, 2);
    const fd = await s.actor.open('dir/other', O_RDWR);
    await s.actor.unlink('dir/other');
    s.t.equal((await s.actor.fstat(fd)).nlink, 1);
    await s.actor.unlink('old');
    s.t.equal((await s.actor.fstat(fd)).nlink, 0);
    s.t.equal(await s.actor.read(fd, 10, 0), 'changed');
  },

  'a hundred names, one file': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    for (let i = 0; i < 100; i++) await s.actor.link('old', `name${i}`);
    s.t.equal((await s.actor.lstat('name50')).nlink, 101);
    for (let i = 0; i < 100; i++) await s.actor.unlink(`name${i}`);
    s.t.equal((await s.actor.lstat('old')).nlink, 1);
  },

  'a file that is replaced keeps its other names': async (s) => {
    await s.actor.put('old', 'content');
    await s.actor.put('other', 'other');
    await s.settle();
    await s.actor.link('old', 'new');
    await s.actor.rename('other', 'old');
    s.t.equal(await s.actor.get('new'), 'content');
    s.t.equal((await s.actor.lstat('new')).nlink, 1);
    s.t.equal(await s.actor.get('old'), 'other');
  },

  'symlink keeps any target, up to 4095 bytes': async (s) => {
    await s.settle();
    const targets = [
      'x',
      '/absolute/./not//normal/../',
      '.',
      'a\nb',
      Buffer.from([0xff, 0xfe, 0x2f, 0x80]),
      'y'.repeat(4095),
    ];
    for (const [i, target] of targets.entries()) {
      await s.actor.symlink(target, `new${i}`);
      s.t.equal(
        await s.actor.readlink(`new${i}`),
        Buffer.from(target as string)
          .toString('latin1')
          .slice(0, 5000),
      );
      const st = await s.actor.lstat(`new${i}`);
      s.t.equal(st.size, Buffer.from(target as string).length);
      s.t.equal(st.mode & S_IFMT, S_IFLNK);
    }
    await s.fails('ENAMETOOLONG', s.actor.symlink('z'.repeat(4096), 'new'));
    await s.fails('ENOENT', s.actor.symlink('', 'new'));
  },

  'symlinks kept from before read the same': async (s) => {
    await s.actor.symlink('y'.repeat(4095), 'long');
    await s.actor.symlink(Buffer.from([0xc3, 0x28]), 'bytes');
    await s.settle();
    s.t.equal((await s.actor.readlink('long')).length, 4095);
    s.t.equal(await s.actor.readlink('bytes'), '\xc3\x28');
  },

  'symlink over anything that exists is EEXIST; readlink of a file is EINVAL': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of ['file', 'dir', 'link', 'dangling', 'fifo'])
      await s.fails('EEXIST', s.actor.symlink('x', type), type);
    for (const type of ['file', 'dir', 'fifo', 'socket'])
      await s.fails('EINVAL', s.actor.readlink(type), type);
  },

  'loops are ELOOP': async (s) => {
    await s.actor.symlink('loop', 'loop');
    await s.actor.symlink('b', 'a');
    await s.actor.symlink('a', 'b');
    for (let i = 0; i < 45; i++) await s.actor.symlink(`chain${i + 1}`, `chain${i}`);
    await s.actor.put('chain45', 'end');
    await s.settle();
    await s.fails('ELOOP', s.actor.stat('loop'));
    await s.fails('ELOOP', s.actor.open('a/x'));
    await s.fails('ELOOP', s.actor.open('chain0'), 'more than 40 links');
    // Nineteen: a walk that the kernel begins anew, as when something is mounted meanwhile, goes on
    // counting (fs/namei.c, total_link_count).
    s.t.equal(await s.actor.get('chain26'), 'end');
    s.t.ok(await s.actor.lstat('loop'));
  },

  'operations on a symlink to a directory act through it, with a slash too': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.put('dirlink/new', 'x');
    s.t.same(await s.actor.names('dir'), ['inside', 'new']);
    await s.fails('ENOTDIR', s.actor.rmdir('dirlink'));
    await s.fails('ENOTDIR', s.actor.unlink('dirlink/'));
    await s.fails('EEXIST', s.actor.mkdir('dangling'));
  },

  'an owner and times can be given to a symlink itself': asRoot(async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.symlink('file', 'link');
    await s.settle();
    const before = await s.actor.lstat('file');
    await s.actor.lchown('link', 12, 34);
    await s.actor.utimens('link', [100, 1], [200, 2]);
    s.t.match(await s.actor.lstat('link'), {
      uid: 12,
      gid: 34,
      atime: 100_000_000_001n,
      mtime: 200_000_000_002n,
    });
    s.t.same(await s.actor.lstat('file'), before, 'the target is untouched');
    s.t.equal(await s.actor.readlink('link'), 'file');
  }),

  'an ordinary user may not link what he may not write to (protected_hardlinks) nor into a closed directory':
    asRoot(async (s) => {
      await s.actor.mkdir('open');
      await s.actor.chmod('open', 0o777);
      await s.actor.put('open/mine', 'x');
      await s.actor.lchown('open/mine', 65534, 65534);
      await s.settle();
      const user = await s.start({ identity: nobody });
      await user.link('open/mine', 'open/new');
      await s.fails('EACCES', user.link('open/mine', 'new'));
      s.t.equal((await s.actor.lstat('open/mine')).nlink, 2);
    }),
};
