/**
 * Which names were there before, in 16 to 32 bytes a name however long they are: a layer of some
 * megabytes, compressed, may have gigabytes of names.
 *
 * What is kept of a name is 64 bits of a digest under a random key. Two of the four million names
 * that a layer may have are taken for one with a probability of 4e-7, and nobody can choose names
 * that are.
 */
import { createHash, randomBytes } from 'node:crypto';

/** Names, at first. A power of two, as every size. */
const SMALL = 1024;

export class NameSet {
  readonly #keyed = createHash('sha256').update(randomBytes(32));
  /** Open addressing: two words a place, both zero where it is free; at most half full. */
  #places = new Uint32Array(2 * SMALL);
  #count = 0;

  /** False when it was there. */
  add(name: string): boolean {
    const [high, low] = this.#digest(name);
    const place = find(this.#places, high, low);
    if (isTaken(this.#places, place)) return false;
    this.#places[place] = high;
    this.#places[place + 1] = low;
    if (++this.#count * 4 > this.#places.length) this.#grow();
    return true;
  }

  has(name: string): boolean {
    const [high, low] = this.#digest(name);
    return isTaken(this.#places, find(this.#places, high, low));
  }

  #digest(name: string): [high: number, low: number] {
    const digest = this.#keyed.copy().update(name, 'latin1').digest();
    // Not both zero.
    return [digest.readUInt32LE(0), digest.readUInt32LE(4) || 1];
  }

  #grow(): void {
    const larger = new Uint32Array(2 * this.#places.length);
    for (let at = 0; at < this.#places.length; at += 2) {
      if (!isTaken(this.#places, at)) continue;
      const place = find(larger, this.#places[at]!, this.#places[at + 1]!);
      larger[place] = this.#places[at]!;
      larger[place + 1] = this.#places[at + 1]!;
    }
    this.#places = larger;
  }
}

/** Where it is, or the free place where it goes. */
function find(places: Uint32Array, high: number, low: number): number {
  let place = (high % (places.length / 2)) * 2;
  while (isTaken(places, place) && (places[place] !== high || places[place + 1] !== low))
    place = (place + 2) % places.length;
  return place;
}

function isTaken(places: Uint32Array, place: number): boolean {
  return places[place + 1] !== 0;
}
