/**
 * Requests that no kernel sends, by the layouts of those it does: fields at the edges of their
 * types, names that are none or do not end, lengths and counts that lie, nodes that are not there.
 * Served by a union over real directories.
 */
import { mkdirSync, rmSync } from 'node:fs';
import fc from 'fast-check';
import type { Test } from 'tap';
import { Opcode } from '../../src/fuse/protocol.js';
import { message, u32, u64 } from '../fuse/fake-session.js';
import { Actor } from '../suites/actor.js';
import { makeEveryType } from '../suites/posix/types.js';
import { differences, treeOf } from '../suites/tree.js';
import { workspace } from '../suites/workspace.js';
import { campaign, type FuzzSettings } from './campaign.js';
import { openDescriptors, ServedUnion } from './served-union.js';

type Arb<T> = fc.Arbitrary<T>;

const word = fc.oneof(
  fc.nat(20),
  fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  fc.nat(0xffff_ffff),
);
const edge = fc.constantFrom(
  0n,
  1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
);
const long = fc.oneof(fc.nat(5000).map(BigInt), edge);
/** Of data: nothing that would fill a disk if it were done, and what cannot be done. */
const extent = fc.oneof(
  fc.nat(100_000).map(BigInt),
  fc.constantFrom(2n ** 53n, 2n ** 62n, 2n ** 63n, 2n ** 64n - 1n),
);
/** Ids are given out from 1 upwards. */
const node = fc.oneof(
  { weight: 12, arbitrary: fc.integer({ min: 1, max: 12 }).map(BigInt) },
  { weight: 1, arbitrary: edge },
);

const bytes = fc.uint8Array({ maxLength: 40 }).map((data) => Buffer.from(data));
const known = fc.constantFrom(
  'file',
  'dir',
  'inside',
  'link',
  'dangling',
  'fifo',
  'socket',
  'second',
  'new',
  'new2',
  'dir2',
  'below',
);
const name = fc.oneof(
  { weight: 12, arbitrary: known.map((text) => Buffer.from(text)) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(
        '',
        '.',
        '..',
        '/',
        'a/b',
        '../etc',
        '.wh.file',
        '.wh..wh..opq',
        '#1',
        'n'.repeat(255),
        'n'.repeat(256),
        'n'.repeat(4096),
      )
      .map((text) => Buffer.from(text)),
  },
  { weight: 1, arbitrary: bytes },
);
const NUL = Buffer.from([0]);
const string = fc
  .tuple(name, fc.integer({ min: 0, max: 15 }))
  .map(([text, end]) => (end === 0 ? text : Buffer.concat([text, NUL])));

const mode = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(0, 0o010000, 0o020000, 0o040000, 0o100000, 0o120000, 0o140000, 0o170000),
      fc.nat(0o7777),
    )
    .map(([a, b]) => a | b),
  word,
);

const attribute = fc
  .constantFrom(
    'user.a',
    'user.',
    'trusted.a',
    'trusted.overlay.opaque',
    'trusted.overlay.overlay.x',
    'user.overlay.origin',
    'security.capability',
    'system.posix_acl_access',
    'system.posix_acl_default',
    'user.containers.override_stat',
    'nonsense',
    'user.' + 'n'.repeat(300),
  )
  .map((text) => Buffer.from(`${text}\0`));

const words = (...fields: Arb<number>[]): Arb<Buffer> =>
  fc.tuple(...fields).map((values) => u32(...values));
const longs = (...fields: Arb<bigint>[]): Arb<Buffer> =>
  fc.tuple(...fields).map((values) => u64(...values));
const all = (...parts: Arb<Buffer>[]): Arb<Buffer> =>
  fc.tuple(...parts).map((buffers) => Buffer.concat(buffers));
const nothing = fc.constant(Buffer.alloc(0));
const range = all(
  longs(long, extent),
  words(fc.oneof(fc.nat(5000), word), word),
  longs(long),
  words(word, word),
);

/** The body of each kind of request. */
const bodies: Readonly<Record<number, Arb<Buffer>>> = {
  [Opcode.LOOKUP]: string,
  [Opcode.FORGET]: longs(fc.oneof(fc.constant(1n), long)),
  [Opcode.GETATTR]: all(words(word, word), longs(long)),
  [Opcode.SETATTR]: all(
    words(fc.oneof(fc.nat(0xfff), word), word),
    longs(long, extent, long, long, long, long),
    words(word, word, word, mode, word, fc.nat(3000), fc.nat(3000), word),
  ),
  [Opcode.READLINK]: nothing,
  [Opcode.SYMLINK]: all(string, string),
  [Opcode.MKNOD]: all(words(mode, word, word, word), string),
  [Opcode.MKDIR]: all(words(mode, word), string),
  [Opcode.UNLINK]: string,
  [Opcode.RMDIR]: string,
  [Opcode.RENAME]: all(longs(node), string, string),
  [Opcode.LINK]: all(longs(node), string),
  [Opcode.OPEN]: words(word, word),
  [Opcode.READ]: range,
  [Opcode.WRITE]: all(range, bytes),
  [Opcode.STATFS]: nothing,
  [Opcode.RELEASE]: all(longs(long), words(word, word), longs(long)),
  [Opcode.FSYNC]: all(longs(long), words(word, word)),
  [Opcode.SETXATTR]: all(
    words(fc.oneof(fc.nat(40), word), fc.oneof(fc.nat(3), word), word, word),
    attribute,
    bytes,
  ),
  [Opcode.GETXATTR]: all(words(fc.oneof(fc.nat(300), word), word), attribute),
  [Opcode.LISTXATTR]: words(fc.oneof(fc.nat(300), word), word),
  [Opcode.REMOVEXATTR]: attribute,
  [Opcode.FLUSH]: longs(long, long, long),
  [Opcode.OPENDIR]: words(word, word),
  [Opcode.READDIR]: range,
  [Opcode.RELEASEDIR]: all(longs(long), words(word, word), longs(long)),
  [Opcode.FSYNCDIR]: all(longs(long), words(word, word)),
  [Opcode.GETLK]: longs(long, long, long, long),
  [Opcode.SETLK]: longs(long, long, long, long),
  [Opcode.SETLKW]: longs(long, long, long, long),
  [Opcode.ACCESS]: words(word, word),
  [Opcode.CREATE]: all(words(word, mode, word, word), string),
  [Opcode.INTERRUPT]: longs(long),
  [Opcode.BMAP]: all(longs(long), words(word, word)),
  [Opcode.DESTROY]: nothing,
  [Opcode.IOCTL]: all(longs(long), words(word, word), longs(long), words(word, word)),
  [Opcode.POLL]: all(longs(long, long), words(word, word)),
  [Opcode.NOTIFY_REPLY]: bytes,
  [Opcode.BATCH_FORGET]: all(
    words(fc.oneof(fc.nat(4), word), word),
    longs(node, fc.constant(1n)),
    fc.oneof(nothing, longs(node, long)),
  ),
  [Opcode.FALLOCATE]: all(longs(long, extent, extent), words(fc.oneof(fc.nat(0x40), word), word)),
  [Opcode.READDIRPLUS]: range,
  [Opcode.RENAME2]: all(longs(node), words(fc.oneof(fc.nat(7), word), word), string, string),
  [Opcode.LSEEK]: all(longs(long, extent), words(fc.oneof(fc.nat(5), word), word)),
  [Opcode.COPY_FILE_RANGE]: longs(
    long,
    extent,
    node,
    long,
    extent,
    extent,
    fc.constantFrom(0n, 0n, 1n),
  ),
  [Opcode.SETUPMAPPING]: longs(long, long, long, long),
  [Opcode.REMOVEMAPPING]: all(words(word, word), longs(long, long)),
  [Opcode.SYNCFS]: longs(long),
  [Opcode.TMPFILE]: all(words(word, mode, word, word), string),
  [Opcode.STATX]: all(words(word, word), longs(long), words(word, word)),
  [Opcode.COPY_FILE_RANGE_64]: longs(
    long,
    extent,
    node,
    long,
    extent,
    extent,
    fc.constantFrom(0n, 0n, 1n),
  ),
};

interface Forged {
  readonly opcode: number;
  readonly node: bigint;
  readonly body: Buffer;
  readonly pid: number;
  /** Groups of the caller, behind the strings; `undefined`: none. */
  readonly extension: Buffer | undefined;
  /** What is wrong with the header, if anything is. */
  readonly lie: 'none' | 'cut' | 'length' | 'extensions';
  readonly by: number;
}

const extension = fc.option(
  fc
    .tuple(
      fc.constantFrom(16, 16, 24, 8, 0, 7, 0xffff_ffff),
      fc.constantFrom(32, 32, 1, 77),
      fc.constantFrom(1, 1, 0, 2, 0xffff_ffff),
      word,
    )
    .map((fields) => u32(...fields)),
  { nil: undefined, freq: 4 },
);

const forged: Arb<Forged> = fc
  .oneof(
    {
      weight: 20,
      arbitrary: fc
        .constantFrom(...Object.keys(bodies).map(Number))
        .chain((opcode) => fc.tuple(fc.constant(opcode), bodies[opcode] ?? nothing)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(
        fc
          .oneof(fc.constantFrom(0, 7, 19, 54, 4096), word)
          .filter((opcode) => opcode !== Opcode.INIT),
        bytes,
      ),
    },
  )
  .chain(([opcode, body]) =>
    fc.record({
      opcode: fc.constant(opcode),
      node,
      body: fc.constant(body),
      pid: fc.constantFrom(process.pid, 0, 4711, 0xffff_ffff),
      extension,
      lie: fc.constantFrom(
        ...([
          'none',
          'none',
          'none',
          'none',
          'none',
          'none',
          'none',
          'cut',
          'length',
          'extensions',
        ] as const),
      ),
      by: word,
    }),
  );

function wire(one: Forged): Buffer {
  const request = message(one.opcode, 1, one.body, one.extension);
  request.writeBigUInt64LE(BigInt.asUintN(64, one.node), 16);
  request.writeUInt32LE(one.pid, 32);
  switch (one.lie) {
    case 'none':
      return request;
    case 'cut': {
      const short = request.subarray(
        0,
        Math.max(40, request.length - (one.by % (one.body.length + 1))),
      );
      short.writeUInt32LE(short.length, 0);
      return short;
    }
    case 'length':
      request.writeUInt32LE(one.by, 0);
      return request;
    case 'extensions':
      request.writeUInt16LE(one.by & 0xffff, 36);
      return request;
  }
}

export async function fuzzRequests(t: Test, settings: FuzzSettings): Promise<void> {
  const base = await workspace(t, 'lower1/dir2', 'lower2/dir2');
  for (const layer of ['lower1', 'lower2']) {
    const actor = await Actor.start({ cwd: `${base}/${layer}` });
    if (layer === 'lower1') {
      await makeEveryType(actor);
      await actor.link('file', 'dir/second');
    }
    await actor.put('dir2/below', layer);
    await actor.end();
  }
  const disk = await Actor.start({ cwd: base });
  t.teardown(() => disk.end());
  const lowers = [`${base}/lower1`, `${base}/lower2`];
  const held = () =>
    Promise.all(lowers.map((lower) => treeOf(disk, lower, { nlink: true, ino: true })));
  const before = await held();
  let descriptors: number | undefined;

  const input = fc.record({
    requests: fc.array(forged, { minLength: 1, maxLength: 40, size: 'max' }),
    flags: fc.constantFrom(0x7fff_ffff, 0x7fff_ffff, 0),
    redirectDir: fc.boolean(),
    /** So many are under way at once. */
    atOnce: fc.constantFrom(1, 40),
  });
  await campaign(
    t,
    'requests',
    input,
    settings,
    async ({ requests, flags, redirectDir, atOnce }) => {
      for (const name of ['upper', 'work']) {
        rmSync(`${base}/${name}`, { recursive: true, force: true });
        mkdirSync(`${base}/${name}`);
      }
      const union = new ServedUnion(base, lowers, { redirectDir });
      try {
        await union.begin(flags);
        for (let i = 0; i < requests.length; i += atOnce)
          await Promise.all(requests.slice(i, i + atOnce).map((one) => union.request(wire(one))));
        const { result } = await union.ask(Opcode.GETATTR, 1, Buffer.alloc(16));
        if (result !== 104) throw new Error(`the root's attributes after all that: ${result}`);
      } finally {
        await union.end();
      }
      // The first one opens what stays open.
      const open = openDescriptors();
      descriptors ??= open;
      if (open > descriptors) throw new Error(`${open - descriptors} descriptors were left open`);
    },
  );
  const after = await held();
  t.same(
    before.map((tree, i) => differences(after[i] ?? new Map(), tree)),
    lowers.map(() => []),
    'the lower layers are as they were',
  );
}
