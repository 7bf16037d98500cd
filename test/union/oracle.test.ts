/**
 * The kernel's overlay as oracle: the same scenarios each time, so that a failure is the change's.
 * `make soak` looks for new ones.
 */
import t from 'tap';
import { kernel, unavailable } from '../suites/mounters.js';
import { oracle, settingsFor } from '../suites/oracle/oracle.js';

// As many seconds as it may take on a machine that is busy with other things.
const settings = settingsFor({ seconds: 240, seed: 100_000, runs: 80, length: 120 });
t.setTimeout((settings.seconds + settings.shrinkSeconds + 300) * 1000);
const skip = await unavailable(t, kernel);
await t.test('random operations', { skip: skip ?? false }, (t) => oracle(t, settings));
