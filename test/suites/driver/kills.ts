/**
 * Killed at any step: an operation whose Nth step is the last that reaches the disk, for N from 1
 * until it comes through. What is left is either a layer or garbage that is told from one.
 */
import { existsSync, readdirSync } from 'node:fs';
import { cutOffAfter } from '../../support/cut-off.js';
import { id, type DriverCases, type DriverScene } from './scene.js';

/** Whether it was cut off. */
function cutOff(
  scene: DriverScene,
  operation: 'create' | 'createReadWrite' | 'remove',
  layer: string,
  parent: string | undefined,
  step: number,
) {
  return cutOffAfter(step, () =>
    operation === 'remove' ? scene.driver.remove(layer) : scene.driver[operation](layer, parent),
  );
}

/** Bound on steps, so that a worker that never comes through is a failure. */
const MOST_STEPS = 400;

function createCase(operation: 'create' | 'createReadWrite') {
  return async (scene: DriverScene): Promise<void> => {
    const { driver, t } = scene;
    await scene.add(id(1), undefined, [
      { name: 'd/', type: 'directory' },
      { name: 'd/file', content: 'x' },
      { name: 'd/same', type: 'link', linkname: 'd/file' },
    ]);
    // What a child leaves with its parent (overlay2: `committed`) stays.
    await driver.create(id(3), id(1));
    await driver.remove(id(3));
    const before = scene.names();
    let whole = 0;
    let step = 1;
    for (; step < MOST_STEPS && (await cutOff(scene, operation, id(2), id(1), step)); step++) {
      if (driver.exists(id(2))) {
        whole++;
        driver.directories(id(2));
      } else
        t.throws(
          () => driver.directories(id(2)),
          { code: /^layer-(missing|damaged)$/ },
          `step ${step}: no layer`,
        );
      await driver.remove(id(2));
      t.same(scene.names(), before, `step ${step}: nothing is left after remove`);
      t.same(
        readdirSync(scene.own(id(1)), { recursive: true }).sort(),
        ['d', 'd/file', 'd/same'],
        `step ${step}: the parent is as it was`,
      );
    }
    t.ok(
      step > 2 && step < MOST_STEPS,
      `${step - 1} steps, the layer there after ${whole} of them`,
    );
    t.ok(driver.exists(id(2)));
    t.same(await scene.paths(id(2)), ['d/', 'd/file', 'd/same']);
  };
}

export const killCases: DriverCases = {
  'create cut off at any step': createCase('create'),
  'createReadWrite cut off at any step': createCase('createReadWrite'),

  'create goes over what one cut off left': async (scene) => {
    await scene.add(id(1), undefined, [{ name: 'file', content: 'x' }]);
    for (let step = 1; step < MOST_STEPS; step++) {
      if (!(await cutOff(scene, 'create', id(2), id(1), step)) || scene.driver.exists(id(2))) break;
      await scene.driver.create(id(2), id(1));
      scene.t.ok(scene.driver.directories(id(2)), `step ${step}`);
      await scene.driver.remove(id(2));
    }
  },

  'remove cut off at any step': async (scene) => {
    const { driver, t } = scene;
    await scene.add(id(1), undefined, [{ name: 'file', content: 'x' }]);
    await driver.create(id(3), id(1));
    await driver.remove(id(3));
    const before = scene.names();
    let step = 1;
    for (; step < MOST_STEPS; step++) {
      await scene.add(id(2), id(1), [
        { name: 'a/', type: 'directory' },
        { name: 'a/b/', type: 'directory' },
        { name: 'a/b/c', content: 'x' },
      ]);
      if (!(await cutOff(scene, 'remove', id(2), undefined, step))) break;
      if (driver.exists(id(2)))
        t.ok(existsSync(`${scene.own(id(2))}/a/b/c`), `step ${step}: the layer is whole`);
      await driver.remove(id(2));
      t.same(scene.names(), before, `step ${step}: nothing is left`);
    }
    t.ok(step > 2 && step < MOST_STEPS, `${step - 1} steps`);
    t.notOk(driver.exists(id(2)));
    t.same(scene.names(), before);
  },
};
