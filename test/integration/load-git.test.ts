/** git over a lower repository. */
import t from 'tap';
import { gitOverLower } from '../suites/load/git.js';
import { WatchedPlyfs } from '../suites/load/watched.js';
import { plyfs, unavailable } from '../suites/mounters.js';

t.setTimeout(300_000);
await t.test('git', { skip: (await unavailable(t, plyfs)) ?? false }, (t) =>
  gitOverLower(t, new WatchedPlyfs(t), 1200),
);
