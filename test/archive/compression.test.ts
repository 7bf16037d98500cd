/** Each compression both ways, damaged, bounded, and without its program. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import {
  compress,
  decompress,
  detectCompression,
  type Compression,
} from '../../src/archive/compression.js';
import { readAll } from '../../src/base/byte-source.js';
import { inPieces } from './tar-builder.js';

const content = Buffer.concat([randomBytes(100_000), Buffer.alloc(900_000, 'compressible')]);
const all = async (bytes: Buffer, limit?: number, ...sizes: number[]): Promise<Buffer> =>
  (await readAll(
    decompress(inPieces(bytes, ...sizes), limit === undefined ? {} : { limit }),
    2 ** 26,
  ))!;

function withProgram(program: string): Buffer | undefined {
  const { status, stdout, error } = spawnSync(program, ['-c'], {
    input: content,
    maxBuffer: 2 ** 26,
  });
  return error === undefined && status === 0 ? stdout : undefined;
}

const compressed: readonly (readonly [Compression, Buffer | undefined])[] = [
  ['none', content],
  ['gzip', gzipSync(content)],
  ['zstd', withProgram('zstd')],
  ['xz', withProgram('xz')],
  ['bzip2', withProgram('bzip2')],
];

for (const [compression, bytes] of compressed) {
  t.test(
    compression,
    { skip: bytes === undefined ? `${compression} is not installed` : false },
    async (t) => {
      if (bytes === undefined) return;
      t.equal(detectCompression(bytes), compression);
      for (const sizes of [[], [1, 2, 3, 70_000], [100_000]])
        t.ok((await all(bytes, undefined, ...sizes)).equals(content));
      await t.rejects(all(bytes, content.length - 1), { code: 'archive-too-large' });
      t.ok((await all(bytes, content.length)).equals(content));
      if (compression === 'none') return;
      await t.rejects(
        all(bytes.subarray(0, bytes.length >> 1)),
        { code: 'archive-damaged' },
        'cut short',
      );
      const damaged = Buffer.from(bytes);
      damaged.fill(0x55, 20, 60_000);
      await t.rejects(all(damaged), { code: 'archive-damaged' }, 'damaged');
    },
  );
}

t.test('what is shorter than a magic', async (t) => {
  for (const text of ['', 'a', '\x1f\x8b'])
    t.equal((await all(Buffer.from(text, 'latin1'))).toString('latin1'), text);
  t.equal(
    detectCompression(Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0])),
    'zstd',
    'a skippable frame',
  );
  t.equal(detectCompression(Buffer.from('ustar')), 'none');
});

for (const compression of ['gzip', 'zstd'] as const) {
  t.test(
    `to ${compression} and back`,
    {
      skip: compressed.some(([name, bytes]) => name === compression && bytes === undefined)
        ? 'not installed'
        : false,
    },
    async (t) => {
      const packed = (await readAll(compress(inPieces(content, 5000), compression), 2 ** 26))!;
      t.equal(detectCompression(packed), compression);
      t.ok(packed.length < content.length / 2);
      t.ok((await all(packed)).equals(content));
    },
  );
}

t.test(
  'a source that fails is who says so, and one is let go of when nobody reads on',
  async (t) => {
    for (const [compression, bytes] of compressed) {
      if (bytes === undefined) continue;
      let released = 0;
      async function* source(fails: boolean): AsyncGenerator<Uint8Array> {
        try {
          yield bytes!.subarray(0, 10_000);
          if (fails) throw new Error('the network is gone');
          // Several compressed streams, one after the other, are one to each of the formats.
          yield bytes!.subarray(10_000);
          while (true) yield bytes!;
        } finally {
          released++;
        }
      }
      await t.rejects(
        readAll(decompress(source(true)), 2 ** 26),
        { message: 'the network is gone' },
        compression,
      );
      for await (const piece of decompress(source(false))) {
        t.ok(piece.length > 0);
        break;
      }
      t.equal(released, 2, compression);
    }
  },
);

t.test('a program that is not installed is named', async (t) => {
  const path = process.env['PATH'];
  process.env['PATH'] = '/nonexistent';
  t.teardown(() => (process.env['PATH'] = path));
  const xz = compressed.find(([name]) => name === 'xz')![1] ?? Buffer.from('\xfd7zXZ\0', 'latin1');
  await t.rejects(all(xz), { code: 'decompressor-missing', message: /xz-utils/ });
});
