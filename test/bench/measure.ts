/** Mounts each target over the same layers in turn, and takes the figures. */
import { mkdir } from 'node:fs/promises';
import { run } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';
import { succeed } from '../support/command.js';
import type { Stack } from './layers.js';
import type { Target } from './targets.js';
import type { Scenario, Scene, Step } from './workload.js';

/** Mounts, runs the scenario's steps and unmounts; the upper goes with it. A step that fails makes the ones after it fail. */
export async function runScenario(
  scenario: Scenario,
  target: Target,
  stack: Stack,
  base: string,
  shared: string,
  wanted: (step: Step) => boolean,
): Promise<Map<string, number | Error>> {
  const figures = new Map<string, number | Error>();
  const [upper, work, mnt, scratch] = ['upper', 'work', 'mnt', 'scratch'].map((name) => `${base}/${name}`) as [
    string,
    string,
    string,
    string,
  ];
  for (const directory of [upper, work, mnt, scratch]) await mkdir(directory, { recursive: true });
  try {
    // What an earlier target left to be written back is not this one's.
    await succeed(['sync', '-f', base]);
    const started = performance.now();
    await target.mount({ lowers: stack.lowers, upper, work }, mnt);
    await succeed(['stat', '-f', mnt]);
    const mountTime = performance.now() - started;
    const scene: Scene = { target: target.name, mnt, upper, scratch, shared, stack, daemon: target.daemon(mnt), mountTime };
    for (const step of scenario.steps) {
      try {
        const figure = await figureOf(step, scene);
        if (figure !== null && wanted(step)) figures.set(step.key, figure);
      } catch (error) {
        figures.set(step.key, error instanceof Error ? error : new Error(String(error)));
      }
    }
  } finally {
    await unmountAll(mnt);
    await succeed(['rm', '-rf', upper, work, scratch]);
  }
  return figures;
}

async function figureOf(step: Step, scene: Scene): Promise<number | null> {
  await step.before?.(scene);
  if (typeof step.measure !== 'function') return step.measure.figure(scene);
  const argv = step.measure(scene);
  const started = performance.now();
  const { status, stderr } = await run(argv);
  const took = performance.now() - started;
  if (status !== 0) throw new Error(`${step.key} on ${scene.target}: ${stderr.trim().split('\n')[0] ?? 'failed'}`);
  return took;
}
