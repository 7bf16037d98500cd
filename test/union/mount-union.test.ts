/** The union suite on mounts made by the built program. */
import t from 'tap';
import { plyfs, unavailable } from '../suites/mounters.js';
import { unionSuite } from '../suites/union-suite.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfs);
await t.test('plyfs', { skip: skip ?? false }, (t) => unionSuite(t, plyfs));
