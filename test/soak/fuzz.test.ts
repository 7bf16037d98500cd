/**
 * Each fuzzing campaign with new inputs, for ten minutes, or as long as PLYFS_FUZZ_SECONDS says.
 */
import t from 'tap';
import { fuzzSettings } from '../fuzz/campaign.js';
import { fuzzHostileLayers, fuzzHostileMounts } from '../fuzz/hostile-layers.js';
import { fuzzLayerValues } from '../fuzz/layer-values.js';
import { fuzzOptions } from '../fuzz/options.js';
import { fuzzRequests } from '../fuzz/requests.js';
import { plyfs, unavailable } from '../suites/mounters.js';

const settings = fuzzSettings({ seconds: 600 });
t.setTimeout((settings.seconds * 5 + 600) * 1000);
const skip = await unavailable(t, plyfs);
await t.test('requests', (t) => fuzzRequests(t, settings));
await t.test('hostile layers', (t) => fuzzHostileLayers(t, settings));
await t.test('hostile layers, mounted', { skip: skip ?? false }, (t) =>
  fuzzHostileMounts(t, settings),
);
await t.test('values of attributes', (t) => fuzzLayerValues(t, settings));
await t.test('options', (t) => fuzzOptions(t, settings));
