/**
 * Memory does not grow with what is moved: each command that moves data, with more of it than ply
 * may take.
 */
import { createReadStream, createWriteStream, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import t from 'tap';
import { pack } from 'tar-stream';
import { figure } from '../support/figures.js';
import { plyOn } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { watchedPly } from '../support/watched.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(600_000);

/** Bytes that each command moves. */
const MOVED = 256 << 20;
/**
 * Bytes: ply takes 60 to 110 MB with small inputs (Node's own 45, code, pieces on their way),
 * whatever is kept comes on top.
 */
const MEMORY = 200 << 20;
const piece = Buffer.alloc(1 << 20);

/** A tar with one file of zeros. */
function tarOfZeros(): Readable {
  const tar = pack();
  const entry = tar.entry({ name: 'zeros', size: MOVED });
  const zeros = function* (): Generator<Buffer> {
    for (let left = MOVED; left > 0; left -= piece.length) yield piece;
  };
  Readable.from(zeros()).pipe(entry);
  entry.on('finish', () => tar.finalize());
  return tar as unknown as Readable;
}

const gzipped = (to: Writable): Promise<void> =>
  pipeline(tarOfZeros(), createGzip({ level: 1 }), to);
const plain = (to: Writable): Promise<void> => pipeline(tarOfZeros(), to);
const swallow = async (from: Readable): Promise<void> => {
  for await (const _ of from);
};

t.test('each command', { skip: !isRoot && 'layers with their owners need root' }, async (t) => {
  const base = await workspace(t);
  const root = join(base, 'root');
  mkdirSync(join(base, 'out'));
  const saved = join(base, 'saved.tar');
  let count = 0;
  const flat = async (
    words: readonly string[],
    options: Parameters<typeof watchedPly>[1] = {},
  ): Promise<void> => {
    const { status, peak = 0, stderr } = await watchedPly(['--root', root, ...words], options);
    t.equal(status, 0, `${words.join(' ')}${stderr}`);
    t.ok(peak > 0 && peak < MEMORY, `${words[0]!} took ${Math.round(peak / (1 << 20))} MB`);
    count++;
  };
  await flat(['import', '-', 'zeros:1'], { feed: gzipped });
  await flat(['import', '-', 'zeros:2'], { feed: plain });
  await flat(['save', 'zeros:1'], { drain: (from) => pipeline(from, createWriteStream(saved)) });
  await flat(['save', '-o', join(base, 'out/saved.tar'), 'zeros:1']);
  rmSync(join(base, 'out/saved.tar'));
  await plyOn(root)('rmi', '-f', 'zeros:1', 'zeros:2');
  await flat(['load'], {
    feed: (to) => pipeline(createReadStream(saved), createGzip({ level: 1 }), to),
  });
  await plyOn(root)('rmi', '-f', 'zeros:1');
  await flat(['load', '-i', saved]);
  rmSync(saved);
  await plyOn(root)('create', '--name', 'box', 'zeros:1', '/x');
  await flat(['export', 'box'], { drain: swallow });
  await flat(['cp', '-', 'box:/'], { feed: gzipped });
  await flat(['cp', 'box:/zeros', '-'], { drain: swallow });
  await flat(['cp', 'box:/zeros', join(base, 'out/zeros')]);
  await flat(['cp', join(base, 'out/zeros'), 'box:/copied']);
  await flat(['diff', 'box']);
  await flat(['commit', 'box', 'zeros:3']);
  await flat(['fsck', '--deep']);
  figure(t, count, 'commands with flat memory');
});
