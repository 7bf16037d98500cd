/**
 * A file system with the upper and the workdir that fills up at every step of an operation: the
 * free space is swept from none to enough.
 *
 * An operation that finds no space says ENOSPC and leaves the union as it was; with space again the
 * same operation succeeds, and nothing is left in the workdir.
 */
import type { Test } from 'tap';
import { mkdirSync } from 'node:fs';
import { E, Errno } from '../../src/base/errno.js';
import { plyfs, unmount, type Mounter } from '../suites/mounters.js';
import { differences, type Tree } from '../suites/tree.js';
import { workspace } from '../suites/workspace.js';
import type { FaultScenario } from './scenarios.js';
import {
  layTrials,
  leftovers,
  startOfTest,
  Trial,
  unmountWholly,
  withoutDirectoryTimes,
  withoutNumbers,
  type Place,
} from './trials.js';

/** What runs out. */
export interface Shortage {
  /** Leaves this many units free. */
  leave(units: number): void;
  release(): void;
  close(): void;
}

export interface SmallDisk {
  /**
   * Mounts a small file system at `dir`; resolves to why it cannot be. `image`: a file to be made,
   * if one is needed.
   */
  mount(dir: string, image: string): Promise<string | undefined>;
  shortage(dir: string): Shortage;
}

/** Between two amounts that are tried: with many units each one would take long. */
const stepAfter = (units: number): number => (units < 16 ? 1 : units < 64 ? 7 : 97);
const MOST_UNITS = 1800;
/** Enough for all amounts that are tried. */
const TRIALS = 2 + 16 + 7 + Math.ceil(MOST_UNITS / 97);

/** Each scenario as a subtest. Returns how often there was no space. */
export async function fullDiskSweep(
  t: Test,
  disk: SmallDisk,
  scenarios: Readonly<Record<string, FaultScenario>>,
): Promise<number> {
  let full = 0;
  for (const [name, scenario] of Object.entries(scenarios)) {
    await t.test(name, async (t) => {
      const base = await workspace(t, 'lower1', 'small', 'mnt');
      const reason = await disk.mount(`${base}/small`, `${base}/image`);
      if (reason !== undefined) {
        t.plan(0, reason);
        return;
      }
      for (const made of ['upper', 'work']) mkdirSync(`${base}/small/${made}`);
      const place = { base: `${base}/small`, lower: `${base}/lower1`, mnt: `${base}/mnt` };
      await layTrials(place, scenario, 0, TRIALS);
      const { options = [] } = scenario;
      const spec = {
        lowers: [place.lower],
        upper: `${place.base}/upper`,
        work: `${place.base}/work`,
        options,
      };
      await plyfs.mount(spec, place.mnt);
      const shortage = disk.shortage(place.base);
      t.teardown(() => shortage.close());
      const found = await sweep(t, place, scenario, shortage);
      t.ok(found.refusals > 0, `${found.refusals} times there was no space`);
      full += found.refusals;
      shortage.leave(0);
      await unmountWholly(place.mnt);
      t.same(leftovers(place), [], 'nothing is left in the workdir');
      await mountsAgain(t, plyfs, spec, place, scenario, found.after);
      await unmount(place.mnt);
    });
  }
  return full;
}

/** On the disk that is full a fresh mount shows what the one before it showed. */
async function mountsAgain(
  t: Test,
  mounter: Mounter,
  spec: Parameters<Mounter['mount']>[0],
  place: Place,
  scenario: FaultScenario,
  after: Tree,
): Promise<void> {
  await mounter.mount(spec, place.mnt);
  const trial = await Trial.start(place, scenario, 2);
  const lines = differences(comparable(await trial.shown(0n)), comparable(after));
  await trial.end();
  t.same(lines, [], 'on a full disk a fresh mount shows the same');
}

/**
 * Without times, which differ between trials, and inode numbers, whose origin cannot be told across
 * file systems.
 */
function comparable(tree: Tree): Tree {
  return withoutNumbers(withoutTimes(tree));
}

async function sweep(
  t: Test,
  place: Place,
  scenario: FaultScenario,
  shortage: Shortage,
): Promise<{ refusals: number; after: Tree }> {
  const since = startOfTest();
  const untouched = await Trial.start(place, scenario, 0);
  await untouched.prepare();
  const before = await untouched.shown(since);
  await untouched.end();
  const acting = await Trial.start(place, scenario, 1);
  await acting.prepare();
  await acting.act();
  const after = await acting.shown(since);
  await acting.end();

  let refusals = 0;
  let units = 0;
  for (let index = 2; index < TRIALS && units < MOST_UNITS; index++, units += stepAfter(units)) {
    const trial = await Trial.start(place, scenario, index);
    try {
      await trial.prepare();
      shortage.leave(units);
      const failed = await trial.act();
      const what = `with ${units} left`;
      const shown = await trial.shown(since);
      const left = leftovers(place);
      shortage.release();
      if (left.length > 0) t.fail(`${what}: nothing is left in the workdir`, { left });
      if (failed === undefined) {
        t.same(differences(shown, after), [], `${what}: the operation succeeds`);
        return { refusals, after };
      }
      refusals++;
      if (!(failed instanceof Errno && failed.errno === E.ENOSPC))
        t.fail(`${what}: the caller is told ENOSPC`, { failed });
      // A file system may take note of the time before it finds that there is no space (ext4:
      // file_modified before the block is allocated).
      const lines = differences(withoutTimes(shown), withoutTimes(before));
      if (lines.length > 0) t.fail(`${what}: the union is as it was`, { lines });
      const again = await trial.act();
      if (again !== undefined)
        t.fail(`${what}, then given more: the operation succeeds`, { again });
      const done = differences(
        withoutDirectoryTimes(await trial.shown(since)),
        withoutDirectoryTimes(after),
      );
      if (done.length > 0) t.fail(`${what}, then given more`, { done });
    } finally {
      await trial.end();
    }
  }
  t.fail(`the operation succeeds before ${units} are left`);
  return { refusals, after };
}

function withoutTimes(tree: Tree): Tree {
  return new Map([...tree].map(([path, line]) => [path, line.replace(/ mtime \S+/, '')]));
}
