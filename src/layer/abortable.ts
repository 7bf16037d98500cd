/**
 * A source that ends with the signal's reason once that is aborted, also while a piece is waited
 * for.
 */
import type { ByteSource } from '../base/byte-source.js';

/**
 * Each piece is waited for by a promise of its own. In a race with one promise that lives as long
 * as the source every piece would stay reachable: `Promise.race` leaves its reactions, and through
 * them what won, with the promises that never settled.
 */
export async function* abortable(source: ByteSource, signal: AbortSignal): ByteSource {
  const pieces = source[Symbol.asyncIterator]();
  let fail: (reason: unknown) => void = () => undefined;
  const abort = (): void => fail(signal.reason);
  signal.addEventListener('abort', abort);
  let ended = false;
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        fail = reject;
        pieces.next().then(resolve, reject);
      });
      ended = next.done === true;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', abort);
    // Not waited for: a generator that waits for its own source cannot return before that answers.
    if (!ended) pieces.return?.().catch(() => undefined);
  }
}
