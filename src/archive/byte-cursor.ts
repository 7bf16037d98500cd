/**
 * Reading a ByteSource by counts: what is there already is taken without waiting, and without
 * copying where one piece holds it.
 */
import type { ByteSource } from '../base/byte-source.js';

export class ByteCursor {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #seen: (piece: Uint8Array) => void;
  #piece: Buffer = Buffer.alloc(0);
  #at = 0;
  #ended = false;
  /** Bytes taken so far. */
  position = 0;

  /** `seen` gets each piece once, whole, when it arrives. */
  constructor(source: ByteSource, seen: (piece: Uint8Array) => void) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#seen = seen;
  }

  /** Bytes that `take` gives without waiting. */
  get available(): number {
    return this.#piece.length - this.#at;
  }

  /** At most `max` bytes, at least one if any is available; valid until the next `fill`. */
  take(max: number): Buffer {
    const end = Math.min(this.#piece.length, this.#at + max);
    const bytes = this.#piece.subarray(this.#at, end);
    this.#at = end;
    this.position += bytes.length;
    return bytes;
  }

  /** Waits for the next piece, after the current one was taken whole. False at the end. */
  async fill(): Promise<boolean> {
    while (!this.#ended) {
      const result = await this.#iterator.next();
      if (result.done === true) {
        this.#ended = true;
        break;
      }
      const { value } = result;
      if (value.length === 0) continue;
      this.#piece = Buffer.from(value.buffer, value.byteOffset, value.length);
      this.#at = 0;
      this.#seen(value);
      return true;
    }
    this.#piece = Buffer.alloc(0);
    this.#at = 0;
    return false;
  }

  /** `count` bytes, or fewer at the end of the source. Valid until the next `fill`. */
  async exactly(count: number): Promise<Buffer> {
    if (this.available >= count) return this.take(count);
    const parts: Buffer[] = [];
    let missing = count;
    while (missing > 0) {
      if (this.available === 0 && !(await this.fill())) break;
      // Copied: the piece is the source's again once the next is asked for.
      const part = Buffer.from(this.take(missing));
      missing -= part.length;
      parts.push(part);
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }

  /** Lets the source go. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#iterator.return?.();
  }
}
