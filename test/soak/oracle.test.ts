/** The kernel's overlay as oracle, for an hour, or as long as PLYFS_ORACLE_SECONDS says. */
import t from 'tap';
import { kernel, unavailable } from '../suites/mounters.js';
import { oracle, settingsFor } from '../suites/oracle/oracle.js';

const settings = settingsFor({ seconds: 3600 });
t.setTimeout((settings.seconds + settings.shrinkSeconds + 300) * 1000);
const skip = await unavailable(t, kernel);
await t.test('random operations', { skip: skip ?? false }, (t) => oracle(t, settings));
