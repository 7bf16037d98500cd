/**
 * PAX extended headers: records `LENGTH KEY=VALUE\n`, of which values may be any bytes (pax(1),
 * "pax Extended Header").
 */
import type { ByteString } from '../base/bytes.js';
import { damaged } from './tar-block.js';
/**
 * Keys as text; values one character a byte. A key without a value is there with the empty value.
 */
export type PaxRecords = Map<string, string>;

/** Extended attributes, named after it (star(1)). */
export const XATTR_RECORD = 'SCHILY.xattr.';
/**
 * What the repeated offset and numbytes records of sparse format 0.0 are gathered in, as format 0.1
 * writes it.
 */
export const SPARSE_MAP = 'GNU.sparse.map';

const withoutNul = new Set(['path', 'linkpath', 'uname', 'gname']);

/** Throws `archive-damaged`. */
export function parsePax(data: Buffer, at: number): PaxRecords {
  const records: PaxRecords = new Map();
  const sparse: string[] = [];
  const wrong = (): Error => damaged(`the extended header at byte ${at} is not a list of records`);
  for (let offset = 0; offset < data.length;) {
    const space = data.indexOf(0x20, offset);
    if (space < 0) throw wrong();
    const digits = data.toString('latin1', offset, space);
    const length = /^\+?[0-9]+$/.test(digits) ? Number(digits) : 0;
    const end = offset + length;
    if (length < 5 || end > data.length || space + 1 >= end || data[end - 1] !== 0x0a)
      throw wrong();
    const equals = data.indexOf(0x3d, space + 1);
    if (equals < 0 || equals >= end - 1 || equals === space + 1) throw wrong();
    const key = data.toString('latin1', space + 1, equals);
    const value = data.toString('latin1', equals + 1, end - 1);
    if (withoutNul.has(key) ? value.includes('\0') : key.includes('\0')) throw wrong();
    offset = end;
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
      if (value.includes(',') || (key === 'GNU.sparse.offset') !== (sparse.length % 2 === 0))
        throw wrong();
      sparse.push(value);
    } else records.set(key, value);
  }
  if (sparse.length > 0) records.set(SPARSE_MAP, sparse.join(','));
  return records;
}

/** One record; `value` one character a byte. The length counts its own digits. */
export function formatPaxRecord(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

/**
 * Whole numbers within 2^53, whatever zeros they begin with, as Go's strconv.ParseInt takes them.
 */
export function paxNumber(records: PaxRecords, key: string, at: number): number | undefined {
  const text = records.get(key);
  if (text === undefined || text === '') return undefined;
  const value = /^[+-]?[0-9]+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value))
    throw damaged(`the extended header at byte ${at} has no number for ${key}`);
  return value;
}

const timePattern = /^([+-]?)([0-9]+)(?:\.([0-9]*))?$/;

/** Decimal seconds, of which nine places are kept. */
export function paxTime(records: PaxRecords, key: string, at: number): EntryTime | undefined {
  const text = records.get(key);
  if (text === undefined || text === '') return undefined;
  const match = timePattern.exec(text);
  const whole = match === null ? NaN : Number(match[2]);
  if (match === null || !Number.isSafeInteger(whole))
    throw damaged(`the extended header at byte ${at} has no time for ${key}`);
  const nsec = Number((match[3] ?? '').padEnd(9, '0').slice(0, 9));
  if (match[1] !== '-') return { sec: whole, nsec };
  // Nanoseconds count forwards from the second before.
  return nsec === 0 ? { sec: -whole + 0, nsec: 0 } : { sec: -whole - 1, nsec: 1e9 - nsec };
}

export function paxXattrs(records: PaxRecords): Map<ByteString, Uint8Array> {
  const xattrs = new Map<ByteString, Uint8Array>();
  for (const [key, value] of records) {
    if (key.startsWith(XATTR_RECORD) && key.length > XATTR_RECORD.length) {
      xattrs.set(key.slice(XATTR_RECORD.length) as ByteString, Buffer.from(value, 'latin1'));
    }
  }
  return xattrs;
}

export interface EntryTime {
  /** Seconds since 1970; may be negative. */
  readonly sec: number;
  readonly nsec: number;
}
