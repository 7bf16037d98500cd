/**
 * The POSIX suite on a mount by the built program, the names under test in an opaque upper
 * directory over other types.
 */
import t from 'tap';
import { plyfs, unavailable } from '../suites/mounters.js';
import { posixOnUnion } from '../suites/posix-on-union.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfs);
await t.test('opaque', { skip: skip ?? false }, (t) => posixOnUnion(t, plyfs, 'opaque'));
