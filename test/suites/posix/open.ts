/** open(2), creat, truncation, O_APPEND, O_TMPFILE, and files that lose their name while open. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  AT_SYMLINK_FOLLOW,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  SEEK_CUR,
  S_IFMT,
  S_IFREG,
} from '../constants.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';
import { makeEveryType, plainTypes } from './types.js';

export const openCases: PosixCases = {
  'open without O_CREAT of a missing name is ENOENT': async (s) => {
    await s.settle();
    await s.fails('ENOENT', s.actor.open('new'));
    await s.fails('ENOENT', s.actor.open('new/below', O_CREAT | O_WRONLY));
    await s.fails('ENOENT', s.actor.open(''));
  },

  'O_CREAT makes an empty file with mode, umask and owner': async (s) => {
    await s.settle();
    await s.actor.umask(0o027);
    const fd = await s.actor.open('new', O_CREAT | O_WRONLY, 0o666);
    const st = await s.actor.fstat(fd);
    s.t.match(st, {
      size: 0,
      nlink: 1,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
    });
    s.t.equal(st.mode & S_IFMT, S_IFREG);
    s.t.equal(st.mode & 0o7777, 0o640);
    s.t.equal((await s.actor.lstat('new')).ino, st.ino);
    s.t.same(await s.actor.names(), ['new']);
  },

  'O_CREAT with mode 0 still gives the caller a writable descriptor': async (s) => {
    await s.settle();
    const fd = await s.actor.open('new', O_CREAT | O_EXCL | O_RDWR, 0);
    await s.actor.write(fd, 'hidden');
    s.t.equal(await s.actor.read(fd, 10, 0), 'hidden');
    s.t.equal((await s.actor.fstat(fd)).mode & 0o7777, 0);
  },

  'O_CREAT of an existing file opens it unchanged': async (s) => {
    await s.actor.put('old', 'content', 0o600);
    await s.settle();
    const fd = await s.actor.open('old', O_CREAT | O_RDWR, 0o777);
    s.t.equal(await s.actor.read(fd, 20), 'content');
    s.t.equal((await s.actor.fstat(fd)).mode & 0o7777, 0o600);
  },

  'O_CREAT|O_EXCL of every type that exists is EEXIST': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of plainTypes)
      await s.fails('EEXIST', s.actor.open(type, O_CREAT | O_EXCL | O_WRONLY), type);
    await s.fails(
      'EEXIST',
      s.actor.open('dangling', O_CREAT | O_EXCL | O_WRONLY),
      'a dangling symlink',
    );
  },

  'O_CREAT through a dangling symlink creates its target': async (s) => {
    await s.actor.symlink('new', 'link');
    await s.settle();
    await s.actor.put('link', 'made');
    s.t.equal(await s.actor.get('new'), 'made');
  },

  'O_NOFOLLOW on a symlink is ELOOP, with O_PATH it opens the link': async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.symlink('file', 'link');
    await s.settle();
    await s.fails('ELOOP', s.actor.open('link', O_RDONLY | O_NOFOLLOW));
    const fd = await s.actor.open('link', O_PATH | O_NOFOLLOW);
    s.t.equal((await s.actor.fstat(fd)).ino, (await s.actor.lstat('link')).ino);
  },

  'O_DIRECTORY on anything else is ENOTDIR': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const type of plainTypes.filter((type) => type !== 'dir' && type !== 'dirlink')) {
      await s.fails('ENOTDIR', s.actor.open(type, O_RDONLY | O_DIRECTORY), type);
    }
  },

  'opening a directory for writing is EISDIR': async (s) => {
    await s.actor.mkdir('dir');
    await s.settle();
    await s.fails('EISDIR', s.actor.open('dir', O_WRONLY));
    await s.fails('EISDIR', s.actor.open('dir', O_RDWR));
    await s.fails('EISDIR', s.actor.open('dir', O_CREAT | O_RDONLY));
    await s.fails('EISDIR', s.actor.open('dir', O_RDONLY | O_TRUNC));
  },

  'a path through a file is ENOTDIR, a trailing slash too': async (s) => {
    await s.actor.put('file', 'x');
    await s.settle();
    await s.fails('ENOTDIR', s.actor.open('file/below'));
    await s.fails('ENOTDIR', s.actor.open('file/below', O_CREAT | O_WRONLY));
    await s.fails('ENOTDIR', s.actor.open('file/'));
    await s.fails('EISDIR', s.actor.open('new/', O_CREAT | O_WRONLY));
    await s.fails('ENOTDIR', s.actor.stat('file/.'));
  },

  'opening a socket is ENXIO, a FIFO for writing without reader too': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.fails('ENXIO', s.actor.open('socket'));
    await s.fails('ENXIO', s.actor.open('fifo', O_WRONLY | O_NONBLOCK));
    const reader = await s.actor.open('fifo', O_RDONLY | O_NONBLOCK);
    const writer = await s.actor.open('fifo', O_WRONLY | O_NONBLOCK);
    await s.actor.write(writer, 'through the pipe');
    s.t.equal(await s.actor.read(reader, 100), 'through the pipe');
  },

  'O_TRUNC empties a file and updates its times': async (s) => {
    await s.actor.put('old', 'content', 0o640);
    await s.actor.utimens('old', [1000, 1], [1000, 1]);
    await s.settle();
    const fd = await s.actor.open('old', O_WRONLY | O_TRUNC);
    const st = await s.actor.fstat(fd);
    s.t.equal(st.size, 0);
    s.t.equal(st.mode & 0o7777, 0o640);
    s.t.ok(st.mtime > 1_000_000_000_001n, 'mtime is updated');
    await s.actor.write(fd, 'new');
    s.t.equal(await s.actor.get('old'), 'new');
  },

  'O_TRUNC of a file that others have open empties it for them': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const rw = await s.actor.open('old', O_RDWR);
    await s.actor.write(rw, 'C', 0);
    await s.actor.open('old', O_WRONLY | O_TRUNC);
    s.t.equal(await s.actor.read(rw, 10, 0), '');
    s.t.equal((await s.actor.fstat(rw)).size, 0);
  },

  'O_APPEND writes at the end, wherever the position is': async (s) => {
    await s.actor.put('old', 'one');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR | O_APPEND);
    await s.actor.lseek(fd, 0, 0);
    await s.actor.write(fd, 'two');
    const other = await s.actor.open('old', O_WRONLY | O_APPEND);
    await s.actor.write(other, 'three');
    await s.actor.write(fd, 'four');
    s.t.equal(await s.actor.lseek(fd, 0, SEEK_CUR), 15);
    s.t.equal(await s.actor.get('old'), 'onetwothreefour');
  },

  'pwrite on a descriptor with O_APPEND writes at the end (pwrite(2), BUGS)': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old', O_WRONLY | O_APPEND);
    await s.actor.write(fd, ' and more', 2);
    s.t.equal(await s.actor.get('old'), 'content and more');
    await s.actor.truncate('old', 3);
    await s.actor.write(fd, '!', 100);
    s.t.equal(await s.actor.get('old'), 'con!');
  },

  'O_APPEND from two processes loses no line': async (s) => {
    await s.actor.put('log', '');
    await s.settle();
    const others = [await s.start(), await s.start()];
    await Promise.all(
      others.map(async (actor, who) => {
        const fd = await actor.open('log', O_WRONLY | O_APPEND);
        const writes = Array.from({ length: 200 }, (_, i) =>
          actor.write(fd, `${who} ${String(i).padStart(3, '0')}\n`),
        );
        await Promise.all(writes);
      }),
    );
    const lines = (await s.actor.get('log')).split('\n').slice(0, -1);
    s.t.equal(lines.length, 400);
    for (const who of ['0', '1']) {
      const own = lines.filter((line) => line.startsWith(who));
      s.t.same(own, [...own].sort());
      s.t.equal(own.length, 200);
    }
  },

  'O_NOATIME is for the owner': asRoot(async (s) => {
    await s.actor.put('roots', 'x', 0o666);
    await s.actor.put('mine', 'x');
    await s.actor.lchown('mine', 65534, 65534);
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EPERM', user.open('roots', O_RDONLY | O_NOATIME));
    await user.open('roots', O_RDONLY);
    s.t.equal(await user.read(await user.open('mine', O_RDONLY | O_NOATIME), 10), 'x');
  }),

  'a running program is neither opened for writing nor cut (ETXTBSY)': async (s) => {
    await s.actor.put('program', readFileSync('/bin/sleep'), 0o755);
    await s.settle();
    const running = spawn(`${s.dir}/program`, ['60'], { stdio: 'ignore' });
    try {
      await once(running, 'spawn');
      await s.fails('ETXTBSY', s.actor.open('program', O_WRONLY));
      await s.fails('ETXTBSY', s.actor.open('program', O_RDWR));
      await s.fails('ETXTBSY', s.actor.truncate('program', 0));
      await s.actor.chmod('program', 0o700);
      await s.actor.rename('program', 'new');
    } finally {
      running.kill();
      if (running.exitCode === null && running.signalCode === null) await once(running, 'exit');
    }
    await s.actor.truncate('new', 10);
    s.t.equal((await s.actor.lstat('new')).size, 10);
  },

  'a descriptor is only for what it was opened for': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    const reading = await s.actor.open('old', O_RDONLY);
    const writing = await s.actor.open('old', O_WRONLY);
    await s.fails('EBADF', s.actor.write(reading, 'y'));
    await s.fails('EBADF', s.actor.read(writing, 1));
    await s.fails('EINVAL', s.actor.ftruncate(reading, 0));
    await s.fails('EISDIR', s.actor.read(await s.actor.open('.'), 1));
  },

  'O_TMPFILE makes a file without a name that can be given one': async (s) => {
    await s.settle();
    const fd = await s.actor.open('.', O_TMPFILE | O_RDWR, 0o640);
    await s.actor.write(fd, 'nameless');
    const st = await s.actor.fstat(fd);
    s.t.equal(st.nlink, 0);
    s.t.equal(st.mode & 0o7777, 0o640);
    s.t.same(await s.actor.names(), []);
    await s.actor.link(`/proc/self/fd/${fd}`, 'new', AT_SYMLINK_FOLLOW);
    s.t.equal(await s.actor.get('new'), 'nameless');
    s.t.equal((await s.actor.fstat(fd)).nlink, 1);
    s.t.equal((await s.actor.lstat('new')).ino, st.ino);
  },

  'O_TMPFILE is for directories, and for writing': async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.mkdir('dir');
    await s.settle();
    await s.fails('EINVAL', s.actor.open('dir', O_TMPFILE | O_RDONLY));
    await s.fails('ENOTDIR', s.actor.open('file', O_TMPFILE | O_RDWR));
    await s.fails('ENOENT', s.actor.open('new', O_TMPFILE | O_RDWR));
    s.t.same(await s.actor.names('dir'), []);
  },

  'O_TMPFILE|O_EXCL can never be linked': async (s) => {
    await s.settle();
    const fd = await s.actor.open('.', O_TMPFILE | O_EXCL | O_RDWR, 0o600);
    await s.fails('ENOENT', s.actor.link(`/proc/self/fd/${fd}`, 'new', AT_SYMLINK_FOLLOW));
  },

  'an unlinked open file has nlink 0 and still reads and writes': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    const { ino } = await s.actor.fstat(fd);
    await s.actor.unlink('old');
    s.t.match(await s.actor.fstat(fd), { nlink: 0, size: 7, ino });
    s.t.equal(await s.actor.read(fd, 10, 0), 'content');
    await s.actor.write(fd, ' and more', 7);
    s.t.equal(await s.actor.read(fd, 100, 0), 'content and more');
    await s.actor.ftruncate(fd, 3);
    s.t.match(await s.actor.fstat(fd), { nlink: 0, size: 3 });
    await s.fails('ENOENT', s.actor.stat('old'));
    s.t.same(await s.actor.names(), []);
  },

  'an unlinked open file can be opened again by its descriptor, and never gets a name again':
    async (s) => {
      await s.actor.put('old', 'content');
      await s.settle();
      const fd = await s.actor.open('old', O_RDWR);
      await s.actor.write(fd, 'C', 0);
      await s.actor.unlink('old');
      const again = await s.actor.open(`/proc/self/fd/${fd}`, O_RDWR);
      await s.actor.write(again, 'again', 7);
      s.t.equal(await s.actor.read(fd, 20, 0), 'Contentagain');
      await s.fails('ENOENT', s.actor.link(`/proc/self/fd/${fd}`, 'new', AT_SYMLINK_FOLLOW));
      await s.actor.open(`/proc/self/fd/${fd}`, O_WRONLY | O_TRUNC);
      s.t.match(await s.actor.fstat(again), { size: 0, nlink: 0 });
    },

  'an unlinked file open only for reading still reads': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old');
    await s.actor.unlink('old');
    s.t.equal(await s.actor.read(fd, 10, 0), 'content');
    s.t.equal((await s.actor.fstat(fd)).nlink, 0);
    await s.actor.put('old', 'another');
    s.t.equal(await s.actor.read(fd, 10, 0), 'content');
  },

  'the metadata of an unlinked open file can be changed': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.unlink('old');
    await s.actor.fchmod(fd, 0o604);
    await s.actor.futimens(fd, [5, 6], [7, 8]);
    s.t.match(await s.actor.fstat(fd), { atime: 5_000_000_006n, mtime: 7_000_000_008n, nlink: 0 });
    s.t.equal((await s.actor.fstat(fd)).mode & 0o7777, 0o604);
  },

  'a file replaced by rename while open keeps its content for the descriptor': async (s) => {
    await s.actor.put('old', 'first');
    await s.actor.put('other', 'second');
    await s.settle();
    const fd = await s.actor.open('old');
    await s.actor.rename('other', 'old');
    s.t.equal(await s.actor.read(fd, 10), 'first');
    s.t.equal((await s.actor.fstat(fd)).nlink, 0);
    s.t.equal(await s.actor.get('old'), 'second');
  },

  'files are created with the identity of their creator': asRoot(async (s) => {
    await s.actor.mkdir('shared');
    await s.actor.chmod('shared', 0o777);
    await s.settle();
    const user = await s.start({
      identity: { uid: 1234, gid: 5678, groups: [4321] },
      umask: 0o077,
    });
    await user.put('shared/file', 'x');
    await user.mkdir('shared/dir');
    await user.symlink('x', 'shared/link');
    await user.mknod('shared/fifo', 0o010666);
    for (const name of ['file', 'dir', 'link', 'fifo']) {
      s.t.match(await s.actor.lstat(`shared/${name}`), { uid: 1234, gid: 5678 }, name);
    }
    s.t.equal((await s.actor.lstat('shared/file')).mode & 0o7777, 0o600);
    s.t.equal((await s.actor.lstat('shared/dir')).mode & 0o7777, 0o700);
    s.t.equal((await s.actor.lstat('shared/fifo')).mode & 0o7777, 0o600);
  }),

  'an ordinary user cannot create where the directory forbids it': asRoot(async (s) => {
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EACCES', user.open('new', O_CREAT | O_WRONLY));
    await s.fails('EACCES', user.mkdir('new'));
    await s.fails('EACCES', user.symlink('x', 'new'));
    await s.fails('EACCES', user.mknod('new', 0o010666));
    await s.fails('EACCES', user.open('.', O_TMPFILE | O_RDWR));
    s.t.same(await s.actor.names(), []);
  }),
};
