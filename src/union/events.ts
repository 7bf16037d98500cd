/**
 * What a union tells those who listen (`node:diagnostics_channel`, name `plyfs.union`).
 *
 * Publishing costs one test when nobody listens: build the message only behind `active`.
 */
import { channel, type Channel } from 'node:diagnostics_channel';
import type { ByteString } from '../base/bytes.js';

export type UnionEvent =
  /** A lower file got its copy in the upper layer. `bytes`: data copied. */
  | { type: 'copy-up'; path: ByteString; layer: number; bytes: number; microseconds: number }
  | { type: 'whiteout'; path: ByteString }
  | { type: 'opaque'; path: ByteString }
  /** A directory rename was answered EXDEV because lower layers hold it. */
  | { type: 'exdev'; path: ByteString }
  /** A name was found in layer `layer`. */
  | { type: 'lookup'; path: ByteString; layer: number };

export class UnionEvents {
  readonly #channel: Channel = channel('plyfs.union');

  get active(): boolean {
    return this.#channel.hasSubscribers;
  }
  publish(event: UnionEvent): void {
    this.#channel.publish(event);
  }
}
