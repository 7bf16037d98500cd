/**
 * Reading and writing: offsets, holes, truncation, fallocate(2), mmap(2), copy_file_range(2),
 * executing.
 */
import { readFileSync } from 'node:fs';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  MAP_PRIVATE,
  MAP_SHARED,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
} from '../constants.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';

const MiB = 1 << 20;

export const contentCases: PosixCases = {
  'positions, short reads at the end, and pread/pwrite': async (s) => {
    await s.actor.put('old', '0123456789');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    s.t.equal(await s.actor.read(fd, 4), '0123');
    s.t.equal(await s.actor.read(fd, 100), '456789');
    s.t.equal(await s.actor.read(fd, 100), '');
    s.t.equal(await s.actor.read(fd, 3, 8), '89');
    s.t.equal(await s.actor.read(fd, 3, 1000), '');
    await s.actor.write(fd, 'ab', 3);
    s.t.equal(await s.actor.lseek(fd, 0, SEEK_CUR), 10, 'pwrite leaves the position');
    s.t.equal(await s.actor.lseek(fd, -4, SEEK_END), 6);
    await s.actor.write(fd, 'XYZUVW');
    s.t.equal(await s.actor.get('old'), '012ab5XYZUVW');
    await s.fails('EINVAL', s.actor.lseek(fd, -1, SEEK_SET));
  },

  'a second descriptor sees what the first wrote at once': async (s) => {
    await s.actor.put('old', 'aaaaaaaaaa');
    await s.settle();
    const reader = await s.actor.open('old', O_RDONLY);
    s.t.equal(await s.actor.read(reader, 10, 0), 'aaaaaaaaaa');
    const other = await s.start();
    const writer = await other.open('old', O_WRONLY);
    await other.write(writer, 'BBB', 4);
    s.t.equal(await s.actor.read(reader, 10, 0), 'aaaaBBBaaa');
    await other.write(writer, 'end', 10);
    s.t.equal((await s.actor.fstat(reader)).size, 13);
    s.t.equal(await s.actor.read(reader, 20, 8), 'aaend');
  },

  'a large file keeps every byte across a change in its middle': async (s) => {
    const block = Array.from({ length: 4096 }, (_, i) => String.fromCharCode(97 + (i % 26))).join(
      '',
    );
    const fd0 = await s.actor.open('old', O_CREAT | O_RDWR);
    for (let i = 0; i < 512; i += 16) await s.actor.write(fd0, block.repeat(16), i * 4096);
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.write(fd, 'MIDDLE', MiB + 3);
    s.t.equal((await s.actor.fstat(fd)).size, 2 * MiB);
    const whole = (await s.actor.read(fd, MiB, 0)) + (await s.actor.read(fd, MiB, MiB));
    const wanted = block.repeat(512);
    s.t.ok(
      whole === wanted.slice(0, MiB + 3) + 'MIDDLE' + wanted.slice(MiB + 9),
      'all other bytes are as before',
    );
  },

  'truncate shrinks, and grows with zeros': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    await s.actor.truncate('old', 3);
    s.t.equal(await s.actor.get('old'), 'con');
    await s.actor.truncate('old', 6);
    s.t.equal(await s.actor.get('old'), 'con\0\0\0');
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.ftruncate(fd, 0);
    s.t.equal((await s.actor.fstat(fd)).size, 0);
    await s.actor.ftruncate(fd, 2 * MiB);
    s.t.equal(await s.actor.read(fd, 4, MiB), '\0\0\0\0');
    await s.fails('EINVAL', s.actor.truncate('old', -1));
  },

  'truncate of other types and without permission': asRoot(async (s) => {
    await s.actor.mkdir('dir');
    await s.actor.mknod('fifo', 0o010666);
    await s.actor.put('closed', 'content', 0o644);
    await s.settle();
    await s.fails('EISDIR', s.actor.truncate('dir', 0));
    await s.fails('EINVAL', s.actor.truncate('fifo', 0));
    await s.fails('ENOENT', s.actor.truncate('new', 0));
    const user = await s.start({ identity: nobody });
    await s.fails('EACCES', user.truncate('closed', 0));
    s.t.equal(await s.actor.get('closed'), 'content');
  }),

  'a write beyond the end leaves a hole of zeros': async (s) => {
    await s.actor.put('old', 'start');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.write(fd, 'end', 4 * MiB);
    const st = await s.actor.fstat(fd);
    s.t.equal(st.size, 4 * MiB + 3);
    s.t.ok(st.blocks * 512 < MiB, `allocated ${st.blocks * 512} bytes`);
    s.t.equal(await s.actor.read(fd, 8, 3), 'rt\0\0\0\0\0\0');
    s.t.equal(await s.actor.lseek(fd, MiB, SEEK_DATA), 4 * MiB);
    s.t.ok((await s.actor.lseek(fd, 0, SEEK_HOLE)) <= MiB);
    await s.fails('ENXIO', s.actor.lseek(fd, 5 * MiB, SEEK_DATA));
  },

  'a file of holes stays one when a byte of it is changed': async (s) => {
    const fd0 = await s.actor.open('old', O_CREAT | O_RDWR);
    await s.actor.ftruncate(fd0, 64 * MiB);
    await s.actor.write(fd0, 'island', 32 * MiB);
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.write(fd, 'x', 0);
    await s.actor.fsync(fd);
    const st = await s.actor.fstat(fd);
    s.t.equal(st.size, 64 * MiB);
    s.t.ok(st.blocks * 512 < 4 * MiB, `allocated ${st.blocks * 512} bytes`);
    s.t.equal(await s.actor.read(fd, 8, 32 * MiB), 'island\0\0');
    s.t.equal(await s.actor.lseek(fd, MiB, SEEK_DATA), 32 * MiB);
  },

  'a size beyond 4 GiB': async (s) => {
    await s.settle();
    const fd = await s.actor.open('new', O_CREAT | O_RDWR);
    await s.actor.write(fd, 'far', 5 * 1024 * MiB);
    s.t.equal((await s.actor.lstat('new')).size, 5 * 1024 * MiB + 3);
    s.t.equal(await s.actor.read(fd, 10, 5 * 1024 * MiB - 2), '\0\0far');
  },

  'fallocate reserves, with and without growing': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MiB);
    s.t.equal((await s.actor.fstat(fd)).size, 7);
    s.t.ok((await s.actor.fstat(fd)).blocks * 512 >= MiB);
    await s.actor.fallocate(fd, 0, 0, 2 * MiB);
    s.t.equal((await s.actor.fstat(fd)).size, 2 * MiB);
    s.t.equal(await s.actor.read(fd, 10, 0), 'content\0\0\0');
    await s.fails('EINVAL', s.actor.fallocate(fd, 0, 0, 0));
    await s.fails('EBADF', s.actor.fallocate(await s.actor.open('old'), 0, 0, 10));
  },

  'fallocate punches and zeroes': async (s) => {
    await s.actor.put('old', 'x'.repeat(65536));
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.actor.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192);
    s.t.equal(await s.actor.read(fd, 4, 4094), 'xx\0\0');
    s.t.equal(await s.actor.read(fd, 4, 12286), '\0\0xx');
    s.t.equal((await s.actor.fstat(fd)).size, 65536);
    await s.actor.fallocate(fd, FALLOC_FL_ZERO_RANGE, 20000, 10);
    s.t.equal(await s.actor.read(fd, 14, 19998), `xx${'\0'.repeat(10)}xx`);
    await s.fails('EOPNOTSUPP', s.actor.fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
  },

  'copy_file_range copies between files': async (s) => {
    await s.actor.put('from', '0123456789');
    await s.actor.put('to', 'abcdefghij');
    await s.settle();
    const from = await s.actor.open('from');
    const to = await s.actor.open('to', O_RDWR);
    s.t.equal(await s.actor.copyFileRange(from, 2, to, 5, 3), 3);
    s.t.equal(await s.actor.get('to'), 'abcde234ij');
    s.t.equal(await s.actor.copyFileRange(from, 8, to, 10, 100), 2);
    s.t.equal(await s.actor.get('to'), 'abcde234ij89');
    s.t.equal(await s.actor.copyFileRange(from, 10, to, 0, 100), 0);
    await s.fails('EBADF', s.actor.copyFileRange(to, 0, from, 0, 1));
  },

  'a shared mapping is written to the file, and sees writes': async (s) => {
    await s.actor.put('old', 'x'.repeat(8192));
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    const map = await s.actor.mmap(fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);
    await s.actor.poke(map, 100, 'through the mapping');
    await s.actor.msync(map);
    s.t.equal((await s.actor.get('old')).slice(98, 121), 'xxthrough the mappingxx');
    const other = await s.start();
    await other.write(await other.open('old', O_WRONLY), 'written', 5000);
    s.t.equal(await s.actor.peek(map, 4999, 9), 'xwrittenx');
    await s.actor.munmap(map);
    await s.actor.close(fd);
    s.t.equal((await s.actor.get('old')).length, 8192);
  },

  'a shared mapping outlives its descriptor and its name': async (s) => {
    await s.actor.put('old', 'x'.repeat(4096));
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    const map = await s.actor.mmap(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
    const keeper = await s.actor.open('old');
    await s.actor.close(fd);
    await s.actor.unlink('old');
    await s.actor.poke(map, 0, 'late');
    await s.actor.msync(map);
    s.t.equal(await s.actor.read(keeper, 6, 0), 'latexx');
    await s.actor.munmap(map);
  },

  'a shared mapping for reading sees what is written later': async (s) => {
    await s.actor.put('old', 'x'.repeat(4096));
    await s.settle();
    const map = await s.actor.mmap(await s.actor.open('old'), 4096, PROT_READ, MAP_SHARED);
    s.t.equal(await s.actor.peek(map, 0, 4), 'xxxx');
    const other = await s.start();
    await other.write(await other.open('old', O_WRONLY), 'seen', 0);
    s.t.equal(await s.actor.peek(map, 0, 6), 'seenxx');
  },

  'a private mapping changes nothing': async (s) => {
    await s.actor.put('old', 'x'.repeat(4096));
    await s.settle();
    const map = await s.actor.mmap(
      await s.actor.open('old'),
      4096,
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE,
    );
    await s.actor.poke(map, 0, 'private');
    s.t.equal(await s.actor.peek(map, 0, 8), 'privatex');
    s.t.equal((await s.actor.get('old')).slice(0, 8), 'xxxxxxxx');
    await s.fails(
      'EACCES',
      s.actor.mmap(await s.actor.open('old'), 4096, PROT_READ | PROT_WRITE, MAP_SHARED),
      'shared needs O_RDWR',
    );
  },

  'fsync and fdatasync succeed on files and directories': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const reading = await s.actor.open('old');
    await s.actor.fsync(reading);
    const fd = await s.actor.open('old', O_WRONLY);
    await s.actor.write(fd, 'x');
    await s.actor.fdatasync(fd);
    await s.actor.fsync(fd);
    await s.actor.fsync(await s.actor.open('.'));
    s.t.pass();
  },

  'an unknown ioctl is ENOTTY': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    await s.fails('ENOTTY', s.actor.ioctl(await s.actor.open('old'), 0x5401), 'TCGETS');
  },

  'a program runs, but not while it is open for writing': async (s) => {
    const program = readFileSync('/bin/true');
    const fd = await s.actor.open('program', O_CREAT | O_WRONLY, 0o755);
    await s.actor.write(fd, program);
    await s.actor.close(fd);
    await s.actor.put('script', '#!/bin/sh\nexit 7\n', 0o755);
    await s.actor.put('plain', '#!/bin/sh\nexit 7\n', 0o644);
    await s.settle();
    s.t.equal(await s.actor.exec('./program'), 0);
    s.t.equal(await s.actor.exec('./script'), 7);
    await s.fails('EACCES', s.actor.exec('./plain'));
    await s.actor.chmod('plain', 0o755);
    s.t.equal(await s.actor.exec('./plain'), 7);
    const writing = await s.actor.open('program', O_RDWR);
    await s.fails('ETXTBSY', s.actor.exec('./program'));
    await s.actor.close(writing);
    s.t.equal(await s.actor.exec('./program'), 0);
  },
};
