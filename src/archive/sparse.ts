/**
 * Where the data of a sparse file lies: the three ways tars say it (GNU tar manual, "Storing Sparse
 * Files").
 */
import { BLOCK, damaged, parseNumber } from './tar-block.js';

/** A stretch of a file that has data. Bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** The most extents one file may have. */
export const MAX_EXTENTS = 1 << 20;

/** Old GNU headers: four in the header itself, then 21 in each extension block. */
const IN_HEADER = { offset: 386, count: 4, extended: 482 };
const IN_EXTENSION = { offset: 0, count: 21, extended: 504 };
const REAL_SIZE = 483;

export function oldGnuRealSize(header: Buffer, at: number): number {
  return parseNumber(header, REAL_SIZE, 12, 'size', at);
}

/** Adds a block's extents; true when another block follows. */
export function readOldGnuExtents(
  block: Buffer,
  isHeader: boolean,
  at: number,
  extents: Extent[],
): boolean {
  const { offset, count, extended } = isHeader ? IN_HEADER : IN_EXTENSION;
  for (let i = 0; i < count; i++) {
    const start = offset + 24 * i;
    // A field that is empty ends the block's list, not the extensions.
    if (block[start] === 0) break;
    push(
      extents,
      parseNumber(block, start, 12, 'offset of an extent', at),
      parseNumber(block, start + 12, 12, 'length of an extent', at),
      at,
    );
  }
  return block[extended] !== 0;
}

/** Formats 0.0 and 0.1: `offset,length,offset,length…`. */
export function parseSparseMap(map: string, at: number): Extent[] {
  const extents: Extent[] = [];
  if (map === '') return extents;
  const numbers = map.split(',');
  if (numbers.length % 2 !== 0) throw wrong(at);
  for (let i = 0; i < numbers.length; i += 2)
    push(extents, decimal(numbers[i] as string, at), decimal(numbers[i + 1] as string, at), at);
  return extents;
}

/**
 * Format 1.0: decimal lines before the data, the number of extents first, filled up to a block.
 * Fed block by block; `extents` is complete when `add` returns true.
 */
export class SparseMapReader {
  readonly extents: Extent[] = [];
  readonly #at: number;
  #rest = '';
  #expected = -1;
  #offset = -1;

  constructor(at: number) {
    this.#at = at;
  }

  add(block: Buffer): boolean {
    const lines = (this.#rest + block.toString('latin1')).split('\n');
    this.#rest = lines.pop() as string;
    for (const line of lines) {
      const value = decimal(line, this.#at);
      if (this.#expected < 0) {
        if (value > MAX_EXTENTS) throw wrong(this.#at);
        this.#expected = value;
      } else if (this.#offset < 0) this.#offset = value;
      else {
        push(this.extents, this.#offset, value, this.#at);
        this.#offset = -1;
      }
      if (this.extents.length === this.#expected) return true;
    }
    if (this.#rest.length > BLOCK) throw wrong(this.#at);
    return false;
  }
}

/**
 * Ascending, without overlap, within the file, and as many bytes as the tar holds. Throws
 * `archive-damaged`.
 */
export function checkExtents(
  extents: readonly Extent[],
  size: number,
  stored: number,
  at: number,
): void {
  let end = 0;
  let total = 0;
  for (const { offset, length } of extents) {
    if (offset < end || length > size - offset) throw wrong(at);
    end = offset + length;
    total += length;
  }
  if (total !== stored) throw wrong(at);
}

function push(extents: Extent[], offset: number, length: number, at: number): void {
  if (
    offset < 0 ||
    length < 0 ||
    !Number.isSafeInteger(offset + length) ||
    extents.length >= MAX_EXTENTS
  )
    throw wrong(at);
  extents.push({ offset, length });
}

function decimal(text: string, at: number): number {
  const value = /^[0-9]+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw wrong(at);
  return value;
}

function wrong(at: number): Error {
  return damaged(`the map of the sparse file at byte ${at} makes no sense`);
}
