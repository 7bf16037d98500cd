/**
 * mmap(2) and msync(2) beyond reading and writing: sharing, ends of files, times, and what is
 * refused.
 */
import {
  MAP_PRIVATE,
  MAP_SHARED,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
} from '../constants.js';
import type { PosixCases } from '../posix-suite.js';

const both = PROT_READ | PROT_WRITE;

export const mappingCases: PosixCases = {
  'what mmap refuses': async (s) => {
    await s.actor.put('old', 'x'.repeat(5000));
    await s.settle();
    const [reading, writing] = [
      await s.actor.open('old', O_RDONLY),
      await s.actor.open('old', O_WRONLY),
    ];
    await s.fails(
      'EACCES',
      s.actor.mmap(writing, 4096, PROT_READ, MAP_PRIVATE),
      'a descriptor for writing only',
    );
    await s.fails('EACCES', s.actor.mmap(writing, 4096, both, MAP_SHARED), 'the same, shared');
    await s.fails(
      'EACCES',
      s.actor.mmap(reading, 4096, both, MAP_SHARED),
      'a shared one for writing, of a descriptor for reading',
    );
    await s.fails(
      'EINVAL',
      s.actor.mmap(reading, 4096, PROT_READ, MAP_SHARED, 100),
      'an offset between pages',
    );
    await s.fails('EINVAL', s.actor.mmap(reading, 0, PROT_READ, MAP_SHARED), 'nothing');
    await s.fails(
      'EINVAL',
      s.actor.mmap(reading, 4096, PROT_READ, 0),
      'neither shared nor private',
    );
  },

  'two processes share what they map, and others read it without msync': async (s) => {
    await s.actor.put('old', 'x'.repeat(8192));
    await s.settle();
    const other = await s.start();
    const mine = await s.actor.mmap(await s.actor.open('old', O_RDWR), 8192, both, MAP_SHARED);
    const theirs = await other.mmap(await other.open('old', O_RDWR), 4096, both, MAP_SHARED, 4096);
    await s.actor.poke(mine, 4100, 'mine');
    s.t.equal(await other.peek(theirs, 3, 6), 'xminex');
    await other.poke(theirs, 10, 'theirs');
    s.t.equal(await s.actor.peek(mine, 4105, 8), 'xtheirsx');
    s.t.equal(await other.read(await other.open('old'), 14, 4099), 'xminexxtheirsx');
  },

  'beyond the end a mapping faults, in the last page it shows zeros': async (s) => {
    await s.actor.put('old', 'x'.repeat(5000));
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    const map = await s.actor.mmap(fd, 16384, both, MAP_SHARED);
    s.t.equal(await s.actor.peek(map, 4998, 6), 'xx\0\0\0\0');
    await s.fails('EFAULT', s.actor.peek(map, 8192, 1), 'a page beyond the end');
    await s.fails('EFAULT', s.actor.poke(map, 9000, 'x'));
    const other = await s.start();
    await other.truncate('old', 10_000);
    s.t.equal(await s.actor.peek(map, 8192, 3), '\0\0\0', 'the file has grown');
    await s.actor.poke(map, 9000, 'grown');
    s.t.equal(await other.read(await other.open('old'), 7, 8999), '\0grown\0');
    await other.truncate('old', 100);
    s.t.equal(await s.actor.peek(map, 98, 4), 'xx\0\0');
    await s.fails('EFAULT', s.actor.peek(map, 5000, 1), 'the file has shrunk');
    await other.truncate('old', 200);
    s.t.equal(
      await s.actor.peek(map, 98, 4),
      'xx\0\0',
      'what was cut off is zeros when it comes back',
    );
  },

  'a private mapping keeps what it wrote, whatever is written to the file': async (s) => {
    await s.actor.put('old', 'x'.repeat(8192));
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    const map = await s.actor.mmap(fd, 8192, both, MAP_PRIVATE);
    await s.actor.poke(map, 0, 'private');
    await s.actor.write(fd, 'file', 100);
    s.t.equal(await s.actor.peek(map, 0, 8), 'privatex');
    s.t.equal(await s.actor.peek(map, 100, 4), 'xxxx', 'the page is a copy');
    s.t.equal(await s.actor.read(fd, 8, 0), 'xxxxxxxx');
  },

  'what is written through a mapping is on disk after msync, and moves mtime and ctime': async (
    s,
  ) => {
    await s.actor.put('old', 'x'.repeat(4096));
    await s.actor.utimens('old', [1_000_000_000, 1], [1_000_000_000, 1]);
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    const map = await s.actor.mmap(fd, 4096, both, MAP_SHARED);
    s.t.equal(await s.actor.peek(map, 0, 4), 'xxxx');
    const before = await s.actor.fstat(fd);
    s.t.equal(before.mtime, 1_000_000_000_000_000_001n, 'reading it moves nothing');
    await s.actor.poke(map, 0, 'dirty');
    await s.actor.msync(map);
    await s.actor.munmap(map);
    const after = await s.actor.lstat('old');
    s.t.ok(after.mtime > before.mtime && after.ctime > before.ctime);
    s.t.equal((await s.actor.get('old')).slice(0, 6), 'dirtyx');
  },
};
