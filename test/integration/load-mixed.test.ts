/** Eight processes at once on one mount. */
import t from 'tap';
import { mixedWork } from '../suites/load/mixed.js';
import { WatchedPlyfs } from '../suites/load/watched.js';
import { kernel, plyfs, unavailable } from '../suites/mounters.js';

t.setTimeout(300_000);
await t.test('plyfs', { skip: (await unavailable(t, plyfs)) ?? false }, (t) =>
  mixedWork(t, new WatchedPlyfs(t), 8, 250),
);
await t.test('the kernel overlay', { skip: (await unavailable(t, kernel)) ?? false }, (t) =>
  mixedWork(t, kernel, 8, 50),
);
