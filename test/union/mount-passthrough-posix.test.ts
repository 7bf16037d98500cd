/**
 * The POSIX suite on mounts with passthrough: on files that are passed through from the start, and
 * on lower files.
 */
import t from 'tap';
import { plyfsPassthrough, unavailable } from '../suites/mounters.js';
import { posixOnUnion } from '../suites/posix-on-union.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfsPassthrough);
for (const placement of ['upper', 'lower'] as const) {
  await t.test(placement, { skip: skip ?? false }, (t) =>
    posixOnUnion(t, plyfsPassthrough, placement),
  );
}
