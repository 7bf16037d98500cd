/**
 * Work that is done in pieces, so that whoever else waits for the event loop is served between
 * them.
 *
 * A generator yields where it may stop: nothing after a piece of work (some milliseconds), or a
 * promise, which does not reject, of something that is done elsewhere. Between two pieces anything
 * may happen that other operations do.
 */
import type { Awaitable } from './awaitable.js';

export type Pieces = Generator<Promise<void> | undefined, void, undefined>;

/**
 * Does up to `atOnce` pieces now. What is left then, or waits for a promise, goes on as the event
 * loop turns.
 */
export function inPieces(work: Pieces, atOnce: number): Awaitable<void> {
  for (let piece = 1; ; piece++) {
    const { done, value } = work.next();
    if (done === true) return;
    if (value !== undefined || piece >= atOnce) return goOn(work, value);
  }
}

async function goOn(work: Pieces, first: Promise<void> | undefined): Promise<void> {
  for (let waited = first; ;) {
    await (waited ?? nextTurn());
    const { done, value } = work.next();
    if (done === true) return;
    waited = value;
  }
}

/** Resolves when the event loop has looked at everything else. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
