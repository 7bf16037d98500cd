/**
 * Lets every system call that an operation makes on the layers fail, one at a time (scenarios.ts).
 *
 * Either the caller is told the errno, and then the union shows what it showed before and the same
 * operation succeeds afterwards; or the call could be done without, and the operation has
 * succeeded. Nothing is left in the workdir, and at last the kernel's overlay shows of every trial
 * the state after the operation.
 *
 * A caller may be told of a failure when all was done but the reading of the attributes that the
 * answer brings. As after a kill, the modification time of a directory is not promised where the
 * call that would have put it back failed.
 */
import type { Test } from 'tap';
import { E, Errno, errnoName } from '../../src/base/errno.js';
import { Actor } from '../suites/actor.js';
import { kernel, plyfs, Union } from '../suites/mounters.js';
import { withoutStrayWhiteouts } from '../suites/oracle/differences.js';
import { differences, type Tree } from '../suites/tree.js';
import { CHANGES, FaultPlan, LOOKS } from './fault-plan.js';
import type { FaultScenario } from './scenarios.js';
import {
  layTrials,
  leftovers,
  shownOf,
  startOfTest,
  Trial,
  unmountWholly,
  withNewNumber,
  withoutDirectoryTimes,
} from './trials.js';

/** What a call can fail with, and which calls. */
const failures = [
  { error: E.EIO, kinds: CHANGES | LOOKS },
  { error: E.ENOSPC, kinds: CHANGES },
  { error: E.EDQUOT, kinds: CHANGES },
] as const;

class FailureSweep {
  readonly since = startOfTest();
  trials = 0;
  readonly left = new Set<string>();

  constructor(
    readonly t: Test,
    readonly union: Union,
    readonly plan: FaultPlan,
    readonly scenario: FaultScenario,
  ) {}

  async lay(count: number): Promise<number> {
    const first = this.trials;
    this.trials += count;
    await layTrials(this.union, this.scenario, first, this.trials);
    return first;
  }

  /**
   * The states before and after, and how many calls of each set of kinds lead from one to the
   * other.
   */
  async reference(): Promise<{ before: Tree; after: Tree; calls: number[] }> {
    const first = await this.lay(1 + failures.length);
    await this.union.mount(this.plan.mounter);
    const untouched = await Trial.start(this.union, this.scenario, first);
    await untouched.prepare();
    const before = await untouched.shown(this.since);
    await untouched.end();
    const calls: number[] = [];
    let after = before;
    for (const [i, { kinds }] of failures.entries()) {
      const trial = await Trial.start(this.union, this.scenario, first + 1 + i);
      await trial.prepare();
      this.plan.arm({ action: 'count', kinds });
      await trial.act();
      this.plan.disarm();
      calls.push(this.plan.calls);
      after = await trial.shown(this.since);
      await trial.end();
    }
    await this.union.unmount();
    return { before, after, calls };
  }

  /** Returns how many failures were injected. */
  async run(): Promise<number> {
    const { before, after, calls } = await this.reference();
    const spare = 4;
    let index = await this.lay(calls.reduce((sum, count) => sum + count + spare, 0));
    const first = index;
    await this.union.mount(this.plan.mounter);
    let injected = 0;
    for (const [i, { error, kinds }] of failures.entries()) {
      for (let at = 1; ; at++) {
        if (at > (calls[i] ?? 0) + spare) {
          this.t.fail(`the operation makes more than ${at} calls`);
          break;
        }
        const more = await this.one(index++, { action: 'fail', at, error, kinds }, before, after);
        if (!more) break;
        injected++;
      }
    }
    await unmountWholly(this.union.mnt);
    this.t.same(leftovers(this.union), [], 'nothing is left in the workdir');
    await this.compareWithKernel(first, index, after);
    return injected;
  }

  /** False when the operation ended without as many calls. */
  private async one(
    index: number,
    plan: { action: 'fail'; at: number; error: number; kinds: number },
    before: Tree,
    after: Tree,
  ): Promise<boolean> {
    const trial = await Trial.start(this.union, this.scenario, index);
    try {
      await trial.prepare();
      this.plan.arm(plan);
      const failed = await trial.act();
      this.plan.disarm();
      const log = this.plan.log.map(({ name }) => name);
      const call = log[plan.at - 1];
      const what = `t${index}: ${errnoName(plan.error)} of call ${plan.at}, ${call ?? 'none'}, of ${log.join(' ')}`;
      if (failed !== undefined && !(failed instanceof Errno && failed.errno === plan.error)) {
        this.t.fail(`${what}: what the caller is told`, { failed });
      }
      // Put back once more, or not at all: the name was there for a moment.
      const taken = log.slice(plan.at).some((name) => name === 'unlinkat' || name === 'renameat2');
      const lax = call === 'utimensat' || taken;
      // What is done is not undone for want of the attributes that the answer brings.
      const unanswered = failed !== undefined && call === 'statx' && plan.at === log.length;
      const shown = await trial.shown(this.since);
      const done = failed === undefined || (unanswered && differences(shown, after).length === 0);
      this.compare(shown, done ? after : before, lax, `${what}: ${done ? 'done' : 'undone'}`);
      // What cannot be removed stays until the union is unmounted.
      const sweeping = log.slice(0, plan.at).includes('unlinkat');
      const left = leftovers(this.union).filter((name) => !this.left.has(name));
      if (left.length > 0 && !sweeping)
        this.t.fail(`${what}: nothing is left in the workdir`, { left });
      for (const name of left) this.left.add(name);
      if (failed !== undefined) {
        const again = await trial.act();
        if (again !== undefined) this.t.fail(`${what}: succeeds when tried again`, { again });
        this.compare(await trial.shown(this.since), after, lax, `${what}: tried again`);
      }
      return this.plan.calls >= plan.at;
    } finally {
      await trial.end();
    }
  }

  private compare(found: Tree, wanted: Tree, lax: boolean, what: string): void {
    const lines = lax
      ? differences(withoutDirectoryTimes(found), withoutDirectoryTimes(wanted))
      : differences(found, wanted);
    if (lines.length > 0) this.t.fail(what, { lines });
  }

  private async compareWithKernel(from: number, to: number, after: Tree): Promise<void> {
    await this.union.mount(kernel);
    const actor = await Actor.start();
    const { newNumber } = this.scenario;
    const wanted = withoutDirectoryTimes(
      newNumber === undefined ? after : withNewNumber(after, newNumber),
    );
    for (let i = from; i < to; i++) {
      const found = withoutStrayWhiteouts(
        withoutDirectoryTimes(await shownOf(actor, this.union, `t${i}`, this.since, this.scenario)),
      );
      const lines = differences(found, wanted);
      if (lines.length > 0) this.t.fail(`the kernel shows the same of t${i}`, { lines });
    }
    this.t.pass(`the kernel shows the same of ${to - from} trials`);
    await actor.end();
    await this.union.unmount();
  }
}

/** Every scenario as a subtest. Returns how many failures were injected. Needs root. */
export async function failureSweep(
  t: Test,
  scenarios: Readonly<Record<string, FaultScenario>>,
): Promise<number> {
  let injected = 0;
  for (const [name, scenario] of Object.entries(scenarios)) {
    await t.test(name, async (t) => {
      const union = await Union.create(t, plyfs, 1, scenario.options);
      const plan = new FaultPlan(`${union.base}/plan`);
      t.teardown(() => plan.close());
      injected += await new FailureSweep(t, union, plan, scenario).run();
    });
  }
  return injected;
}
