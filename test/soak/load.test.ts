/**
 * The load tests in larger numbers, on the kernel's overlay too: what they expect is what it does.
 */
import t from 'tap';
import { isRoot } from '../support/users.js';
import { largeDirectory, manyDirectories, removedWhileListed } from '../suites/load/directories.js';
import { gitOverLower } from '../suites/load/git.js';
import { mixedWork } from '../suites/load/mixed.js';
import { stressed } from '../suites/load/stressors.js';
import { WatchedPlyfs } from '../suites/load/watched.js';
import { kernel, plyfs, unavailable, type Mounter } from '../suites/mounters.js';

t.setTimeout(6 * 3_600_000);
for (const target of [plyfs, kernel]) {
  await t.test(target.name, { skip: (await unavailable(t, target)) ?? false }, async (t) => {
    const mounter = (t: Parameters<typeof unavailable>[0]): Mounter =>
      target === plyfs ? new WatchedPlyfs(t) : target;
    await t.test('1,040,000 entries in one directory', (t) =>
      largeDirectory(t, mounter(t), 1_040_000),
    );
    await t.test('1,048,576 mkdir and rmdir', (t) => manyDirectories(t, mounter(t), 1_048_576));
    await t.test('rm -rf while others list', (t) => removedWhileListed(t, mounter(t), 400_000));
    await t.test('sixteen processes at once', (t) => mixedWork(t, mounter(t), 16, 4000));
    await t.test('git', (t) => gitOverLower(t, mounter(t), 30_000));
    await t.test('stress-ng', { skip: !isRoot && 'some stressors need root' }, (t) =>
      stressed(t, mounter(t), kernel, 30),
    );
  });
}
