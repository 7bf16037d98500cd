/** What files of a layer had to do without, counted an attribute: a layer of many files is not many sentences. */
import { textOf, type ByteString } from '../base/bytes.js';
import { XATTR_NAME_MAX } from '../sys/constants.js';

/** Attributes told apart. */
const MOST = 20;

export class ApplyProblems {
  readonly #xattrs = new Map<string, { readonly first: ByteString; files: number }>();
  #others = 0;

  xattr(attribute: ByteString, path: ByteString, why: string): void {
    const key = `${textOf(attribute.slice(0, XATTR_NAME_MAX) as ByteString)} (${why})`;
    const known = this.#xattrs.get(key);
    if (known !== undefined) known.files++;
    else if (this.#xattrs.size < MOST) this.#xattrs.set(key, { first: path, files: 1 });
    else this.#others++;
  }

  sentences(): string[] {
    const sentences = [...this.#xattrs].map(
      ([attribute, { first, files }]) =>
        `The attribute ${attribute} was left out on ${files === 1 ? textOf(first) : `${files} files, ${textOf(first)} the first of them`}.`,
    );
    if (this.#others > 0) sentences.push(`${this.#others} more attributes were left out.`);
    return sentences;
  }
}
