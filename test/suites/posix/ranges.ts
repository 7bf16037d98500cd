/** Ranges of files: copy_file_range(2), sendfile(2), fallocate(2) and what limits a file's size. */
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  O_APPEND,
  O_CREAT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  SEEK_CUR,
  SEEK_SET,
} from '../constants.js';
import { asRoot, nobody, type PosixCases, type Scene } from '../posix-suite.js';

const MiB = 1 << 20;

/** Calls by which an ordinary user changes a file's data, but for write(2) and truncate(2). */
const changes: Readonly<
  Record<string, (s: Scene, actor: Scene['actor'], name: string) => Promise<unknown>>
> = {
  ftruncate: async (_, a, name) => a.ftruncate(await a.open(name, O_WRONLY), 3),
  fallocate: async (_, a, name) => a.fallocate(await a.open(name, O_WRONLY), 0, 0, 10_000),
  punch: async (_, a, name) =>
    a.fallocate(await a.open(name, O_WRONLY), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
  copy: async (_, a, name) =>
    a.copyFileRange(await a.open('source'), 0, await a.open(name, O_WRONLY), 0, 3),
  send: async (_, a, name) =>
    a.sendfile(await a.open(name, O_WRONLY), await a.open('source'), 0, 3),
};

export const rangeCases: PosixCases = {
  'copy_file_range: within a file, over itself, and what is refused': async (s) => {
    await s.actor.put('old', '0123456789');
    await s.actor.put('other', 'other');
    await s.actor.mknod('fifo', 0o010666);
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    s.t.equal(await s.actor.copyFileRange(fd, 0, fd, 5, 5), 5);
    s.t.equal(await s.actor.get('old'), '0123401234');
    await s.fails('EINVAL', s.actor.copyFileRange(fd, 0, fd, 3, 5), 'ranges that overlap');
    await s.fails(
      'EINVAL',
      s.actor.copyFileRange(fd, 0, await s.actor.open('other', O_WRONLY), 0, 5, 1),
      'a flag',
    );
    await s.fails(
      'EBADF',
      s.actor.copyFileRange(fd, 0, await s.actor.open('other', O_WRONLY | O_APPEND), 0, 5),
      'O_APPEND',
    );
    await s.fails('EISDIR', s.actor.copyFileRange(fd, 0, await s.actor.open('.'), 0, 5));
    await s.fails(
      'EINVAL',
      s.actor.copyFileRange(fd, 0, await s.actor.open('fifo', O_RDWR | O_NONBLOCK), 0, 5),
    );
    s.t.equal(
      await s.actor.copyFileRange(fd, 0, await s.actor.open('other', O_WRONLY), 0, 0),
      0,
      'nothing',
    );
    s.t.equal(await s.actor.get('other'), 'other');
  },

  'copy_file_range of megabytes gives the same bytes': async (s) => {
    const text = Array.from({ length: 3 * MiB }, (_, i) =>
      String.fromCharCode(97 + ((i * 7 + (i >> 10)) % 26)),
    ).join('');
    const fd0 = await s.actor.open('from', O_CREAT | O_WRONLY);
    for (let at = 0; at < text.length; at += MiB / 4)
      await s.actor.write(fd0, text.slice(at, at + MiB / 4), at);
    await s.actor.put('to', 'before');
    await s.settle();
    const [from, to] = [await s.actor.open('from'), await s.actor.open('to', O_RDWR)];
    for (let done = 0; done < text.length;)
      done += await s.actor.copyFileRange(from, done, to, done + 3, text.length - done);
    let got = '';
    while (got.length < text.length + 3) got += await s.actor.read(to, MiB, got.length);
    s.t.ok(got === `bef${text}`, 'the same, three bytes further on');
  },

  'sendfile to a file and to a pipe': async (s) => {
    await s.actor.put('old', '0123456789');
    await s.actor.put('to', 'abcdefghij');
    await s.actor.mknod('fifo', 0o010666);
    await s.settle();
    const from = await s.actor.open('old');
    const to = await s.actor.open('to', O_RDWR);
    await s.actor.lseek(to, 2, SEEK_SET);
    s.t.equal(await s.actor.sendfile(to, from, 4, 3), 3);
    s.t.equal(await s.actor.get('to'), 'ab456fghij');
    s.t.equal(await s.actor.lseek(to, 0, SEEK_CUR), 5);
    s.t.equal(await s.actor.lseek(from, 0, SEEK_CUR), 0, 'the position of the source stays');
    s.t.equal(await s.actor.sendfile(to, from, 8, 100), 2, 'to the end');
    s.t.equal(await s.actor.sendfile(to, from, 10, 100), 0);
    const pipe = await s.actor.open('fifo', O_RDWR | O_NONBLOCK);
    s.t.equal(await s.actor.sendfile(pipe, from, 0, 10), 10);
    s.t.equal(await s.actor.read(pipe, 100), '0123456789');
    await s.fails(
      'EINVAL',
      s.actor.sendfile(await s.actor.open('to', O_WRONLY | O_APPEND), from, 0, 1),
      'O_APPEND',
    );
  },

  'fallocate: what is refused, and ranges beyond the end': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const fd = await s.actor.open('old', O_RDWR);
    await s.fails('EINVAL', s.actor.fallocate(fd, 0, -1, 10));
    await s.fails('EINVAL', s.actor.fallocate(fd, 0, 0, -1));
    await s.fails('EFBIG', s.actor.fallocate(fd, 0, 2 ** 62, 2 ** 62));
    await s.fails('EOPNOTSUPP', s.actor.fallocate(fd, 0x4000, 0, 10), 'an unknown mode');
    await s.fails(
      'EOPNOTSUPP',
      s.actor.fallocate(
        fd,
        FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        0,
        10,
      ),
    );
    await s.fails(
      'EOPNOTSUPP',
      s.actor.fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096),
    );
    await s.actor.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 1000);
    await s.actor.fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 5, 1000);
    s.t.equal(await s.actor.get('old'), 'conte\0\0', 'the size is kept');
    await s.actor.fallocate(fd, FALLOC_FL_ZERO_RANGE, 6, 4);
    s.t.equal(await s.actor.get('old'), 'conte\0\0\0\0\0');
  },

  'beyond the largest file that a process may write is EFBIG': async (s) => {
    await s.actor.put('old', 'content');
    await s.settle();
    const limited = await s.start();
    await limited.limitFileSize(10);
    const fd = await limited.open('old', O_RDWR);
    s.t.equal(await limited.write(fd, '0123456789', 5), 5, 'as much as fits');
    await s.fails('EFBIG', limited.write(fd, 'x', 10));
    await s.fails('EFBIG', limited.truncate('old', 11));
    await s.fails('EFBIG', limited.ftruncate(fd, 11));
    await s.fails('EFBIG', limited.fallocate(fd, 0, 0, 11));
    await s.fails('EFBIG', limited.copyFileRange(await limited.open('old'), 0, fd, 10, 1));
    s.t.equal(await s.actor.get('old'), 'conte01234');
  },

  'whatever changes the data clears set-id bits for an ordinary user, not for root': asRoot(
    async (s) => {
      await s.actor.put('source', 'source');
      for (const what of Object.keys(changes)) {
        for (const who of ['user', 'root']) {
          await s.actor.put(`${what}-${who}`, 'content');
          await s.actor.chmod(`${what}-${who}`, 0o6777);
        }
      }
      await s.settle();
      const user = await s.start({ identity: nobody });
      for (const [what, change] of Object.entries(changes)) {
        await change(s, user, `${what}-user`);
        s.t.equal((await s.actor.lstat(`${what}-user`)).mode & 0o7777, 0o777, what);
        await change(s, s.actor, `${what}-root`);
        s.t.equal((await s.actor.lstat(`${what}-root`)).mode & 0o7777, 0o6777, `${what} by root`);
      }
    },
  ),

  'ranges changed update mtime and ctime': async (s) => {
    await s.actor.put('source', 'source');
    for (const what of Object.keys(changes)) {
      await s.actor.put(what, 'content');
      await s.actor.utimens(what, [1_000_000_000, 1], [1_000_000_000, 1]);
    }
    await s.settle();
    for (const [what, change] of Object.entries(changes)) {
      const before = await s.actor.lstat(what);
      await change(s, s.actor, what);
      const after = await s.actor.lstat(what);
      s.t.ok(after.mtime > before.mtime, `mtime after ${what}`);
      s.t.ok(after.ctime > before.ctime, `ctime after ${what}`);
    }
    const fd = await s.actor.open('copy', O_RDONLY);
    const before = await s.actor.fstat(fd);
    await s.actor.copyFileRange(fd, 0, await s.actor.open('send', O_WRONLY), 0, 3);
    s.t.equal((await s.actor.fstat(fd)).mtime, before.mtime, 'the source keeps its mtime');
  },
};
