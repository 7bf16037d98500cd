/**
 * Programs that the benchmark runs. Each has a process group of its own, so that an interrupted run
 * can end all of it: what is left of a pipeline would keep a mount busy.
 */
import { spawn } from 'node:child_process';
import { outcomeOf, type Outcome } from '../support/command.js';

export interface ProgramOptions {
  readonly cwd?: string;
  /** Beside the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Somebody asked the run to end. */
export class Interrupted extends Error {
  constructor() {
    super('interrupted');
  }
}

const groups = new Set<number>();
let interrupted = false;

/**
 * From now on every program ends at once, and none starts: what runs them unwinds by `Interrupted`.
 */
export function interrupt(): void {
  interrupted = true;
  for (const group of groups) {
    try {
      process.kill(-group, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

export function throwIfInterrupted(): void {
  if (interrupted) throw new Interrupted();
}

/** Runs a program to its end, its stdin empty. Throws `Interrupted`. */
export async function run(
  argv: readonly string[],
  { cwd, env }: ProgramOptions = {},
): Promise<Outcome> {
  throwIfInterrupted();
  const child = spawn(argv[0]!, argv.slice(1), {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
  });
  if (child.pid !== undefined) groups.add(child.pid);
  try {
    const outcome = await outcomeOf(child);
    throwIfInterrupted();
    return outcome;
  } finally {
    if (child.pid !== undefined) groups.delete(child.pid);
  }
}

/**
 * As `run`, and throws with the first thing that the program said unless it exits 0. Returns its
 * stdout.
 */
export async function succeed(
  argv: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  const { status, signal, stdout, stderr } = await run(argv, options);
  if (status === 0) return stdout;
  const said = (stderr.trim() || stdout.trim()).split('\n')[0] ?? '';
  throw new Error(
    `${argv.slice(0, 3).join(' ')}: ${said === '' ? `ended by ${status ?? signal ?? 'nobody'}` : said}`,
  );
}

/** One sentence that says that a program is not there, or undefined. */
export async function missing(...programs: readonly string[]): Promise<string | undefined> {
  for (const program of programs) {
    if ((await run(['sh', '-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${program}`])).status !== 0)
      return `${program} is not installed`;
  }
  return undefined;
}
