/**
 * The POSIX suite on a mount by the built program, the names under test in a lower layer, their
 * directories in both.
 */
import t from 'tap';
import { plyfs, unavailable } from '../suites/mounters.js';
import { posixOnUnion } from '../suites/posix-on-union.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfs);
await t.test('merged', { skip: skip ?? false }, (t) => posixOnUnion(t, plyfs, 'merged'));
