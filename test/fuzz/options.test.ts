/**
 * Option lists and command lines of any words, for some seconds. `make soak` goes on for as long as
 * it is told.
 */
import t from 'tap';
import { fuzzSettings } from './campaign.js';
import { fuzzOptions } from './options.js';

t.setTimeout(300_000);
await t.test('options', (t) => fuzzOptions(t, fuzzSettings({ seconds: 6, seed: 1 })));
