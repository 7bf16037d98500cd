/**
 * Tars for tests, written field by field after POSIX's ustar and GNU's manual, so that also what no
 * program writes can be had. Text is bytes, one a character.
 */
import type { ByteSource } from '../../src/base/byte-source.js';

export interface Fields {
  readonly name: string;
  /** Default: a regular file. */
  readonly flag?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Default: the length of `data`. */
  readonly size?: number;
  readonly mtime?: number;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly data?: string | Buffer;
  /** An extended header before it. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Bytes put over the finished header before its checksum is made. */
  readonly patch?: readonly (readonly [offset: number, bytes: string])[];
  readonly magic?: string;
}

const octal = (value: number, digits: number): string =>
  value.toString(8).padStart(digits, '0') + '\0';

export function header(fields: Fields): Buffer {
  const {
    name,
    flag = '0',
    mode = 0o644,
    uid = 0,
    gid = 0,
    mtime = 0,
    link = '',
    major = 0,
    minor = 0,
    magic = 'ustar\x0000',
  } = fields;
  const size = fields.size ?? dataOf(fields).length;
  const block = Buffer.alloc(512);
  const put = (offset: number, text: string): number => block.write(text, offset, 'latin1');
  put(0, name.slice(0, 100));
  put(100, octal(mode, 7));
  put(108, octal(uid, 7));
  put(116, octal(gid, 7));
  put(124, octal(size, 11));
  put(136, octal(mtime, 11));
  put(156, flag);
  put(157, link);
  put(257, magic);
  put(329, octal(major, 7));
  put(337, octal(minor, 7));
  for (const [offset, bytes] of fields.patch ?? []) put(offset, bytes);
  put(148, '        ');
  put(
    148,
    octal(
      block.reduce((sum, byte) => sum + byte, 0),
      6,
    ),
  );
  return block;
}

function dataOf({ data = '' }: Fields): Buffer {
  return typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
}

export function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

export function paxRecord(key: string, value: string): string {
  for (let length = key.length + value.length + 4; ; length++) {
    const record = `${length} ${key}=${value}\n`;
    if (record.length === length) return record;
  }
}

export function paxHeader(records: Readonly<Record<string, string>>, flag = 'x'): Buffer {
  const data = Object.entries(records)
    .map(([key, value]) => paxRecord(key, value))
    .join('');
  return entry({ name: 'PaxHeaders/x', flag, data });
}

/** GNU's way for names of more than 100 bytes. */
export function longName(text: string, flag = 'L'): Buffer {
  return entry({ name: '././@LongLink', flag, data: `${text}\0`, magic: 'ustar  \0' });
}

export function entry(fields: Fields): Buffer {
  const own = Buffer.concat([header(fields), padded(dataOf(fields))]);
  return fields.pax === undefined ? own : Buffer.concat([paxHeader(fields.pax), own]);
}

export const endMarker = Buffer.alloc(1024);

/** Buffers are taken as they are. */
export function tar(...parts: readonly (Fields | Buffer)[]): Buffer {
  return Buffer.concat([
    ...parts.map((part) => (Buffer.isBuffer(part) ? part : entry(part))),
    endMarker,
  ]);
}

/**
 * In pieces whose memory is overwritten when the next is asked for, as a source may. `sizes` is
 * gone through again and again.
 */
export async function* inPieces(bytes: Buffer, ...sizes: readonly number[]): ByteSource {
  let piece = Buffer.alloc(0);
  for (let at = 0, i = 0; at < bytes.length; i++) {
    piece.fill(0xee);
    piece = Buffer.from(
      bytes.subarray(
        at,
        at + (sizes.length === 0 ? bytes.length : Math.max(1, sizes[i % sizes.length]!)),
      ),
    );
    at += piece.length;
    yield piece;
  }
}
