/** The rounds over all unions: stacks made, scenarios prepared, figures collected into rows. */
import { mkdirSync } from 'node:fs';
import { makeStack, type Stack, type StackSize } from './layers.js';
import { runScenario } from './measure.js';
import { Interrupted } from './program.js';
import { derivedRow, type Group, type Row } from './results.js';
import { derivedRows, scenariosOf } from './scenarios.js';
import type { Target } from './targets.js';
import type { Goal, Scenario, Sizes, StackName, Step } from './workload.js';

/** Whether anything of these names was asked for. */
export type Wanted = (...names: readonly string[]) => boolean;

export interface UnionRun {
  readonly rounds: number;
  /** Whether a round that is not counted fills the page cache of the machine first. */
  readonly warmUp: boolean;
  readonly wanted: Wanted;
  readonly sizes: Sizes;
  readonly size: StackSize;
  /** The first is ours. */
  readonly present: readonly Target[];
  /** An empty part of the file system that is measured on. */
  readonly base: string;
  readonly shared: string;
  readonly say: (sentence: string) => void;
}

const LAYERS_OF_DEEP = 125;

/** A scenario with the layers that it is mounted over. */
interface Ready {
  readonly scenario: Scenario;
  readonly stack: Stack;
}

/**
 * The rows of `plyfs`, and those of its passthrough mode, which has goals of its own. None when
 * nothing was asked for.
 */
export async function measureUnions(run: UnionRun): Promise<Group[]> {
  const asked = new Set(
    derivedRows.filter(({ key }) => run.wanted(key)).flatMap(({ over }) => over),
  );
  const wantedStep = ({ key }: Scenario, step: Step): boolean =>
    run.wanted(key, step.key) || asked.has(step.key);
  const chosen = scenariosOf(run.sizes).filter((scenario) =>
    scenario.steps.some((step) => wantedStep(scenario, step)),
  );
  if (chosen.length === 0) return [];

  const { ready, absent } = await prepare(chosen, run);
  const rows = new Map<string, Row>();
  const passthroughGoals = new Map<string, Goal>();
  for (const scenario of chosen) {
    const why = absent.get(scenario);
    for (const step of scenario.steps.filter((step) => wantedStep(scenario, step))) {
      const { key, title, unit, goal, passthroughGoal } = step;
      const samples = Object.fromEntries(
        run.present.map(({ name }) => [name, [] as (number | null)[]]),
      );
      rows.set(key, {
        ...{ key, title, unit, samples, failures: [] },
        ...(goal === undefined ? {} : { goal }),
        ...(why === undefined ? {} : { absent: why }),
      });
      if (passthroughGoal !== undefined) passthroughGoals.set(key, passthroughGoal);
    }
  }
  await measure(ready, rows, wantedStep, run);

  const measured = [...rows.values()];
  for (const derived of derivedRows) {
    const row = derivedRow(derived, measured);
    // Beside what it comes from.
    if (row !== undefined)
      measured.splice(measured.findIndex(({ key }) => key === derived.over[1]) + 1, 0, row);
  }
  const names = run.present.map(({ name }) => name);
  const groups: Group[] = [{ targets: names, rows: measured }];
  const passthroughRows = measured.flatMap((row) => {
    const goal = passthroughGoals.get(row.key);
    return goal === undefined
      ? []
      : [{ ...row, key: `${row.key}-passthrough`, goal, failures: [] }];
  });
  if (passthroughRows.length > 0)
    groups.push({ targets: ['plyfs-passthrough', 'kernel'], rows: passthroughRows });
  return groups;
}

/**
 * Makes stacks and layers. What cannot be prepared here is absent, with a sentence that says why.
 */
async function prepare(chosen: readonly Scenario[], { base, size, sizes, shared, say }: UnionRun) {
  say(`making layers: ${size.entries} entries in ${size.layers}`);
  const stacks: Record<StackName, Stack> = {
    default: makeStack(`${base}/stack`, size),
    deep: { lowers: [], entries: 0 },
    flat: { lowers: [], entries: 0 },
    own: { lowers: [], entries: 0 },
  };
  if (chosen.some(({ stack }) => stack === 'deep' || stack === 'flat')) {
    const entries = 7000 + sizes.deepNames;
    stacks.deep = makeStack(`${base}/deep`, {
      layers: LAYERS_OF_DEEP,
      entries,
      smallFiles: 40,
      mergedNames: sizes.deepNames,
    });
    stacks.flat = { lowers: stacks.deep.lowers.slice(-1), entries: sizes.deepNames };
  }
  const ready: Ready[] = [];
  const absent = new Map<Scenario, string>();
  for (const scenario of chosen) {
    const stack = stacks[scenario.stack ?? 'default'];
    const layer = `${base}/layers/${scenario.layer ?? 'none'}`;
    mkdirSync(layer, { recursive: true });
    try {
      const why = await scenario.unavailable?.();
      if (why === undefined) {
        if (scenario.prepare !== undefined) say(`preparing ${scenario.key}`);
        await scenario.prepare?.(shared, stack, layer);
        ready.push({
          scenario,
          stack:
            scenario.layer === undefined ? stack : { ...stack, lowers: [...stack.lowers, layer] },
        });
      } else {
        absent.set(scenario, why);
      }
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      absent.set(scenario, error instanceof Error ? error.message : String(error));
    }
  }
  return { ready, absent };
}

async function measure(
  ready: readonly Ready[],
  rows: ReadonlyMap<string, Row>,
  wantedStep: (scenario: Scenario, step: Step) => boolean,
  { rounds, warmUp, present, base, shared, say }: UnionRun,
): Promise<void> {
  const warmer = present.find(({ name }) => name === 'kernel') ?? present[0];
  for (let round = warmUp ? -1 : 0; round < rounds; round++) {
    for (const { scenario, stack } of ready) {
      const turn = (round + 1) % present.length;
      for (const target of [...present.slice(turn), ...present.slice(0, turn)]) {
        if (round < 0 && target !== warmer) continue;
        say(
          `${round < 0 ? 'warming up' : `round ${round + 1}/${rounds}`}: ${scenario.key} on ${target.name}`,
        );
        const wanted = (step: Step): boolean => wantedStep(scenario, step);
        const figures = await runScenario(scenario, target, stack, `${base}/run`, shared, wanted);
        if (round < 0) continue;
        for (const step of scenario.steps.filter(wanted)) {
          const row = rows.get(step.key)!;
          const figure = figures.get(step.key) ?? null;
          if (
            figure instanceof Error &&
            row.failures.every((known) => !known.startsWith(`${target.name}:`))
          ) {
            row.failures.push(`${target.name}: ${figure.message}`);
          }
          row.samples[target.name]!.push(figure instanceof Error ? null : figure);
        }
      }
    }
  }
}
