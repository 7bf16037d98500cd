/** A source that ends with the signal's reason once that is aborted, also while a piece is waited for. */
import type { ByteSource } from '../base/byte-source.js';

export async function* abortable(source: ByteSource, signal: AbortSignal): ByteSource {
  const pieces = source[Symbol.asyncIterator]();
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort);
  });
  aborted.catch(() => undefined);
  let ended = false;
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await Promise.race([pieces.next(), aborted]);
      ended = next.done === true;
      if (ended) return;
      yield next.value as Uint8Array;
    }
  } finally {
    signal.removeEventListener('abort', abort);
    // Not waited for: a generator that waits for its own source cannot return before that answers.
    if (!ended) pieces.return?.().catch(() => undefined);
  }
}
