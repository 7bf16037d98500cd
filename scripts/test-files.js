// What the runner (run-tests.js) has to know of single tests: how long each may take, and what it
// cannot run beside.
import { readFileSync, writeFileSync } from 'node:fs';

/** Seconds that a test may take on a machine that does nothing else; more is printed. */
const BOUND = 15;

const BOUNDS = {};

/**
 * Tests that run beside no other. The benchmark measures, and its disk image is in use for as long
 * as another test has a mount namespace that was cloned meanwhile.
 */
const ALONE = ['test/integration/bench.test.ts'];

/** Tests that use what the machine has once; two of a row never run at the same time. */
const SHARING = [];

/** Where the last run's times are kept. */
const TIMES = 'dist/test-times.json';

/** `dist/test/x.test.js` is compiled from `test/x.test.ts`. */
export const sourceOf = (file) => file.replace(/^.*?\bdist\//, '').replace(/\.js$/, '.ts');

/** Seconds. */
export const boundOf = (file) => BOUNDS[sourceOf(file)] ?? BOUND;

/** Whether two tests may not run at the same time. */
export const excludes = (a, b) =>
  ALONE.includes(sourceOf(a)) ||
  ALONE.includes(sourceOf(b)) ||
  SHARING.some(({ tests }) => tests.includes(sourceOf(a)) && tests.includes(sourceOf(b)));

const times = readTimes();

/** Seconds: those of the last run here, else its bound. */
export const timeOf = (file) => times[sourceOf(file)] ?? boundOf(file);

export function keepTimes(seconds) {
  writeFileSync(TIMES, JSON.stringify({ ...readTimes(), ...seconds }));
}

function readTimes() {
  try {
    return JSON.parse(readFileSync(TIMES, 'utf8'));
  } catch {
    return {};
  }
}
