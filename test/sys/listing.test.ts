/** Directories merged in one call, and their records as directory entries. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import t, { type Test } from 'tap';
import type { ByteString } from '../../src/base/bytes.js';
import { E } from '../../src/base/errno.js';
import { sys } from '../../src/sys/index.js';
import type { LayerDirectory } from '../../src/overlay/layer.js';
import { entryAt, type PackedEntry } from '../../src/union/packed-listing.js';
import { memoryDirectory } from '../support/memory-directory.js';
import { isRoot } from '../support/users.js';

const LIMIT = 2 ** 52;

function merged(
  paths: readonly string[],
  upper: boolean,
  out = Buffer.alloc(65536),
  limit = LIMIT,
  most = Number.MAX_SAFE_INTEGER,
): number {
  const fds = paths.map((path) => openSync(path, 'r'));
  try {
    return sys.listDirectories(
      Float64Array.from(fds.flatMap((fd) => [fd, 0, -1])),
      fds.length,
      upper,
      limit,
      out,
      most,
    );
  } finally {
    fds.forEach(closeSync);
  }
}

/** Each entry by name; what it says of layers as indices. */
function entries(paths: readonly string[], upper: boolean): Map<string, PackedEntry> {
  const out = Buffer.alloc(65536);
  return recordsOf(out.subarray(0, merged(paths, upper, out)), paths.length);
}

function stackOf(layers: number): LayerDirectory[] {
  return Array.from(
    { length: layers },
    (_, index) => ({ layer: { index } }) as unknown as LayerDirectory,
  );
}

function recordsOf(records: Buffer, layers: number): Map<string, PackedEntry> {
  const stack = stackOf(layers);
  const found = new Map<string, PackedEntry>();
  for (let at = 0; at < records.length;) {
    const entry = entryAt({ records, stack }, at);
    t.notOk(found.has(entry.name), `${entry.name} once`);
    found.set(entry.name, entry);
    at = entry.end;
  }
  return found;
}

function layers(t: Test, count: number): string[] {
  const base = t.testdir();
  return Array.from({ length: count }, (_, i) => {
    mkdirSync(`${base}/${i}`);
    return `${base}/${i}`;
  });
}

interface FoundDirectories {
  readonly found: readonly number[];
  readonly size: number;
  readonly records: Buffer;
}

/** The directory `dir` looked for in each of `paths`. */
function findDir(
  paths: readonly string[],
  out: Buffer | null = Buffer.alloc(65536),
  device = -1,
): FoundDirectories {
  const fds = paths.map((path) => openSync(path, 'r'));
  const found = new Float64Array(paths.length).fill(-1);
  const parents = Float64Array.from(fds.flatMap((fd) => [fd, 0, device]));
  const size = sys.findDirectories(
    parents,
    fds.length,
    'dir' as ByteString,
    false,
    LIMIT,
    found,
    out,
  );
  fds.forEach(closeSync);
  return {
    found: [...found],
    size,
    records: out?.subarray(0, Math.max(0, size)) ?? Buffer.alloc(0),
  };
}

t.test(
  'a directory is looked for in several layers, down to something else, and listed',
  async (t) => {
    const [a, b, c, d, e] = layers(t, 5) as [string, string, string, string, string];
    for (const layer of [a, c, e]) {
      mkdirSync(`${layer}/dir`);
      writeFileSync(`${layer}/dir/everywhere`, '');
    }
    writeFileSync(`${c}/dir/third`, '');
    writeFileSync(`${e}/dir/hidden`, '');
    symlinkSync(`${a}/dir`, `${d}/dir`);
    const descriptors = readdirSync('/proc/self/fd').length;
    const { found, records } = findDir([a, b, c, d, e]);
    t.equal(readdirSync('/proc/self/fd').length, descriptors, 'nothing stays open');
    t.same(found.slice(0, 3), [1, 0, 1]);
    t.ok(found[3] === -E.ENOTDIR || found[3] === -E.ELOOP, 'a symbolic link ends the search');
    t.equal(found[4], 0, 'and nothing further down is looked at');
    t.same([...recordsOf(records, 2).keys()].sort(), ['everywhere', 'third']);
    t.equal(recordsOf(records, 2).get('third')?.holder.layer.index, 1, 'the second of those found');
    t.equal(sys.findEntry(records, 'nowhere' as ByteString), -E.ENOENT);
    const stack = stackOf(2);
    t.equal(
      entryAt({ records, stack }, sys.findEntry(records, 'third' as ByteString)).name,
      'third',
    );

    t.equal(findDir([a, c], null).size, -E.EOPNOTSUPP);
    t.same(findDir([a, c], null).found, [1, 1]);
    const { dev } = statSync(a);
    const device = ((dev >> 8) & 0xfff) * 2 ** 20 + ((dev & 0xff) | ((dev >>> 12) & 0xfff00));
    t.same(
      findDir([a, c], Buffer.alloc(65536), device).records,
      findDir([a, c]).records,
      'on the device that is named',
    );
    t.equal(
      findDir([a, c], Buffer.alloc(65536), device + 1).size,
      -E.EOPNOTSUPP,
      'on another: numbers are not what is added to',
    );
    t.same(findDir([a, c], Buffer.alloc(65536), device + 1).found, [1, 1], 'but they are found');
    const small = Buffer.alloc(20);
    t.ok(
      findDir([a, c], small).size > 20 && small.every((byte) => byte === 0),
      'says how much room it needs',
    );
    t.throws(
      () =>
        sys.findDirectories(
          new Float64Array(5),
          2,
          'dir' as ByteString,
          false,
          LIMIT,
          new Float64Array(2),
          null,
        ),
      RangeError,
    );
    t.throws(
      () =>
        sys.findDirectories(
          new Float64Array(6),
          2,
          'dir' as ByteString,
          false,
          LIMIT,
          new Float64Array(1),
          null,
        ),
      RangeError,
    );
  },
);

t.test('the search ends at a directory that may carry marks', async (t) => {
  const [a, b, c] = layers(t, 3) as [string, string, string];
  for (const layer of [a, b, c]) mkdirSync(`${layer}/dir`);
  execFileSync('setfattr', ['-n', 'user.mark', '-v', 'y', `${b}/dir`]);
  t.same(findDir([a, b, c]).found, [1, 2, 0]);
  t.equal(findDir([a, b, c]).size, -E.EOPNOTSUPP, 'what it hides is not known');
});

t.test('a large directory is not listed unasked', async (t) => {
  const [a, b] = layers(t, 2) as [string, string];
  for (const layer of [a, b]) mkdirSync(`${layer}/dir`);
  for (let i = 0; i < 6000; i++) writeFileSync(`${b}/dir/${i}`, '');
  const { found, size } = findDir([a, b], Buffer.alloc(2 ** 20));
  t.same(found, [1, 1]);
  t.equal(size, -E.EOPNOTSUPP);
});

t.test('the topmost shows a name; directories merge down to something else', async (t) => {
  const [a, b, c, d] = layers(t, 4) as [string, string, string, string];
  writeFileSync(`${a}/file`, '');
  writeFileSync(`${b}/file`, '');
  for (const layer of [a, b, d]) mkdirSync(`${layer}/dir`);
  writeFileSync(`${c}/dir`, '');
  for (const layer of [a, b, c, d]) mkdirSync(`${layer}/everywhere`);
  writeFileSync(`${d}/last`, '');
  const found = entries([a, b, c, d], true);
  t.same([...found.keys()].sort(), ['dir', 'everywhere', 'file', 'last']);
  t.equal(found.get('file')?.ino, statSync(`${a}/file`).ino);
  t.equal(found.get('file')?.covers, true, 'the lower file would come back');
  const dir = found.get('dir');
  t.same(
    dir?.below.map(({ layer }) => layer.index),
    [1],
    'a file ends the search',
  );
  t.equal(
    dir?.ino,
    statSync(`${b}/dir`).ino,
    'a directory of the upper has the number of the one below',
  );
  const everywhere = found.get('everywhere');
  t.equal(everywhere?.below.length, 3);
  t.equal(everywhere?.ino, statSync(`${b}/everywhere`).ino, 'the topmost one below');
  t.equal(found.get('last')?.holder.layer.index, 3);
});

t.test('a device 0:0 hides the name below', { skip: !isRoot && 'needs root' }, async (t) => {
  const [a, b, upper] = layers(t, 3) as [string, string, string];
  execFileSync('mknod', [`${a}/gone`, 'c', '0', '0']);
  execFileSync('mknod', [`${a}/null`, 'c', '1', '3']);
  for (const name of ['gone', 'kept']) writeFileSync(`${b}/${name}`, '');
  t.same([...entries([a, b], false).keys()].sort(), ['kept', 'null']);
  t.same([...entries([a], false).keys()], ['null'], 'alone as well');
  for (const name of ['gone', 'kept', 'null']) writeFileSync(`${upper}/${name}`, '');
  const found = entries([upper, a, b], true);
  t.same(
    ['gone', 'kept', 'null'].map((name) => found.get(name)?.covers),
    [false, true, true],
    'what is hidden below need not be hidden again',
  );
});

t.test('says how much room it needs, and what it cannot tell', async (t) => {
  const [a] = layers(t, 1) as [string];
  for (let i = 0; i < 100; i++) writeFileSync(`${a}/${'n'.repeat(200)}${i}`, '');
  const small = Buffer.alloc(100);
  t.ok(merged([a], false, small) > 20_000);
  t.ok(small.every((byte) => byte === 0));
  t.equal(merged([a], false, Buffer.alloc(100), 1), -E.EOPNOTSUPP, 'numbers from the limit on');
});

t.test(
  'entries are packed up to the room there is, and to a directory; damaged records end them',
  async (t) => {
    const [a] = layers(t, 1) as [string];
    for (let i = 0; i < 10; i++) writeFileSync(`${a}/f${i}`, '');
    mkdirSync(`${a}/dir`);
    const out = Buffer.alloc(65536);
    const records = out.subarray(0, merged([a], false, out));
    const names: string[] = [];
    const slot = Buffer.alloc(100, 0xff);
    const cursor = new Float64Array(3);
    for (;;) {
      cursor[2] = 0;
      const first = cursor[1]!;
      const stop = sys.packEntries(records, cursor, slot, 8, 70, false, 1000);
      for (let at = 8, n = first; n < cursor[1]!; n++, at += 32) {
        t.equal(slot.readUInt32LE(at + 8), 1000 + n, 'a cookie is the number');
        names.push(slot.toString('latin1', at + 24, at + 24 + slot.readUInt32LE(at + 16)));
      }
      t.ok(
        slot.subarray(78).every((byte) => byte === 0xff),
        'nothing beyond the limit',
      );
      if (stop === 0) break;
      if (stop === 2) {
        const { name, end } = entryAt({ records, stack: [] }, cursor[0]!);
        names.push(name);
        cursor[0] = end;
        cursor[1]!++;
      }
    }
    t.same(names.sort(), ['dir', ...Array.from({ length: 10 }, (_, i) => `f${i}`)].sort());
    t.equal(sys.skipEntries(records, 11), records.length);
    t.equal(sys.skipEntries(records, 100), records.length);
    for (let cut = 1; cut < 24; cut++) {
      const damaged = records.subarray(0, records.length - cut);
      t.equal(
        sys.packEntries(
          damaged,
          new Float64Array([sys.skipEntries(damaged, 10), 10, 0]),
          slot,
          0,
          100,
          true,
          0,
        ),
        0,
      );
    }
    t.throws(
      () => sys.packEntries(records, new Float64Array(3), slot, 50, 51, true, 0),
      RangeError,
    );
  },
);

/** The hash of names that native/ had before: FNV-1a, which anybody can compute. */
function formerHash(state: number, text: string): number {
  for (let i = 0; i < text.length; i++)
    state = Math.imul(state ^ text.charCodeAt(i), 16777619) >>> 0;
  return state;
}

/**
 * 2^blocks names that share that hash. For each block two values are found (by trying some ten
 * thousand: half of 32 bits) that lead from one state to the same next one; every choice among the
 * pairs then ends in the same state (A. Joux, "Multicollisions in iterated hash functions").
 */
function collidingNames(blocks: number): string[] {
  let state = 2166136261;
  let names = [''];
  for (let block = 0; block < blocks; block++) {
    const seen = new Map<number, string>();
    for (let i = 0; ; i++) {
      // Odd and large: so that all eight characters differ from one try to the next.
      const one = (Math.imul(i, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0');
      const next = formerHash(state, one);
      const other = seen.get(next);
      if (other === undefined) {
        seen.set(next, one);
        continue;
      }
      names = names.flatMap((name) => [name + one, name + other]);
      state = next;
      break;
    }
  }
  return names;
}

t.test('names chosen to share a hash cost no more than others', async (t) => {
  const chosen = collidingNames(13);
  t.equal(new Set(chosen).size, 2 ** 13);
  t.equal(
    new Set(chosen.map((name) => formerHash(2166136261, name))).size,
    1,
    'they are what they are meant to be',
  );
  const base = memoryDirectory(t);
  const [ofChosen, ofOthers, empty] = [`${base}/chosen`, `${base}/others`, `${base}/empty`];
  for (const directory of [ofChosen, ofOthers, empty]) mkdirSync(directory);
  // Names of one file are made sooner than files.
  writeFileSync(`${empty}/file`, '');
  for (const [i, name] of chosen.entries()) {
    linkSync(`${empty}/file`, `${ofChosen}/${name}`);
    linkSync(`${empty}/file`, `${ofOthers}/${i}${name.slice(String(i).length)}`);
  }
  const out = Buffer.alloc(4 << 20);
  const processorTime = (path: string): number => {
    const before = process.cpuUsage();
    t.equal(merged([path, empty], false, out), 2 ** 13 * (16 + 8 * 13) + 16 + 4);
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  processorTime(ofOthers);
  const [others, colliding] = [processorTime(ofOthers), processorTime(ofChosen)];
  // In one chain each name is compared with all before it, four thousand on average. Not a bound on
  // time, but on how it grows.
  t.ok(colliding < 8 * others, `${colliding} µs of processor time against ${others}`);
});
