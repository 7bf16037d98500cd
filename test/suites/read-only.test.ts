/**
 * The read-only suite on what Linux itself makes read-only: a bind mount, and an overlay without an
 * upper.
 */
import t from 'tap';
import { isRoot } from '../support/users.js';
import { kernel, unavailable } from './mounters.js';
import { readOnlyBind, readOnlyOnUnion } from './read-only-targets.js';

t.setTimeout(120_000);
await t.test('a bind mount', { skip: !isRoot && 'needs root' }, readOnlyBind);
const skip = await unavailable(t, kernel);
for (const how of ['no upper', 'ro'] as const) {
  await t.test(`the kernel's overlay: ${how}`, { skip: skip ?? false }, (t) =>
    readOnlyOnUnion(t, kernel, how),
  );
}
