/** What a descriptor does not allow: EBADF and its kin. */
import {
  F_SETLK,
  F_WRLCK,
  LOCK_EX,
  MAP_SHARED,
  O_DIRECTORY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  PROT_READ,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
} from '../constants.js';
import type { Actor } from '../actor.js';
import type { PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

/** Every call on a descriptor but fstat(2), which O_PATH allows. */
const calls: Readonly<Record<string, (a: Actor, fd: number) => Promise<unknown>>> = {
  read: (a, fd) => a.read(fd, 1),
  pread: (a, fd) => a.read(fd, 1, 0),
  write: (a, fd) => a.write(fd, 'x'),
  pwrite: (a, fd) => a.write(fd, 'x', 0),
  lseek: (a, fd) => a.lseek(fd, 0, SEEK_SET),
  ftruncate: (a, fd) => a.ftruncate(fd, 0),
  fallocate: (a, fd) => a.fallocate(fd, 0, 0, 1),
  fchmod: (a, fd) => a.fchmod(fd, 0o600),
  fchown: (a, fd) => a.fchown(fd, -1, -1),
  futimens: (a, fd) => a.futimens(fd, [1, 1], [1, 1]),
  fsync: (a, fd) => a.fsync(fd),
  fdatasync: (a, fd) => a.fdatasync(fd),
  getdents: (a, fd) => a.getdents(fd),
  flock: (a, fd) => a.flock(fd, LOCK_EX),
  fcntl: (a, fd) => a.lock(fd, F_SETLK, F_WRLCK),
  mmap: (a, fd) => a.mmap(fd, 4096, PROT_READ, MAP_SHARED),
  ioctl: (a, fd) => a.ioctl(fd, 0x5401),
  'copy_file_range from': (a, fd) => a.copyFileRange(fd, 0, fd, 10, 1),
  'sendfile from': (a, fd) => a.sendfile(1, fd, 0, 1),
};

export const descriptorCases: PosixCases = {
  'a descriptor of O_PATH, or none, is EBADF for all but fstat': async (s) => {
    await s.actor.put('file', 'content');
    await s.actor.mkdir('dir');
    await s.settle();
    for (const name of ['file', 'dir']) {
      const fd = await s.actor.open(name, O_PATH);
      for (const [what, call] of Object.entries(calls))
        await s.fails('EBADF', call(s.actor, fd), `${what} on ${name}`);
      s.t.equal((await s.actor.fstat(fd)).ino, (await s.actor.lstat(name)).ino);
    }
    for (const [what, call] of Object.entries(calls))
      await s.fails('EBADF', call(s.actor, 999), `${what} on no descriptor`);
    s.t.equal(await s.actor.get('file'), 'content');
  },

  'a directory is not read, written, mapped or cut': async (s) => {
    await s.actor.mkdir('dir');
    await s.actor.put('file', 'x');
    await s.settle();
    const fd = await s.actor.open('dir', O_RDONLY | O_DIRECTORY);
    const file = await s.actor.open('file', O_RDWR);
    await s.fails('EISDIR', s.actor.read(fd, 1));
    await s.fails('EBADF', s.actor.write(fd, 'x'));
    await s.fails('EINVAL', s.actor.ftruncate(fd, 0));
    await s.fails('EBADF', s.actor.fallocate(fd, 0, 0, 1));
    await s.fails('ENODEV', s.actor.mmap(fd, 4096, PROT_READ, MAP_SHARED));
    await s.fails('EISDIR', s.actor.copyFileRange(fd, 0, file, 0, 1));
    await s.actor.fsync(fd);
  },

  'a pipe has no positions, a special file nothing to flush': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    const fd = await s.actor.open('fifo', O_RDWR | O_NONBLOCK);
    await s.fails('ESPIPE', s.actor.lseek(fd, 0, SEEK_SET));
    await s.fails('ESPIPE', s.actor.read(fd, 1, 0));
    await s.fails('ESPIPE', s.actor.write(fd, 'x', 0));
    await s.fails('ESPIPE', s.actor.fallocate(fd, 0, 0, 1));
    await s.fails('EINVAL', s.actor.ftruncate(fd, 0));
    await s.fails('EINVAL', s.actor.fsync(fd));
    await s.fails('ENODEV', s.actor.mmap(fd, 4096, PROT_READ, MAP_SHARED));
    await s.actor.fchmod(fd, 0o600);
    s.t.equal((await s.actor.lstat('fifo')).mode & 0o777, 0o600);
  },

  'lseek: positions that are none': async (s) => {
    await s.actor.put('old', '0123456789');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.fails('EINVAL', s.actor.lseek(fd, 0, 99), 'an unknown whence');
    await s.fails('EINVAL', s.actor.lseek(fd, -11, SEEK_END));
    for (const whence of [SEEK_DATA, SEEK_HOLE]) {
      await s.fails('ENXIO', s.actor.lseek(fd, -1, whence));
      await s.fails('ENXIO', s.actor.lseek(fd, 10, whence), 'the end');
      await s.fails('ENXIO', s.actor.lseek(fd, 11, whence));
    }
    s.t.equal(await s.actor.lseek(fd, 9, SEEK_HOLE), 10, 'the end is a hole');
    s.t.equal(await s.actor.lseek(fd, 5, SEEK_DATA), 5);
    s.t.equal(await s.actor.lseek(fd, 1000, SEEK_SET), 1000, 'beyond the end is a position');
    s.t.equal(await s.actor.read(fd, 10), '');
  },

  'who may not write finds the file as it was': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const { ino, size, mtime, mode } = await s.actor.lstat('old');
    const reading = await s.actor.open('old', O_RDONLY);
    const writing = await s.actor.open('old', O_WRONLY);
    await s.fails('EBADF', s.actor.write(reading, ''));
    await s.fails('EBADF', s.actor.copyFileRange(writing, 0, writing, 10, 1));
    await s.fails('EBADF', s.actor.sendfile(reading, reading, 0, 1));
    await s.fails('EBADF', s.actor.sendfile(writing, writing, 0, 1));
    await s.fails(
      'EBADF',
      s.actor.lock(reading, F_SETLK, F_WRLCK),
      'a write lock needs a descriptor for writing',
    );
    await s.fails('EBADF', s.actor.lock(writing, F_SETLK, 0), 'a read lock one for reading');
    s.t.match(await s.actor.lstat('old'), { ino, size, mtime, mode });
    s.t.equal(await s.actor.get('old'), 'content');
  },
};
