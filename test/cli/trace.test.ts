/** Following what a mount does: `ply trace` on any mount, `plyfs -o trace=` from its beginning. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import type { Test } from 'tap';
import { textOf, type ByteString } from '../../src/base/bytes.js';
import { askStack, followMount } from '../../src/mount/control-client.js';
import { socketPrefix } from '../../src/host/mount-server.js';
import { runtimeDirectory } from '../../src/host/runtime-directory.js';
import { ended, outcomeOf, run, succeed } from '../support/command.js';
import { daemonsOf, mountAt } from '../support/mounts.js';
import { foreground, layers, plyfs, type Layers } from '../support/plyfs.js';
import { ply, plyProgram } from '../support/ply.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

interface Event {
  readonly type: string;
  readonly path: string;
  readonly layer?: number | null;
  readonly bytes?: number;
  readonly microseconds?: number;
  readonly time: string;
}

/** What each kind of event needs. */
async function scene(t: Test): Promise<Layers> {
  const made = await layers(t);
  for (const name of ['dir', 'full']) mkdirSync(join(made.bottom, name));
  writeFileSync(join(made.bottom, 'dir/file'), 'twelve bytes');
  return made;
}

const CHANGES =
  'cat dir/file; echo more >>dir/file; rm low; rmdir full; mkdir full; cat absent; perl -e \'rename("dir", "other")\'; exit 0';

const wanted = [
  { type: 'lookup', path: '/dir', layer: 2 },
  { type: 'lookup', path: '/dir/file', layer: 2 },
  { type: 'copy-up', path: '/dir', layer: 2, bytes: 0 },
  { type: 'copy-up', path: '/dir/file', layer: 2, bytes: 12 },
  { type: 'lookup', path: '/low', layer: 2 },
  { type: 'whiteout', path: '/low' },
  { type: 'lookup', path: '/full', layer: 2 },
  { type: 'whiteout', path: '/full' },
  { type: 'opaque', path: '/full' },
  { type: 'lookup', path: '/absent', layer: null },
  { type: 'exdev', path: '/dir' },
];

/** In their order, whatever else was looked up between. */
function hasAll(t: Test, events: readonly Event[]): void {
  let at = 0;
  for (const event of wanted) {
    const found = events.findIndex(
      (each, i) =>
        i >= at &&
        Object.entries(event).every(([key, value]) => each[key as keyof Event] === value),
    );
    t.ok(found >= 0, `${event.type} ${event.path}, after ${at} others`);
    if (found >= 0) at = found + 1;
  }
  for (const { microseconds } of events.filter(({ type }) => type === 'copy-up'))
    t.ok(microseconds! > 0, 'a copy-up takes its time');
}

/** Resolves when it is following. */
async function follow(
  t: Test,
  ...words: string[]
): Promise<{ child: ChildProcess; lines: () => Promise<string[]> }> {
  const child = spawn(plyProgram, ['trace', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  const outcome = outcomeOf(child);
  if (!words.includes('json')) await once(child.stderr, 'data');
  return {
    child,
    lines: async () =>
      textOf((await outcome).stdout as ByteString)
        .split('\n')
        .slice(0, -1),
  };
}

const parsed = (lines: readonly string[]): Event[] =>
  lines.map((line) => JSON.parse(line) as Event);

t.test('ply trace follows a mount until that ends', async (t) => {
  const { mountpoint, options } = await scene(t);
  await plyfs('-o', options, mountpoint);
  const [daemon] = daemonsOf(mountpoint);
  const one = await follow(t, mountpoint);
  const other = await follow(t, `${mountpoint}/dir`);
  await succeed(['sh', '-c', CHANGES], { cwd: mountpoint });
  await succeed(['umount', mountpoint]);
  const lines = await one.lines();
  t.match(lines.join('\n'), /^lookup \/dir\/file: layer 2$/m);
  t.match(lines.join('\n'), /^copy-up \/dir\/file: 12 bytes from layer 2, \d+ µs$/m);
  for (const line of ['whiteout /low', 'opaque /full', 'lookup /absent: nothing there'])
    t.ok(lines.includes(line), line);
  t.match(lines.join('\n'), /^exdev \/dir: /m);
  t.equal(
    (await other.lines()).filter((line) => line === 'whiteout /low').length,
    1,
    'several may listen',
  );
  await ended(daemon!);
  t.same(
    readdirSync(runtimeDirectory()).filter((name) => name.endsWith(`-${daemon!}`)),
    [],
    'its socket has gone with it',
  );
});

t.test('ply trace --format json, and Ctrl-C', async (t) => {
  const { mountpoint, options } = await scene(t);
  await plyfs('-o', options, mountpoint);
  const child = spawn(plyProgram, ['trace', '--format', 'json', mountpoint], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  // It follows from some moment on: something happens again and again until it is told of.
  let running = true;
  const busy = (async () => {
    for (let i = 0; running; i++) await run(['cat', join(mountpoint, `nothing${i}`)]);
  })();
  let first: IteratorResult<string>;
  try {
    first = await lines.next();
  } finally {
    running = false;
    await busy;
  }
  t.match(JSON.parse(first.value as string), {
    type: 'lookup',
    layer: null,
    path: /^\/nothing\d+$/,
    time: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/,
  });
  await succeed(['sh', '-c', CHANGES], { cwd: mountpoint });
  const events: Event[] = [];
  for (let line = await lines.next(); line.done !== true; line = await lines.next()) {
    events.push(JSON.parse(line.value) as Event);
    if (events.at(-1)!.type === 'exdev') break;
  }
  hasAll(t, events);
  child.kill('SIGINT');
  const [status] = (await once(child, 'close')) as [number];
  t.equal(status, 130);
  t.match(await run(['cat', join(mountpoint, 'both')]), { stdout: 'top\n' }, 'the mount goes on');
});

t.test('-o trace=FILE, from the beginning, appended', async (t) => {
  const { directory, mountpoint, options } = await scene(t);
  const file = `${directory}/a, b`;
  writeFileSync(file, 'what was there\n');
  t.match(await plyfs('-o', `${options},trace=${directory}/a\\, b,trace_format=json`, mountpoint), {
    status: 0,
    stderr: '',
  });
  const [daemon] = daemonsOf(mountpoint);
  await succeed(['sh', '-c', CHANGES], { cwd: mountpoint });
  await succeed(['umount', mountpoint]);
  await ended(daemon!);
  const [before, ...lines] = readFileSync(file, 'utf8').trim().split('\n');
  t.equal(before, 'what was there');
  hasAll(t, parsed(lines));
  t.match(await plyfs('-o', `lowerdir=${directory}/top,trace=${directory}/none/file`, mountpoint), {
    status: 1,
    stderr: /none\/file/,
  });
  t.equal(mountAt(mountpoint), undefined);
});

t.test('-o trace=- stays in the foreground', async (t) => {
  const { mountpoint, options } = await scene(t);
  const outcome = outcomeOf(
    await foreground(t, mountpoint, [mountpoint, '-o', options, '-o', 'rw,trace=-']),
  );
  // Names that would steer a terminal, or break the line.
  await succeed(['sh', '-c', 'ls; touch "$(printf "x\\ny\\033[1m")"; rm low'], { cwd: mountpoint });
  await succeed(['umount', mountpoint]);
  const { status, stdout } = await outcome;
  t.equal(status, 0);
  t.match(stdout, /^lookup \/dir: layer 2\n/m, 'a directory that came with a listing');
  t.match(stdout, /^whiteout \/low$/m);
  t.match(stdout, /^lookup "\/x\\ny\\u001b\[1m": nothing there$/m);
});

t.test('a slow listener does not hold up the mount, and is told what it missed', async (t) => {
  const { mountpoint, options } = await scene(t);
  await plyfs('-o', options, mountpoint);
  const entry = mountAt(mountpoint)!;
  const { pid } = await askStack(entry);
  const socket = connect(join(runtimeDirectory(), `${socketPrefix(entry.device)}${pid}`));
  t.teardown(() => socket.destroy());
  socket.write('trace\n');
  await once(socket, 'readable');
  // More than the socket and the queue hold, while nothing is read; each name is looked up once.
  const name = 'n'.repeat(230);
  await succeed(['perl', '-e', `-e "${mountpoint}/${name}$_" for 1 .. 25000`]);
  await succeed(['cat', join(mountpoint, 'both')]);
  let lost = 0;
  let told = 0;
  for await (const line of createInterface({ input: socket })) {
    const message = JSON.parse(line) as { lost?: number; event?: { path: string } };
    lost += message.lost ?? 0;
    if (message.event?.path.includes(name) === true) told++;
    if (lost > 0) break;
  }
  t.ok(lost > 0 && told > 0, `${told} told, ${lost} lost`);
  t.equal(told + lost >= 25000, true, 'none is forgotten');
});

t.test('who asks wrongly is not heard, and a false answer is not believed', async (t) => {
  const { mountpoint, options } = await scene(t);
  await plyfs('-o', options, mountpoint);
  const entry = mountAt(mountpoint)!;
  const { pid, layers: stack } = await askStack(entry);
  t.match(stack, [{ index: 0 }, { index: 1 }, { index: 2 }]);
  const path = join(runtimeDirectory(), `${socketPrefix(entry.device)}${pid}`);
  for (const words of ['', '\n', 'secrets\n', 'x'.repeat(100_000), '{"a":1}\n', 'stack']) {
    const socket = connect(path);
    socket.on('error', () => undefined);
    socket.end(words);
    let said = '';
    socket.on('data', (piece: Buffer) => (said += piece.toString()));
    await new Promise((resolve) => socket.once('close', resolve));
    t.equal(said, '', JSON.stringify(words.slice(0, 20)));
  }
  t.equal((await askStack(entry)).pid, pid, 'it still answers');

  const device = '0:999999999';
  const answers = [
    '{}',
    'x',
    '[]',
    'null',
    '{"pid":1,"mountpoint":"/","layers":[]}',
    '{"pid":1,"mountpoint":"/","layers":[{"index":0,"path":5}]}',
  ];
  const heard = new Set<string>();
  for (const [i, answer] of answers.entries()) {
    const liar = createServer((socket) => {
      heard.add(answer);
      socket.on('error', () => undefined);
      socket.resume().end(`${answer}\n`);
    });
    t.teardown(() => liar.close());
    await new Promise<void>((resolve) =>
      liar.listen(join(runtimeDirectory(), `${socketPrefix(device)}${i}`), resolve),
    );
  }
  await t.rejects(askStack({ ...entry, device }), { code: 'mount-silent' });
  t.equal(heard.size, answers.length);
  const aborted = AbortSignal.abort();
  const { told } = await followMount(entry, aborted);
  for await (const one of told) t.fail(`told ${JSON.stringify(one)}`);
});

t.test(
  "root follows and explains an ordinary user's mount; another user does not",
  { skip: !isRoot && 'needs root to become another' },
  async (t) => {
    openFuseDevice(t);
    const base = await workspace(t, 'lower', 'mnt');
    writeFileSync(join(base, 'lower/file'), 'x');
    for (const name of ['.', 'lower', 'mnt']) chownSync(join(base, name), NOBODY, NOBODY);
    const program = copyProgram(base);
    const mounting = [...asNobody, 'env', '-u', 'XDG_RUNTIME_DIR', `${program}/bin/plyfs`];
    await succeed([...mounting, '-o', `lowerdir=${base}/lower`, `${base}/mnt`]);
    const own = await run([
      ...asNobody,
      'env',
      '-u',
      'XDG_RUNTIME_DIR',
      `${program}/bin/ply`,
      'explain',
      `${base}/mnt/file`,
    ]);
    t.match(own, { status: 0, stdout: /^\/file: a file of 1 byte\n/ });
    t.match(await ply('explain', `${base}/mnt/file`), {
      status: 0,
      stdout: /^\/file: a file of 1 byte\n/,
    });
    const other = [
      'setpriv',
      '--reuid=12345',
      '--regid=12345',
      '--clear-groups',
      'env',
      '-u',
      'XDG_RUNTIME_DIR',
    ];
    t.match(await run([...other, `${program}/bin/ply`, 'explain', `${base}/mnt/file`]), {
      status: 1,
    });
  },
);
