/**
 * The POSIX suite on mounts over the fuse-native transport, but for what its limits are in the way
 * of.
 */
import t from 'tap';
import { exclusions, posixLimits } from '../suites/fuse-native-exclusions.js';
import { plyfsFuseNative, unavailable } from '../suites/mounters.js';
import { posixOnUnion } from '../suites/posix-on-union.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfsFuseNative);
for (const placement of ['upper', 'lower'] as const) {
  await t.test(placement, { skip: skip ?? false }, (t) =>
    posixOnUnion(t, plyfsFuseNative, placement, exclusions(posixLimits)),
  );
}
