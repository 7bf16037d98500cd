/**
 * Standard streams of a container: what goes through them, how they end, and that nothing the
 * caller has open goes in.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { openDataRoot } from '../../src/engine/data-root.js';
import { runContainer } from '../../src/engine/containers/run.js';
import { bytesOf } from '../../src/base/bytes.js';
import { StandardStreams, type SandboxStreams } from '../../src/runtime/standard-streams.js';
import { sys } from '../../src/sys/index.js';
import { outcomeOf } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyOn, plyProgram } from '../support/ply.js';

t.setTimeout(120_000);

/** Runs `script` with such streams, as a sandbox would be started. */
function started(
  t: Test,
  streams: SandboxStreams,
  script: string,
): { child: ChildProcess; standard: StandardStreams; exited: Promise<unknown> } {
  const standard = new StandardStreams(streams);
  const child = standard.throughPipes((input, output, errors) =>
    spawn('sh', ['-c', script], { stdio: [input ?? 'ignore', output, errors] }),
  );
  t.teardown(() => child.kill('SIGKILL'));
  return { child, standard, exited: once(child, 'exit') };
}

async function through(t: Test, streams: SandboxStreams, script: string): Promise<number | null> {
  const { standard, exited } = started(t, streams, script);
  const [status] = (await exited) as [number | null];
  await standard.finish();
  return status;
}

function pipe(t: Test): [read: number, write: number] {
  const ends = sys.pipe() as [number, number];
  t.teardown(() => void ends.map((fd) => sys.close(fd)));
  return ends;
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Keeps what comes in `pieces`. */
function into(pieces: Buffer[]): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      pieces.push(chunk);
      done();
    },
  });
}

const nowhere = (): Writable => into([]);

t.test('bytes go through as they are', async (t) => {
  const directory = await temporaryDirectory(t);
  const [from, to] = [join(directory, 'from'), join(directory, 'to')];
  const bytes = randomBytes(5 << 20);
  writeFileSync(from, bytes);
  const [input, output] = [openSync(from, 'r'), openSync(to, 'w')];
  t.equal(await through(t, { stdin: input, stdout: output, stderr: 2 }, 'cat'), 0);
  for (const fd of [input, output]) closeSync(fd);
  t.equal(digest(readFileSync(to)), digest(bytes), 'from a file and into one');

  const pieces: Buffer[] = [];
  const taking = into(pieces);
  t.equal(
    await through(
      t,
      {
        stdin: Readable.from([bytes.subarray(0, 1), bytes.subarray(1)]),
        stdout: taking,
        stderr: 2,
      },
      'cat',
    ),
    0,
  );
  t.equal(digest(Buffer.concat(pieces)), digest(bytes), 'from a stream and into one');
  t.notOk(taking.writableEnded, 'which is not ended');
});

t.test('a reader that is slow holds the writer up, and nothing piles up', async (t) => {
  let most = 0;
  let total = 0;
  const slow: Writable = new Writable({
    highWaterMark: 16 << 10,
    write: (chunk: Buffer, _encoding, done) => {
      total += chunk.length;
      most = Math.max(most, slow.writableLength);
      setImmediate(done);
    },
  });
  const size = 32 << 20;
  t.equal(await through(t, { stdout: slow, stderr: 2 }, `head -c ${size} /dev/zero`), 0);
  t.equal(total, size);
  // Its own mark, and the piece in which a stream reads.
  t.ok(most <= (16 << 10) + (64 << 10), `${most} bytes were held at once`);
});

t.test('a reader that has gone ends the writer', async (t) => {
  const [read, write] = sys.pipe() as [number, number];
  sys.close(read);
  t.not(
    await through(t, { stdout: write, stderr: 2 }, 'while echo x; do :; done 2>/dev/null; exit 1'),
    0,
    'of a descriptor',
  );
  sys.close(write);
  const gone = new Writable({
    write: (_chunk, _encoding, done) => {
      done(Object.assign(new Error('gone'), { code: 'EPIPE' }));
    },
  });
  t.not(
    await through(t, { stdout: gone, stderr: 2 }, 'while echo x; do :; done 2>/dev/null; exit 1'),
    0,
    'of a stream',
  );
});

t.test('what cannot be passed on is told', async (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  await t.rejects(through(t, { stdout: full, stderr: nowhere() }, 'echo x'), {
    code: 'stream-failed',
    message: /output .*ENOSPC/,
  });
  const directory = openSync('/', 'r');
  t.teardown(() => closeSync(directory));
  await t.rejects(through(t, { stdin: directory, stdout: nowhere(), stderr: 2 }, 'cat'), {
    code: 'stream-failed',
    message: /input .*EISDIR/,
  });
});

t.test('input that goes on is left where it is when the program has ended', async (t) => {
  const [read, write] = pipe(t);
  t.equal(await through(t, { stdin: read, stdout: nowhere(), stderr: 2 }, 'exit 0'), 0);
  writeFileSync(write, 'later');
  const left = Buffer.alloc(8);
  t.equal(readSync(read, left), 5);
  t.equal(left.toString('utf8', 0, 5), 'later');
  const endless = new PassThrough();
  endless.write('x');
  t.equal(await through(t, { stdin: endless, stdout: nowhere(), stderr: 2 }, 'exit 0'), 0);
  t.notOk(endless.destroyed, 'a stream stays the caller’s');
});

t.test('the end of input reaches the program, and so does what comes before it', async (t) => {
  const taken: Buffer[] = [];
  t.equal(
    await through(
      t,
      { stdin: Readable.from(['a\n', 'b\n']), stdout: into(taken), stderr: 2 },
      'cat; echo end',
    ),
    0,
  );
  t.equal(Buffer.concat(taken).toString(), 'a\nb\nend\n');
});

t.test('a reader that does not read is not waited for when told so', async (t) => {
  const [, write] = pipe(t);
  // As much as it holds (pipe(7), "Pipe capacity").
  writeFileSync(write, Buffer.alloc(64 << 10));
  const { standard, exited } = started(t, { stdout: write, stderr: 2 }, 'echo x');
  await exited;
  standard.abandon();
  await standard.finish();
  t.pass('it returns');
});

t.test('errors and output that go to one place keep their order', async (t) => {
  const file = join(await temporaryDirectory(t), 'log');
  const [one, other] = [openSync(file, 'a'), openSync(file, 'a')];
  t.teardown(() => {
    for (const fd of [one, other]) closeSync(fd);
  });
  const script = 'i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done';
  t.equal(await through(t, { stdout: one, stderr: other }, script), 0);
  t.equal(readFileSync(file, 'utf8'), Array.from({ length: 200 }, (_, i) => `${i}\n`).join(''));
});

t.test('of a container', async (t) => {
  const directory = await temporaryDirectory(t);
  const dataRoot = join(directory, 'root');
  await plyOn(dataRoot)('import', '-q', await containerImage(directory), 'image:1');
  const words = ['--root', dataRoot, 'run', '--rm', 'image:1', 'sh', '-c'];

  await t.test('the file that its output goes to', async (t) => {
    const planted = join(directory, 'planted');
    const log = join(directory, 'log');
    writeFileSync(planted, '');
    chmodSync(planted, 0o644);
    writeFileSync(log, 'old\n');
    const script = `
      echo program; echo more >>/proc/self/fd/1; chmod 4755 /proc/self/fd/1 /proc/self/fd/0; chown 33 /proc/self/fd/1
      echo new >&2; echo rewritten >/proc/self/fd/2`;
    const [output, errors] = [openSync(planted, 'r+'), openSync(log, 'a')];
    const child = spawn(plyProgram, [...words, script], { stdio: ['ignore', output, errors] });
    for (const fd of [output, errors]) closeSync(fd);
    t.match(await outcomeOf(child), { status: 0 });
    t.equal((statSync(planted).mode & 0o7777).toString(8), '644', 'cannot be made set-id');
    t.equal(statSync(planted).uid, process.getuid?.());
    t.equal(readFileSync(planted, 'utf8'), 'program\nmore\n');
    t.equal(
      readFileSync(log, 'utf8'),
      'old\nnew\nrewritten\n',
      'and what is added to cannot be rewritten',
    );
  });

  await t.test('are pipes of its own', async (t) => {
    const file = openSync(join(directory, 'in'), 'w+');
    const child = spawn(
      plyProgram,
      [
        '--root',
        dataRoot,
        'run',
        '--rm',
        '-i',
        'image:1',
        'sh',
        '-c',
        'stat -L -c "%F %i" /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2',
      ],
      {
        stdio: [file, 'pipe', 'pipe'],
      },
    );
    const inodes = [1, 2].map((fd) => statSync(`/proc/${child.pid!}/fd/${fd}`).ino);
    closeSync(file);
    const { status, stdout } = await outcomeOf(child);
    t.equal(status, 0);
    const found = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
    t.same(
      found.map(([kind]) => kind),
      ['fifo', 'fifo', 'fifo'],
    );
    t.same(
      found.filter(([, inode]) => inodes.includes(Number(inode))),
      [],
      'and none is one of the caller’s',
    );
  });

  await t.test('may be streams of a program', async (t) => {
    const root = await openDataRoot({ root: dataRoot, write: true });
    t.teardown(() => root.close());
    const [output, errors]: Buffer[][] = [[], []];
    const status = await runContainer(root, 'image:1', {
      words: ['sh', '-c', 'cat; echo wrong >&2; exit 4'].map(bytesOf),
      remove: true,
      streams: { stdin: Readable.from(['to it\n']), stdout: into(output!), stderr: into(errors!) },
    });
    t.same(
      {
        status,
        output: Buffer.concat(output!).toString(),
        errors: Buffer.concat(errors!).toString(),
      },
      { status: 4, output: 'to it\n', errors: 'wrong\n' },
    );
  });
});
