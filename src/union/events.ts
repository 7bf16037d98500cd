/**
 * What a union tells those who listen (`node:diagnostics_channel`, name `plyfs.union`).
 *
 * Publishing costs one test when nobody listens: build the message only behind `active`.
 */
import { channel, type Channel } from 'node:diagnostics_channel';
import type { ByteString } from '../base/bytes.js';

export const UNION_CHANNEL = 'plyfs.union';

export type UnionEvent =
  /** A lower file got its copy in the upper layer. `bytes`: data copied. */
  | { type: 'copy-up'; path: ByteString; layer: number; bytes: number; microseconds: number }
  /** A whiteout was made: it hides what lower layers hold at this path. */
  | { type: 'whiteout'; path: ByteString }
  /** A directory was made opaque: nothing shows in it of what lower layers hold at this path. */
  | { type: 'opaque'; path: ByteString }
  /** A directory rename was answered EXDEV because lower layers hold it. */
  | { type: 'exdev'; path: ByteString }
  /**
   * The kernel learnt which layer has a name; null: it learnt that the union shows no such name.
   * What it knows it does not ask again.
   */
  | { type: 'lookup'; path: ByteString; layer: number | null };

export class UnionEvents {
  readonly #channel: Channel = channel(UNION_CHANNEL);

  get active(): boolean {
    return this.#channel.hasSubscribers;
  }
  publish(event: UnionEvent): void {
    this.#channel.publish(event);
  }
}
