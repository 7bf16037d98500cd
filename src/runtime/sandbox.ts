/**
 * Running a container from outside: the namespaces, whose ids they have, standard streams, signals,
 * the terminal, and how it ended. See plan.ts for the processes.
 *
 * Nothing outlives the process that called `runSandbox`, SIGKILL included: unshare(1) dies with it
 * (PR_SET_PDEATHSIG), process 1 of the PID namespace with unshare(1), and the rest with that; and
 * process 1 ends when the control socket is closed.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { sessions, sys } from '../sys/index.js';
import { failureOf, SandboxError } from './failure.js';
import { subordinateRanges, writeIdMaps, type IdRanges } from './id-maps.js';
import { eachMessage, lineOf } from './messages.js';
import type {
  IdMode,
  SandboxPlan,
  SignalMessage,
  SupervisorMessage,
  SupervisorPlan,
} from './plan.js';
import { StandardStreams, type SandboxStreams } from './standard-streams.js';

const supervisorProgram = fileURLToPath(new URL('./supervisor.js', import.meta.url));

export interface SandboxIds {
  readonly mode: IdMode;
  readonly ranges?: IdRanges;
}

/** What this user can have. `emulation`: whether the container is one that can be followed. */
export function chooseIds({ emulation }: { emulation: boolean }): SandboxIds {
  if (process.geteuid?.() === 0) return { mode: 'host' };
  const ranges = subordinateRanges();
  if (ranges !== undefined) return { mode: 'ranges', ranges };
  return { mode: emulation && sys.rootEmulationPossible() >= 0 ? 'emulated' : 'single' };
}

/** Signals that a container gets in the place of who runs it. */
const passedSignals = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
  'SIGWINCH',
] as const;
/**
 * Asked so often to end, a container that does not is ended, and a reader that does not read is not
 * waited for.
 */
const PATIENCE = 3;

/**
 * Runs the container to its end and returns what it ended with: its program's status, or 128 and
 * the number of the signal that ended it. What it wrote is passed on then. Throws SandboxError,
 * whose `status` is 125, 126 or 127, when the program was not started, and `stream-failed`.
 */
export async function runSandbox(
  plan: SandboxPlan,
  ids: SandboxIds,
  streams: SandboxStreams,
): Promise<number> {
  const standard = new StandardStreams(streams);
  // An OCI runtime has the terminal itself, and makes the container another.
  const terminal =
    plan.terminal === undefined || plan.runtime !== undefined ? undefined : sessions.socketpair();
  if (typeof terminal === 'number')
    throw new PlyfsError('sandbox-failed', `No socket can be had (${reasonOf(-terminal)}).`);
  const sandbox = start(plan, ids, streams, standard, terminal?.[1]);
  const { child } = sandbox;
  if (terminal !== undefined) sys.close(terminal[1]);
  const closed = once(child, 'close');
  closed.catch(() => undefined);
  const restore: (() => void)[] = [];
  try {
    await once(child, 'spawn').catch((error: unknown) => {
      throw new PlyfsError(
        'unshare-missing',
        'setpriv cannot be run: install the package util-linux.',
        { cause: error },
      );
    });
    return await follow(sandbox, plan, ids, streams, standard, terminal?.[0], restore);
  } finally {
    for (const undo of restore) undo();
    // It may still wait for either.
    for (const socket of [sandbox.control, sandbox.gate]) socket.destroy();
    await closed.catch(() => undefined);
    // Where it failed before, what is left of its streams.
    await standard.finish().catch(() => undefined);
    if (terminal !== undefined) sys.close(terminal[0]);
  }
}

interface Sandbox {
  readonly child: ChildProcess;
  readonly control: Socket;
  /** Written to when ids are there. */
  readonly gate: Socket;
}

function start(
  plan: SandboxPlan,
  ids: SandboxIds,
  { stdin, stdout, stderr }: SandboxStreams,
  standard: StandardStreams,
  terminal: number | undefined,
): Sandbox {
  const spawnWith = (...standardStreams: (number | 'ignore')[]): Sandbox => {
    const stdio: (number | 'ignore' | 'pipe')[] = standardStreams;
    const control = stdio.push('pipe') - 1;
    const gate = stdio.push('pipe') - 1;
    const words = [
      String(control),
      ...(terminal === undefined ? [] : [String(stdio.push(terminal) - 1)]),
    ];
    const child = spawn('setpriv', startWords(plan, ids, gate, words), { detached: true, stdio });
    return { child, control: child.stdio[control] as Socket, gate: child.stdio[gate] as Socket };
  };
  if (terminal !== undefined)
    return standard.errorsThroughPipe((errors) => spawnWith('ignore', 'ignore', errors));
  if (plan.terminal === undefined) {
    return standard.throughPipes((input, output, errors) =>
      spawnWith(input ?? 'ignore', output, errors),
    );
  }
  if (typeof stdin === 'object' || typeof stdout === 'object' || typeof stderr === 'object') {
    throw new PlyfsError(
      'streams-unusable',
      'An OCI runtime that makes a terminal needs descriptors for standard streams: leave the terminal or the runtime out.',
    );
  }
  return spawnWith(stdin ?? 'ignore', stdout, stderr);
}

/** `gate`: the descriptor that tells when ids are there; `words`: the supervisor's. */
function startWords(
  { network }: SandboxPlan,
  { mode }: SandboxIds,
  gate: number,
  words: readonly string[],
): string[] {
  // The shell waits until ids are mapped: execve(2) gives the capabilities of the namespace to its
  // root only. It takes the death signal away then, which is asked for again.
  return [
    ...['--pdeathsig', 'KILL', 'unshare'],
    ...(mode === 'host' ? [] : ['--user']),
    ...['--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child=KILL'],
    ...(network === 'none' ? ['--net'] : []),
    ...['--', 'sh', '-c', `read -r _ <&${gate} && exec ${gate}<&- "$@"`, 'sh'],
    ...['setpriv', '--pdeathsig', 'KILL', process.execPath, supervisorProgram, ...words],
  ];
}

async function follow(
  { child, control, gate }: Sandbox,
  plan: SandboxPlan,
  { mode, ranges }: SandboxIds,
  streams: SandboxStreams,
  standard: StandardStreams,
  terminal: number | undefined,
  restore: (() => void)[],
): Promise<number> {
  for (const stream of [control, gate]) stream.on('error', () => undefined);
  if (mode !== 'host') {
    await inUserNamespace(child);
    writeIdMaps(child.pid as number, ranges);
  }
  gate.write('\n');
  control.write(lineOf({ ...plan, input: standard.hasInput } satisfies SupervisorPlan));
  // A terminal that is resized here sends SIGWINCH by itself.
  passSignals(
    control,
    standard,
    terminal === undefined ? passedSignals : passedSignals.filter((name) => name !== 'SIGWINCH'),
    restore,
  );

  const ended = await new Promise<number | undefined>((resolve, reject) => {
    let status: number | undefined;
    eachMessage(control, (message) => {
      const said = message as SupervisorMessage;
      if ('failed' in said) reject(new SandboxError(said.failed));
      else if ('started' in said) {
        if (terminal !== undefined)
          attachTerminal(sessions.receiveFd(terminal), streams, standard, restore);
      } else {
        status = statusOf(said.exited, said.signal);
      }
    });
    child.once('exit', () => resolve(status));
  });
  await standard.finish();
  if (ended === undefined)
    throw new SandboxError(
      failureOf(new PlyfsError('sandbox-failed', 'The container was ended from outside.')),
    );
  return ended;
}

/** unshare(1) has made its namespaces when it has a user namespace other than ours. */
async function inUserNamespace(child: ChildProcess): Promise<void> {
  const { readlinkSync } = await import('node:fs');
  const own = readlinkSync('/proc/self/ns/user');
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new PlyfsError(
        'user-namespaces-denied',
        'No user namespace can be had: an ordinary user must be allowed to make them here.',
      );
    }
    try {
      if (readlinkSync(`/proc/${child.pid as number}/ns/user`) !== own) return;
    } catch {
      // It has just ended.
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function passSignals(
  control: Socket,
  standard: StandardStreams,
  names: readonly NodeJS.Signals[],
  restore: (() => void)[],
): void {
  let asked = 0;
  for (const name of names) {
    const pass = (): void => {
      const ends = name === 'SIGINT' || name === 'SIGTERM' || name === 'SIGHUP';
      if (ends) asked++;
      if (asked >= PATIENCE) standard.abandon();
      // There may be no container yet, and whoever makes it may wait for a mount for ever: all of
      // it ends with this socket.
      if (ends && asked > PATIENCE) {
        control.destroy();
        return;
      }
      const signal =
        ends && asked >= PATIENCE ? constants.signals.SIGKILL : constants.signals[name];
      control.write(lineOf({ signal } satisfies SignalMessage));
    };
    process.on(name, pass);
    restore.push(() => process.off(name, pass));
  }
}

function attachTerminal(
  master: number,
  { stdin, stdout }: SandboxStreams,
  standard: StandardStreams,
  restore: (() => void)[],
): void {
  if (master < 0)
    throw new PlyfsError(
      'sandbox-failed',
      `The container's terminal was not handed over (${reasonOf(-master)}).`,
    );
  const size = sys.dup(master);
  const resize = (): void => {
    if (stdout === process.stdout.fd && process.stdout.isTTY)
      sys.setWindowSize(size, process.stdout.rows, process.stdout.columns);
  };
  process.on('SIGWINCH', resize);
  restore.push(() => {
    process.off('SIGWINCH', resize);
    sys.close(size);
  });
  resize();
  if (typeof stdin === 'number' && isatty(stdin)) restore.push(makeRaw(stdin));
  standard.throughTerminal(master);
}

/**
 * The terminal passes each byte on as it is, both ways, which Node's raw mode does not. Returns
 * what puts it back.
 */
function makeRaw(terminal: number): () => void {
  const stty = (...words: string[]): string =>
    spawnSync('stty', words, {
      stdio: [terminal, 'pipe', 'ignore'],
      encoding: 'utf8',
    }).stdout.trim();
  const before = stty('-g');
  if (before === '') return () => undefined;
  stty('raw', '-echo');
  return () => void stty(before);
}

function statusOf(exited: number | null, signal: string | null): number {
  if (signal === null) return exited ?? 0;
  return 128 + constants.signals[signal as NodeJS.Signals];
}

/** Whether the programs of util-linux that a sandbox is made with are there; else a sentence. */
export function sandboxUnsupported(): string | undefined {
  for (const program of ['setpriv', 'unshare']) {
    if (spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined)
      return `A container needs ${program}: install the package util-linux.`;
  }
  return undefined;
}
