import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';

export interface Outcome {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Bytes, one a character. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, its stdin empty. `input` is what it reads instead. */
export async function run(argv: readonly string[], options: SpawnOptions & { input?: string } = {}): Promise<Outcome> {
  const { input, ...rest } = options;
  const child = spawn(argv[0]!, argv.slice(1), { ...rest, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
  child.stdin?.end(input);
  return outcomeOf(child);
}

/** What a child whose stdout and stderr are pipes says until it ends. */
export async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('latin1').on('data', (chunk: string) => (stdout += chunk));
  child.stderr?.setEncoding('latin1').on('data', (chunk: string) => (stderr += chunk));
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout, stderr };
}

/** As `run`, and throws with what the program said unless it exits 0. Returns its stdout. */
export async function succeed(argv: readonly string[], options: SpawnOptions & { input?: string } = {}): Promise<string> {
  const outcome = await run(argv, options);
  if (outcome.status !== 0)
    throw new Error(`${argv.join(' ')}: exit ${outcome.status ?? outcome.signal ?? ''}: ${outcome.stderr}${outcome.stdout}`);
  return outcome.stdout;
}

/** Waits for the end of a process that is not a child of this one. */
export async function ended(pid: number): Promise<void> {
  await run(['tail', '--sleep-interval=0.02', `--pid=${pid}`, '-f', '/dev/null']);
}
