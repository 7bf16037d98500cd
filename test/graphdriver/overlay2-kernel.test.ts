/** The driver suite on overlay2, mounted by the kernel's overlay. */
import t from 'tap';
import { overlay2 } from '../../src/graphdriver/drivers/overlay2.js';
import { kernelMounter } from '../../src/graphdriver/mounters/kernel.js';
import { driverSuite } from '../suites/driver-suite.js';

t.setTimeout(300_000);
const skip = kernelMounter.unsupported() ?? false;
await t.test('overlay2', { skip }, (t) =>
  driverSuite(t, { definition: overlay2, mounter: 'kernel' }),
);
