/**
 * Random scenarios until the time is up.
 *
 * Each is a run of its own with the seed that is printed when it fails; the suite then looks for a
 * smaller one. Settings, from the environment: PLYFS_SEED (the first seed), PLYFS_ORACLE_SECONDS,
 * PLYFS_ORACLE_RUNS (how many at most), PLYFS_ORACLE_LENGTH (operations in one, at most),
 * PLYFS_ORACLE_SCENARIO (a file with one scenario as JSON, which is run instead).
 */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Test } from 'tap';
import { run } from '../../support/command.js';
import { figure } from '../../support/figures.js';
import { unmountAll } from '../../support/mounts.js';
import { root } from '../../support/root.js';
import { Abandoned } from './side.js';
import { workspace } from '../workspace.js';
import { scenario } from './arbitrary.js';
import { reduce } from './reduce.js';
import { regressions } from './regressions.js';
import { Difference, newFigures, runScenario, type Figures } from './run-scenario.js';
import type { Scenario } from './scenario.js';

export interface OracleSettings {
  readonly seed: number;
  readonly seconds: number;
  readonly runs: number;
  readonly length: number;
  /** Scenarios under way at once: much of one's time is spent waiting for mounts. */
  readonly jobs: number;
  /** How long a failure may be made smaller, in seconds. */
  readonly shrinkSeconds: number;
}

function setting(name: string, otherwise: number): number {
  const value = process.env[name];
  if (value === undefined || value === '') return otherwise;
  const number = Number(value);
  if (!Number.isFinite(number) || number < 0)
    throw new Error(`${name} is '${value}': give a number.`);
  return number;
}

/** `otherwise`: what the environment does not say. Without a seed there, each run tries others. */
export function settingsFor(otherwise: {
  seconds: number;
  seed?: number;
  runs?: number;
}): OracleSettings {
  return {
    seed: setting('PLYFS_SEED', otherwise.seed ?? Date.now() % 0x7fff_ffff),
    seconds: setting('PLYFS_ORACLE_SECONDS', otherwise.seconds),
    runs: setting('PLYFS_ORACLE_RUNS', otherwise.runs ?? Infinity),
    length: setting('PLYFS_ORACLE_LENGTH', 120),
    jobs: Math.max(1, setting('PLYFS_ORACLE_JOBS', 2)),
    shrinkSeconds: setting('PLYFS_ORACLE_SHRINK_SECONDS', 120),
  };
}

/** Runs one scenario in a fresh directory below `base`, and leaves nothing of it. */
export async function tryScenario(one: Scenario, base: string, figures: Figures): Promise<void> {
  const directory = await mkdtemp(`${base}/s-`);
  try {
    await run(['chmod', '0755', directory]);
    await runScenario(one, directory, figures);
  } finally {
    await unmountAll(directory);
    await run(['rm', '-rf', directory]);
  }
}

/**
 * Needs root and the kernel's overlay. Reports each failure with its seed and the smallest scenario
 * found.
 */
export async function oracle(t: Test, settings: OracleSettings): Promise<void> {
  const base = await workspace(t);
  const figures = newFigures();
  const file = process.env['PLYFS_ORACLE_SCENARIO'];
  if (file !== undefined) {
    await tryScenario(JSON.parse(readFileSync(file, 'utf8')) as Scenario, base, figures);
    t.pass('the scenario of PLYFS_ORACLE_SCENARIO');
    return;
  }
  for (const [name, one] of Object.entries(regressions))
    await t.test(name, () => tryScenario(one, base, newFigures()));
  t.comment(`PLYFS_SEED=${settings.seed}`);
  const deadline = performance.now() + settings.seconds * 1000;
  const state = { next: 0, failed: false };
  const job = async (): Promise<void> => {
    while (!state.failed && state.next < settings.runs && performance.now() < deadline) {
      const seed = (settings.seed + state.next++) | 0;
      const [one] = fc.sample(scenario(settings.length), { seed, numRuns: 1 });
      if (one === undefined) continue;
      try {
        await tryScenario(one, base, figures);
      } catch (error) {
        if (error instanceof Abandoned) {
          figures.abandoned++;
          continue;
        }
        state.failed = true;
        await report(t, one, error, seed, settings, base);
      }
    }
  };
  await Promise.all(Array.from({ length: settings.jobs }, job));
  const { scenarios, operations, succeeded, mounts, trees, abandoned } = figures;
  t.comment(
    `${scenarios} scenarios, ${operations} operations compared (${succeeded} succeeded, ${operations - succeeded} failed alike), ` +
      `${trees} trees, ${mounts} mounts, ${abandoned} scenarios abandoned`,
  );
  figure(t, operations, "operations compared with the kernel's overlay");
  for (const [what, count] of figures.divergences)
    t.comment(`chosen difference met ${count} times: ${what}`);
  if (!state.failed)
    t.pass(`${scenarios} scenarios, the same on plyfs and on the kernel's overlay`);
}

/** Makes the scenario smaller, and leaves it where it can be tried again. */
async function report(
  t: Test,
  found: Scenario,
  error: unknown,
  seed: number,
  settings: OracleSettings,
  base: string,
): Promise<void> {
  let last = error;
  let tries = 0;
  const attempt = async (one: Scenario): Promise<number | undefined> => {
    tries++;
    try {
      await tryScenario(one, base, newFigures());
      return undefined;
    } catch (again) {
      if (again instanceof Abandoned) return undefined;
      last = again;
      return again instanceof Difference ? again.applied : one.operations.length;
    }
  };
  const applied = error instanceof Difference ? error.applied : found.operations.length;
  const smallest = await reduce(
    found,
    applied,
    attempt,
    performance.now() + settings.shrinkSeconds * 1000,
  );
  const file = join(root, `dist/results/oracle-${seed}.json`);
  await mkdir(join(root, 'dist/results'), { recursive: true });
  await writeFile(file, JSON.stringify(smallest));
  const shown = (why: unknown) =>
    (why instanceof Error ? why.message : String(why)).replace(/n{200,}/g, 'n...n').split('\n');
  t.fail(
    `seed ${seed}: PLYFS_SEED=${seed} PLYFS_ORACLE_RUNS=1 tries it again, PLYFS_ORACLE_SCENARIO=${file} the small one`,
    {
      found: shown(error),
      smallest: shown(last),
      tries,
    },
  );
}
