/** The driver suite on vfs, which needs no union. */
import t from 'tap';
import { vfs } from '../../src/graphdriver/drivers/vfs.js';
import { driverSuite } from '../suites/driver-suite.js';

t.setTimeout(300_000);
await t.test('vfs', (t) => driverSuite(t, { definition: vfs, mounter: 'fuse' }));
