/**
 * The union suite on mounts over the fuse-native transport, but for what its limits are in the way
 * of.
 */
import t from 'tap';
import { exclusions, unionLimits } from '../suites/fuse-native-exclusions.js';
import { plyfsFuseNative, unavailable } from '../suites/mounters.js';
import { unionSuite } from '../suites/union-suite.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfsFuseNative);
await t.test(plyfsFuseNative.name, { skip: skip ?? false }, (t) =>
  unionSuite(t, plyfsFuseNative, exclusions(unionLimits)),
);
