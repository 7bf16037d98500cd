/** rename(2) and renameat2(2): every type over every type, flags, and what must be refused. */
import type { Actor } from '../actor.js';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, S_IFCHR, S_IFIFO, S_IFSOCK } from '../constants.js';
import { asRoot, nobody, type ErrnoName, type PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

type Kind = 'file' | 'symlink' | 'dangling' | 'fifo' | 'socket' | 'device' | 'empty' | 'full';

function kinds(): Kind[] {
  const anyones: Kind[] = ['file', 'symlink', 'dangling', 'fifo', 'socket', 'empty', 'full'];
  return process.getuid?.() === 0 ? [...anyones, 'device'] : anyones;
}

async function make(actor: Actor, kind: Kind, path: string): Promise<void> {
  switch (kind) {
    case 'file':
      await actor.put(path, path);
      return;
    case 'symlink':
      await actor.symlink('.', path);
      return;
    case 'dangling':
      await actor.symlink('nowhere', path);
      return;
    case 'fifo':
      await actor.mknod(path, S_IFIFO | 0o600);
      return;
    case 'socket':
      await actor.mknod(path, S_IFSOCK | 0o600);
      return;
    case 'device':
      await actor.mknod(path, S_IFCHR | 0o600, 1, 3);
      return;
    case 'empty':
      await actor.mkdir(path);
      return;
    case 'full':
      await actor.mkdir(path);
      await actor.put(`${path}/inside`, 'x');
      return;
  }
}

const nonDirectories = ['file', 'link', 'dangling', 'fifo', 'socket'] as const;

export const renameCases: PosixCases = {
  'every type but a directory can be renamed and keeps what it is': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of nonDirectories) {
      const before = await s.actor.lstat(type);
      await s.actor.rename(type, `${type}2`);
      await s.fails('ENOENT', s.actor.lstat(type), type);
      const { mode, uid, gid, ino, size, mtime, nlink } = before;
      s.t.match(await s.actor.lstat(`${type}2`), { mode, uid, gid, ino, size, mtime, nlink }, type);
    }
    s.t.equal(await s.actor.get('file2'), 'content of a file\n');
    s.t.equal(await s.actor.readlink('link2'), 'file');
  },

  'a non-directory replaces a non-directory, whichever they are': async (s) => {
    await makeEveryType(s.actor);
    for (const type of nonDirectories) await s.actor.put(`target-${type}`, 'target');
    await s.settle();
    for (const type of nonDirectories) {
      const { ino } = await s.actor.lstat(type);
      await s.actor.rename(type, `target-${type}`);
      s.t.equal((await s.actor.lstat(`target-${type}`)).ino, ino, `${type} over a file`);
    }
    await s.actor.put('new', 'x');
    for (const type of nonDirectories) await s.actor.rename(`target-${type}`, 'new');
    s.t.ok((await s.actor.lstat('new')).mode);
  },

  'every type over every type': async (s) => {
    const outcome = (from: Kind, to: Kind): ErrnoName | undefined => {
      if (from === 'empty' || from === 'full')
        return to === 'full' ? 'ENOTEMPTY' : to === 'empty' ? undefined : 'ENOTDIR';
      return to === 'empty' || to === 'full' ? 'EISDIR' : undefined;
    };
    const all = kinds();
    const pairs = all.flatMap((from) => all.map((to) => [from, to] as const));
    const isDirectory = (kind: Kind) => kind === 'empty' || kind === 'full';
    for (const [from, to] of pairs) {
      if (!isDirectory(from)) await make(s.actor, from, `${from}-over-${to}`);
      await make(s.actor, to, `target-${from}-${to}`);
    }
    await s.settle();
    for (const [from, to] of pairs) {
      const [source, target] = [`${from}-over-${to}`, `target-${from}-${to}`];
      // A directory of a lower layer is not renamed (EXDEV): those that are renamed are made here.
      if (isDirectory(from)) await make(s.actor, from, source);
      const [was, stood] = [await s.actor.lstat(source), await s.actor.lstat(target)];
      const refused = outcome(from, to);
      if (refused === undefined) {
        await s.actor.rename(source, target);
        await s.fails('ENOENT', s.actor.lstat(source), source);
        const { ino, mode, rdev, mtime } = was;
        s.t.match(await s.actor.lstat(target), { ino, mode, rdev, mtime }, source);
      } else {
        await s.fails(refused, s.actor.rename(source, target), source);
        s.t.equal((await s.actor.lstat(source)).ino, was.ino);
        s.t.equal((await s.actor.lstat(target)).ino, stood.ino);
      }
    }
  },

  'a directory made here can be renamed with all it holds': async (s) => {
    await s.settle();
    await s.actor.mkdir('new');
    await s.actor.mkdir('new/sub');
    await s.actor.put('new/sub/file', 'deep');
    const { ino } = await s.actor.lstat('new/sub/file');
    await s.actor.rename('new', 'new2');
    s.t.equal(await s.actor.get('new2/sub/file'), 'deep');
    s.t.equal((await s.actor.lstat('new2/sub/file')).ino, ino);
    await s.fails('ENOENT', s.actor.lstat('new'));
    s.t.same(await s.actor.names('new2'), ['sub']);
  },

  'a directory replaces an empty directory': async (s) => {
    await s.actor.mkdir('empty');
    await s.settle();
    await s.actor.mkdir('new');
    await s.actor.put('new/file', 'x');
    await s.actor.rename('new', 'empty');
    s.t.same(await s.actor.names('empty'), ['file']);
    await s.fails('ENOENT', s.actor.lstat('new'));
  },

  'a directory over one that is not empty is ENOTEMPTY': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.mkdir('new');
    await s.fails('ENOTEMPTY', s.actor.rename('new', 'dir'));
    await s.actor.unlink('dir/inside');
    await s.actor.rename('new', 'dir');
    s.t.same(await s.actor.names('dir'), []);
  },

  'a directory over a file is ENOTDIR, a file over a directory EISDIR': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.mkdir('new');
    for (const type of nonDirectories) {
      await s.fails('ENOTDIR', s.actor.rename('new', type), `directory over ${type}`);
      await s.fails('EISDIR', s.actor.rename(type, 'new'), `${type} over directory`);
      await s.fails('EISDIR', s.actor.rename(type, 'dir'), `${type} over a full directory`);
    }
  },

  'a directory into itself or below is EINVAL': async (s) => {
    await s.settle();
    await s.actor.mkdir('new');
    await s.actor.mkdir('new/sub');
    await s.fails('EINVAL', s.actor.rename('new', 'new/sub/new'));
    await s.fails('EINVAL', s.actor.rename('new', 'new/itself'));
    await s.fails('ENOTEMPTY', s.actor.rename('new/sub', 'new'), 'over its own parent');
    await s.fails('EBUSY', s.actor.rename('.', 'other'));
    await s.fails('EBUSY', s.actor.rename('new/..', 'other'));
  },

  'missing names and parents': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.fails('ENOENT', s.actor.rename('new', 'new2'));
    await s.fails('ENOENT', s.actor.rename('file', 'missing/new'));
    await s.fails('ENOTDIR', s.actor.rename('file', 'fifo/new'));
    await s.fails('ENOTDIR', s.actor.rename('file/', 'new'));
    await s.fails('ENOTDIR', s.actor.rename('file', 'new/'));
  },

  'renaming one name of a file onto another does nothing': async (s) => {
    await s.actor.put('old', 'x');
    await s.actor.link('old', 'same');
    await s.settle();
    await s.actor.rename('old', 'same');
    s.t.same(await s.actor.names(), ['old', 'same']);
    await s.actor.rename('old', 'old');
    s.t.equal((await s.actor.lstat('old')).nlink, 2);
  },

  'RENAME_NOREPLACE over anything is EEXIST, over nothing renames': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of ['dir', 'link', 'dangling', 'fifo']) {
      await s.fails('EEXIST', s.actor.rename('file', type, RENAME_NOREPLACE), type);
    }
    await s.actor.rename('file', 'new', RENAME_NOREPLACE);
    s.t.equal(await s.actor.get('new'), 'content of a file\n');
    await s.fails('EINVAL', s.actor.rename('new', 'new2', RENAME_NOREPLACE | RENAME_EXCHANGE));
    await s.fails('EINVAL', s.actor.rename('new', 'new2', 64));
  },

  'RENAME_EXCHANGE swaps two names of any types': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.mkdir('new');
    await s.actor.put('new/within', 'x');
    const [file, link] = [await s.actor.lstat('file'), await s.actor.lstat('link')];
    await s.actor.rename('file', 'link', RENAME_EXCHANGE);
    s.t.equal((await s.actor.lstat('file')).ino, link.ino);
    s.t.equal((await s.actor.lstat('link')).ino, file.ino);
    await s.actor.rename('link', 'new', RENAME_EXCHANGE);
    s.t.equal(await s.actor.get('new'), 'content of a file\n');
    s.t.same(await s.actor.names('link'), ['within']);
    await s.fails('ENOENT', s.actor.rename('fifo', 'missing', RENAME_EXCHANGE));
    await s.fails('EINVAL', s.actor.rename('link', 'link/within', RENAME_EXCHANGE));
  },

  'RENAME_EXCHANGE across directories, and of a name with itself': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.mkdir('new');
    await s.actor.mkdir('new/sub');
    await s.actor.put('new/sub/file', 'deep');
    const before = await Promise.all(['fifo', 'new/sub/file'].map((path) => s.actor.lstat(path)));
    await s.actor.rename('fifo', 'new/sub/file', RENAME_EXCHANGE);
    s.t.equal((await s.actor.lstat('new/sub/file')).ino, before[0]?.ino);
    s.t.equal((await s.actor.lstat('fifo')).ino, before[1]?.ino);
    await s.actor.rename('new/sub', 'socket', RENAME_EXCHANGE);
    s.t.same(await s.actor.names('socket'), ['file']);
    await s.actor.rename('socket', 'socket', RENAME_EXCHANGE);
    s.t.same(await s.actor.names('new'), ['sub']);
    await s.fails(
      'EEXIST',
      s.actor.rename('file', 'file', RENAME_NOREPLACE),
      'the name is there: its own',
    );
  },

  'a renamed file can be made again under its old name': async (s) => {
    await s.actor.put('old', 'first');
    await s.settle();
    await s.actor.rename('old', 'new');
    await s.actor.put('old', 'second');
    s.t.equal(await s.actor.get('new'), 'first');
    s.t.equal(await s.actor.get('old'), 'second');
    await s.actor.unlink('old');
    s.t.same(await s.actor.names(), ['new']);
  },

  'open descriptors follow a renamed file': async (s) => {
    await s.actor.put('old', 'content');
    await s.actor.mkdir('dir');
    await s.settle();
    const reading = await s.actor.open('old');
    const writing = await s.actor.open('old', 2);
    await s.actor.rename('old', 'dir/new');
    await s.actor.write(writing, 'CONT', 0);
    s.t.equal(await s.actor.read(reading, 10, 0), 'CONTent');
    s.t.equal((await s.actor.fstat(reading)).ino, (await s.actor.lstat('dir/new')).ino);
  },

  'a working directory stays valid when it is renamed': async (s) => {
    await s.settle();
    await s.actor.mkdir('new');
    const inside = await s.start({ cwd: `${s.dir}/new` });
    await s.actor.rename('new', 'new2');
    await inside.put('file', 'x');
    s.t.equal(await s.actor.get('new2/file'), 'x');
    s.t.same(await inside.names('..'), ['new2']);
  },

  'in a sticky directory only the owners may rename or remove': asRoot(async (s) => {
    await s.actor.mkdir('sticky');
    await s.actor.chmod('sticky', 0o1777);
    await s.actor.put('sticky/roots', 'x', 0o666);
    await s.actor.put('sticky/mine', 'x');
    await s.actor.lchown('sticky/mine', 65534, 65534);
    await s.settle();
    const user = await s.start({ identity: nobody });
    const EPERM = 'EPERM';
    await s.fails(EPERM, user.rename('sticky/roots', 'sticky/new'));
    await s.fails(EPERM, user.rename('sticky/mine', 'sticky/roots'));
    await s.fails(EPERM, user.unlink('sticky/roots'));
    await s.fails(EPERM, user.rename('sticky/mine', 'sticky/roots', RENAME_EXCHANGE));
    await user.rename('sticky/mine', 'sticky/new');
    await user.unlink('sticky/new');
    s.t.same(await s.actor.names('sticky'), ['roots']);
  }),

  'renaming needs write permission in both directories': asRoot(async (s) => {
    for (const [dir, mode] of [
      ['open', 0o777],
      ['closed', 0o755],
    ] as const) {
      await s.actor.mkdir(dir);
      await s.actor.chmod(dir, mode);
      await s.actor.put(`${dir}/file`, 'x');
    }
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EACCES', user.rename('open/file', 'closed/new'));
    await s.fails('EACCES', user.rename('closed/file', 'open/new'));
    await s.fails('EACCES', user.rename('closed/file', 'open/file'));
    await user.rename('open/file', 'open/new');
  }),
};
