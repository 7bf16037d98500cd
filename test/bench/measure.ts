/** Mounts each target over the same layers in turn, and takes the figures. */
import { mkdir } from 'node:fs/promises';
import { ended, succeed as succeedAlways } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';
import type { Stack } from './layers.js';
import { residentMemory } from './metadata-scenarios.js';
import { Interrupted, run, succeed, throwIfInterrupted } from './program.js';
import type { Target } from './targets.js';
import type { Scenario, Scene, Step } from './workload.js';

/**
 * Mounts, runs the scenario's steps and unmounts; the upper goes with it. After a step that failed,
 * no other is run.
 */
export async function runScenario(
  scenario: Scenario,
  target: Target,
  stack: Stack,
  base: string,
  shared: string,
  wanted: (step: Step) => boolean,
): Promise<Map<string, number | Error>> {
  const figures = new Map<string, number | Error>();
  const failed = (steps: readonly Step[], error: unknown): void => {
    for (const step of steps.filter(wanted))
      figures.set(step.key, error instanceof Error ? error : new Error(String(error)));
  };
  const [upper, work, mnt, scratch] = ['upper', 'work', 'mnt', 'scratch'].map(
    (name) => `${base}/${name}`,
  ) as [string, string, string, string];
  for (const directory of [upper, work, mnt, scratch]) await mkdir(directory, { recursive: true });
  let daemon: number | undefined;
  try {
    // What an earlier target left to be written back is not this one's.
    await succeed(['sync', '-f', base]);
    const started = performance.now();
    await target.mount({ lowers: stack.lowers, upper, work }, mnt);
    await succeed(['stat', '-f', mnt]);
    const mountTime = performance.now() - started;
    daemon = target.daemon(mnt);
    const memoryAtMount = daemon === undefined ? undefined : residentMemory(daemon);
    const scene: Scene = {
      target: target.name,
      mnt,
      upper,
      scratch,
      shared,
      stack,
      daemon,
      mountTime,
      memoryAtMount,
    };
    for (const [i, step] of scenario.steps.entries()) {
      try {
        const figure = await figureOf(step, scene);
        if (figure !== null && wanted(step)) figures.set(step.key, figure);
      } catch (error) {
        if (error instanceof Interrupted) throw error;
        // Those after it begin with what it would have left.
        failed(scenario.steps.slice(i), error);
        break;
      }
    }
  } catch (error) {
    throwIfInterrupted();
    failed(scenario.steps, error);
  } finally {
    await unmountAll(mnt);
    // It gives its memory back at its end, which would be the next one's time.
    if (daemon !== undefined) await ended(daemon);
    // Also once the run was interrupted.
    await succeedAlways(['rm', '-rf', upper, work, scratch]);
  }
  return figures;
}

async function figureOf(step: Step, scene: Scene): Promise<number | null> {
  await step.before?.(scene);
  if (typeof step.measure !== 'function') return step.measure.figure(scene);
  const { argv, ...options } = step.measure(scene);
  const started = performance.now();
  const { status, stdout, stderr } = await run(argv, options);
  const took = performance.now() - started;
  if (status !== 0) throw new Error((stderr.trim() || stdout.trim()).split('\n')[0] ?? 'failed');
  return took;
}
