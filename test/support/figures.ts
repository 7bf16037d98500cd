/**
 * What a test has done, for the end of the run: scripts/tap-summary.js adds up the figures of all
 * tests and prints them.
 */
import type { Test } from 'tap';

/** `what`: lower-case words, the same wherever the counts are to be added up. */
export function figure(t: Test, count: number, what: string): void {
  t.comment(`figure: ${count} ${what}`);
}
