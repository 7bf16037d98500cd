/** Parts of an open file as byte sources. */
import { read } from 'node:fs';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';

/**
 * Large enough that the calls do not count, small enough to stay in the processor's cache on the
 * way through a digest.
 */
const PIECE = 512 * 1024;

/**
 * `length` bytes from `start`; the descriptor stays the caller's, and its position where it is.
 * While one piece is used the next is read. Throws `archive-damaged` when the file ends before.
 */
export async function* fileRange(
  fd: number,
  start: number,
  length: number,
  what: string,
): ByteSource {
  const end = start + length;
  let current = Buffer.allocUnsafeSlow(Math.min(PIECE, length));
  let next = length > PIECE ? Buffer.allocUnsafeSlow(PIECE) : current;
  let pending = readAt(fd, current, start, end);
  try {
    for (let at = start; at < end;) {
      const count = await pending;
      if (count === 0)
        throw new PlyfsError(
          'archive-damaged',
          `${what} ends before all of it is there: it was cut off.`,
        );
      at += count;
      const piece = current.subarray(0, count);
      if (at < end) {
        [current, next] = [next, current];
        pending = readAt(fd, current, at, end);
      }
      yield piece;
    }
  } finally {
    // The descriptor may be closed as soon as this generator has returned.
    await pending.catch(() => undefined);
  }
}

/**
 * A failure waits for whoever asks for it: it is not reported as unhandled while the piece before
 * is still in use.
 */
function readAt(fd: number, buffer: Buffer, at: number, end: number): Promise<number> {
  const reading = new Promise<number>((resolve, reject) => {
    read(fd, buffer, 0, Math.min(buffer.length, end - at), at, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
  reading.catch(() => undefined);
  return reading;
}
