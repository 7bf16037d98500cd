/**
 * Random scenarios until the time is up.
 *
 * Each is a run of its own with the seed that is printed when it fails; the suite then looks for a
 * smaller one. Settings, from the environment: PLYFS_SEED (the first seed), PLYFS_ORACLE_SECONDS,
 * PLYFS_ORACLE_RUNS (how many at most), PLYFS_ORACLE_LENGTH (operations in one, at most),
 * PLYFS_ORACLE_SCENARIO (a file with one scenario as JSON, which is run instead).
 */
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { figure } from '../../support/figures.js';
import { root } from '../../support/root.js';
import { scenario } from './generate.js';
import { mountPlaces } from './places.js';
import { reduce } from './reduce.js';
import { regressions } from './regressions.js';
import { Difference, newFigures, type Figures } from './run-scenario.js';
import { Runner } from './runner.js';
import type { Scenario } from './scenario.js';
import { Abandoned } from './side.js';

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
  length?: number;
}): OracleSettings {
  return {
    seed: setting('PLYFS_SEED', otherwise.seed ?? Date.now() % 0x7fff_ffff),
    seconds: setting('PLYFS_ORACLE_SECONDS', otherwise.seconds),
    runs: setting('PLYFS_ORACLE_RUNS', otherwise.runs ?? Infinity),
    length: setting('PLYFS_ORACLE_LENGTH', otherwise.length ?? 400),
    jobs: Math.max(1, setting('PLYFS_ORACLE_JOBS', 2)),
    shrinkSeconds: setting('PLYFS_ORACLE_SHRINK_SECONDS', 120),
  };
}

/**
 * Needs root and the kernel's overlay. Reports each failure with its seed and the smallest scenario
 * found.
 */
export async function oracle(t: Test, settings: OracleSettings): Promise<void> {
  const places = await mountPlaces(t);
  const runners = Array.from({ length: settings.jobs }, () => new Runner(places));
  t.teardown(() => Promise.all(runners.map((runner) => runner.end())));
  const [first = new Runner(places)] = runners;
  const figures = newFigures();
  const file = process.env['PLYFS_ORACLE_SCENARIO'];
  if (file !== undefined) {
    await first.run({ scenario: JSON.parse(readFileSync(file, 'utf8')) as Scenario }, figures);
    t.pass('the scenario of PLYFS_ORACLE_SCENARIO');
    return;
  }
  for (const [name, one] of Object.entries(regressions))
    await t.test(name, () => first.run({ scenario: one }, newFigures()));
  t.comment(`PLYFS_SEED=${settings.seed}`);
  const deadline = performance.now() + settings.seconds * 1000;
  const state = { next: 0, failed: false };
  let abandoned = 0;
  const job = async (runner: Runner): Promise<void> => {
    while (!state.failed && state.next < settings.runs && performance.now() < deadline) {
      const seed = (settings.seed + state.next++) | 0;
      const { length } = settings;
      try {
        await runner.run({ seed, length }, figures);
      } catch (error) {
        if (error instanceof Abandoned) {
          abandoned++;
          continue;
        }
        state.failed = true;
        await report(t, scenario(seed, length), error, seed, settings, runner);
      }
    }
  };
  await Promise.all(runners.map(job));
  const { scenarios, mounts, trees } = figures;
  const { succeeded, failed } = Object.values(figures.operations).reduce(
    (sum, one) => ({
      succeeded: sum.succeeded + one.succeeded,
      failed: sum.failed + one.failed,
    }),
    { succeeded: 0, failed: 0 },
  );
  const operations = succeeded + failed;
  t.comment(
    `${scenarios} scenarios, ${operations} operations compared (${succeeded} succeeded, ${failed} failed alike), ` +
      `${trees} trees, ${mounts} mounts, ${abandoned} scenarios abandoned`,
  );
  for (const line of shares(figures)) t.comment(line);
  figure(t, operations, "operations compared with the kernel's overlay");
  figure(t, succeeded, "operations that succeeded on plyfs and on the kernel's overlay");
  for (const [what, count] of Object.entries(figures.divergences))
    t.comment(`chosen difference met ${count} times: ${what}`);
  if (!state.failed)
    t.pass(`${scenarios} scenarios, the same on plyfs and on the kernel's overlay`);
}

/** How many of each operation succeeded, four a line. */
function shares({ operations }: Figures): string[] {
  const cells = Object.entries(operations)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([op, { succeeded, failed }]) => {
      const all = succeeded + failed;
      return `${op.padEnd(11)} ${String(Math.round((100 * succeeded) / all)).padStart(3)} % of ${String(all).padEnd(7)}`;
    });
  const lines: string[] = [];
  for (let i = 0; i < cells.length; i += 4) lines.push(cells.slice(i, i + 4).join('  '));
  return ['succeeded:', ...lines];
}

/** Makes the scenario smaller, and leaves it where it can be tried again. */
async function report(
  t: Test,
  found: Scenario,
  error: unknown,
  seed: number,
  settings: OracleSettings,
  runner: Runner,
): Promise<void> {
  let last = error;
  let tries = 0;
  const attempt = async (one: Scenario): Promise<number | undefined> => {
    tries++;
    try {
      await runner.run({ scenario: one }, newFigures());
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
