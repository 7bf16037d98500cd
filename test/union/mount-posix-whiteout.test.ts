/**
 * The POSIX suite on a mount by the built program, the names under test in the upper, new names
 * over whiteouts.
 */
import t from 'tap';
import { plyfs, unavailable } from '../suites/mounters.js';
import { posixOnUnion } from '../suites/posix-on-union.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfs);
await t.test('whiteout', { skip: skip ?? false }, (t) => posixOnUnion(t, plyfs, 'whiteout'));
