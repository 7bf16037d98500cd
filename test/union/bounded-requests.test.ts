/**
 * Whatever a layer contains, nobody waits long for another's request: what takes long is done in
 * pieces or elsewhere, and others are served meanwhile.
 *
 * Measured is not time but order: how many requests of another client, each asked when the one
 * before was answered, are answered before the long one is.
 */
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { bytesOf, type Name } from '../../src/base/bytes.js';
import { check, E } from '../../src/base/errno.js';
import { Opcode } from '../../src/fuse/protocol.js';
import { O_CLOEXEC, O_CREAT, O_DIRECTORY, O_RDONLY, O_WRONLY } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { STAT_FIELDS, StatField } from '../../src/sys/syscalls.js';
import { ServedUnion, type ServedOptions } from '../fuzz/served-union.js';
import { dirents, strings, u32, u64, type Answer } from '../fuse/fake-session.js';
import { figure } from '../support/figures.js';
import { memoryDirectory } from '../support/memory-directory.js';
import { isRoot } from '../support/users.js';
import { kernel, unavailable } from '../suites/mounters.js';

/** More than is listed at once, several times over. */
const MANY = 30_000;
/**
 * The main thread does a thousand names at a time: others have as many turns, half of which may be
 * lost to a neighbour's.
 */
const TURNS = MANY / 1024 / 2;
const ROOT = 1;

const where = (cookie: bigint): Buffer =>
  Buffer.concat([u64(0), u64(cookie), u32(30_000), u32(0), u64(0), u32(0), u32(0)]);

/** As many files of these names as `count`. */
function fill(directory: string, count: number): void {
  mkdirSync(directory, { recursive: true });
  execFileSync('sh', [
    '-c',
    'cd "$0" && seq "$1" | sed s/^/name-/ | xargs touch',
    directory,
    String(count),
  ]);
}

interface Client {
  readonly union: ServedUnion;
  /** The node of a path. */
  readonly find: (...path: string[]) => Promise<number>;
  /** All names of a directory, by as many requests as it takes. */
  readonly list: (node: number) => Promise<string[]>;
  /** A request's answer, and how many of another client's were answered before it. */
  readonly beside: (
    opcode: number,
    node: number,
    body: Buffer,
  ) => Promise<{ answer: Answer; served: number }>;
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
  const beside = async (
    opcode: number,
    node: number,
    body: Buffer,
  ): Promise<{ answer: Answer; served: number }> => {
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
      t.ok(
        Number(listed.answer.result) > 0 && listed.served > 1,
        `${listed.served} served while it was listed`,
      );
      t.equal(new Set(await list(big)).size, MANY, 'all names are there, each once');
      // One name is enough for others to have objects from then on.
      const removed = await beside(Opcode.UNLINK, big, strings('name-77'));
      t.equal(removed.answer.result, 0);
      t.ok(removed.served >= TURNS, `${removed.served} served while a name went`);
      t.equal(
        (await union.ask(Opcode.MKDIR, big, Buffer.concat([u32(0o755), u32(0), strings('new')])))
          .result,
        128,
      );
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

/** SETATTR of the mode alone. */
const chmod = (mode: number): Buffer => {
  const body = Buffer.alloc(88);
  body.writeUInt32LE(1, 0);
  body.writeUInt32LE(mode, 68);
  return body;
};

t.test(
  'a file below ten thousand directories is copied up, they before it',
  { timeout: 120_000 },
  async (t) => {
    const DEPTH = 10_000;
    const base = memoryDirectory(t);
    for (const name of ['lower', 'upper', 'work', 'mnt']) mkdirSync(`${base}/${name}`);
    const bottom = goDown(`${base}/lower`, DEPTH, true);
    sys.close(check(sys.openat(bottom, 'file' as Name, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)));
    sys.close(bottom);
    await serving(t, [`${base}/lower`], base, {}, async ({ find, beside }) => {
      const file = await find(...new Array<string>(DEPTH).fill('d'), 'file');
      const { answer, served } = await beside(Opcode.SETATTR, file, chmod(0o600));
      t.equal(answer.result, 104, 'the attributes are answered');
      // Sixty-four directories at a time.
      t.ok(served >= DEPTH / 64 / 2, `${served} served meanwhile`);
    });
    const copy = goDown(`${base}/upper`, DEPTH, false);
    t.equal(modeOf(copy), 0o600, 'the copy lies as deep in the upper');
    sys.close(copy);
    figure(t, DEPTH, 'directories above one another');
    if ((await unavailable(t, kernel)) !== undefined) return;
    execFileSync('mount', [
      '-t',
      'overlay',
      '-o',
      `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work`,
      'none',
      `${base}/mnt`,
    ]);
    try {
      const shown = goDown(`${base}/mnt`, DEPTH, false);
      t.equal(modeOf(shown), 0o600, "the kernel's overlay shows it");
      sys.close(shown);
    } finally {
      execFileSync('umount', [`${base}/mnt`]);
    }
  },
);

/** A descriptor of the directory `depth` directories `d` below, which are made if told so. */
function goDown(path: string, depth: number, make: boolean): number {
  const flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  let fd = check(sys.openat(-1, bytesOf(path), flags, 0));
  for (let i = 0; i < depth; i++) {
    if (make) check(sys.mkdirat(fd, 'd' as Name, 0o755));
    const next = check(sys.openat(fd, 'd' as Name, flags, 0));
    sys.close(fd);
    fd = next;
  }
  return fd;
}

function modeOf(directory: number): number {
  const stat = new Float64Array(STAT_FIELDS);
  check(sys.statx(directory, 'file' as Name, stat, 0));
  return (stat[StatField.Mode] as number) & 0o7777;
}

t.test(
  'a file of many names is one file under all of them after copy-up',
  { timeout: 120_000 },
  async (t) => {
    const NAMES = 3000;
    const base = memoryDirectory(t);
    mkdirSync(`${base}/lower`);
    writeFileSync(`${base}/lower/name-0`, 'one');
    for (let i = 1; i < NAMES; i++) linkSync(`${base}/lower/name-0`, `${base}/lower/name-${i}`);
    await serving(t, [`${base}/lower`], base, {}, async ({ find, beside }) => {
      const nodes = new Set<number>();
      for (let i = 0; i < NAMES; i++) nodes.add(await find(`name-${i}`));
      t.equal(nodes.size, 1);
      const { answer, served } = await beside(
        Opcode.SETATTR,
        [...nodes][0] as number,
        chmod(0o600),
      );
      t.equal(answer.result, 104);
      t.ok(served >= NAMES / 64 / 2, `${served} served meanwhile`);
    });
    t.equal(statSync(`${base}/upper/name-7`).nlink, NAMES, 'every name was brought along');
  },
);

t.test(
  'a directory that only whiteouts fill goes',
  { skip: !isRoot && 'needs root', timeout: 120_000 },
  async (t) => {
    const base = memoryDirectory(t);
    fill(`${base}/lower/dir`, MANY);
    mkdirSync(`${base}/upper/dir`, { recursive: true });
    execFileSync('mknod', [`${base}/upper/dir/name-1`, 'c', '0', '0']);
    for (let i = 2; i <= MANY; i++)
      linkSync(`${base}/upper/dir/name-1`, `${base}/upper/dir/name-${i}`);
    await serving(t, [`${base}/lower`], base, {}, async ({ union, find, beside }) => {
      await find('dir');
      const { answer, served } = await beside(Opcode.RMDIR, ROOT, strings('dir'));
      t.equal(answer.result, 0);
      t.ok(served > 1, `${served} served while it was looked through`);
      // Whiteouts are swept when the directory has gone: some now, the rest while others are
      // served.
      let during = 0;
      for (; readdirSync(`${base}/work/work`).length > 0; during++)
        await union.ask(Opcode.GETATTR, ROOT, Buffer.alloc(16));
      t.ok(during >= MANY / 512 / 2, `${during} served while it was swept`);
    });
    t.ok(statSync(`${base}/upper/dir`).isCharacterDevice(), 'a whiteout hides the lower directory');
  },
);
