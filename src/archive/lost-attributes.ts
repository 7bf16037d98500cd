/**
 * What files of a layer had to do without, counted an attribute: a layer of many files is not many
 * sentences.
 */
import { textOf, type ByteString } from '../base/bytes.js';
import { XATTR_NAME_MAX } from '../sys/constants.js';

export interface LostAttribute {
  /** `*`: all beyond those that are told apart. */
  readonly attribute: string;
  /** An errno's name, or a few words. */
  readonly reason: string;
  readonly files: number;
  /** The path of one file that lacks it. */
  readonly first: string;
}

/** Attributes told apart. */
const MOST = 20;
const OTHERS = '*';

export class LostAttributes {
  readonly #lost = new Map<string, LostAttribute>();

  add(attribute: ByteString, reason: string, path: ByteString): void {
    this.#count({
      attribute: textOf(attribute.slice(0, XATTR_NAME_MAX) as ByteString),
      reason,
      files: 1,
      first: textOf(path),
    });
  }

  /** Those of another layer as well. */
  addAll(others: readonly LostAttribute[]): void {
    for (const other of others) this.#count(other);
  }

  #count(lost: LostAttribute): void {
    let key = `${lost.attribute}\0${lost.reason}`;
    let counted = lost;
    if (!this.#lost.has(key) && this.#lost.size >= MOST) {
      key = OTHERS;
      counted = { ...lost, attribute: OTHERS, reason: 'various' };
    }
    const known = this.#lost.get(key);
    this.#lost.set(
      key,
      known === undefined ? counted : { ...known, files: known.files + lost.files },
    );
  }

  list(): LostAttribute[] {
    return [...this.#lost.values()];
  }
}

export function lostSentence({ attribute, reason, files, first }: LostAttribute): string {
  const what = attribute === OTHERS ? 'Further attributes were' : `The attribute ${attribute} was`;
  return `${what} left out on ${files === 1 ? first : `${files} files, ${first} the first of them`} (${reason}).`;
}
