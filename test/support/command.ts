import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

export interface Outcome {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Bytes, one a character. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, its stdin empty. `input` is what it reads instead. */
export async function run(
  argv: readonly string[],
  options: SpawnOptions & { input?: string } = {},
): Promise<Outcome> {
  const { input, ...rest } = options;
  const child = spawn(argv[0]!, argv.slice(1), {
    ...rest,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
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
export async function succeed(
  argv: readonly string[],
  options: SpawnOptions & { input?: string } = {},
): Promise<string> {
  const outcome = await run(argv, options);
  if (outcome.status !== 0)
    throw new Error(
      `${argv.join(' ')}: exit ${outcome.status ?? outcome.signal ?? ''}: ${outcome.stderr}${outcome.stdout}`,
    );
  return outcome.stdout;
}

/** A process's state letter, `Z` for one that has ended; undefined when it is gone. */
function stateOf(pid: number): string | undefined {
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
  } catch {
    return undefined;
  }
}

/**
 * Whether a process is gone but for its exit status. One whose first thread has ended is not while
 * others have its files open.
 */
function isOver(pid: number): boolean {
  if (![undefined, 'Z', 'X'].includes(stateOf(pid))) return false;
  try {
    return readdirSync(`/proc/${pid}/task`).length <= 1;
  } catch {
    return true;
  }
}

/**
 * Waits for the end of a process that is not a child of this one, of which nothing tells. Whoever
 * is to reap it may take its time. Rejects after a minute.
 */
export async function ended(pid: number): Promise<void> {
  const until = Date.now() + 60_000;
  while (!isOver(pid)) {
    if (Date.now() > until) throw new Error(`process ${pid} goes on`);
    await delay(5);
  }
}

/**
 * Resolves when the child has said `word` on `stream`; rejects, with what it said, when it ends
 * without.
 */
export async function says(child: ChildProcess, stream: Readable, word: string): Promise<void> {
  let said = '';
  await new Promise<void>((resolve, reject) => {
    stream.on('data', (bytes: Buffer | string) => {
      said += bytes.toString('latin1');
      if (said.includes(word)) resolve();
    });
    child.once('close', (status, signal) => {
      reject(
        new Error(`ended (${status ?? signal ?? ''}) without ${JSON.stringify(word)}: ${said}`),
      );
    });
    child.once('error', reject);
  });
}
