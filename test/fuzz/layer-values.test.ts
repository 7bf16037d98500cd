/**
 * Values of attributes of any bytes, for some seconds. `make soak` goes on for as long as it is
 * told.
 */
import t from 'tap';
import { fuzzSettings } from './campaign.js';
import { fuzzLayerValues } from './layer-values.js';

t.setTimeout(300_000);
await t.test('layer values', (t) => fuzzLayerValues(t, fuzzSettings({ seconds: 6, seed: 1 })));
