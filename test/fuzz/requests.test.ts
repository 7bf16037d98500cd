/**
 * Requests that no kernel sends, for some seconds. `make soak` goes on for as long as it is told.
 */
import t from 'tap';
import { fuzzSettings } from './campaign.js';
import { fuzzRequests } from './requests.js';

t.setTimeout(300_000);
await t.test('requests', (t) => fuzzRequests(t, fuzzSettings({ seconds: 8, seed: 1 })));
