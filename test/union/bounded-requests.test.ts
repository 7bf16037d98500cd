/**
 * Whatever a layer contains, nobody waits long for another's request: what takes long is done in pieces or elsewhere, and others are served meanwhile.
 *
 * Measured is not time but order: how many requests of another client, each asked when the one before was answered, are answered before the long one is.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { E } from '../../src/base/errno.js';
import { Opcode } from '../../src/fuse/protocol.js';
import { ServedUnion, type ServedOptions } from '../fuzz/served-union.js';
import { dirents, strings, u32, u64, type Answer } from '../fuse/fake-session.js';
import { figure } from '../support/figures.js';
import { memoryDirectory } from '../support/memory-directory.js';

/** More than is listed at once, several times over. */
const MANY = 30_000;
/** The main thread does a thousand names at a time: others have as many turns, half of which may be lost to a neighbour's. */
const TURNS = MANY / 1024 / 2;
const ROOT = 1;

const where = (cookie: bigint): Buffer => Buffer.concat([u64(0), u64(cookie), u32(30_000), u32(0), u64(0), u32(0), u32(0)]);

/** As many files of these names as `count`. */
function fill(directory: string, count: number): void {
  mkdirSync(directory, { recursive: true });
  execFileSync('sh', ['-c', 'cd "$0" && seq "$1" | sed s/^/name-/ | xargs touch', directory, String(count)]);
}

interface Client {
  readonly union: ServedUnion;
  /** The node of a path. */
  readonly find: (...path: string[]) => Promise<number>;
  /** All names of a directory, by as many requests as it takes. */
  readonly list: (node: number) => Promise<string[]>;
  /** A request's answer, and how many of another client's were answered before it. */
  readonly beside: (opcode: number, node: number, body: Buffer) => Promise<{ answer: Answer; served: number }>;
}

async function serving(
  t: Test,
  lowers: readonly string[],
  base: string,
  options: ServedOptions,
  use: (client: Client) => Promise<void>,
): Promise<void> {
  mkdirSync(`${base}/upper`, { recursive: true });
  mkdirSync(`${base}/work`, { recursive: true });
  const union = new ServedUnion(base, lowers, options);
  await union.begin();
  const find = async (...path: string[]): Promise<number> => {
    let node = ROOT;
    for (const name of path) {
      const { result, body } = await union.ask(Opcode.LOOKUP, node, strings(name));
      if (typeof result !== 'number' || result < 0) throw new Error(`${name}: ${result}`);
      node = Number(body.readBigUInt64LE(0));
    }
    return node;
  };
  const list = async (node: number): Promise<string[]> => {
    const names: string[] = [];
    for (let cookie = 0n; ;) {
      const { result, body } = await union.ask(Opcode.READDIR, node, where(cookie));
      if (typeof result !== 'number' || result < 0) throw new Error(`readdir: ${result}`);
      if (body.length === 0) return names.filter((name) => name !== '.' && name !== '..');
      const entries = dirents(body, false);
      cookie = BigInt(entries.at(-1)?.cookie ?? 0);
      names.push(...entries.map(({ name }) => name));
    }
  };
  const beside = async (opcode: number, node: number, body: Buffer): Promise<{ answer: Answer; served: number }> => {
    let answer: Answer | undefined;
    const long = union.ask(opcode, node, body).then((given) => (answer = given));
    let served = 0;
    for (; answer === undefined; served++) await union.ask(Opcode.GETATTR, ROOT, Buffer.alloc(16));
    return { answer: await long, served };
  };
  try {
    await use({ union, find, list, beside });
  } finally {
    await union.end();
  }
  t.pass('every slot was given away once, and what failed was an errno');
}

t.test('a huge directory', { timeout: 120_000 }, async (t) => {
  const base = memoryDirectory(t);
  fill(`${base}/top/big`, 10);
  fill(`${base}/bottom/big`, MANY);
  mkdirSync(`${base}/bottom/other`);
  const lowers = [`${base}/top`, `${base}/bottom`];

  await t.test('is listed, and names come and go in it', async (t) => {
    await serving(t, lowers, `${base}/a`, {}, async ({ union, find, list, beside }) => {
      const big = await find('big');
      const listed = await beside(Opcode.READDIR, big, where(0n));
      t.ok(Number(listed.answer.result) > 0 && listed.served > 1, `${listed.served} served while it was listed`);
      t.equal(new Set(await list(big)).size, MANY, 'all names are there, each once');
      // One name is enough for others to have objects from then on.
      const removed = await beside(Opcode.UNLINK, big, strings('name-77'));
      t.equal(removed.answer.result, 0);
      t.ok(removed.served >= TURNS, `${removed.served} served while a name went`);
      t.equal((await union.ask(Opcode.MKDIR, big, Buffer.concat([u32(0o755), u32(0), strings('new')]))).result, 128);
      const names = new Set(await list(big));
      t.equal(names.size, MANY, 'one has gone and one has come');
      t.notOk(names.has('name-77'));
      t.ok(names.has('new'));
      t.equal((await union.ask(Opcode.LOOKUP, big, strings('name-78'))).result, 128);
      figure(t, listed.served + removed.served, 'requests served during a long one');
    });
  });

  await t.test('answers for single names without being listed', async (t) => {
    await serving(t, lowers, `${base}/b`, {}, async ({ union, find }) => {
      const big = await find('big');
      for (let i = 1; i <= 300; i++) {
        t.equal((await union.ask(Opcode.LOOKUP, big, strings(`name-${i * 99}`))).result, 128);
        const none = await union.ask(Opcode.LOOKUP, big, strings(`none-${i}`));
        t.equal(none.body.readBigUInt64LE(0), 0n, 'and for those that are not there');
      }
    });
  });

  await t.test('whose names each need a closer look', async (t) => {
    writeFileSync(`${base}/top/big/.wh.name-500`, '');
    await serving(t, lowers, `${base}/c`, { form: 'aufs' }, async ({ find, list, beside }) => {
      const big = await find('big');
      const { answer, served } = await beside(Opcode.READDIR, big, where(0n));
      t.ok(Number(answer.result) > 0 && served >= TURNS, `${served} served meanwhile`);
      const names = new Set(await list(big));
      t.equal(names.size, MANY - 1);
      t.notOk(names.has('name-500'), 'a marker hides its name');
    });
    rmSync(`${base}/top/big/.wh.name-500`);
  });

  await t.test('is not empty, which rmdir says at once when it was listed', async (t) => {
    await serving(t, lowers, `${base}/d`, {}, async ({ beside }) => {
      const { answer, served } = await beside(Opcode.RMDIR, ROOT, strings('big'));
      t.equal(answer.result, -E.ENOTEMPTY);
      t.ok(served > 0, `${served} served meanwhile`);
    });
  });
});
