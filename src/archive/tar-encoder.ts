/**
 * Headers of a tar as Go's archive/tar writes them in its PAX format, which is what Docker's layers
 * are: ustar, and an extended header only for what ustar has no room for. Bytes stay bytes:
 * tar-stream would write names and attribute values as UTF-8 of what it takes for text.
 */
import type { ByteString } from '../base/bytes.js';
import { formatPaxRecord, XATTR_RECORD } from './pax.js';
import { BLOCK } from './tar-block.js';

export interface HeaderFields {
  /** Of a directory with a slash at its end. */
  readonly name: ByteString;
  readonly flag: '0' | '1' | '2' | '3' | '4' | '5' | '6';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds. */
  readonly mtime: number;
  readonly linkname?: ByteString;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: ReadonlyMap<ByteString, Uint8Array>;
}

export const END_OF_ARCHIVE = Buffer.alloc(2 * BLOCK);

/** The header's blocks, the extended header's before them. */
export function encodeHeader(fields: HeaderFields): Buffer {
  const records = new Map<string, string>();
  const header = Buffer.alloc(BLOCK);
  const { name, linkname = '', size, uid, gid, mtime, xattrs } = fields;

  const split = fitsUstar(name, 100)
    ? { prefix: '', rest: name as string }
    : isAscii(name)
      ? splitName(name)
      : undefined;
  if (split === undefined) {
    records.set('path', name);
    putText(header, 0, 100, ascii(name));
  } else {
    putText(header, 0, 100, split.rest);
    putText(header, 345, 155, split.prefix);
  }
  if (!fitsUstar(linkname, 100)) records.set('linkpath', linkname);
  putText(header, 157, 100, ascii(linkname));
  putOctal(header, 100, 8, fields.mode);
  putOctal(header, 108, 8, numberFor(records, 'uid', uid, 8));
  putOctal(header, 116, 8, numberFor(records, 'gid', gid, 8));
  putOctal(header, 124, 12, numberFor(records, 'size', size, 12));
  putOctal(header, 136, 12, numberFor(records, 'mtime', mtime, 12));
  putOctal(header, 329, 8, fields.major ?? 0);
  putOctal(header, 337, 8, fields.minor ?? 0);
  for (const [attribute, value] of xattrs ?? []) {
    // A record's key ends at the first `=`: such a name cannot be written.
    if (!attribute.includes('='))
      records.set(
        XATTR_RECORD + attribute,
        Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1'),
      );
  }
  seal(header, fields.flag);
  return records.size === 0 ? header : Buffer.concat([extendedHeader(name, records), header]);
}

function extendedHeader(name: string, records: ReadonlyMap<string, string>): Buffer {
  const text = [...records]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => formatPaxRecord(key, value))
    .join('');
  const slash = name.replace(/\/+$/, '').lastIndexOf('/');
  const blocks = Buffer.alloc(BLOCK + Math.ceil(text.length / BLOCK) * BLOCK);
  const header = blocks.subarray(0, BLOCK);
  putText(
    header,
    0,
    100,
    ascii(`${name.slice(0, slash + 1)}PaxHeaders.0/${name.slice(slash + 1)}`).replace(/\/+$/, ''),
  );
  for (const [offset, length, value] of [
    [100, 8, 0],
    [108, 8, 0],
    [116, 8, 0],
    [124, 12, text.length],
    [136, 12, 0],
  ] as const) {
    putOctal(header, offset, length, value);
  }
  seal(header, 'x');
  blocks.write(text, BLOCK, 'latin1');
  return blocks;
}

/** The last slash that leaves at most 155 bytes before and 100 after it. */
function splitName(name: string): { prefix: string; rest: string } | undefined {
  const length = name.endsWith('/') ? name.length - 1 : name.length;
  const slash = name.lastIndexOf('/', Math.min(155, length - 1));
  const rest = name.slice(slash + 1);
  return slash <= 0 || rest.length > 100 || rest === ''
    ? undefined
    : { prefix: name.slice(0, slash), rest };
}

function fitsUstar(text: string, length: number): boolean {
  return text.length <= length && isAscii(text);
}

function isAscii(text: string): boolean {
  return /^[\x01-\x7f]*$/.test(text);
}

/** What a reader without extended headers sees. */
function ascii(text: string): string {
  return text.replace(/[^\x01-\x7f]/g, '');
}

/** The number, or 0 with a record where the field has no room. */
function numberFor(
  records: Map<string, string>,
  key: string,
  value: number,
  length: number,
): number {
  if (value >= 0 && value < 8 ** (length - 1)) return value;
  records.set(key, String(value));
  return 0;
}

function putText(header: Buffer, offset: number, length: number, text: string): void {
  header.write(text.slice(0, length), offset, 'latin1');
}

/** Digits, and a NUL. */
function putOctal(header: Buffer, offset: number, length: number, value: number): void {
  header.write(value.toString(8).padStart(length - 1, '0'), offset, 'latin1');
}

function seal(header: Buffer, flag: string): void {
  header.write(flag, 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  let sum = 8 * 32;
  for (const byte of header) sum += byte;
  header.write(sum.toString(8).padStart(6, '0') + '\0 ', 148, 'latin1');
}
