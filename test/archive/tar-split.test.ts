/**
 * What tar-split holds, line by line as Docker writes it, and that the tar is had again byte for
 * byte, or not at all.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { applyLayer } from '../../src/archive/apply-layer.js';
import { LayerReader } from '../../src/archive/layer-reader.js';
import { assembleTar, directoryFiles, TarSplitWriter } from '../../src/archive/tar-split.js';
import { readAll } from '../../src/base/byte-source.js';
import { workspace } from '../suites/workspace.js';
import {
  endMarker,
  entry,
  header,
  inPieces,
  longName,
  padded,
  tar,
  type Fields,
} from './tar-builder.js';

let counter = 0;

interface Kept {
  readonly directory: string;
  readonly file: string;
  readonly diffId: string;
}

async function keep(
  base: string,
  bytes: Buffer,
  whiteouts: 'overlay' | 'aufs' | 'apply' = 'overlay',
): Promise<Kept> {
  const directory = `${base}/layer${counter++}`;
  const file = `${directory}.json.gz`;
  mkdirSync(directory);
  const tarSplit = TarSplitWriter.create(file);
  try {
    const reader = new LayerReader(inPieces(bytes, 999, 4096), { tarSplit });
    await applyLayer(reader, directory, {
      whiteouts,
      ownership: process.getuid?.() === 0 ? 'real' : 'override',
    });
    const { diffId } = await reader.finish();
    await tarSplit.close();
    return { directory, file, diffId };
  } finally {
    await tarSplit.abort();
  }
}

async function assemble({ directory, file }: Pick<Kept, 'directory' | 'file'>): Promise<Buffer> {
  const files = directoryFiles(directory);
  try {
    return (await readAll(assembleTar(file, files), 2 ** 26))!;
  } finally {
    files.close();
  }
}

async function same(t: Test, base: string, bytes: Buffer, what: string): Promise<Kept> {
  const kept = await keep(base, bytes);
  const again = await assemble(kept);
  t.ok(again.equals(bytes), `${what}: the same bytes`);
  t.equal(`sha256:${createHash('sha256').update(again).digest('hex')}`, kept.diffId);
  return kept;
}

/** Segments joined, since where one ends does not matter. */
function entriesOf(file: string): Record<string, unknown>[] {
  return gunzipSync(readFileSync(file))
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

t.test('the lines are those of Docker', async (t) => {
  const base = await workspace(t);
  const file = `${base}/x.json.gz`;
  const writer = TarSplitWriter.create(file);
  await writer.segment(Buffer.from('abc'));
  await writer.file('d/' as never, 0, undefined);
  await writer.file('d/<&>"\\' as never, 9, Buffer.from('b90956c775a41001', 'hex'));
  await writer.file('caf\xc3\xa9' as never, 0, undefined);
  await writer.file('caf\xe9' as never, 0, undefined);
  await writer.close();
  await writer.close();
  const lines = [
    '{"type":2,"payload":"YWJj","position":0}',
    '{"type":1,"name":"d/","payload":null,"position":1}',
    // uQlWx3WkEAE= is the CRC of 123456789; Go escapes what HTML gives a meaning.
    '{"type":1,"name":"d/\\u003c\\u0026\\u003e\\"\\\\","size":9,"payload":"uQlWx3WkEAE=","position":2}',
    '{"type":1,"name":"café","payload":null,"position":3}',
    '{"type":1,"name_raw":"Y2Fm6Q==","payload":null,"position":4}',
  ];
  t.equal(gunzipSync(readFileSync(file)).toString(), lines.join('\n') + '\n');
  t.equal(statSync(file).mode & 0o7777, 0o644);
  t.throws(() => TarSplitWriter.create(file), { code: 'EEXIST' });
});

t.test('what is recorded of a tar', async (t) => {
  const base = await workspace(t);
  const bytes = tar(
    { name: 'd/', flag: '5' },
    { name: 'd/f', data: '123456789' },
    { name: 'd/g', flag: '1', link: 'd/f' },
    { name: '.wh.gone' },
  );
  const { file } = await same(t, base, bytes, 'a small tar');
  const found = entriesOf(file);
  t.same(
    found.map(({ position }) => position),
    found.map((_, index) => index),
  );
  t.strictSame(
    found.filter(({ type }) => type === 1).map(({ position: _, ...rest }) => rest),
    [
      { type: 1, name: 'd/', payload: null },
      { type: 1, name: 'd/f', size: 9, payload: 'uQlWx3WkEAE=' },
      { type: 1, name: 'd/g', payload: null },
      { type: 1, name: '.wh.gone', payload: null },
    ],
  );
  const raw = found
    .filter(({ type }) => type === 2)
    .map(({ payload }) => Buffer.from(payload as string, 'base64'));
  t.equal(Buffer.concat(raw).length, bytes.length - 9, 'all but the content of files');
});

t.test('tars of every kind', async (t) => {
  const base = await workspace(t);
  await same(t, base, endMarker, 'an empty tar');
  await same(t, base, entry({ name: 'x', data: 'no end marker' }), 'without an end marker');
  await same(
    t,
    base,
    Buffer.concat([tar({ name: 'x', data: 'x' }), Buffer.alloc(300_000, 'garbage')]),
    'with garbage after it',
  );
  await same(
    t,
    base,
    tar(
      longName('l/'.repeat(120) + 'x'),
      { name: 'short', data: 'long' },
      { name: 'p', pax: { path: 'q'.repeat(150) }, data: 'q' },
    ),
    'long names',
  );
  await same(
    t,
    base,
    tar({ name: 'caf\xe9', data: 'not UTF-8' }, { name: './caf\xc3\xa9', data: 'UTF-8' }),
    'names that are not UTF-8',
  );
  await same(
    t,
    base,
    tar({ name: 'd/', flag: '5' }, header({ name: 'e/', flag: '5', size: 99 })),
    'a directory with a size',
  );
  await same(
    t,
    base,
    tar(
      { name: '.wh.x', data: 'a whiteout with content' },
      { name: '.wh..wh.plnk/1', data: 'plnk' },
      { name: 'x', flag: '1', link: '.wh..wh.plnk/1' },
    ),
    'markers with content',
  );
  const sparse = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.realsize': '90000',
  };
  const map = Buffer.concat([padded(Buffer.from('1\n4\n80000\n')), Buffer.alloc(80000, 's')]);
  await same(
    t,
    base,
    tar({ name: 's', data: map, pax: { ...sparse, 'GNU.sparse.name': 'sparse' } }),
    'a sparse file',
  );
  await same(
    t,
    base,
    tar(
      { name: 'usr/lib/', flag: '5' },
      { name: 'lib', flag: '2', link: 'usr/lib' },
      { name: 'lib/x', data: 'through a link' },
    ),
    'a path through a link',
  );
  await same(
    t,
    base,
    tar({ name: 'big', data: Buffer.alloc(700_001, 'b') }, { name: 'after' }),
    'a file of several pieces',
  );
});

t.test('any tar', async (t) => {
  const base = await workspace(t);
  const name = fc.stringMatching(/^[a-c\xe9]{1,3}(\/[a-c]{1,3}){0,2}$/);
  const data = fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes));
  const fields: fc.Arbitrary<Fields> = fc.oneof(
    fc.record({ name, data }),
    fc.record({
      name,
      data,
      pax: fc.record({
        comment: fc.string({ maxLength: 600 }).map((text) => Buffer.from(text).toString('latin1')),
      }),
    }),
    fc.record({ name: name.map((text) => text + '/'), flag: fc.constant('5') }),
    fc.record({ name, flag: fc.constant('2'), link: name }),
  );
  const entries = fc.uniqueArray(fields, {
    maxLength: 12,
    selector: ({ name }) => name.split('/')[0],
  });
  await fc.assert(
    fc.asyncProperty(entries, fc.uint8Array({ maxLength: 1200 }), async (all, tail) => {
      const kept = await same(t, base, Buffer.concat([tar(...all), tail]), 'generated');
      rmSync(kept.directory, { recursive: true });
    }),
    { numRuns: 60 },
  );
});

t.test('a name twice is refused, since its first content is gone', async (t) => {
  const base = await workspace(t);
  await t.rejects(keep(base, tar({ name: 'a', data: '1' }, { name: './a', data: '2' })), {
    code: 'archive-hostile',
  });
});

t.test('what is not what it was is found', async (t) => {
  const base = await workspace(t);
  const bytes = tar({ name: 'a', data: 'content' }, { name: 'b', data: 'other' });
  const change = async (what: string, action: (directory: string) => void): Promise<void> => {
    const kept = await keep(base, bytes);
    action(kept.directory);
    await t.rejects(assemble(kept), { code: 'layer-damaged' }, what);
  };
  await change('a changed byte', (directory) => writeFileSync(`${directory}/a`, 'c0ntent'));
  await change('a shorter file', (directory) => writeFileSync(`${directory}/a`, 'cont'));
  await change('no file', (directory) => rmSync(`${directory}/a`));
  await change('a directory', (directory) => {
    rmSync(`${directory}/a`);
    mkdirSync(`${directory}/a`);
  });
  await change('a symbolic link to the same content', (directory) => {
    writeFileSync(`${base}/outside`, 'content');
    rmSync(`${directory}/a`);
    symlinkSync(`${base}/outside`, `${directory}/a`);
  });
  const kept = await keep(base, bytes);
  const json = gunzipSync(readFileSync(kept.file)).toString();
  const wrong: Record<string, Buffer> = {
    'no gzip': Buffer.from('nothing'),
    'cut short': readFileSync(kept.file).subarray(0, -10),
    'no JSON': gzipSync('{"type":2\n'),
    'an unknown type': gzipSync('{"type":3,"payload":null,"position":0}\n'),
    'a negative size': gzipSync('{"type":1,"name":"a","size":-1,"payload":null,"position":0}\n'),
    'a short checksum': gzipSync('{"type":1,"name":"a","size":7,"payload":"AAAA","position":0}\n'),
    'a file twice': gzipSync(
      '{"type":1,"name":"d/","payload":null}\n{"type":1,"name":"./d","payload":null}\n',
    ),
    'a file outside': gzipSync(
      '{"type":1,"name":"../outside","size":7,"payload":null,"position":0}\n',
    ),
    'a wrong checksum': gzipSync(
      json.replace(/"payload":"[^"]*"(,"position":1)/, '"payload":"AAAAAAAAAAA="$1'),
    ),
  };
  for (const [what, content] of Object.entries(wrong)) {
    writeFileSync(kept.file, content);
    await t.rejects(assemble(kept), { code: 'layer-damaged' }, what);
  }
});

t.test('an aborted writer leaves what it wrote and no descriptor', async (t) => {
  const base = await workspace(t);
  const writer = TarSplitWriter.create(`${base}/x`);
  await writer.segment(Buffer.alloc(200_000, 1));
  await writer.abort();
  await writer.abort();
  await writer.close();
  t.ok(statSync(`${base}/x`).isFile());
});
