/** stress-ng on a mount. */
import t from 'tap';
import { run } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { stressed } from '../suites/load/stressors.js';
import { WatchedPlyfs } from '../suites/load/watched.js';
import { kernel, plyfs, unavailable } from '../suites/mounters.js';

t.setTimeout(600_000);
const missing = (await run(['sh', '-c', 'command -v stress-ng'])).status !== 0;
const skip = !isRoot
  ? 'some stressors need root'
  : missing
    ? 'stress-ng is not installed: apt-get install stress-ng'
    : ((await unavailable(t, plyfs)) ?? false);
const oracle = (await unavailable(t, kernel)) === undefined ? kernel : undefined;
await t.test('stress-ng', { skip }, (t) => stressed(t, new WatchedPlyfs(t), oracle, 1));
