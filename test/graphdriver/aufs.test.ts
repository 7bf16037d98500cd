/** The driver suite on aufs, mounted by plyfs. */
import t from 'tap';
import { aufs } from '../../src/graphdriver/drivers/aufs.js';
import { fuseMounter } from '../../src/graphdriver/mounters/fuse.js';
import { driverSuite } from '../suites/driver-suite.js';

t.setTimeout(300_000);
const skip = fuseMounter.unsupported() ?? false;
await t.test('aufs', { skip }, (t) => driverSuite(t, { definition: aufs, mounter: 'fuse' }));
