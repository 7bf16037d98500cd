/** mkdir(2), rmdir(2), unlink(2), mknod(2), and what stands in their way. */
import {
  DT,
  O_DIRECTORY,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../constants.js';
import { succeed } from '../../support/command.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';
import { makeEveryType, plainTypes } from './types.js';

export const directoryCases: PosixCases = {
  'mkdir makes an empty directory with mode and umask': async (s) => {
    await s.settle();
    await s.actor.umask(0o022);
    await s.actor.mkdir('new', 0o1777);
    const st = await s.actor.lstat('new');
    s.t.equal(st.mode, S_IFDIR | 0o1755);
    s.t.same(await s.actor.names('new'), []);
    await s.actor.put('new/file', 'x');
    s.t.same(await s.actor.names('new'), ['file']);
  },

  'mkdir over anything that exists is EEXIST': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of [...plainTypes, 'dangling'])
      await s.fails('EEXIST', s.actor.mkdir(type), type);
    await s.fails('EEXIST', s.actor.mkdir('.'));
  },

  'mkdir under a missing parent is ENOENT, under a file ENOTDIR': async (s) => {
    await s.actor.put('file', 'x');
    await s.settle();
    await s.fails('ENOENT', s.actor.mkdir('missing/new'));
    await s.fails('ENOTDIR', s.actor.mkdir('file/new'));
  },

  'rmdir of a non-empty directory is ENOTEMPTY and leaves it': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.fails('ENOTEMPTY', s.actor.rmdir('dir'));
    s.t.equal(await s.actor.get('dir/inside'), 'inside');
    await s.actor.unlink('dir/inside');
    await s.actor.rmdir('dir');
    await s.fails('ENOENT', s.actor.lstat('dir'));
    await s.fails('ENOENT', s.actor.rmdir('dir'));
  },

  'rmdir of a non-directory is ENOTDIR, of "." EINVAL': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of plainTypes.filter((type) => type !== 'dir'))
      await s.fails('ENOTDIR', s.actor.rmdir(type), type);
    await s.fails('EINVAL', s.actor.rmdir('dir/.'));
    await s.fails('ENOTEMPTY', s.actor.rmdir('dir/..'));
  },

  'unlink of a directory is EISDIR': async (s) => {
    await s.actor.mkdir('dir');
    await s.settle();
    await s.fails('EISDIR', s.actor.unlink('dir'));
    await s.fails('ENOENT', s.actor.unlink('new'));
    await s.actor.put('file', 'x');
    await s.fails('ENOTDIR', s.actor.unlink('file/new'));
    await s.fails('ENOTDIR', s.actor.unlink('file/'));
  },

  'unlink removes every other type, and the name can be used again': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    const types = [...plainTypes.filter((type) => type !== 'dir'), 'dangling'];
    for (const type of types) {
      await s.actor.unlink(type);
      await s.fails('ENOENT', s.actor.lstat(type), type);
    }
    const left = await s.actor.names();
    s.t.same(left, process.getuid?.() === 0 ? ['device', 'dir'] : ['dir']);
    s.t.equal(await s.actor.get('dir/inside'), 'inside', 'the target of the link is left');
    for (const type of types) await s.actor.mkdir(type);
    for (const type of types) s.t.same(await s.actor.names(type), [], type);
  },

  'a directory made where one was removed is empty': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.unlink('dir/inside');
    await s.actor.rmdir('dir');
    await s.actor.mkdir('dir', 0o700);
    s.t.same(await s.actor.names('dir'), []);
    await s.fails('ENOENT', s.actor.stat('dir/inside'));
    s.t.equal((await s.actor.lstat('dir')).mode & 0o777, 0o700);
  },

  'mknod makes FIFOs, sockets and regular files with mode and umask': async (s) => {
    await s.settle();
    await s.actor.umask(0o022);
    await s.actor.mknod('new', S_IFIFO | 0o666);
    await s.actor.mknod('new2', S_IFSOCK | 0o777);
    await s.actor.mknod('regular', S_IFREG | 0o606);
    s.t.equal((await s.actor.lstat('new')).mode, S_IFIFO | 0o644);
    s.t.equal((await s.actor.lstat('new2')).mode, S_IFSOCK | 0o755);
    s.t.equal((await s.actor.lstat('regular')).mode, S_IFREG | 0o604);
    s.t.equal(await s.actor.get('regular'), '');
    const types = new Map((await s.actor.list('.')).map((entry) => [entry.name, entry.type]));
    s.t.match(
      [types.get('new'), types.get('new2'), types.get('regular')],
      [DT.fifo, DT.socket, DT.file],
    );
  },

  'mknod over anything that exists is EEXIST': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of [...plainTypes, 'dangling'])
      await s.fails('EEXIST', s.actor.mknod(type, S_IFIFO | 0o600), type);
  },

  'mknod makes devices that keep their numbers': asRoot(async (s) => {
    await s.settle();
    await s.actor.mknod('new', S_IFCHR | 0o600, 240, 300);
    await s.actor.mknod('new2', S_IFBLK | 0o640, 7, 70000);
    const char = await s.actor.lstat('new');
    const block = await s.actor.lstat('new2');
    s.t.match(char, { rdev: '240:300', mode: S_IFCHR | 0o600 });
    s.t.match(block, { rdev: '7:70000', mode: S_IFBLK | 0o640 });
  }),

  'mknod makes no directories (EPERM) and no symlinks (EINVAL), and without a type a regular file':
    async (s) => {
      await s.settle();
      await s.fails('EPERM', s.actor.mknod('new', S_IFDIR | 0o700));
      await s.fails('EINVAL', s.actor.mknod('new', S_IFLNK | 0o777));
      await s.fails('EINVAL', s.actor.mknod('new', 0o030000 | 0o600), 'a type that there is not');
      await s.actor.mknod('new', 0o640);
      s.t.equal((await s.actor.lstat('new')).mode, S_IFREG | 0o640);
    },

  'a directory counts its sub-directories': async (s) => {
    await s.settle();
    await s.actor.mkdir('new');
    s.t.equal((await s.actor.lstat('new')).nlink, 2);
    for (const name of ['a', 'b']) await s.actor.mkdir(`new/${name}`);
    await s.actor.put('new/file', 'x');
    s.t.equal((await s.actor.lstat('new')).nlink, 4);
    await s.actor.mkdir('new2');
    await s.actor.rename('new/a', 'new2/a');
    s.t.match([(await s.actor.lstat('new')).nlink, (await s.actor.lstat('new2')).nlink], [3, 3]);
    await s.actor.rmdir('new/b');
    s.t.equal((await s.actor.lstat('new')).nlink, 2);
  },

  'in a sticky directory only owners remove directories': asRoot(async (s) => {
    await s.actor.mkdir('sticky');
    await s.actor.chmod('sticky', 0o1777);
    for (const name of ['roots', 'mine']) await s.actor.mkdir(`sticky/${name}`);
    await s.actor.lchown('sticky/mine', 65534, 65534);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EPERM', user.rmdir('sticky/roots'));
    await user.rmdir('sticky/mine');
    await s.actor.lchown('sticky', 65534, 65534);
    await user.rmdir('sticky/roots');
    s.t.same(await s.actor.names('sticky'), []);
  }),

  'what something is mounted on is EBUSY': asRoot(async (s) => {
    await s.actor.mkdir('dir');
    await s.actor.put('file', 'x');
    await s.actor.mkdir('empty');
    await s.settle();
    const [dir, file] = [`${s.dir}/dir`, `${s.dir}/file`];
    await succeed(['mount', '-t', 'tmpfs', 'tmpfs', dir]);
    s.t.teardown(() => succeed(['umount', dir]).catch(() => undefined));
    await succeed(['mount', '--bind', '/etc/hostname', file]);
    s.t.teardown(() => succeed(['umount', file]).catch(() => undefined));
    await s.fails('EBUSY', s.actor.rmdir('dir'));
    await s.fails('EBUSY', s.actor.rename('dir', 'new'));
    await s.fails('EBUSY', s.actor.rename('empty', 'dir'));
    await s.fails('EBUSY', s.actor.unlink('file'));
    await s.fails('EXDEV', s.actor.rename('file', 'dir/new'));
    for (const at of [dir, file]) await succeed(['umount', at]);
    await s.actor.rmdir('dir');
    await s.actor.unlink('file');
    s.t.same(await s.actor.names(), ['empty']);
  }),

  'a device cannot be made by an ordinary user': asRoot(async (s) => {
    await s.actor.mkdir('open');
    await s.actor.chmod('open', 0o777);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EPERM', user.mknod('open/new', S_IFBLK | 0o600, 7, 1));
    s.t.same(await s.actor.names('open'), []);
  }),

  'a removed working directory is empty and takes nothing': async (s) => {
    await s.actor.mkdir('dir');
    await s.settle();
    const inside = await s.start({ cwd: `${s.dir}/dir` });
    const fd = await inside.open('.', O_RDONLY | O_DIRECTORY);
    await s.actor.rmdir('dir');
    await s.fails('ENOENT', inside.open('new', 0o101));
    await s.fails('ENOENT', inside.mkdir('new'));
    // iterate_dir() refuses a dead directory (fs/readdir.c).
    await s.fails('ENOENT', inside.getdents(fd));
    s.t.ok((await inside.fstat(fd)).nlink <= 1);
  },

  'a bound socket has the type of a socket': async (s) => {
    await s.settle();
    // A socket's path must be short: bound relative to the working directory.
    await s.actor.bind('new');
    s.t.equal((await s.actor.lstat('new')).mode & S_IFMT, S_IFSOCK);
    await s.actor.unlink('new');
    s.t.same(await s.actor.names(), []);
  },
};
