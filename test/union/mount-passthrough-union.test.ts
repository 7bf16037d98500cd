/** The union suite on mounts whose kernel reads and writes files of the upper itself. */
import t from 'tap';
import { plyfsPassthrough, unavailable } from '../suites/mounters.js';
import { unionSuite } from '../suites/union-suite.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfsPassthrough);
await t.test(plyfsPassthrough.name, { skip: skip ?? false }, (t) =>
  unionSuite(t, plyfsPassthrough, {
    'opening for writing without writing copies nothing':
      'a handle is passed through to one file from its opening on, and that must be the copy, as with the kernel overlay',
  }),
);
