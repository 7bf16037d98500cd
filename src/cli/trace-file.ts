/** `-o trace=`: what the union does, a line an event, in a file or on stdout. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createWriteStream, openSync } from 'node:fs';
import { textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError, messageOf } from '../base/error.js';
import { traceLine, type TraceForm } from '../mount/trace-lines.js';
import { UNION_CHANNEL, type UnionEvent } from '../union/events.js';

/**
 * Bytes that wait to be written: whoever reads may be slow, and the mount must not wait for him.
 */
const MAX_WAITING = 8 << 20;

export interface TraceFile {
  /** Resolves when all is written. */
  end(): Promise<void>;
}

/**
 * Opens the file, before the mount can cover it, and writes from now on; off the main thread,
 * because a pipe's reader may be using the mount. `warn` is told once of what went wrong. Throws
 * `trace-unwritable`.
 */
export function traceTo(
  { to: path, form }: { to: ByteString; form: TraceForm },
  warn: (sentence: string) => void,
): TraceFile {
  let fd = 1;
  if (path !== '-') {
    try {
      fd = openSync(Buffer.from(path, 'latin1'), 'a', 0o600);
    } catch (error) {
      throw new PlyfsError(
        'trace-unwritable',
        `cannot write the trace to ${textOf(path)} (${messageOf(error)}): name another file`,
        {
          cause: error,
        },
      );
    }
  }
  const out = createWriteStream('', { fd });
  let lost = 0;
  const listener = (message: unknown): void => {
    if (out.writableLength > MAX_WAITING) {
      if (lost++ === 0)
        warn('the trace cannot be written as fast as things happen: events are left out');
      return;
    }
    out.write(traceLine(message as UnionEvent, form, Date.now()));
  };
  const stop = (): void => {
    unsubscribe(UNION_CHANNEL, listener);
  };
  out.on('error', (error) => {
    stop();
    // Whoever reads may stop when he has seen enough.
    if (!('code' in error) || error.code !== 'EPIPE')
      warn(`the trace ends here: ${messageOf(error)}`);
  });
  subscribe(UNION_CHANNEL, listener);
  return {
    end: () =>
      new Promise((resolve) => {
        stop();
        out.on('error', () => {
          resolve();
        });
        if (out.destroyed) resolve();
        else out.end(resolve);
      }),
  };
}
