/**
 * A look that fails is not an answer: while layers are told, committed, copied and loaded, each
 * look at their files fails once, and then either nothing is different or the failure is told in a
 * sentence. A mark, an attribute or an owner that is left out would be in no error.
 */
import t from 'tap';
import { succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';
import { root } from '../support/root.js';
import { FaultPlan } from './fault-plan.js';

t.setTimeout(120_000);

interface Failure {
  readonly operation: string;
  readonly at: number;
  readonly call: string;
  readonly came: 'same' | 'other' | 'told' | 'thrown';
  readonly said: string;
}

/** Looks that each operation makes at least: fewer would mean that the scene is not seen. */
const AT_LEAST = 10;

await t.test(
  'EIO at every look',
  { skip: isRoot ? false : 'needs root: layers with marks and capabilities' },
  async (t) => {
    const base = await workspace(t, 'scene');
    const plan = new FaultPlan(`${base}/plan`);
    t.teardown(() => plan.close());
    const program = [
      process.execPath,
      `${root}/dist/test/faults/looks-program.js`,
      plan.path,
      `${base}/scene`,
    ];
    const output = await succeed(['env', `PLYFS_FAULT_PLAN=${plan.path}`, ...program]);
    const failures = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Failure);
    const operations = new Map<string, Failure[]>();
    for (const failure of failures)
      operations.set(failure.operation, [...(operations.get(failure.operation) ?? []), failure]);
    t.equal(operations.size, 15);
    for (const [operation, found] of operations) {
      t.ok(found.length >= AT_LEAST, `${operation}: ${found.length} looks`);
      t.ok(found.some(({ came }) => came === 'told'));
      t.same(
        found.filter(({ came }) => came === 'other' || came === 'thrown'),
        [],
        `${operation}: told, or the same`,
      );
    }
    figure(t, failures.length, 'faults injected');
  },
);
