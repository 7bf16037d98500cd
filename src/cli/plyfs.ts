/**
 * The program `plyfs`: mounts one union, serves it, and ends with it.
 *
 * Started by bin/plyfs with two words of its own before the user's. The first is `attached`, when
 * stdout and stderr are the user's from beginning to end; or `detached`, when stderr is a pipe on
 * which a shell waits for sentences and for a last line `status N`: this process is then the daemon
 * already, and lets go of the pipe when the mount answers. Behind commas follow the numbers of
 * other descriptors that the caller had open, which it lets go of as well. The second word is the
 * name under which the program was called.
 */
import { subscribe } from 'node:diagnostics_channel';
import { closeSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { messageOf } from '../base/error.js';
import { errnoName } from '../base/errno.js';
import type { MountedUnion } from '../mount/mount-union.js';
import type { RequestTrace } from '../fuse/connection.js';
import type { UnexpectedError } from '../fuse/dispatcher.js';
import { parsePlyfsArguments, type MountCommand } from './plyfs-arguments.js';
import { rawArguments } from './raw-arguments.js';
import { exitStatusOf, reportLine } from './report.js';
import { forTerminal } from './terminal-text.js';

const [start = '', calledAs = 'plyfs', ...words] = rawArguments();
const [mode, ...inherited] = start.split(',');
const program = textOf(calledAs.slice(calledAs.lastIndexOf('/') + 1) as ByteString);
const asFuseOverlayfs = program === 'fuse-overlayfs';

/**
 * Where sentences go: the user's stderr, the pipe until the mount answers, afterwards the kernel's
 * log if we may write it.
 */
let out: number | null = 2;
let waitedFor = mode === 'detached';

function say(sentence: unknown): void {
  if (out === null) return;
  try {
    const line = reportLine(program, sentence);
    // What a daemon says is shown by the shell that waits for it, or read in the kernel's log.
    writeSync(out, mode === 'detached' || isatty(out) ? forTerminal(line) : line);
  } catch {
    // Whoever listened has gone.
  }
}

/**
 * The last line for whoever waits. The wait ends when the pipe is closed: by `letGo`, or with the
 * process.
 */
function tellStatus(status: number): void {
  if (!waitedFor) return;
  waitedFor = false;
  try {
    writeSync(2, `status ${status}\n`);
  } catch {
    // Nobody waits.
  }
}

/** Has whoever started this daemon go on. */
function letGo(): void {
  if (!waitedFor) return;
  for (const fd of inherited) closeSync(Number(fd));
  tellStatus(0);
  // /dev/null gets the lowest free descriptor, which is 2 again.
  closeSync(2);
  openSync('/dev/null', 'w');
  try {
    out = openSync('/dev/kmsg', 'w');
  } catch {
    out = null;
  }
}

function end(status: number): never {
  tellStatus(status);
  process.exit(status);
}

function fail(error: unknown): never {
  say(error);
  end(exitStatusOf(error));
}

/**
 * Timers and limits that the caller set for itself, and what it tells its own programs, end no
 * mount. Node ignores SIGPIPE and SIGXFSZ.
 */
const othersSignals = [
  'SIGALRM',
  'SIGVTALRM',
  'SIGPROF',
  'SIGUSR2',
  'SIGXCPU',
  'SIGIO',
  'SIGPWR',
] as const;

function traceLine({ operation, node, name, result, micros }: RequestTrace): string {
  const what = name === null ? '' : ` ${JSON.stringify(textOf(name as ByteString))}`;
  const answer = result === null ? '-' : result < 0 ? errnoName(-result) : `${result} bytes`;
  return `${operation} ${node}${what}: ${answer}, ${micros.toFixed(0)} µs\n`;
}

async function mount(command: MountCommand): Promise<void> {
  const [{ isRemount, parseMountOptions }, { mountUnion }, { answerQuestions, openEar }, { sys }] =
    await Promise.all([
      import('../mount/mount-options.js'),
      import('../mount/mount-union.js'),
      import('../mount/control-socket.js'),
      import('../sys/index.js'),
    ]);
  if (isRemount(command.options)) {
    const { remount } = await import('../mount/remount.js');
    await remount(command.mountpoint, command.options, {
      subtype: asFuseOverlayfs ? program : 'plyfs',
      warn: say,
    });
    return;
  }
  sys.setProcessName(bytesOf(program));
  const parsed = parseMountOptions(command.options);
  for (const sentence of parsed.ignored) say(sentence);
  const debug = command.debug || parsed.debug;

  const served: { mounted?: MountedUnion } = {};
  let signalled = 0;
  const stop = (): void => {
    signalled++;
    if (served.mounted === undefined) return;
    // Asked again: what still has files open loses them.
    if (signalled > 1) process.exit(1);
    unmount(served.mounted).catch(fail);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
  for (const signal of othersSignals) process.on(signal, () => undefined);
  // Node would start its debugger.
  process.on('SIGUSR1', () => {
    if (served.mounted !== undefined && mode === 'attached')
      writeSync(2, served.mounted.statistics());
  });
  process.on('uncaughtException', (error) => {
    ended(served.mounted, error);
  });
  process.on('unhandledRejection', (error) => {
    ended(served.mounted, error);
  });
  subscribe('plyfs:fuse:error', (message) => {
    const { operation, node, error } = message as UnexpectedError;
    say(
      `internal error in ${operation} of node ${node}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  });

  const trace =
    parsed.tracing === undefined
      ? undefined
      : (await import('./trace-file.js')).traceTo(parsed.tracing, say);
  const ear = openEar();
  const { lowers, ...union } = parsed.union;
  const mounted = await mountUnion({
    ...parsed,
    union: {
      ...union,
      lowers: asFuseOverlayfs
        ? lowers.map((layer) => ({ form: 'aufs' as const, ...layer }))
        : lowers,
    },
    mount: {
      ...(command.source === undefined ? {} : { fsname: command.source }),
      ...(asFuseOverlayfs ? { fsname: bytesOf(program), subtype: bytesOf(program) } : {}),
      ...parsed.mount,
    },
    mountpoint: command.mountpoint,
    warn: say,
    ...(debug ? { trace: (request: RequestTrace) => void writeSync(2, traceLine(request)) } : {}),
  });
  served.mounted = mounted;
  // A daemon keeps no directory busy.
  process.chdir('/');
  letGo();
  const stopAnswering =
    ear === undefined
      ? undefined
      : answerSoon(() =>
          answerQuestions(ear, {
            mountpoint: mounted.mountpoint,
            layers: mounted.layers,
            leave: () => void unmount(mounted).catch(fail),
          }),
        );
  try {
    if (signalled > 0) await unmount(mounted);
    await mounted.closed;
    if (debug) writeSync(2, mounted.statistics());
  } finally {
    await stopAnswering?.();
    await trace?.end();
  }
}

/** Milliseconds. */
const FIRST_REQUESTS = 100;

/**
 * Once the first requests are answered: getting ready to listen takes some milliseconds, and the
 * mount works without.
 */
function answerSoon(answer: () => Promise<() => void>): () => Promise<void> {
  let answering: Promise<(() => void) | undefined> | undefined;
  const timer = setTimeout(() => {
    answering = answer().catch(() => undefined);
  }, FIRST_REQUESTS);
  timer.unref();
  return async () => {
    clearTimeout(timer);
    (await answering)?.();
  };
}

async function unmount(mounted: MountedUnion): Promise<void> {
  try {
    await mounted.unmount();
  } catch {
    // Busy. It leaves the tree now, and `closed` settles when the last file is closed.
    await mounted.unmount({ lazy: true });
  }
}

/**
 * Something went wrong that nobody caught. The mount goes with the process: a mount that answers
 * nothing wedges whoever looks at it.
 */
function ended(mounted: MountedUnion | undefined, error: unknown): void {
  say(
    `internal error: ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}`,
  );
  const exit = (): never => end(1);
  if (mounted === undefined) exit();
  else mounted.unmount({ lazy: true }).then(exit, exit);
}

try {
  const command = parsePlyfsArguments(words);
  switch (command.kind) {
    case 'help':
    case 'version': {
      const { helpText, versionText } = await import('./plyfs-text.js');
      writeSync(1, command.kind === 'help' ? helpText : versionText(asFuseOverlayfs));
      break;
    }
    case 'mount':
      await mount(command);
  }
  end(0);
} catch (error) {
  fail(error);
}
