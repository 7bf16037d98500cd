/**
 * Running a container from outside: the namespaces, whose ids they have, standard streams, signals, the terminal, and how it ended. See plan.ts for the processes.
 *
 * Nothing outlives the process that called `runSandbox`, SIGKILL included: unshare(1) dies with it (PR_SET_PDEATHSIG), process 1 of the PID namespace with unshare(1), and the
 * rest with that; and process 1 ends when the control socket is closed.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { isatty, ReadStream } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { errnoName } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { sessions, sys } from '../sys/index.js';
import { failureOf, SandboxError } from './failure.js';
import { subordinateRanges, writeIdMaps, type IdRanges } from './id-maps.js';
import { eachMessage, lineOf } from './messages.js';
import { CONTROL_FD, GATE_FD, type IdMode, type SandboxPlan, type SignalMessage, type SupervisorMessage } from './plan.js';

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

export interface SandboxStreams {
  /** Standard input reaches the container. */
  readonly interactive: boolean;
}

/** Signals that a container gets in the place of who runs it. */
const passedSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGCONT', 'SIGWINCH'] as const;
/** Asked so often to end, a container that does not is ended. */
const PATIENCE = 3;

/**
 * Runs the container to its end and returns what it ended with: its program's status, or 128 and the number of the signal that ended it. `starting` is told when the program runs.
 * Throws SandboxError, whose `status` is 125, 126 or 127, when the program was not started.
 */
export async function runSandbox(plan: SandboxPlan, ids: SandboxIds, { interactive }: SandboxStreams): Promise<number> {
  // An OCI runtime has the terminal itself.
  const given = plan.terminal !== undefined && plan.runtime !== undefined;
  const terminal = plan.terminal === undefined || given ? undefined : sessions.socketpair();
  if (typeof terminal === 'number') throw new PlyfsError('sandbox-failed', `No socket can be had (${errnoName(-terminal)}).`);
  const relayed = [0, 1, 2].map((fd) => !given && (terminal !== undefined || !mayBeGiven(fd)));
  const child = spawn('setpriv', startWords(plan, ids), {
    detached: true,
    stdio: [
      terminal !== undefined || !interactive ? 'ignore' : relayed[0] === true ? 'pipe' : 0,
      terminal !== undefined ? 'ignore' : relayed[1] === true ? 'pipe' : 1,
      relayed[2] === true ? 'pipe' : 2,
      'pipe',
      'pipe',
      terminal?.[1] ?? 'ignore',
    ],
  });
  if (terminal !== undefined) sys.close(terminal[1]);
  const closed = once(child, 'close');
  closed.catch(() => undefined);
  child.stdin?.on('error', () => undefined);
  if (child.stdin !== null && interactive) process.stdin.pipe(child.stdin);
  relay(child.stdout, process.stdout);
  relay(child.stderr, process.stderr);
  const restore: (() => void)[] = [];
  try {
    await once(child, 'spawn').catch((error: unknown) => {
      throw new PlyfsError('unshare-missing', 'setpriv cannot be run: install the package util-linux.', { cause: error });
    });
    return await follow(child, plan, ids, terminal?.[0], interactive, restore);
  } finally {
    for (const undo of restore) undo();
    if (child.exitCode === null && child.signalCode === null) {
      (child.stdio[CONTROL_FD] as Socket).destroy();
    }
    await closed.catch(() => undefined);
    if (terminal !== undefined) sys.close(terminal[0]);
    process.stdin.unpipe();
    process.stdin.pause();
  }
}

/** A regular file, a pipe, a socket or a device is the container's own standard stream; a terminal stays this process's, and a directory a way out. */
function mayBeGiven(fd: number): boolean {
  try {
    return !isatty(fd) && !fstatSync(fd).isDirectory();
  } catch {
    return false;
  }
}

function relay(from: Readable | null, to: NodeJS.WritableStream): void {
  if (from === null) return;
  from.pipe(to, { end: false });
  // Whoever read it has gone: the container is told as a program in a pipeline is.
  to.on('error', () => from.destroy());
}

function startWords({ network }: SandboxPlan, { mode }: SandboxIds): string[] {
  // The shell waits until ids are mapped: execve(2) gives the capabilities of the namespace to its root only. It takes the death signal away then, which is asked for again.
  return [
    ...['--pdeathsig', 'KILL', 'unshare'],
    ...(mode === 'host' ? [] : ['--user']),
    ...['--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child=KILL'],
    ...(network === 'none' ? ['--net'] : []),
    ...['--', 'sh', '-c', `read -r _ <&${GATE_FD} && exec ${GATE_FD}<&- "$@"`, 'sh'],
    ...['setpriv', '--pdeathsig', 'KILL', process.execPath, supervisorProgram],
  ];
}

async function follow(
  child: ChildProcess,
  plan: SandboxPlan,
  { mode, ranges }: SandboxIds,
  terminal: number | undefined,
  interactive: boolean,
  restore: (() => void)[],
): Promise<number> {
  const control = child.stdio[CONTROL_FD] as Socket;
  const gate = child.stdio[GATE_FD] as Socket;
  for (const stream of [control, gate]) stream.on('error', () => undefined);
  if (mode !== 'host') {
    await inUserNamespace(child);
    writeIdMaps(child.pid as number, ranges);
  }
  gate.write('\n');
  control.write(lineOf(plan));
  // A terminal that is resized here sends SIGWINCH by itself.
  passSignals(control, terminal === undefined ? passedSignals : passedSignals.filter((name) => name !== 'SIGWINCH'), restore);

  let drained = Promise.resolve();
  return new Promise<number>((resolve, reject) => {
    let ended: number | undefined;
    eachMessage(control, (message) => {
      const said = message as SupervisorMessage;
      if ('failed' in said) reject(new SandboxError(said.failed));
      else if ('started' in said) {
        if (terminal !== undefined) drained = attachTerminal(sessions.receiveFd(terminal), interactive, restore);
      } else {
        ended = statusOf(said.exited, said.signal);
      }
    });
    child.once('exit', () => {
      drained.then(() => {
        if (ended !== undefined) resolve(ended);
        else reject(new SandboxError(failureOf(new PlyfsError('sandbox-failed', 'The container was ended from outside.'))));
      }, reject);
    });
  });
}

/** unshare(1) has made its namespaces when it has a user namespace other than ours. */
async function inUserNamespace(child: ChildProcess): Promise<void> {
  const { readlinkSync } = await import('node:fs');
  const own = readlinkSync('/proc/self/ns/user');
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new PlyfsError('user-namespaces-denied', 'No user namespace can be had: an ordinary user must be allowed to make them here.');
    }
    try {
      if (readlinkSync(`/proc/${child.pid as number}/ns/user`) !== own) return;
    } catch {
      // It has just ended.
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function passSignals(control: Socket, names: readonly NodeJS.Signals[], restore: (() => void)[]): void {
  let asked = 0;
  for (const name of names) {
    const pass = (): void => {
      const ends = name === 'SIGINT' || name === 'SIGTERM' || name === 'SIGHUP';
      if (ends) asked++;
      const signal = ends && asked >= PATIENCE ? constants.signals.SIGKILL : constants.signals[name];
      control.write(lineOf({ signal } satisfies SignalMessage));
    };
    process.on(name, pass);
    restore.push(() => process.off(name, pass));
  }
}

/** Settles when all that the container wrote is written. */
function attachTerminal(master: number, interactive: boolean, restore: (() => void)[]): Promise<void> {
  if (master < 0) throw new PlyfsError('sandbox-failed', `The container's terminal was not handed over (${errnoName(-master)}).`);
  const stream = new ReadStream(master);
  const resize = (): void => {
    if (process.stdout.isTTY) sys.setWindowSize(master, process.stdout.rows, process.stdout.columns);
  };
  process.on('SIGWINCH', resize);
  resize();
  if (interactive) {
    const cook = makeRaw();
    restore.push(cook);
    process.stdin.on('data', (bytes) => void stream.write(bytes));
  }
  restore.push(() => {
    process.off('SIGWINCH', resize);
    process.stdin.removeAllListeners('data');
  });
  stream.pipe(process.stdout, { end: false });
  // EIO when the last program that had it has ended.
  return new Promise((resolve) => {
    stream.once('close', () => resolve());
    stream.once('error', () => resolve());
    stream.once('end', () => resolve());
  });
}

/** The terminal passes each byte on as it is, both ways, which Node's raw mode does not. Returns what puts it back. */
function makeRaw(): () => void {
  const stty = (...words: string[]): string => spawnSync('stty', words, { stdio: [0, 'pipe', 'ignore'], encoding: 'utf8' }).stdout.trim();
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
