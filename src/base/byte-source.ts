/**
 * Bytes that come piece by piece: a file, a decompressor, a request's body. A Node stream is one.
 *
 * It is read once, by one reader, at the reader's pace. A piece belongs to the reader until it asks
 * for the next one, and not longer unless the source says so. A failed read rejects; who stops
 * early calls `return` (as `for await` does), which releases what the source holds.
 */
export type ByteSource = AsyncIterable<Uint8Array>;

/** All of it, or undefined when it is longer than `limit` bytes. */
export async function readAll(source: ByteSource, limit: number): Promise<Buffer | undefined> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of source) {
    length += piece.length;
    if (length > limit) return undefined;
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces, length);
}
