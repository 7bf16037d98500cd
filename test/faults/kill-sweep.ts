/**
 * Kills the daemon before and after every system call that an operation makes on the layers
 * (scenarios.ts).
 *
 * After each kill: the mount point answers ENOTCONN, can be unmounted, and a fresh mount of the
 * same layers shows the state before the operation or the one after it; what the dead daemon left
 * in the workdir is gone. At last the workdir is empty, and the kernel's overlay shows the same of
 * every trial.
 *
 * Not promised after a kill is the modification time of a directory into which something was just
 * copied up: the file system changes it with the entry, and it is put back by a second call. Nor
 * are times of directories where deletions are kept in marker files: there the marker is made
 * before the object goes.
 */
import { dirname } from 'node:path';
import type { Test } from 'tap';
import { ended } from '../support/command.js';
import { Errno } from '../../src/base/errno.js';
import { daemonsOf } from '../support/mounts.js';
import { Actor } from '../suites/actor.js';
import { kernel, plyfs, Union, type Mounter } from '../suites/mounters.js';
import { withoutStrayWhiteouts } from '../suites/oracle/differences.js';
import { differences, type Tree } from '../suites/tree.js';
import { CHANGES, FaultPlan, unmountDead } from './fault-plan.js';
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
  withoutNumbers,
  type Place,
} from './trials.js';

const ENOTCONN = 107;

export type Moment = 'before' | 'after';

/** A union that is killed and mounted again. */
export interface Ground extends Place {
  mount(by: Mounter): Promise<void>;
  unmount(): Promise<void>;
}

export interface Grounds {
  make(t: Test, options: readonly string[]): Promise<Ground>;
  /** The upper is one that the kernel mounts, and on which inode numbers last. */
  readonly asTheKernels: boolean;
}

const ordinary: Grounds = {
  make: (t, options) => Union.create(t, plyfs, 1, options),
  asTheKernels: true,
};

/** The two states an operation may leave, and how many calls it makes on the way. */
interface Reference {
  readonly before: Tree;
  readonly after: Tree;
  readonly calls: number;
}

class Sweep {
  private trials = 0;
  private readonly since = startOfTest();
  private readonly seen = new Map<string, Tree>();

  constructor(
    private readonly t: Test,
    private readonly union: Ground,
    private readonly asTheKernels: boolean,
    private readonly plan: FaultPlan,
    private readonly scenario: FaultScenario,
  ) {}

  /** Lays further trials, unmounted, and mounts. Returns the number of the first. */
  private async mountWith(trials: number): Promise<number> {
    const first = this.trials;
    this.trials += trials;
    await layTrials(this.union, this.scenario, first, this.trials);
    await this.union.mount(this.plan.mounter);
    return first;
  }

  async reference(): Promise<Reference> {
    const first = await this.mountWith(2);
    const untouched = await Trial.start(this.union, this.scenario, first);
    await untouched.prepare();
    const before = await untouched.shown(this.since);
    await untouched.end();
    const acting = await Trial.start(this.union, this.scenario, first + 1);
    await acting.prepare();
    this.plan.arm({ action: 'count', kinds: CHANGES });
    const failed = await acting.act();
    this.plan.disarm();
    const { calls } = this.plan;
    const after = await acting.shown(this.since);
    await acting.end();
    await this.union.unmount();
    if (failed !== undefined) this.t.fail('the operation succeeds', { failed });
    if (differences(before, after).length === 0) this.t.fail('the operation changes what is shown');
    return { before, after, calls };
  }

  /** Returns how many kills were survived. */
  async kill(moment: Moment, reference: Reference): Promise<number> {
    const first = await this.mountWith(reference.calls + 4);
    for (let n = 1; n <= reference.calls + 4; n++) {
      const index = first + n - 1;
      const [daemon] = daemonsOf(this.union.mnt);
      if (daemon === undefined) throw new Error('no daemon serves the mount');
      const trial = await Trial.start(this.union, this.scenario, index);
      await trial.prepare();
      this.plan.arm({ action: `kill ${moment}`, at: n, kinds: CHANGES });
      const failed = await trial.act();
      if (this.plan.calls < n) {
        this.plan.disarm();
        this.t.equal(failed, undefined, `not killed ${moment} call ${n}: the operation succeeds`);
        this.remember(index, await trial.shown(this.since), reference.after, reference.after, '');
        await trial.end();
        await unmountWholly(this.union.mnt);
        return n - 1;
      }
      await ended(daemon);
      await trial.end();
      this.plan.disarm();
      const log = this.plan.log.map(({ name }) => name);
      const what = `killed ${moment} call ${n}, ${log[n - 1] ?? ''}, of ${log.join(' ')}`;
      await this.isDead();
      await unmountDead(this.union.mnt);

      await this.union.mount(this.plan.mounter);
      const left = leftovers(this.union);
      if (left.length > 0) this.t.fail(`${what}: the workdir is swept`, { left });
      const actor = await Actor.start();
      const found = await shownOf(actor, this.union, `t${index}`, this.since, this.scenario);
      await actor.end();
      const placing = ['linkat', 'renameat2', 'utimensat'].includes(log.at(-1) ?? '');
      this.remember(index, found, reference.before, reference.after, what, placing);
    }
    this.t.fail(`the operation makes more than ${reference.calls + 4} calls`);
    await this.union.unmount();
    return 0;
  }

  private async isDead(): Promise<void> {
    const outside = await Actor.start();
    const answer: unknown = await outside.lstat(`${this.union.mnt}/x`).then(
      () => 'an answer',
      (error: unknown) => error,
    );
    await outside.end();
    if (!(answer instanceof Errno && answer.errno === ENOTCONN))
      this.t.fail('the dead mount answers ENOTCONN', { answer });
  }

  /** Fails unless the trial shows one of two states. */
  private remember(
    index: number,
    found: Tree,
    before: Tree,
    after: Tree,
    what: string,
    placing = false,
  ): void {
    this.seen.set(`t${index}`, found);
    const { newNumber } = this.scenario;
    const lasting = (tree: Tree) =>
      newNumber === undefined ? tree : withNewNumber(tree, newNumber);
    const known = (tree: Tree) => (this.asTheKernels ? lasting(tree) : withoutNumbers(tree));
    const timeless = placing || !this.asTheKernels;
    const comparable = (tree: Tree) =>
      timeless ? withoutDirectoryTimes(known(tree)) : known(tree);
    const seen = comparable(found);
    const apart = [before, after].map((state) => differences(seen, comparable(state)));
    if (apart.some((lines) => lines.length === 0)) return;
    this.t.fail(`${what}: the state before the operation or after it`, {
      fromBefore: apart[0],
      fromAfter: apart[1],
    });
  }

  /** The kernel mounts the layers and shows the same of every trial. */
  async compareWithKernel(): Promise<void> {
    this.t.same(leftovers(this.union), [], 'nothing is left in the workdir');
    if (!this.asTheKernels) return;
    await this.union.mount(kernel);
    const actor = await Actor.start();
    for (const [name, wanted] of this.seen) {
      const found = withoutStrayWhiteouts(
        await shownOf(actor, this.union, name, this.since, this.scenario),
      );
      const { newNumber } = this.scenario;
      const lines =
        newNumber === undefined
          ? differences(found, wanted)
          : differences(withNewNumber(found, newNumber), withNewNumber(wanted, newNumber));
      if (lines.length > 0) this.t.fail(`the kernel shows the same of ${name}`, { lines });
    }
    this.t.pass(`the kernel shows the same of ${this.seen.size} trials`);
    await actor.end();
    await this.union.unmount();
  }
}

/** Every scenario as a subtest. Returns how many kills were survived. Needs root. */
export async function killSweep(
  t: Test,
  scenarios: Readonly<Record<string, FaultScenario>>,
  moments: readonly Moment[],
  grounds: Grounds = ordinary,
): Promise<number> {
  let survived = 0;
  for (const [name, scenario] of Object.entries(scenarios)) {
    await t.test(name, async (t) => {
      const union = await grounds.make(t, scenario.options ?? []);
      const plan = new FaultPlan(`${dirname(union.mnt)}/plan`);
      t.teardown(() => plan.close());
      const sweep = new Sweep(t, union, grounds.asTheKernels, plan, scenario);
      const reference = await sweep.reference();
      for (const moment of moments) survived += await sweep.kill(moment, reference);
      await sweep.compareWithKernel();
    });
  }
  return survived;
}
