/** The driver suite on overlay2, mounted by plyfs. */
import t from 'tap';
import { overlay2 } from '../../src/graphdriver/drivers/overlay2.js';
import { fuseMounter } from '../../src/graphdriver/mounters/fuse.js';
import { driverSuite } from '../suites/driver-suite.js';

t.setTimeout(300_000);
const skip = fuseMounter.unsupported() ?? false;
await t.test('overlay2', { skip }, (t) =>
  driverSuite(t, { definition: overlay2, mounter: 'fuse' }),
);
