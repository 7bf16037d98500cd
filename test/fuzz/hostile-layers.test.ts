/** Layers that lie, for some seconds. `make soak` goes on for as long as it is told. */
import t from 'tap';
import { plyfs, unavailable } from '../suites/mounters.js';
import { fuzzSettings } from './campaign.js';
import { fuzzHostileLayers, fuzzHostileMounts } from './hostile-layers.js';

t.setTimeout(300_000);
const skip = await unavailable(t, plyfs);
await t.test('hostile layers', (t) => fuzzHostileLayers(t, fuzzSettings({ seconds: 5, seed: 1 })));
await t.test('mounted', { skip: skip ?? false }, (t) =>
  fuzzHostileMounts(t, fuzzSettings({ seconds: 4, seed: 1 })),
);
