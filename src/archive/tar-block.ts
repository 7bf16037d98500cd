/**
 * One 512-byte block of a tar: its fields read as Go's archive/tar reads them (reader.go,
 * strconv.go, format.go), because what Docker accepts, refuses and makes of a layer is what that
 * package does.
 *
 * Why not tar-stream: it hands out names and PAX values as UTF-8 text, which loses file
 * capabilities and other names; it knows no sparse files; it takes a prefix from headers that have
 * none; and the bytes between the files, which tar-split keeps, are gone.
 */
import type { ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';

export const BLOCK = 512;

export interface TarHeader {
  /** The type flag's character; `0` for the NUL of old archives. */
  readonly flag: string;
  /** NUL as flag: a name that ends in a slash is a directory's. */
  readonly ancient: boolean;
  readonly name: ByteString;
  readonly linkname: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds. */
  readonly mtime: number;
  readonly atime: number | undefined;
  readonly major: number;
  readonly minor: number;
  readonly gnu: boolean;
}

export function damaged(what: string): PlyfsError {
  return new PlyfsError(
    'archive-damaged',
    `The layer's tar is damaged: ${what}; fetch or make the archive again.`,
  );
}

function noTar(): PlyfsError {
  return new PlyfsError(
    'archive-damaged',
    'The layer is no tar, compressed or not: its first block is no header of one.',
  );
}

export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.equals(zeros);
}
const zeros = Buffer.alloc(BLOCK);

/** Throws `archive-damaged`. `at` is the block's offset in the tar, for messages. */
export function parseHeader(block: Buffer, at: number): TarHeader {
  if (!hasCheckSum(block, at))
    throw at === 0
      ? noTar()
      : damaged(`the block at byte ${at} is not a header with a correct checksum`);
  const magic = block.toString('latin1', 257, 265);
  const gnu = magic === 'ustar  \0';
  const ustar = magic.startsWith('ustar\0');
  const star = ustar && block.toString('latin1', 508, 512) === 'tar\0';
  const number = (offset: number, length: number, what: string): number =>
    parseNumber(block, offset, length, what, at);

  let name = textField(block, 0, 100);
  const gnuTimes = gnu ? parseGnuTimes(block) : undefined;
  const prefix = star
    ? textField(block, 345, 131)
    : ustar
      ? textField(block, 345, 155)
      : gnuTimes === null
        ? oldGoPrefix(block)
        : '';
  if (prefix !== '') name = `${prefix}/${name}`;
  const hasDevice = ustar || gnu;
  const flag = block[156] as number;
  return {
    flag: flag === 0 ? '0' : String.fromCharCode(flag),
    ancient: flag === 0,
    name: name as ByteString,
    linkname: textField(block, 157, 100) as ByteString,
    mode: number(100, 8, 'mode') & 0o7777,
    uid: number(108, 8, 'owner'),
    gid: number(116, 8, 'group'),
    size: number(124, 12, 'size'),
    mtime: number(136, 12, 'time'),
    atime: star ? number(476, 12, 'access time') : gnuTimes?.atime,
    major: hasDevice ? number(329, 8, 'device number') : 0,
    minor: hasDevice ? number(337, 8, 'device number') : 0,
    gnu,
  };
}

/**
 * Sums of unsigned bytes, or, of some old programs, of signed ones; the field itself counts as
 * spaces.
 */
function hasCheckSum(block: Buffer, at: number): boolean {
  let unsigned = 8 * 32;
  let high = 0;
  for (let i = 0; i < BLOCK; i++) {
    if (i === 148) i = 156;
    const byte = block[i] as number;
    unsigned += byte;
    if (byte >= 128) high++;
  }
  try {
    const stored = parseNumber(block, 148, 8, 'checksum', at);
    return stored === unsigned || stored === unsigned - 256 * high;
  } catch {
    return false;
  }
}

/** Up to the first NUL. */
export function textField(block: Buffer, offset: number, length: number): string {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end++;
  return block.toString('latin1', offset, end);
}

/**
 * GNU's access and change time, each where its field is not empty; null where one of them is no
 * number. Others keep the end of a prefix there.
 */
function parseGnuTimes(block: Buffer): { readonly atime: number | undefined } | null {
  const time = (offset: number): number | undefined =>
    block[offset] === 0 ? undefined : parseNumber(block, offset, 12, 'time', 0);
  try {
    const atime = time(345);
    time(357);
    return { atime };
  } catch {
    return null;
  }
}

/**
 * Go before 1.8 wrote a prefix as ustar has it under GNU's magic, for names and numbers that ustar
 * has no room for (archive/tar, reader.go, readHeader; golang.org/issues/12594).
 */
function oldGoPrefix(block: Buffer): string {
  const prefix = textField(block, 345, 155);
  return /^[\x01-\x7f]*$/.test(prefix) ? prefix : '';
}

/**
 * Octal digits between spaces and NULs, or two's complement when the first bit is set. Exact, or an
 * error.
 */
export function parseNumber(
  block: Buffer,
  offset: number,
  length: number,
  what: string,
  at: number,
): number {
  const first = block[offset] as number;
  if ((first & 0x80) !== 0) {
    const negative = (first & 0x40) !== 0;
    let value = 0;
    for (let i = 0; i < length; i++) {
      let byte = block[offset + i] as number;
      if (negative) byte ^= 0xff;
      if (i === 0) byte &= 0x7f;
      value = value * 256 + byte;
    }
    if (value > Number.MAX_SAFE_INTEGER)
      throw damaged(`the ${what} in the header at byte ${at} is too large a number`);
    return negative ? -1 - value : value;
  }
  let start = offset;
  let end = offset + length;
  while (start < end && isPadding(block[start] as number)) start++;
  while (end > start && isPadding(block[end - 1] as number)) end--;
  let value = 0;
  for (let i = start; i < end; i++) {
    const byte = block[i] as number;
    if (byte === 0) break;
    if (byte < 0x30 || byte > 0x37)
      throw damaged(`the ${what} in the header at byte ${at} is not a number`);
    value = value * 8 + (byte - 0x30);
  }
  return value;
}

function isPadding(byte: number): boolean {
  return byte === 0 || byte === 0x20;
}
