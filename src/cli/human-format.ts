/**
 * Sizes and times as docker prints them (go-units: size.go, duration.go). No npm package has these
 * shapes: pretty-bytes writes `1.23 MB`, date-fns rounds otherwise.
 */

import { UsageError } from '../base/error.js';

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB', 'ZB', 'YB'];

/** Decimal units and three significant digits: `0B`, `4.86MB`, `124MB`. */
export function humanSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  // As %.3g, which goes over to an exponent when rounding gives a fourth digit: `1e+03kB`.
  const rounded = Number(value.toPrecision(3));
  return `${rounded >= 1000 ? '1e+03' : rounded}${units[unit]!}`;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24;
const WEEK = 7 * DAY;
const MONTH = 30 * DAY;
const YEAR = 365 * DAY;

/** `About an hour`, `3 weeks`: how long something took or is past. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < MINUTE) return `${seconds} seconds`;
  const minutes = Math.trunc(seconds / MINUTE);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(milliseconds / 1000 / HOUR + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 2 * DAY) return `${hours} hours`;
  if (hours < 2 * WEEK) return `${Math.trunc(hours / DAY)} days`;
  if (hours < 2 * MONTH) return `${Math.trunc(hours / WEEK)} weeks`;
  if (hours < 2 * YEAR) return `${Math.trunc(hours / MONTH)} months`;
  return `${Math.trunc(milliseconds / 1000 / HOUR / YEAR)} years`;
}

/** `2 weeks ago`; `N/A` for what has no time. */
export function humanAge(time: Date | undefined, now: Date = new Date()): string {
  return time === undefined ? 'N/A' : `${humanDuration(now.getTime() - time.getTime())} ago`;
}

/** The twelve digits by which docker calls a digest. */
export function shortId(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}

/** At most `length` characters, the last one `…` when something is left out. */
export function ellipsis(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join('')}…`;
}

/** As Go prints a time.Time: `2024-05-01 10:00:00 +0200 CEST`. */
export function goTime(time: Date | undefined): string {
  if (time === undefined) return '';
  const { date, clock, offset } = localTime(time);
  const zone =
    new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' })
      .formatToParts(time)
      .find(({ type }) => type === 'timeZoneName')?.value ?? '';
  return `${date} ${clock} ${offset.replace(':', '')} ${zone}`;
}

/** As Go formats RFC 3339 in the local zone: `2024-05-01T10:00:00+02:00`. */
export function localRfc3339(time: Date | undefined): string {
  if (time === undefined) return '';
  const { date, clock, offset } = localTime(time);
  return `${date}T${clock}${offset === '+00:00' ? 'Z' : offset}`;
}

function localTime(time: Date): { date: string; clock: string; offset: string } {
  const minutes = -time.getTimezoneOffset();
  // The fields of this zone, written as if they were UTC's.
  const [date = '', rest = ''] = new Date(time.getTime() + minutes * 60_000)
    .toISOString()
    .split('T');
  const pair = (value: number): string => String(value).padStart(2, '0');
  const distance = Math.abs(minutes);
  return {
    date,
    clock: rest.slice(0, 8),
    offset: `${minutes < 0 ? '-' : '+'}${pair(Math.floor(distance / 60))}:${pair(distance % 60)}`,
  };
}

/**
 * `10G`, `512m`, `1.5GiB`: powers of 1024, as docker reads sizes of memory and of containers
 * (go-units, RAMInBytes). Throws UsageError.
 */
export function parseSize(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Math.floor(
    Number(digits) * 1024 ** ' kmgtp'.indexOf(unit === '' ? ' ' : unit.toLowerCase()),
  );
  if (digits === undefined || !Number.isSafeInteger(bytes))
    throw new UsageError(`'${text}' is no size: write it as 10G or 512M`);
  return bytes;
}
