/**
 * A process that runs one scenario after another, beside others that do the same: without tap,
 * whose hooks see every promise.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Places } from './places.js';
import { Difference, type Figures } from './run-scenario.js';
import type { Scenario } from './scenario.js';
import { Abandoned } from './side.js';

export interface Task {
  readonly places: Places;
  /** The scenario, or the seed that it is made from. */
  readonly scenario?: Scenario;
  readonly seed?: number;
  /** Operations in it, at most. */
  readonly length?: number;
}

export interface Result {
  readonly figures: Figures;
  readonly failure?: {
    readonly message: string;
    readonly kind: 'difference' | 'abandoned' | 'error';
    /** Operations applied before a difference. */
    readonly applied: number;
  };
}

const program = fileURLToPath(new URL('runner-program.js', import.meta.url));

export class Runner {
  private child: ChildProcess | undefined;

  constructor(private readonly places: Places) {}

  /** Adds to `figures` what was done, and rejects as `runScenario` does. */
  async run(task: Omit<Task, 'places'>, figures: Figures): Promise<void> {
    this.child ??= fork(program);
    const { child } = this;
    const answer = new AbortController();
    const { signal } = answer;
    const ended = once(child, 'close', { signal }).then(([code, by]) => {
      this.child = undefined;
      throw new Error(`the process that ran the scenario ended (${String(by ?? code)})`);
    });
    child.send({ ...task, places: this.places } satisfies Task);
    const [result] = (await Promise.race([once(child, 'message', { signal }), ended]).finally(
      () => {
        answer.abort();
        ended.catch(() => undefined);
      },
    )) as [Result];
    addFigures(figures, result.figures);
    const { failure } = result;
    if (failure === undefined) return;
    if (failure.kind === 'difference') throw new Difference(failure.message, failure.applied);
    throw failure.kind === 'abandoned'
      ? new Abandoned(failure.message)
      : new Error(failure.message);
  }

  async end(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.send('end');
    await closed;
  }
}

function addFigures(sum: Figures, more: Figures): void {
  sum.scenarios += more.scenarios;
  sum.mounts += more.mounts;
  sum.trees += more.trees;
  for (const [what, count] of Object.entries(more.divergences))
    sum.divergences[what] = (sum.divergences[what] ?? 0) + count;
  for (const [op, { succeeded, failed }] of Object.entries(more.operations)) {
    const counted = (sum.operations[op] ??= { succeeded: 0, failed: 0 });
    counted.succeeded += succeeded;
    counted.failed += failed;
  }
}
