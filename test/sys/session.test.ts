/**
 * The session on a real mount: the loop, the data path, notifications, the end. Needs root and
 * /dev/fuse.
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { sessions, sys } from '../../src/sys/index.js';
import {
  descriptorCount,
  MAX_WRITE,
  Op,
  run,
  runScript,
  TinyFilesystem,
} from './tiny-filesystem.js';

const MiB = 1 << 20;

function unusable(): string | false {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  try {
    accessSync('/dev/fuse');
    return false;
  } catch {
    return 'there is no /dev/fuse';
  }
}
const skip = unusable();

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

interface Fixture {
  readonly fs: TinyFilesystem;
  readonly backing: string;
  readonly at: (name: string) => string;
}

/** Mounts over fresh files of these contents; unmounted when the test ends, however it ends. */
function mounted(test: Test, files: Record<string, Uint8Array>): Fixture {
  const backing = mkdtempSync(join(tmpdir(), 'plyfs-backing-'));
  test.teardown(() => {
    rmSync(backing, { recursive: true });
  });
  for (const [name, data] of Object.entries(files)) writeFileSync(join(backing, name), data);
  const fs = new TinyFilesystem(backing);
  test.teardown(() => {
    fs.end();
  });
  return { fs, backing, at: (name) => join(fs.mountpoint, name) };
}

void t.test('reads and writes of published nodes never reach JavaScript', { skip }, async (t) => {
  const data = randomBytes(5 * MiB + 123);
  const { fs, backing, at } = mounted(t, {
    read: data,
    write: new Uint8Array(0),
    small: Buffer.from('ten bytes.'),
  });
  fs.publish('read', false);
  fs.publish('write', true);
  fs.publish('small', false);

  t.equal((await run('sha256sum', [at('read')])).stdout.slice(0, 64), sha256(data));
  t.equal((await run('cat', [at('small')])).stdout, 'ten bytes.');
  t.equal(
    (await run('tail', ['-c', '123', at('read')])).stdout,
    data.subarray(5 * MiB).toString('latin1'),
  );

  for (const bs of [3000, MiB]) {
    const copied = await run('dd', [
      `if=${join(backing, 'read')}`,
      `of=${at('write')}`,
      `bs=${bs}`,
    ]);
    t.equal(copied.status, 0, copied.stderr);
    t.equal(sha256(readFileSync(join(backing, 'write'))), sha256(data), `blocks of ${bs} bytes`);
  }
  const counts = fs.session.counts();
  t.equal(counts.get(Op.Read)?.[1], 0);
  t.ok((counts.get(Op.Read)?.[0] ?? 0) > 5);
  t.equal(counts.get(Op.Write)?.[1], 0);
  t.ok((counts.get(Op.Write)?.[0] ?? 0) > 1700);
  t.ok(fs.session.usedSince(fs.node('read')));
  t.notOk(fs.session.usedSince(fs.node('read')), 'the mark is taken');
});

void t.test('what the page cache does not hold is read by a thread', { skip }, async (t) => {
  const data = randomBytes(3 * MiB + 1);
  const { fs, backing, at } = mounted(t, { file: data });
  // With no blocks to copy, `nocache` drops the whole file from the cache.
  const dropped = await run('dd', [
    `of=${join(backing, 'file')}`,
    'oflag=nocache',
    'conv=notrunc,fdatasync',
    'count=0',
  ]);
  t.equal(dropped.status, 0, dropped.stderr);
  fs.publish('file', false);
  t.equal((await run('sha256sum', [at('file')])).stdout.slice(0, 64), sha256(data));
});

void t.test('an error of the descriptor is the answer', { skip }, async (t) => {
  const { fs, at } = mounted(t, { file: Buffer.from('data') });
  fs.session.publish(fs.node('file'), openSync('/', 'r'), true);
  const read = await run('cat', [at('file')]);
  t.match(read.stderr, /Is a directory/);
  for (const bs of [1, MiB]) {
    const written = await run('dd', [
      'if=/dev/zero',
      `of=${at('file')}`,
      'conv=notrunc',
      `bs=${bs}`,
      'count=1',
    ]);
    t.match(written.stderr, /Bad file descriptor/);
  }
});

void t.test(
  'without a descriptor JavaScript gets the request, and can have it served',
  { skip },
  async (t) => {
    const { fs, backing, at } = mounted(t, {
      a: Buffer.from('from JavaScript'),
      b: randomBytes(300_000),
    });
    t.equal((await run('cat', [at('a')])).stdout, 'from JavaScript');
    t.equal(fs.session.counts().get(Op.Read)?.[0], 0);

    fs.publish('b', false);
    let served = 0;
    fs.intercept = (opcode, slot) => {
      if (opcode !== Op.Write) return undefined;
      fs.publish('b', true);
      fs.session.serve(slot);
      served++;
      return 'held';
    };
    const input = randomBytes(300_000);
    writeFileSync(join(backing, 'input'), input);
    const copied = await run('dd', [
      `if=${join(backing, 'input')}`,
      `of=${at('b')}`,
      'conv=notrunc',
      'bs=100000',
    ]);
    t.equal(copied.status, 0, copied.stderr);
    t.equal(served, 1, 'only the first write came');
    t.equal(sha256(readFileSync(join(backing, 'b'))), sha256(input));
  },
);

void t.test('many clients at once', { skip }, async (t) => {
  const data = Object.fromEntries(
    ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => [name, randomBytes(4 * MiB)]),
  );
  const names = Object.keys(data);
  const { fs, backing, at } = mounted(t, {
    ...data,
    ...Object.fromEntries(names.map((name) => [`${name}-out`, new Uint8Array(0)])),
  });
  for (const name of names) {
    fs.publish(name, false);
    fs.publish(`${name}-out`, true);
  }
  const outcomes = await Promise.all(
    names.map((name) => run('dd', [`if=${at(name)}`, `of=${at(`${name}-out`)}`, 'bs=256k'])),
  );
  for (const outcome of outcomes) t.equal(outcome.status, 0, outcome.stderr);
  for (const name of names)
    t.equal(
      sha256(readFileSync(join(backing, `${name}-out`))),
      sha256(data[name] as Uint8Array),
      name,
    );
});

void t.test(
  'descriptors are replaced and retired while transfers use them',
  { skip },
  async (t) => {
    const { fs, backing, at } = mounted(t, { in: randomBytes(8 * MiB), out: new Uint8Array(0) });
    fs.intercept = (opcode, slot) => {
      if (opcode !== Op.Read && opcode !== Op.Write) return undefined;
      fs.publish(opcode === Op.Read ? 'in' : 'out', true);
      fs.session.serve(slot);
      return 'held';
    };
    let round = 0;
    let running = true;
    const disturb = (): void => {
      if (!running) return;
      for (const name of ['in', 'out']) {
        if (round++ % 3 === 0) fs.publish(name, true);
        else fs.session.retire(fs.node(name));
      }
      setImmediate(disturb);
    };
    disturb();
    const before = descriptorCount();
    for (let i = 0; i < 4; i++) {
      const copied = await run('dd', [
        `if=${at('in')}`,
        `of=${at('out')}`,
        'bs=200k',
        'iflag=direct',
      ]);
      t.equal(copied.status, 0, copied.stderr);
      t.equal(
        sha256(readFileSync(join(backing, 'out'))),
        sha256(readFileSync(join(backing, 'in'))),
      );
    }
    running = false;
    t.ok(round > 0);
    fs.session.retire(fs.node('in'));
    fs.session.retire(fs.node('out'));
    t.ok(descriptorCount() <= before + 2, 'no descriptor is left behind');
  },
);

void t.test('timers and thread-pool work go on, with requests and without', { skip }, async (t) => {
  const { fs, at } = mounted(t, {});
  // A timer and work of the thread pool: that they end is what is tested, here and below.
  await new Promise((resolve) => setTimeout(resolve, 5));
  await stat('/');
  t.pass('idle');

  const client =
    'const fs = require("fs"); for (let i = 0; i < 20000; i++) fs.existsSync(`${process.argv[1]}/${i}`)';
  let finished = false;
  const done = runScript(client, [fs.mountpoint]).then((outcome) => {
    finished = true;
    return outcome;
  });
  const lookups = (): number => fs.session.counts().get(Op.Lookup)?.[1] ?? 0;
  let turns = 0;
  while (!finished) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    await stat('/');
    if (lookups() > 0 && lookups() < 20000) turns++;
  }
  t.equal((await done).status, 0);
  t.ok(lookups() >= 20000);
  t.ok(turns > 10, `${turns} turns of the event loop while requests streamed`);
  t.match((await run('stat', [at('none')])).stderr, /No such file/);
});

void t.test('a malformed answer becomes EIO', { skip }, async (t) => {
  const { fs, at } = mounted(t, { file: Buffer.from('x') });
  // A body that is too short, one that is too long, errors that the kernel does not take.
  for (const result of [7, 4000, -600, -4000]) {
    fs.intercept = (opcode) => (opcode === Op.Lookup ? result : undefined);
    t.match((await run('stat', [at('file')])).stderr, /Input\/output error/, `result ${result}`);
  }
  fs.intercept = () => undefined;
  t.equal((await run('stat', [at('file')])).status, 0);
});

void t.test('a slot is answered once', { skip }, async (t) => {
  const { fs, at } = mounted(t, { file: Buffer.from('x') });
  const { session } = fs;
  let held = -1;
  const seen = new Promise<void>((resolve) => {
    fs.intercept = (opcode, slot) => {
      if (opcode !== Op.Lookup) return undefined;
      held = slot;
      resolve();
      return 'held';
    };
  });
  const client = run('stat', [at('file')]);
  await seen;
  t.throws(
    () => {
      session.serve(held);
    },
    { code: 'ERR_SLOT' },
  );
  t.throws(
    () => {
      session.answer(held, session.replySize + 1);
    },
    { code: 'ERR_OUT_OF_RANGE' },
  );
  session.answer(held, -13);
  for (const slot of [held, -1, -2, 64, 2 ** 31]) {
    t.throws(
      () => {
        session.answer(slot, 0);
      },
      { code: 'ERR_SLOT' },
    );
    t.throws(
      () => {
        session.release(slot);
      },
      { code: 'ERR_SLOT' },
    );
  }
  t.throws(() => session.next(held, 0), { code: 'ERR_SLOT' });
  t.match((await client).stderr, /Permission denied/);
});

void t.test('more requests than slots wait in the kernel', { skip }, async (t) => {
  const { fs } = mounted(t, {});
  const held: number[] = [];
  const full = new Promise<void>((resolve) => {
    fs.intercept = (opcode, slot) => {
      if (opcode !== Op.Lookup) return undefined;
      held.push(slot);
      if (held.length === 64) resolve();
      return 'held';
    };
  });
  const client = `let left = 100;
    for (let i = 0; i < 100; i++) require('fs').stat(process.argv[1] + '/' + i, (e) => { if (e.code === 'ENOENT') left--; });
    process.on('exit', () => { process.exitCode = left; });`;
  const done = runScript(client, [fs.mountpoint], { UV_THREADPOOL_SIZE: '100' });
  await full;
  await stat('/');
  t.equal(new Set(held).size, 64);
  t.equal(fs.session.slots.length, 64);
  fs.intercept = () => undefined;
  for (const slot of held) fs.session.answer(slot, -2);
  t.equal((await done).status, 0);
});

void t.test('names and data are invalidated', { skip }, async (t) => {
  const { fs, backing, at } = mounted(t, { file: Buffer.from('old') });
  fs.entryTimeout = 3600;
  const lookups = (): number => fs.session.counts().get(Op.Lookup)?.[1] ?? 0;
  t.equal((await run('cat', [at('file')])).stdout, 'old');
  const first = lookups();
  await run('stat', [at('file')]);
  t.equal(lookups(), first, 'the name is cached');
  fs.session.invalidateEntry(1, 'file' as Parameters<typeof fs.session.invalidateEntry>[1]);
  while (lookups() === first) await run('stat', [at('file')]);

  writeFileSync(join(backing, 'file'), 'new');
  fs.session.invalidateNode(fs.node('file'), 0, 0);
  while ((await run('cat', [at('file')])).stdout !== 'new');
  t.pass('both arrived');
});

void t.test('unmounting ends the loop, and nothing is left open', { skip }, async (t) => {
  const before = descriptorCount();
  const { fs, at } = mounted(t, { file: randomBytes(MiB) });
  fs.publish('file', true);
  await run('dd', ['if=/dev/zero', `of=${at('file')}`, 'bs=1M', 'count=4']);
  fs.session.invalidateNode(fs.node('file'), 0, 0);
  t.equal(fs.unmount(), 0);
  await fs.unmounted;
  t.equal(fs.session.next(-1, 0), -2);
  fs.session.close();
  fs.session.close();
  t.equal(fs.session.next(-1, 0), -2);
  fs.session.answer(0, 0);
  fs.session.invalidateNode(1, 0, 0);
  fs.session.publish(9, openSync('/', 'r'), false);
  t.equal(descriptorCount(), before);
});

void t.test(
  'close does not wait for ever for a notification that waits for a request',
  { skip },
  async (t) => {
    const { fs, at } = mounted(t, {});
    const seen = new Promise<void>((resolve) => {
      fs.intercept = (opcode) => {
        if (opcode !== Op.Mkdir) return undefined;
        resolve();
        return 'held';
      };
    });
    const client = run('mkdir', [at('directory')]);
    await seen;
    // The directory's lock is held by mkdir(2), which waits for an answer that does not come.
    for (let i = 0; i < 8; i++)
      fs.session.invalidateEntry(1, 'name' as Parameters<typeof fs.session.invalidateEntry>[1]);
    await stat('/');
    fs.session.close();
    t.not((await client).status, 0);
  },
);

void t.test('a descriptor comes over a socket', async (t) => {
  const before = descriptorCount();
  const pair = sessions.socketpair();
  if (typeof pair === 'number') throw new Error(`socketpair: errno ${-pair}`);
  const [ours, theirs] = pair;
  t.match(
    readFileSync(`/proc/self/fdinfo/${ours}`, 'latin1'),
    /flags:\s+0[0-7]*2\d{6}\b/,
    'ours is close-on-exec',
  );
  closeSync(theirs);
  t.equal(sessions.receiveFd(ours), -104, 'ECONNRESET');
  closeSync(ours);
  t.equal(sessions.receiveFd(ours), -9, 'EBADF');
  t.equal(descriptorCount(), before);
});

void t.test('fusermount3 sends the device', { skip }, async (t) => {
  const mountpoint = mkdtempSync(join(tmpdir(), 'plyfs-fusermount-'));
  const pair = sessions.socketpair();
  if (typeof pair === 'number') throw new Error(`socketpair: errno ${-pair}`);
  const [ours, theirs] = pair;
  const child = spawn('fusermount3', ['--', mountpoint], {
    stdio: ['ignore', 'ignore', 'inherit', theirs],
    env: { ...process.env, _FUSE_COMMFD: '3' },
  });
  t.teardown(() => {
    sys.umount2(bytesOf(mountpoint), 2);
    rmSync(mountpoint, { recursive: true });
  });
  const status = await new Promise<number | null | Error>((resolve) =>
    child.on('close', resolve).on('error', resolve),
  );
  closeSync(theirs);
  if (status instanceof Error) {
    closeSync(ours);
    t.comment('fusermount3 is not installed');
    return;
  }
  t.equal(status, 0);
  const device = sessions.receiveFd(ours);
  closeSync(ours);
  t.ok(device >= 0, `descriptor ${device}`);
  const session = sessions.open(device, MAX_WRITE);
  const slot = session.next(-1, 0);
  t.equal(new Uint32Array(session.slots[slot] as ArrayBuffer, 0, 2)[1], Op.Init);
  session.close();
});

void t.test('what cannot be a session is refused', (t) => {
  t.throws(() => sessions.open(-1, MAX_WRITE), { code: 'ERR_DESCRIPTOR' });
  t.throws(() => sessions.open(0, 5), { code: 'ERR_OUT_OF_RANGE' });
  t.end();
});
