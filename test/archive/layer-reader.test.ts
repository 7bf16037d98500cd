/**
 * What the reader makes of tars: of each kind of field there is, cut at every block, and handed
 * over in any pieces.
 */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { readAll } from '../../src/base/byte-source.js';
import { LayerReader, type LayerEntry, type LayerLimits } from '../../src/archive/layer-reader.js';
import { succeed } from '../support/command.js';
import { workspace } from '../suites/workspace.js';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import {
  endMarker,
  entry,
  header,
  inPieces,
  longName,
  paxHeader,
  tar,
  type Fields,
} from './tar-builder.js';

interface Read extends Omit<LayerEntry, 'body' | 'xattrs'> {
  readonly data: string;
  readonly xattrs: Readonly<Record<string, string>>;
}

async function read(bytes: Buffer, limits?: LayerLimits, ...sizes: number[]): Promise<Read[]> {
  const reader = new LayerReader(inPieces(bytes, ...sizes), { limits });
  const entries: Read[] = [];
  for await (const { body, xattrs, ...rest } of reader) {
    const data = await readAll(body, 2 ** 24);
    const texts = [...xattrs].map(([key, value]) => [key, Buffer.from(value).toString('latin1')]);
    entries.push({
      ...rest,
      data: data!.toString('latin1'),
      xattrs: Object.fromEntries(texts) as Record<string, string>,
    });
  }
  const { diffId, bytes: length, entries: count } = await reader.finish();
  t.equal(diffId, `sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  t.equal(length, bytes.length);
  t.equal(count, entries.length);
  return entries;
}

const one = async (...parts: (Fields | Buffer)[]): Promise<Read> => (await read(tar(...parts)))[0]!;

t.test('types and plain fields', async (t) => {
  const flags = {
    file: '0',
    link: '1',
    symlink: '2',
    character: '3',
    block: '4',
    directory: '5',
    fifo: '6',
  } as const;
  for (const [type, flag] of Object.entries(flags)) {
    const found = await one({
      name: './a//b/',
      flag,
      mode: 0o104755,
      uid: 1000,
      gid: 100,
      mtime: 1e9,
      link: 'x',
      major: 8,
      minor: 17,
    });
    t.match(found, {
      name: './a//b/',
      path: 'a/b',
      type,
      mode: 0o4755,
      uid: 1000,
      gid: 100,
      mtime: { sec: 1e9, nsec: 0 },
    });
    t.match(found, { linkname: 'x', major: 8, minor: 17 });
  }
  t.match(await one({ name: 'old/', flag: '\0' }), { type: 'directory' });
  t.match(await one({ name: 'old', flag: '\0' }), { type: 'file' });
  t.match(await one({ name: 'contiguous', flag: '7', data: 'x' }), { type: 'file', data: 'x' });
  await t.rejects(one({ name: 'x', flag: 'Z' }), { code: 'archive-damaged' });
});

t.test('only files have data, whatever the size of another says', async (t) => {
  const entries = await read(
    tar(
      header({ name: 'd/', flag: '5', size: 700 }),
      header({ name: 'l', flag: '1', link: 'x', size: 700 }),
      { name: 'f', data: 'f' },
    ),
  );
  t.same(
    entries.map(({ name, size, data }) => [name, size, data]),
    [
      ['d/', 700, ''],
      ['l', 700, ''],
      ['f', 1, 'f'],
    ],
  );
});

t.test('numbers in base 256', async (t) => {
  const big = '\x80\0\0\0\0\0\0\0\x01\0\0\0';
  t.match(await one({ name: 'x', patch: [[136, big]] }), { mtime: { sec: 2 ** 24 } });
  t.match(await one({ name: 'x', patch: [[136, '\xff'.repeat(12)]] }), { mtime: { sec: -1 } });
  t.match(await one({ name: 'x', patch: [[108, '\x80\0\0\0\xff\xff\xff\xfe']] }), {
    uid: 0xfffffffe,
  });
  await t.rejects(
    one({ name: 'x', patch: [[124, '\xff'.repeat(12)]] }),
    { code: 'archive-damaged' },
    'a negative size',
  );
  await t.rejects(
    one({ name: 'x', patch: [[124, '\x80' + '\x7f'.repeat(11)]] }),
    { code: 'archive-damaged' },
    'a size past 2^53',
  );
  await t.rejects(
    one({ name: 'x', patch: [[108, '\x80\0\0\0\xff\xff\xff\xff']] }),
    { code: 'archive-hostile' },
    'the owner -1',
  );
  await t.rejects(
    one({ name: 'x', patch: [[108, '12x4567\0']] }),
    { code: 'archive-damaged' },
    'no number',
  );
});

t.test('a checksum of signed bytes is one too, a wrong one is not', async (t) => {
  const block = header({ name: 'caf\xe9' });
  const signed =
    block.reduce((sum, byte) => sum + ((byte << 24) >> 24), 0) -
    [...block.subarray(148, 156)].reduce((a, b) => a + b, 0) +
    256;
  block.write(signed.toString(8).padStart(6, '0'), 148, 'latin1');
  t.match(await one(block), { name: 'caf\xe9' });
  block[0]! ^= 1;
  await t.rejects(one(block), { code: 'archive-damaged' });
});

t.test('prefixes, where the format has them', async (t) => {
  t.match(await one({ name: 'name', patch: [[345, 'some/where']] }), { name: 'some/where/name' });
  t.match(await one({ name: 'name', magic: 'ustar  \0', patch: [[345, octalTime(5)]] }), {
    name: 'name',
    atime: { sec: 5, nsec: 0 },
  });
  t.match(await one({ name: 'name', magic: '\0\0\0\0\0\0\0\0', patch: [[345, 'prefix']] }), {
    name: 'name',
  });
});

t.test('a prefix of star’s, after which it has times', async (t) => {
  const prefix = 'd'.repeat(131);
  const patch = [
    [345, prefix],
    [476, octalTime(5)],
    [488, octalTime(7)],
    [508, 'tar\0'],
  ] as const;
  t.match(await one({ name: 'name', patch }), {
    name: `${prefix}/name`,
    atime: { sec: 5, nsec: 0 },
  });
  const short = await one({ name: 'name', patch: [[345, 'd'.repeat(155)]] });
  t.match(short, { name: `${'d'.repeat(155)}/name` }, 'ustar’s own is longer');
  t.notOk('atime' in short);
});

t.test('a prefix under the magic of GNU, as Go before 1.8 wrote it', async (t) => {
  const magic = 'ustar  \0';
  const prefix = 'home/someone/' + 'a'.repeat(60) + '/src';
  t.match(await one({ name: 'main.c', magic, patch: [[345, prefix]] }), {
    name: `${prefix}/main.c`,
  });
  t.match(await one({ name: 'main.c', magic, patch: [[345, prefix.padEnd(155, 'b')]] }), {
    name: `${prefix.padEnd(155, 'b')}/main.c`,
  });
  // Only where the fields of GNU's own two times, of which the second counts as well, hold no
  // times.
  const times = `${octalTime(5)}${octalTime(7)}`;
  t.match(await one({ name: 'main.c', magic, patch: [[345, times]] }), {
    name: 'main.c',
    atime: { sec: 5, nsec: 0 },
  });
  t.match(await one({ name: 'main.c', magic, patch: [[345, '00000000005/x']] }), {
    name: '00000000005/x/main.c',
  });
  t.notOk((await one({ name: 'main.c', magic, patch: [[345, '00000000005/x']] })).atime);
  t.match(await one({ name: 'main.c', magic, patch: [[345, `${octalTime(5)}nonsense`]] }), {
    name: '00000000005/main.c',
  });
  t.match(await one({ name: 'main.c', magic, patch: [[345, 'caf\xe9']] }), { name: 'main.c' });
});

const octalTime = (value: number): string => value.toString(8).padStart(11, '0') + '\0';

t.test('long names in the ways of GNU and PAX', async (t) => {
  const long = 'd/'.repeat(100) + 'f'.repeat(255);
  t.match(await one(longName(long), { name: 'short' }), { name: long });
  t.match(await one(longName(long, 'K'), { name: 'l', flag: '2' }), { name: 'l', linkname: long });
  t.match(await one(longName(long), longName('target', 'K'), { name: 'l', flag: '1' }), {
    name: long,
    linkname: 'target',
  });
  t.match(await one({ name: 'short', pax: { path: long, linkpath: 'p' }, flag: '2' }), {
    name: long,
    linkname: 'p',
  });
  t.match(await one({ name: 'short', pax: { path: 'caf\xe9/\xff\xfe' } }), {
    name: 'caf\xe9/\xff\xfe',
    path: 'caf\xe9/\xff\xfe',
  });
  t.match(await one({ name: 'short', pax: { path: '' } }), { name: 'short' });
  t.match(
    await one(longName(''), longName('', 'K'), { name: 'short', link: 'target', flag: '2' }),
    { name: 'short', linkname: 'target' },
  );
  t.match(await one(longName(''), { name: 'short', pax: { path: 'long' } }), { name: 'long' });
  t.match(
    await one(longName('gnu'), longName('link', 'K'), {
      name: 'short',
      flag: '2',
      pax: { path: 'pax', linkpath: 'p' },
    }),
    { name: 'gnu', linkname: 'link' },
    'of both the one of GNU, as Go’s reader has it',
  );
});

t.test('PAX numbers may begin with zeros', async (t) => {
  const zeros = '0'.repeat(30);
  const found = await one({
    name: 'f',
    data: 'abc',
    pax: { size: `${zeros}3`, uid: `${zeros}7`, mtime: `${zeros}12.5`, atime: `-${zeros}1.25` },
  });
  t.match(found, {
    size: 3,
    data: 'abc',
    uid: 7,
    mtime: { sec: 12, nsec: 5e8 },
    atime: { sec: -2, nsec: 75e7 },
  });
  t.match(
    await one(entry({ name: 'p', flag: 'x', data: `${zeros}40 path=a\n` }), { name: 'f' }),
    { name: 'a' },
    'lengths of records as well',
  );
  const sparse = { 'GNU.sparse.map': `${zeros}4,${zeros}3`, 'GNU.sparse.size': `${zeros}9` };
  t.match(await one({ name: 'x', data: 'abc', pax: sparse }), {
    size: 9,
    extents: [{ offset: 4, length: 3 }],
  });
});

t.test('PAX numbers, times and binary attributes', async (t) => {
  const capability = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
  const pax = {
    uid: '4000000000',
    gid: '3',
    mtime: '1700000000.123456789123',
    atime: '-1.25',
    'SCHILY.xattr.security.capability': capability,
  };
  const found = await one({ name: 'x', pax: { ...pax, 'SCHILY.xattr.user.a\xff': '=\n=' } });
  t.match(found, {
    uid: 4e9,
    gid: 3,
    mtime: { sec: 1700000000, nsec: 123456789 },
    atime: { sec: -2, nsec: 750000000 },
  });
  t.strictSame(found.xattrs, { 'security.capability': capability, 'user.a\xff': '=\n=' });
  t.match(
    await one(
      paxHeader({ size: '3' }),
      header({ name: 'x', size: 0 }),
      Buffer.from('abc'.padEnd(512, '\0')),
    ),
    {
      size: 3,
      data: 'abc',
    },
  );
  for (const wrong of [
    '12 path=a\n',
    '3 x\n',
    'x path=a\n',
    '9 path=a\n\n',
    '7 =abc\n',
    '-9 path=a',
    '11 path=a\0b\n',
    '99999999999 a=b\n',
  ]) {
    await t.rejects(
      one(entry({ name: 'p', flag: 'x', data: wrong }), { name: 'f' }),
      { code: 'archive-damaged' },
      JSON.stringify(wrong),
    );
  }
  for (const [key, value] of [
    ['mtime', 'soon'],
    ['size', '1e3'],
    ['uid', '99999999999999999999'],
  ] as const) {
    await t.rejects(one({ name: 'f', pax: { [key]: value } }), { code: 'archive-damaged' }, key);
  }
});

t.test('records of an extended header end where they say', async (t) => {
  const record = (text: string) => one(entry({ name: 'x', flag: 'x', data: text }), { name: 'a' });
  t.match(await record('10 path=b\n'), { name: 'b' });
  for (const text of ['10 path=bx', '8 path=b\n', '11 path=b\n', '10 path=b\n9 path=c'])
    await t.rejects(record(text), { code: 'archive-damaged' }, JSON.stringify(text));
});

t.test('a global header says nothing of what follows, as for Docker', async (t) => {
  const found = await read(
    tar(paxHeader({ path: 'other', mtime: '5', comment: 'x' }, 'g'), { name: 'a', mtime: 7 }),
  );
  t.match(found, [{ name: 'a', mtime: { sec: 7 } }]);
  t.equal(found.length, 1);
});

t.test('sparse files as GNU tar writes them', async (t) => {
  const directory = await workspace(t);
  const file = `${directory}/sparse`;
  writeFileSync(file, '');
  truncateSync(file, 40 * 65536);
  const content = Buffer.alloc(40 * 65536);
  // More extents than the header of the old format and one extension block have room for.
  for (let i = 1; i < 40; i++) content.write(`part ${i}`, i * 65536);
  await succeed([
    'python3',
    '-c',
    `f=open(${JSON.stringify(file)},'r+b')\nfor i in range(1,40):\n f.seek(i*65536)\n f.write(b'part %d' % i)\n`,
  ]);
  for (const format of [
    ['--format=gnu'],
    ['--sparse-version=0.0'],
    ['--sparse-version=0.1'],
    ['--sparse-version=1.0'],
  ]) {
    const words = format[0] === '--format=gnu' ? format : ['--format=posix', ...format];
    await succeed([
      'tar',
      '-C',
      directory,
      '--sparse',
      ...words,
      '-cf',
      `${directory}/x.tar`,
      'sparse',
    ]);
    const bytes = readFileSync(`${directory}/x.tar`);
    t.ok(bytes.length < content.length / 2, 'it is a sparse tar');
    for (const size of [512, 700, 1 << 20]) {
      const [found] = await read(bytes, undefined, size);
      t.match(found, { name: 'sparse', size: content.length, type: 'file' });
      const expanded = Buffer.alloc(found!.size);
      let at = 0;
      for (const { offset, length } of found!.extents!) {
        expanded.write(found!.data.slice(at, at + length), offset, 'latin1');
        at += length;
      }
      t.equal(at, found!.data.length);
      t.ok(expanded.equals(content), words.join(' '));
    }
  }
});

t.test('sparse maps that lie', async (t) => {
  const map = (text: string, data = 'abc', size = '100'): Promise<Read> =>
    one({ name: 'x', data, pax: { 'GNU.sparse.map': text, 'GNU.sparse.size': size } });
  t.match(await map('0,1,50,2,100,0'), {
    size: 100,
    data: 'abc',
    extents: [{ offset: 0, length: 1 }, { offset: 50, length: 2 }, {}],
  });
  for (const wrong of [
    '0,4',
    '0,2',
    '50,2,0,1',
    '0,2,1,1',
    '99,3',
    '0,1,2',
    '-1,3',
    '0,9007199254740993',
    'a,b',
    '0x1,2',
  ]) {
    await t.rejects(map(wrong), { code: 'archive-damaged' }, wrong);
  }
  await t.rejects(map('0,3', 'abc', '-5'), { code: 'archive-damaged' });
  const one0 = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' };
  t.match(await one({ name: 'x', pax: one0, data: '1\n4\n2\n'.padEnd(512, '\0') + 'ab' }), {
    data: 'ab',
    extents: [{ offset: 4, length: 2 }],
  });
  for (const data of [
    '1\n4\n2\n',
    '99999999999\n'.padEnd(512, '\0'),
    'x\n'.padEnd(512, '\0'),
    '2\n0\n1\n'.padEnd(512, '\0'),
  ]) {
    await t.rejects(
      one({ name: 'x', pax: one0, data }),
      { code: 'archive-damaged' },
      JSON.stringify(data.slice(0, 12)),
    );
  }
});

t.test('bounds', async (t) => {
  const bytes = tar({ name: 'a', data: 'x'.repeat(5000) }, { name: 'b' });
  await t.rejects(read(bytes, { bytes: 3000 }), { code: 'archive-too-large' });
  await t.rejects(read(bytes, { entries: 1 }), { code: 'archive-too-large' });
  await t.rejects(read(tar({ name: 'a', pax: { comment: 'x'.repeat(2000) } }), { header: 2000 }), {
    code: 'archive-too-large',
  });
  const [name, pax] = ['d/'.repeat(450), { comment: 'x'.repeat(900) }];
  t.equal((await read(tar(longName(name), { name: 'a' }), { header: 1000 })).length, 1);
  t.equal((await read(tar({ name: 'a', pax }, { name: 'b', pax }), { header: 1000 })).length, 2);
  await t.rejects(
    read(tar(longName(name), { name: 'a', pax }), { header: 1000 }),
    { code: 'archive-too-large' },
    'all that one file has together',
  );
  await t.rejects(
    one(header({ name: 'x', flag: 'L', size: 2 ** 30 }), { name: 'a' }),
    { code: 'archive-too-large' },
    'before it is read',
  );
});

/** Entries of every kind, of which each block may be the last. */
const representative = tar(
  { name: 'd/', flag: '5' },
  { name: 'd/file', data: 'x'.repeat(1200) },
  { name: 'd/pax', data: 'y', pax: { mtime: '1.5', comment: 'z'.repeat(600) } },
  longName('d/' + 'n'.repeat(200)),
  { name: 'long', data: 'l'.repeat(512) },
  { name: 'd/hard', flag: '1', link: 'd/file' },
  {
    name: 'd/sparse',
    data: '1\n4\n2\n'.padEnd(512, '\0') + 'ab',
    pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' },
  },
  { name: 'last' },
);

t.test('cut short anywhere: an error, except where Go sees an end too', async (t) => {
  /** Where an entry with all its parts has ended. */
  const ends = new Set<number>([0]);
  const full = await read(representative);
  for (let at = 0, data = 0, special = false; at < representative.length - 1024; at += 512) {
    const flag = String.fromCharCode(representative[at + 156]!);
    data =
      Math.ceil(parseInt(representative.toString('latin1', at + 124, at + 135), 8) / 512) * 512;
    special = flag === 'x' || flag === 'L';
    at += flag === '1' || flag === '5' ? 0 : data;
    if (!special) ends.add(at + 512);
  }
  t.equal(ends.size, full.length + 1, 'each entry has one end');
  for (let at = 0; at < representative.length - 1024; at += 512) {
    const cut = read(representative.subarray(0, at));
    if (ends.has(at)) await t.resolves(cut, `${at}: between two entries`);
    else await t.rejects(cut, { code: 'archive-damaged' }, `${at}`);
  }
  for (const at of [1, 100, 511, 513, 1724])
    await t.rejects(
      read(representative.subarray(0, at)),
      { code: 'archive-damaged' },
      `${at}: within a block`,
    );
  t.equal((await read(representative.subarray(0, -512))).length, full.length, 'half an end marker');
  t.equal(
    (await read(Buffer.concat([representative, Buffer.from('anything'.repeat(5000))]))).length,
    full.length,
    'bytes after the end',
  );
  await t.rejects(
    read(Buffer.concat([representative.subarray(0, -512), entry({ name: 'x' })])),
    { code: 'archive-damaged' },
    'one zero block within',
  );
  await t.rejects(
    read(Buffer.concat([representative.subarray(0, -512), Buffer.alloc(100)])),
    { code: 'archive-damaged' },
    'a part of the second',
  );
  t.equal(
    (await read(tar({ name: 'a', data: 'x' }).subarray(0, 700))).length,
    1,
    'without the padding of the last file',
  );
  await t.rejects(
    read(tar(paxHeader({ path: 'x' }))),
    { code: 'archive-damaged' },
    'an extended header of nothing',
  );
  t.same(await read(endMarker), []);
});

t.test('the pieces it comes in make no difference', async (t) => {
  const whole = await read(representative);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 6 }),
      async (sizes) => {
        t.strictSame(await read(representative, undefined, ...sizes), whole);
      },
    ),
    { numRuns: 40 },
  );
});

t.test('what is not read is passed over, and a failure lasts', async (t) => {
  const reader = new LayerReader(inPieces(representative, 700));
  const names: string[] = [];
  const bodies: LayerEntry[] = [];
  for await (const found of reader) {
    names.push(found.path);
    bodies.push(found);
  }
  t.equal(names.length, (await read(representative)).length);
  t.equal(
    (await readAll(bodies[1]!.body, 5000))!.length,
    0,
    'the data of an entry is gone with it',
  );
  t.match(await reader.finish(), { bytes: representative.length });
  t.match(await reader.finish(), { bytes: representative.length }, 'as often as it is asked for');

  let closed = false;
  async function* failing(): AsyncGenerator<Uint8Array> {
    try {
      yield representative.subarray(0, 600);
      yield Buffer.from('no header'.repeat(200));
    } finally {
      closed = true;
    }
  }
  const damaged = new LayerReader(failing());
  await t.rejects(damaged.finish(), { code: 'archive-damaged' });
  await t.rejects(damaged.next(), { code: 'archive-damaged' });
  await t.rejects(damaged.finish(), { code: 'archive-damaged' });
  t.ok(closed, 'the source was let go');
});
