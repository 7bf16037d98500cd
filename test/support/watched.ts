/** Runs ply so that its peak of memory is known, and ends it when it takes too long. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { outcomeOf, type Outcome } from './command.js';
import { root } from './root.js';

export interface Watched extends Outcome {
  /**
   * The most memory it had, in bytes (proc_pid_status(5), VmHWM). Absent when a signal ended it.
   */
  readonly peak?: number;
  /** It was ended because it took too long. */
  readonly hung: boolean;
}

/** Milliseconds: far beyond what any of the tests' commands takes on a loaded machine. */
const PATIENCE = 60_000;
const hook = fileURLToPath(new URL('report-peak.js', import.meta.url));
let number = 0;

/** `feed` writes its standard input; `drain` reads its standard output, which is kept otherwise. */
export async function watchedPly(
  words: readonly string[],
  options: {
    feed?: (stdin: Writable) => Promise<void>;
    drain?: (stdout: Readable) => Promise<void>;
    environment?: NodeJS.ProcessEnv;
  } = {},
): Promise<Watched> {
  const { feed, drain, environment = {} } = options;
  const report = join(tmpdir(), `plyfs-test-peak-${process.pid}-${number++}`);
  closeSync(openSync(report, 'wx', 0o600));
  try {
    const child = spawn(
      process.execPath,
      ['--import', hook, join(root, 'dist/src/cli/ply.js'), ...words],
      {
        stdio: [feed === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
        env: { ...process.env, ...environment, PLYFS_TEST_PEAK: report },
      },
    );
    let hung = false;
    const timer = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, PATIENCE);
    child.stdin?.on('error', () => undefined);
    const fed = child.stdin === null ? undefined : feed?.(child.stdin);
    const drained = drain?.(child.stdout!);
    const outcome = await (drain === undefined ? outcomeOf(child) : statusOf(child));
    clearTimeout(timer);
    await Promise.all([fed, drained]);
    const peak = readFileSync(report, 'utf8');
    return { ...outcome, hung, ...(peak !== '' && { peak: Number(peak) * 1024 }) };
  } finally {
    rmSync(report, { force: true });
  }
}

async function statusOf(child: ReturnType<typeof spawn>): Promise<Outcome> {
  let stderr = '';
  child.stderr?.setEncoding('latin1').on('data', (chunk: string) => (stderr += chunk));
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout: '', stderr };
}
