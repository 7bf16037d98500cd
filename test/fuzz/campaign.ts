/**
 * Random inputs until the time is up.
 *
 * Settings, from the environment: PLYFS_SEED (the first seed) and PLYFS_FUZZ_SECONDS (how long each
 * campaign lasts).
 */
import fc from 'fast-check';
import type { Test } from 'tap';
import { figure } from '../support/figures.js';

export interface FuzzSettings {
  readonly seed: number;
  /** For each campaign. */
  readonly seconds: number;
}

/** `otherwise`: what the environment does not say. Without a seed there, each run tries others. */
export function fuzzSettings(otherwise: { seconds: number; seed?: number }): FuzzSettings {
  const setting = (name: string, fallback: number): number => {
    const value = process.env[name];
    if (value === undefined || value === '') return fallback;
    const number = Number(value);
    if (!Number.isFinite(number) || number < 0)
      throw new Error(`${name} is '${value}': give a number.`);
    return number;
  };
  return {
    seed: setting('PLYFS_SEED', otherwise.seed ?? Date.now() % 0x7fff_ffff),
    seconds: setting('PLYFS_FUZZ_SECONDS', otherwise.seconds),
  };
}

/**
 * Checks random inputs; `check` throws for one that shows a fault. `batch`: inputs of one seed; a
 * failure is found again by its seed alone.
 */
export async function campaign<T>(
  t: Test,
  what: string,
  inputs: fc.Arbitrary<T>,
  settings: FuzzSettings,
  check: (input: T) => void | Promise<void>,
  batch = 25,
): Promise<void> {
  const deadline = performance.now() + settings.seconds * 1000;
  let tried = 0;
  for (let seed = settings.seed; ; seed = (seed + 1) | 0) {
    const result = await fc.check(
      fc.asyncProperty(inputs, async (input) => {
        tried++;
        await check(input);
      }),
      { seed, numRuns: batch },
    );
    if (result.failed) {
      const counterexample = fc.stringify(result.counterexample).slice(0, 4000);
      const { errorInstance } = result;
      t.fail(`${what}: PLYFS_SEED=${seed} tries it again`, {
        counterexample,
        error:
          errorInstance instanceof Error
            ? (errorInstance.stack ?? errorInstance.message)
            : String(errorInstance),
      });
      break;
    }
    if (performance.now() >= deadline) {
      t.pass(`${what}: ${tried} inputs from seed ${settings.seed}`);
      break;
    }
  }
  figure(t, tried, 'inputs fuzzed');
}
