import t from 'tap';
import type { Test } from 'tap';
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Awaitable } from '../../src/base/awaitable.js';
import { E, Errno } from '../../src/base/errno.js';
import { defaultServeOptions } from '../../src/fuse/connection.js';
import type { RequestTrace, ServeOptions } from '../../src/fuse/connection.js';
import { serve } from '../../src/fuse/dispatcher.js';
import { Opcode, opcodeName } from '../../src/fuse/protocol.js';
import { requestTable } from '../../src/fuse/statistics.js';
import type { NodeId } from '../../src/vfs/filesystem.js';
import { dirents, FakeSession, initBody, message, strings, u32, u64 } from './fake-session.js';
import type { Answer } from './fake-session.js';
import { MemoryFileSystem } from './memory-file-system.js';

const INIT_FLAGS = 0x7fff_ffff;

interface Served {
  readonly session: FakeSession;
  readonly fs: MemoryFileSystem;
  readonly done: Promise<void>;
  ask(opcode: number, node: number, body?: Buffer, extensions?: Buffer): Promise<Answer>;
}

/** A served file system after the handshake; unmounted when the test ends. */
async function start(
  t: Test,
  options: Partial<ServeOptions> = {},
  flags = INIT_FLAGS,
): Promise<Served> {
  const session = new FakeSession();
  const fs = new MemoryFileSystem(t.testdir());
  const done = serve(session, fs, { ...defaultServeOptions, ...options });
  t.teardown(async () => {
    session.unmount();
    await done;
    assert.deepEqual(
      { wrong: session.wrong, held: session.held, closed: session.closed, destroyed: fs.destroyed },
      { wrong: 0, held: 0, closed: 1, destroyed: 1 },
      'every slot is given away once, and everything is closed',
    );
  });
  const ask: Served['ask'] = (opcode, node, body, extensions) =>
    session.request(message(opcode, node, body, extensions));
  await ask(Opcode.INIT, 0, initBody(flags));
  return { session, fs, done, ask };
}

const createIn = (mode: number, umask = 0o22): Buffer => u32(0x8041, mode, umask, 0);
const readIn = (offset: number | bigint, size: number): Buffer =>
  Buffer.concat([u64(0, offset), u32(size, 0), u64(0), u32(0, 0)]);
const mknodIn = (mode: number, rdev = 0, umask = 0o22): Buffer => u32(mode, rdev, umask, 0);

async function makeFile(s: Served, name: string): Promise<number> {
  const answer = await s.ask(Opcode.MKNOD, 1, Buffer.concat([mknodIn(0o100666), strings(name)]));
  return Number(answer.body.readBigUInt64LE(0));
}

t.test('INIT', async (t) => {
  const session = new FakeSession();
  let ready = 0;
  const counting: ServeOptions = {
    ...defaultServeOptions,
    ready: () => {
      ready++;
    },
  };
  const done = serve(session, new MemoryFileSystem(t.testdir()), counting);
  t.equal(
    (await session.request(message(Opcode.INIT, 0, initBody(0, 0, 8)))).body.readUInt32LE(0),
    7,
    'a newer major version asks again',
  );
  t.equal(ready, 0);
  const { result, body } = await session.request(message(Opcode.INIT, 0, initBody(INIT_FLAGS)));
  t.equal(result, 64);
  t.same(
    [0, 4, 8, 20, 24].map((at) => body.readUInt32LE(at)),
    [7, 45, 131072, 1 << 20, 1],
  );
  t.same(
    [16, 18, 28, 30].map((at) => body.readUInt16LE(at)),
    [64, 48, 256, 0],
  );
  t.ok(body.subarray(36).every((byte) => byte === 0));
  t.equal(session.maxWrite, 1 << 20);
  t.equal(ready, 1);
  session.unmount();
  await done;
});

t.test('INIT of an old kernel ends the mount with a sentence', async (t) => {
  const session = new FakeSession();
  const fs = new MemoryFileSystem(t.testdir());
  const done = serve(session, fs, defaultServeOptions);
  const answer = session.request(message(Opcode.INIT, 0, u32(7, 9, 0, 0)));
  await t.rejects(done, { code: 'kernel-too-old', message: /7\.9/ });
  t.equal((await answer).result, -E.EPROTO);
  t.equal(session.closed, 1);
  t.equal(fs.destroyed, 1);
});

t.test('names', async (t) => {
  const s = await start(t);
  const missing = await s.ask(Opcode.LOOKUP, 1, strings('nope'));
  t.equal(missing.result, 128, 'a negative entry');
  t.equal(missing.body.readBigUInt64LE(0), 0n);
  t.equal(missing.body.readUInt32LE(16), 0xffffffff);

  const made = await s.ask(
    Opcode.MKNOD,
    1,
    Buffer.concat([mknodIn(0o020644, 0x12300145, 0), strings('dev')]),
    u32(16, 32, 1, 4242),
  );
  t.equal(made.result, 128);
  t.equal(made.body.readBigUInt64LE(0), 2n);
  t.ok(s.fs.calls.includes('mknod 1 dev 20644 1:74565'));
  t.match(s.fs.callers.at(-1), { uid: 1000, gid: 100, pid: 4711, umask: 0, parentGroup: 4242 });

  t.equal(
    (await s.ask(Opcode.MKDIR, 1, Buffer.concat([u32(0o755, 0o22), strings('dir')]))).result,
    128,
  );
  t.equal((await s.ask(Opcode.SYMLINK, 1, strings('link', '../a/b'))).result, 128);
  const link = await s.ask(Opcode.READLINK, 4);
  t.equal(link.body.toString(), '../a/b');
  t.equal(
    (await s.ask(Opcode.LINK, 3, Buffer.concat([u64(2), strings('hard')]))).body.readBigUInt64LE(0),
    2n,
  );
  t.equal(
    (await s.ask(Opcode.RENAME, 3, Buffer.concat([u64(1), strings('hard', 'moved')]))).result,
    0,
  );
  t.equal(
    (await s.ask(Opcode.RENAME2, 1, Buffer.concat([u64(3), u32(1, 0), strings('moved', 'back')])))
      .result,
    0,
  );
  t.equal((await s.ask(Opcode.UNLINK, 3, strings('back'))).result, 0);
  t.equal((await s.ask(Opcode.RMDIR, 1, strings('dir'))).result, 0);
  t.same(s.fs.calls.slice(-5), [
    'link 2 3 hard',
    'rename 3 hard 1 moved 0',
    'rename 1 moved 3 back 1',
    'unlink 3 back',
    'rmdir 1 dir',
  ]);
  t.equal((await s.ask(Opcode.UNLINK, 1, strings('nope'))).result, -E.ENOENT);
  t.equal((await s.ask(Opcode.LOOKUP, 1, strings('..'))).result, -E.EINVAL);
  t.equal((await s.ask(Opcode.LOOKUP, 99, strings('x'))).result, -E.ESTALE);
});

t.test('a negative timeout of 0 says ENOENT', async (t) => {
  const s = await start(t, { negativeTimeout: 0 });
  t.equal((await s.ask(Opcode.LOOKUP, 1, strings('nope'))).result, -E.ENOENT);
});

t.test('opens and creation without messages', async (t) => {
  const s = await start(t);
  for (const opcode of [
    Opcode.OPEN,
    Opcode.OPENDIR,
    Opcode.CREATE,
    Opcode.FLUSH,
    Opcode.ACCESS,
    Opcode.STATX,
    Opcode.GETLK,
    Opcode.BMAP,
    Opcode.POLL,
  ]) {
    const body =
      opcode === Opcode.CREATE
        ? Buffer.concat([createIn(0o100644), strings('f')])
        : Buffer.alloc(64);
    t.equal((await s.ask(opcode, 1, body)).result, -E.ENOSYS, opcodeName(opcode));
  }
  t.equal((await s.ask(Opcode.IOCTL, 1, Buffer.alloc(32))).result, -E.ENOTTY);
  t.equal((await s.ask(Opcode.RELEASE, 1, Buffer.alloc(24))).result, 0);
  t.equal((await s.ask(Opcode.DESTROY, 0)).result, 0);
  t.equal((await s.ask(200, 1)).result, -E.ENOSYS);
});

t.test('opens and creation on older kernels', async (t) => {
  const s = await start(t, {}, 0);
  const open = await s.ask(Opcode.OPEN, 1, u32(0, 0));
  t.same([open.result, open.body.readUInt32LE(8)], [16, 2]);
  const opendir = await s.ask(Opcode.OPENDIR, 1, u32(0, 0));
  t.same([opendir.result, opendir.body.readUInt32LE(8)], [16, 10]);
  const create = await s.ask(Opcode.CREATE, 1, Buffer.concat([createIn(0o100644), strings('f')]));
  t.equal(create.result, 144);
  t.equal(create.body.readUInt32LE(128 + 8), 2);
  t.ok(s.fs.calls.includes('mknod 1 f 100644 0:0'));
  t.equal(
    (
      await s.ask(
        Opcode.SETXATTR,
        2,
        Buffer.concat([u32(1, 0), strings('user.a'), Buffer.from('x')]),
      )
    ).result,
    0,
    'the short form',
  );
});

t.test('TMPFILE ignores its name', async (t) => {
  const s = await start(t);
  const { result, body } = await s.ask(
    Opcode.TMPFILE,
    1,
    Buffer.concat([createIn(0o100600), strings('/')]),
  );
  t.equal(result, 144);
  t.equal(body.readUInt32LE(40 + 64), 0, 'nlink');
});

t.test('SETATTR', async (t) => {
  const s = await start(t);
  const node = await makeFile(s, 'f');
  const setattr = (
    valid: number,
    sec: bigint | number = 0,
    nsec = 0,
    size: bigint | number = 0,
    uid = 5,
  ): Promise<Answer> =>
    s.ask(
      Opcode.SETATTR,
      node,
      Buffer.concat([
        u32(valid, 0),
        u64(0, size, 0, sec, sec, 0),
        u32(nsec, nsec, 0, 0o107755, 0, uid, 6, 0),
      ]),
    );
  t.equal((await setattr(1 | 2 | 4 | 8 | 2048, 0, 0, 3)).result, 104);
  t.equal(
    s.fs.calls.at(-1),
    `setattr ${node} {"mode":4077,"uid":5,"gid":6,"size":3,"killSetId":true}`,
  );
  await setattr(16 | 32, -1, 7);
  t.equal(
    s.fs.calls.at(-1),
    `setattr ${node} {"atime":{"sec":-1,"nsec":7},"mtime":{"sec":-1,"nsec":7}}`,
  );
  await setattr(16 | 32 | 128 | 256);
  t.equal(s.fs.calls.at(-1), `setattr ${node} {"atime":"now","mtime":"now"}`);
  t.equal((await setattr(16, 0, 0x3ffffffe)).result, -E.EINVAL, 'UTIME_OMIT does not slip through');
  t.equal((await setattr(8, 0, 0, 2n ** 53n)).result, -E.EFBIG);
  t.equal((await setattr(2, 0, 0, 0, 0xffffffff)).result, -E.EINVAL);
  t.equal((await s.ask(Opcode.GETATTR, node, Buffer.alloc(16))).body.readBigInt64LE(16 + 24), -1n);
});

t.test('READ and WRITE are handed back', async (t) => {
  const s = await start(t);
  const node = await makeFile(s, 'f');
  s.fs.calls.length = 0;
  t.equal((await s.ask(Opcode.READ, node, readIn(0, 4096))).result, 'served');
  const write = (size: number, flags: number): Promise<Answer> =>
    s.ask(
      Opcode.WRITE,
      node,
      Buffer.concat([u64(0, 0), u32(size, flags), u64(0), u32(0, 0), Buffer.from('abcd')]),
    );
  t.equal((await write(4, 4)).result, 'served');
  t.equal((await write(5, 0)).result, -E.EIO, 'less data than it says');
  t.same(s.fs.calls, [`openFile ${node} false`, `openFile ${node} true`, `killSetId ${node}`]);
  t.same(
    s.session.calls.filter((call) => call.startsWith('expire')),
    [`expireAttributes ${node}`],
  );
  t.equal((await s.ask(Opcode.READ, 1, readIn(0, 4096))).result, -E.EISDIR);
});

t.test('passthrough: opens are told, and name a backing file', async (t) => {
  const s = await start(t, { passthrough: true });
  const [rdonly, rdwr, kill] = [0, 2, 1];
  const openIn = (flags: number, openFlags = 0): Buffer => u32(flags, openFlags);
  const releaseIn = (flags: number): Buffer => Buffer.concat([u64(0), u32(flags, 0), u64(0)]);
  const created = await s.ask(Opcode.CREATE, 1, Buffer.concat([createIn(0o666), strings('f')]));
  t.equal(created.result, 144, 'an entry and an open file');
  const node = Number(created.body.readBigUInt64LE(0));
  t.equal(created.body.readUInt32LE(128 + 8), 1 << 7);
  const id = created.body.readUInt32LE(128 + 12);
  t.ok(id > 1000);
  const opened = await s.ask(Opcode.OPEN, node, openIn(rdwr));
  t.same([opened.body.readUInt32LE(8), opened.body.readUInt32LE(12)], [1 << 7, id]);
  const attributes = async (): Promise<bigint> =>
    (await s.ask(Opcode.GETATTR, node, Buffer.alloc(16))).body.readBigUInt64LE(0);
  t.equal(await attributes(), 0n, 'a mapping may change them at any time');
  s.fs.calls.length = 0;
  await s.ask(Opcode.OPEN, node, openIn(0o1000 | rdonly, kill));
  t.match(s.fs.calls[0], /^setattr/, 'O_TRUNC');
  for (const flags of [0x8041, rdwr, rdonly]) await s.ask(Opcode.RELEASE, node, releaseIn(flags));
  t.equal(await attributes(), 0xffffffffn);
  t.ok(s.session.calls.includes(`backingClose ${id - 1000}`));
});

t.test('other operations on data', async (t) => {
  const s = await start(t);
  const node = await makeFile(s, 'f');
  t.equal((await s.ask(Opcode.FSYNC, node, Buffer.concat([u64(0), u32(1, 0)]))).result, 0);
  t.equal(s.fs.calls.at(-1), `fsync ${node} true`);
  t.equal((await s.ask(Opcode.FSYNCDIR, 1, Buffer.concat([u64(0), u32(0, 0)]))).result, 0);
  t.equal(
    (await s.ask(Opcode.FALLOCATE, node, Buffer.concat([u64(0, 5, 6), u32(3, 0)]))).result,
    0,
  );
  t.equal(s.fs.calls.at(-1), `fallocate ${node} 3 5 6`);
  t.equal(
    (await s.ask(Opcode.FALLOCATE, node, Buffer.concat([u64(0, 2 ** 52, 2 ** 52), u32(0, 0)])))
      .result,
    -E.EFBIG,
  );
  const lseek = (offset: number, whence: number): Promise<Answer> =>
    s.ask(Opcode.LSEEK, node, Buffer.concat([u64(0, offset), u32(whence, 0)]));
  t.equal((await lseek(9, 3)).body.readBigUInt64LE(0), 9n);
  t.equal((await lseek(-1, 3)).result, -E.ENXIO);
  t.equal((await lseek(0, 0)).result, -E.EINVAL);
  t.equal(
    (await s.ask(Opcode.COPY_FILE_RANGE, node, u64(0, 1, node, 0, 2, 2 ** 40, 0))).result,
    -E.EOPNOTSUPP,
  );
  t.equal(s.fs.calls.at(-1), `copyFileRange ${node} 1 ${node} 2 4294963200`);
  await s.ask(Opcode.COPY_FILE_RANGE_64, node, u64(0, 1, node, 0, 2, 2 ** 40, 0));
  t.equal(s.fs.calls.at(-1), `copyFileRange ${node} 1 ${node} 2 ${2 ** 40}`);
  s.fs.copyFileRange = () => 2 ** 33;
  t.equal(
    (
      await s.ask(Opcode.COPY_FILE_RANGE_64, node, u64(0, 1, node, 0, 2, 2 ** 40, 0))
    ).body.readBigUInt64LE(0),
    2n ** 33n,
  );
  t.equal((await s.ask(Opcode.SYNCFS, 1, u64(0))).result, 0);
  const statfs = await s.ask(Opcode.STATFS, 1);
  t.equal(statfs.result, 80);
  t.same(
    [0, 8, 16, 24, 32].map((at) => statfs.body.readBigUInt64LE(at)),
    [2n ** 40n, 6n, 5n, 4n, 3n],
  );
  t.same(
    [40, 44, 48, 52].map((at) => statfs.body.readUInt32LE(at)),
    [4096, 255, 4096, 0],
  );
});

t.test('extended attributes', async (t) => {
  const s = await start(t);
  const node = await makeFile(s, 'f');
  const set = (name: string, value: Buffer): Promise<Answer> =>
    s.ask(Opcode.SETXATTR, node, Buffer.concat([u32(value.length, 1, 1, 0), strings(name), value]));
  const get = (name: string, size: number): Promise<Answer> =>
    s.ask(Opcode.GETXATTR, node, Buffer.concat([u32(size, 0), strings(name)]));
  t.equal((await set('user.a', Buffer.from('v\0w'))).result, 0);
  t.equal(s.fs.calls.at(-1), `setxattr ${node} user.a 3 1 true`);
  t.same((await get('user.a', 0)).body, u32(3, 0));
  t.same((await get('user.a', 3)).body, Buffer.from('v\0w'));
  t.equal((await get('user.a', 2)).result, -E.ERANGE);
  t.equal((await get('user.b', 64)).result, -E.ENODATA);
  t.equal((await set('', Buffer.alloc(0))).result, -E.EINVAL);
  t.equal((await set('user.empty', Buffer.alloc(0))).result, 0);
  t.equal((await get('user.empty', 10)).result, 0);
  const large = Buffer.alloc(20_000, 7);
  t.equal((await set('user.large', large)).result, 0);
  t.same((await get('user.large', 65536)).body, large);
  t.equal(
    (await s.ask(Opcode.LISTXATTR, node, u32(1000, 0))).body.toString(),
    'user.a\0user.empty\0user.large\0',
  );
  t.same((await s.ask(Opcode.LISTXATTR, node, u32(0, 0))).body, u32(29, 0));
  t.equal((await s.ask(Opcode.REMOVEXATTR, node, strings('user.a'))).result, 0);
  t.equal(
    (
      await s.ask(
        Opcode.SETXATTR,
        node,
        Buffer.concat([u32(100, 0, 0, 0), strings('user.a'), Buffer.alloc(99)]),
      )
    ).result,
    -E.EIO,
  );
});

t.test('mounts without extended attributes, and read-only ones', async (t) => {
  const s = await start(t, { xattrs: false, readOnly: true });
  t.equal(
    (await s.ask(Opcode.GETXATTR, 1, Buffer.concat([u32(0, 0), strings('user.a')]))).result,
    -E.ENOSYS,
  );
  t.equal(
    (await s.ask(Opcode.MKDIR, 1, Buffer.concat([u32(0o755, 0), strings('d')]))).result,
    -E.EROFS,
  );
  t.same(s.fs.calls, []);
});

t.test('every change of a read-only mount is EROFS, whatever the request holds', async (t) => {
  const s = await start(t, { readOnly: true });
  const changes = [
    'SETATTR',
    'SYMLINK',
    'MKNOD',
    'MKDIR',
    'UNLINK',
    'RMDIR',
    'RENAME',
    'LINK',
    'WRITE',
    'SETXATTR',
    'REMOVEXATTR',
    'CREATE',
    'FALLOCATE',
    'RENAME2',
    'COPY_FILE_RANGE',
    'TMPFILE',
    'COPY_FILE_RANGE_64',
  ] as const;
  for (const name of changes)
    t.equal((await s.ask(Opcode[name], 1, Buffer.alloc(64))).result, -E.EROFS, name);
  t.same(s.fs.calls, []);
});

t.test('a file system that cannot be destroyed leaves its session closed', async (t) => {
  const session = new FakeSession();
  const fs = new MemoryFileSystem(t.testdir());
  fs.destroy = () => {
    throw new Errno(E.EIO);
  };
  const done = serve(session, fs, defaultServeOptions);
  await session.request(message(Opcode.INIT, 0, initBody(INIT_FLAGS)));
  session.unmount();
  await t.rejects(done, new Errno(E.EIO));
  t.equal(session.closed, 1);
});

t.test('listings', async (t) => {
  const s = await start(t);
  for (let i = 0; i < 20; i++) await makeFile(s, `file${i}`);
  for (const plus of [false, true]) {
    const names: string[] = [];
    for (let cookie = 0; ;) {
      const { result, body } = await s.ask(
        plus ? Opcode.READDIRPLUS : Opcode.READDIR,
        1,
        readIn(cookie, 600),
      );
      if (result === 0) break;
      const found = dirents(body, plus);
      for (const { name, node } of found) {
        names.push(name);
        if (plus) t.equal(node === 0, name.startsWith('.'), name);
      }
      cookie = found.at(-1)?.cookie ?? 0;
    }
    t.same(names, ['.', '..', ...Array.from({ length: 20 }, (_, i) => `file${i}`)]);
  }
  t.equal(s.fs.lookups(2), 2, 'one for the MKNOD, one for the READDIRPLUS');
  t.equal((await s.ask(Opcode.READDIR, 1, readIn(2n ** 63n, 600))).result, -E.EINVAL);
});

t.test('a listing that fails half-way delivers what holds references', async (t) => {
  const s = await start(t);
  s.fs.readdir = (_node, cookie, _plus, sink) => {
    if (cookie === 0) sink.entryPlus('a' as never, 7 as NodeId, s.fs.out, 8, 1);
    throw new Errno(E.EACCES);
  };
  t.same(dirents((await s.ask(Opcode.READDIRPLUS, 1, readIn(0, 4096))).body, true), [
    { name: 'a', node: 7, cookie: 1, type: 8 },
  ]);
  t.equal((await s.ask(Opcode.READDIRPLUS, 1, readIn(1, 4096))).result, -E.EACCES);
});

t.test('references that the kernel does not take are given back', async (t) => {
  const s = await start(t);
  s.fs.readdir = (_node, _cookie, _plus, sink) => {
    sink.entryPlus('.' as never, 1 as NodeId, s.fs.out, 4, 1);
    sink.entryPlus('a' as never, 7 as NodeId, s.fs.out, 8, 2);
  };
  await s.ask(Opcode.READDIRPLUS, 1, readIn(0, 4096));
  t.same(s.fs.calls, ['forget 1 1'], 'with attributes it takes all but that of the directory');
  await s.ask(Opcode.READDIR, 1, readIn(0, 4096));
  t.same(s.fs.calls.slice(1), ['forget 1 1', 'forget 7 1'], 'without, none');
});

t.test('FORGET and BATCH_FORGET take no answer', async (t) => {
  const s = await start(t);
  t.equal((await s.ask(Opcode.FORGET, 5, u64(3))).result, 'released');
  t.equal(
    (await s.ask(Opcode.BATCH_FORGET, 0, Buffer.concat([u32(2, 0), u64(6, 1, 7, 2)]))).result,
    'released',
  );
  t.same(s.fs.calls, ['forget 5 3', 'forget 6 1', 'forget 7 2']);
  t.equal(
    (await s.ask(Opcode.BATCH_FORGET, 0, Buffer.concat([u32(0xffffffff, 0), u64(8, 1)]))).result,
    'released',
  );
  t.equal(s.fs.calls.length, 3);
});

t.test('what asks while many nodes are given back does not wait for all of them', async (t) => {
  // Linux hands over as many as a message holds.
  const many = 4000;
  const s = await start(t);
  let forgotten = 0;
  s.fs.forget = () => {
    forgotten++;
  };
  const references = Array.from({ length: many }, (_, i) => u64(i + 2, 1));
  const batch = s.session.request(
    message(Opcode.BATCH_FORGET, 0, Buffer.concat([u32(many, 0), ...references])),
  );
  t.equal((await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result, 104);
  t.ok(forgotten < many, 'others are served between pieces');
  t.equal((await batch).result, 'released');
  t.equal(forgotten, many);
});

t.test('requests that wait', async (t) => {
  const s = await start(t);
  const node = await makeFile(s, 'f');
  let finish: (() => void) | undefined;
  s.fs.before = (operation): Awaitable<void> =>
    operation === 'setattr' ? new Promise((resolve) => (finish = resolve)) : undefined;
  const slow = message(Opcode.SETATTR, node, Buffer.concat([u32(8, 0), Buffer.alloc(80)]));
  let answered = false;
  const answer = s.session.request(slow).then((a) => {
    answered = true;
    return a;
  });
  t.equal((await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result, 104, 'others go on meanwhile');
  t.equal(answered, false);

  t.equal((await s.ask(Opcode.INTERRUPT, 0, u64(slow.readBigUInt64LE(8)))).result, 'released');
  finish?.();
  t.equal((await answer).result, 104);
  t.equal(s.fs.callers.at(-1)?.interrupted, true);
  t.equal(
    (await s.ask(Opcode.INTERRUPT, 0, u64(slow.readBigUInt64LE(8)))).result,
    'released',
    'too late is harmless',
  );

  s.fs.before = () => Promise.reject(new Errno(E.ENOSPC));
  t.equal(
    (await s.ask(Opcode.MKDIR, 1, Buffer.concat([u32(0o755, 0), strings('d')]))).result,
    -E.ENOSPC,
  );
  s.fs.before = () => Promise.resolve();
  t.equal((await s.ask(Opcode.READ, node, readIn(0, 10))).result, 'served');
});

t.test('a resent request is interrupted by its own number', async (t) => {
  const s = await start(t);
  const node = await makeFile(s, 'f');
  let finish: (() => void) | undefined;
  s.fs.before = (operation): Awaitable<void> =>
    operation === 'setattr' ? new Promise((resolve) => (finish = resolve)) : undefined;
  const slow = message(Opcode.SETATTR, node, Buffer.concat([u32(8, 0), Buffer.alloc(80)]));
  slow.writeUInt8(0x80, 15);
  const answer = s.session.request(slow);
  await s.ask(Opcode.INTERRUPT, 0, u64(slow.readBigUInt64LE(8) & 0x7fff_ffff_ffff_ffffn));
  finish?.();
  await answer;
  t.equal(s.fs.callers.at(-1)?.interrupted, true);
});

t.test('an unmount waits for what is under way, and answers nothing', async (t) => {
  const session = new FakeSession();
  const fs = new MemoryFileSystem(t.testdir());
  const done = serve(session, fs, defaultServeOptions);
  let finish: (() => void) | undefined;
  fs.before = (): Awaitable<void> => new Promise((resolve) => (finish = resolve));
  void session.request(message(Opcode.GETATTR, 1, Buffer.alloc(16)));
  while (finish === undefined) await new Promise(setImmediate);
  session.unmount();
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
  t.equal(fs.destroyed, 0);
  finish();
  await done;
  t.equal(session.held, 1);
  t.same([fs.destroyed, session.closed, session.wrong], [1, 1, 0]);
  fs.host?.invalidateNode(1 as NodeId, 0, 0);
  t.same(session.calls, [], 'no call on a closed session');
});

t.test('what was not expected becomes EIO and a report', async (t) => {
  const s = await start(t);
  const reports: unknown[] = [];
  const listener = (report: unknown): void => {
    reports.push(report);
  };
  subscribe('plyfs:fuse:error', listener);
  t.teardown(() => unsubscribe('plyfs:fuse:error', listener));
  const bug = new TypeError('bug');
  s.fs.before = () => {
    throw bug;
  };
  t.equal((await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result, -E.EIO);
  s.fs.before = () => Promise.reject(bug);
  t.equal((await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result, -E.EIO);
  t.strictSame(reports, Array(2).fill({ operation: 'GETATTR', node: 1, error: bug }));
  s.fs.forget = () => {
    throw bug;
  };
  t.equal((await s.ask(Opcode.FORGET, 5, u64(3))).result, 'released');
  s.fs.before = () => {
    throw new Errno(E.ENOTSUPP);
  };
  t.equal(
    (await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result,
    -E.EOPNOTSUPP,
    'no number that the kernel drops',
  );
  for (const [errno, answered] of [
    [511, 511],
    [512, E.EIO],
    [0, E.EIO],
    [-1, E.EIO],
  ] as const) {
    s.fs.before = () => {
      throw new Errno(errno);
    };
    t.equal((await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result, -answered, `${errno}`);
  }
});

t.test('traces', async (t) => {
  const traces: RequestTrace[] = [];
  const s = await start(t, {
    trace: (request) => {
      traces.push(request);
      if (request.operation === 'GETATTR') throw new Error('observer');
    },
  });
  await s.ask(Opcode.LOOKUP, 1, strings('nope'));
  s.fs.before = () => Promise.resolve();
  await s.ask(Opcode.UNLINK, 1, strings('nope'));
  t.equal(
    (await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result,
    104,
    'a failing observer costs nothing',
  );
  await s.ask(Opcode.READ, 1, readIn(0, 1));
  await s.ask(Opcode.FORGET, 9, u64(1));
  t.match(traces, [
    { operation: 'INIT', result: 64 },
    { operation: 'LOOKUP', node: 1, name: 'nope', result: 128 },
    { operation: 'UNLINK', node: 1, name: 'nope', result: -E.ENOENT },
    { operation: 'GETATTR', result: 104 },
    { operation: 'READ', result: -E.EISDIR },
    { operation: 'FORGET', node: 9, result: null },
  ]);
  t.ok(traces.every((trace) => trace.micros >= 0));
});

t.test('the table of requests, what took most time first', async (t) => {
  const table = requestTable(
    [
      { opcode: Opcode.LOOKUP, requests: 4, failed: 0, total: 40, p50: 8, p99: 20, max: 20 },
      {
        opcode: Opcode.READ,
        requests: 42,
        failed: 1,
        total: 4200,
        p50: 90,
        p99: 1234.5,
        max: 1500,
      },
    ],
    new Map([[Opcode.READ, [41, 1]]]),
  );
  t.match(
    table,
    /^operation .*\nREAD +42 +41 +1 +4\.2 +100 +90\.0 +1235 +1500\nLOOKUP +4 +0 +0 +0\.0 +10\.0 +8\.0 +20\.0 +20\.0\n$/,
  );
});

/** Reproducible noise. */
function noise(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
}

t.test('hostile requests: every opcode, every length, each given away once', async (t) => {
  const s = await start(t);
  await makeFile(s, 'f');
  const random = noise(42);
  const noAnswer = new Set<number>([
    Opcode.FORGET,
    Opcode.BATCH_FORGET,
    Opcode.INTERRUPT,
    Opcode.NOTIFY_REPLY,
  ]);
  let bad = 0;
  const pending: Promise<void>[] = [];
  const send = (request: Buffer): void => {
    const opcode = request.readUInt32LE(4);
    const seen = s.session.request(request).then(({ result }) => {
      const right = noAnswer.has(opcode) ? result === 'released' : result !== 'released';
      if (!right) bad++;
    });
    pending.push(seen);
  };
  for (let opcode = 0; opcode < 60; opcode++) {
    if (opcode === Opcode.INIT) continue;
    for (let length = 0; length <= 120; length += 3) {
      for (const fill of ['zero', 'ones', 'text', 'noise'] as const) {
        const body = Buffer.alloc(length, fill === 'ones' ? 0xff : fill === 'text' ? 0x61 : 0);
        if (fill === 'noise') for (let i = 0; i < length; i++) body[i] = random();
        const node = [0, 1, 2, 99][random() & 3] ?? 1;
        send(message(opcode, node, body));
        const lying = message(opcode, node, body);
        lying.writeUInt32LE(
          [0, 39, 41, 40 + length - 1, 1 << 16, 0xffffffff][random() % 6] ?? 0,
          0,
        );
        send(lying);
        const extended = message(opcode, node, body);
        extended.writeUInt16LE(random(), 36);
        send(extended);
        const far = message(opcode, node, body);
        far.writeBigUInt64LE(2n ** 63n + 1n, 16);
        send(far);
      }
    }
    await Promise.all(pending.splice(0));
  }
  t.equal(bad, 0);
  t.equal((await s.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).result, 104, 'and it still serves');
});
