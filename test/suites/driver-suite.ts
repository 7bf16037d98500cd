/**
 * What every graph driver must do (the rules of src/graphdriver/driver.ts), over any driver and any
 * way of mounting. Each case has a home of its own.
 */
import type { Test } from 'tap';
import { contentCases } from './driver/content.js';
import { damageCases } from './driver/damage.js';
import { killCases } from './driver/kills.js';
import { layerCases } from './driver/layers.js';
import { mountCases } from './driver/mounts.js';
import { DriverScene, type DriverCases, type DriverTarget } from './driver/scene.js';

const groups: Readonly<Record<string, DriverCases>> = {
  layers: layerCases,
  mounts: mountCases,
  content: contentCases,
  damage: damageCases,
  kills: killCases,
};

/**
 * Runs every case as a subtest; `exclude`: cases that this target cannot pass, by name, each with
 * its reason.
 */
export async function driverSuite(
  t: Test,
  target: DriverTarget,
  exclude: Readonly<Record<string, string>> = {},
): Promise<void> {
  const names = new Set(Object.values(groups).flatMap((cases) => Object.keys(cases)));
  for (const name of Object.keys(exclude))
    if (!names.has(name)) t.fail(`the exclusion "${name}" names no case`);
  for (const [group, cases] of Object.entries(groups)) {
    await t.test(group, async (t) => {
      for (const [name, run] of Object.entries(cases)) {
        if (exclude[name] !== undefined) {
          t.comment(`not for this target: ${name}: ${exclude[name]}`);
          continue;
        }
        await t.test(name, async (t) => {
          const scene = await DriverScene.create(t, target);
          try {
            await run(scene);
          } finally {
            await scene.end();
          }
        });
      }
    });
  }
}
