/**
 * Times as RFC 3339 has them (section 5.6), in the form that Go's time.Time takes from JSON:
 * capital T and Z, a point before the fraction.
 */

export interface Rfc3339 {
  /** `2024-05-06T07:08:09`. */
  readonly seconds: string;
  /** Its digits; empty for none. */
  readonly fraction: string;
  /** `Z`, or `+02:00`. */
  readonly zone: string;
}

const pattern = /^((\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d))(?:\.(\d+))?(Z|[+-](\d\d):(\d\d))$/;

/** Undefined for what is no time: of another form, or one that no calendar and no clock has. */
export function parseRfc3339(text: string): Rfc3339 | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, seconds = '', , , , , , , fraction = '', zone = ''] = match;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(2, 8)
    .map(Number);
  const [zoneHours, zoneMinutes] = [Number(match[10] ?? 0), Number(match[11] ?? 0)];
  if (month < 1 || month > 12 || day < 1 || day > daysOf(year, month)) return undefined;
  if (hour > 23 || minute > 59 || second > 59 || zoneHours > 23 || zoneMinutes > 59)
    return undefined;
  return { seconds, fraction, zone };
}

function daysOf(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}
