/**
 * `st_ino` of the union.
 *
 * All layers on one file system: the numbers are the files' own. On several, a number carries its file system's index in
 * high bits, so that it is unique under the mount's one `st_dev` and the same after remounting. Numbers are
 * kept below 2^53; one that does not fit (a file system that hashes into 64 bits) is given a number for the life of the mount.
 */

/** Bits for a file's own number when several file systems share the space: 2^47 files each on 31 of them. */
const OWN_BITS = 47;
const OWN_LIMIT = 2 ** OWN_BITS;
const SINGLE_LIMIT = 2 ** 52;
/** Where invented numbers start: above all others. */
const INVENTED = 2 ** 52;

export class InodeNumbers {
  /** Numbers from here on do not fit. */
  readonly limit: number;
  readonly #invented = new Map<string, number>();

  constructor(fileSystems: number) {
    this.limit = fileSystems > 1 ? OWN_LIMIT : SINGLE_LIMIT;
  }

  /** What is added to a number that fits; undefined when none does. */
  baseOf(fileSystem: number): number | undefined {
    return fileSystem === 0 || (fileSystem < 31 && this.limit === OWN_LIMIT) ? fileSystem * OWN_LIMIT : undefined;
  }

  number(fileSystem: number, low: number, high: number): number {
    const own = high * 2 ** 32 + low;
    const base = this.baseOf(fileSystem);
    if (own < this.limit && base !== undefined) return base + own;
    const key = `${fileSystem}:${high}:${low}`;
    let invented = this.#invented.get(key);
    if (invented === undefined) {
      invented = INVENTED + this.#invented.size;
      this.#invented.set(key, invented);
    }
    return invented;
  }
}
