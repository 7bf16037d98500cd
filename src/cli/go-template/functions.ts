/**
 * What a template may call: text/template's own functions, and those that docker adds (docker/cli,
 * templates/templates.go).
 */
import { goPrintf } from './printf.js';
import { templateError } from './scan.js';
import { goPrint, goString, isStruct, isTrue, jsonValue } from './values.js';

export type TemplateFunction = (...values: readonly unknown[]) => unknown;
export type Functions = Readonly<Record<string, TemplateFunction>>;

export const functions: Functions = {
  and: (value, ...values) => decisive([value, ...values], false),
  or: (value, ...values) => decisive([value, ...values], true),
  not: (value) => !isTrue(value),
  len: lengthOf,
  index: (value, ...keys) => keys.reduce(indexed, value),
  slice: sliced,
  eq: (value, first, ...others) => [first, ...others].some((other) => compare(value, other) === 0),
  ne: (a, b) => compare(a, b) !== 0,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  print: (...values) => goPrint(values),
  println: (...values) => `${values.map(goString).join(' ')}\n`,
  printf: (format, ...values) => goPrintf(text('printf', format), values),
  html: (...values) =>
    goPrint(values).replace(
      /["&'<>]/g,
      (character) => `&${{ '"': '#34', '&': 'amp', "'": '#39', '<': 'lt' }[character] ?? 'gt'};`,
    ),
  js: (...values) =>
    JSON.stringify(goPrint(values))
      .slice(1, -1)
      .replace(/'/g, "\\'")
      .replace(/</g, '\\u003C')
      .replace(/>/g, '\\u003E'),
  urlquery: (...values) => encodeURIComponent(goPrint(values)).replace(/%20/g, '+'),

  json: (value) => JSON.stringify(jsonValue(value)),
  split: (value, separator) => text('split', value).split(text('split', separator)),
  join: (values, separator) => list('join', values).map(goString).join(text('join', separator)),
  title: (value) =>
    text('title', value).replace(/(?<![\p{L}\p{N}_])\p{L}/gu, (letter) => letter.toUpperCase()),
  lower: (value) => text('lower', value).toLowerCase(),
  upper: (value) => text('upper', value).toUpperCase(),
  pad: (value, before, after) =>
    value === '' ? '' : ' '.repeat(count(before)) + text('pad', value) + ' '.repeat(count(after)),
  truncate: (value, length) => Array.from(text('truncate', value)).slice(0, count(length)).join(''),
};

/** The first value that is so, else the last. */
function decisive(values: readonly unknown[], wanted: boolean): unknown {
  const at = values.findIndex((value) => isTrue(value) === wanted);
  return values.at(at);
}

function lengthOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (value instanceof Map) return value.size;
  // Go's nil slices and maps are empty ones.
  if (value === null) return 0;
  return list('len', value).length;
}

function indexed(value: unknown, key: unknown): unknown {
  // A map's elements are texts wherever docker has one: what is not there is the empty text.
  if (value instanceof Map) return (value as ReadonlyMap<unknown, unknown>).get(key) ?? '';
  if (value === null) return '';
  if (isStruct(value) && typeof key === 'string')
    return Object.hasOwn(value, key) ? value[key] : '';
  const values = typeof value === 'string' ? [...Buffer.from(value)] : list('index', value);
  const at = count(key);
  if (at >= values.length)
    throw templateError(`index ${at} is past the end: there are ${values.length}`);
  return values[at];
}

function sliced(value: unknown, start: unknown = 0, end?: unknown): unknown {
  const length = lengthOf(value);
  const from = count(start);
  const to = end === undefined ? length : count(end);
  if (from > to || to > length)
    throw templateError(`slice ${from}:${to} is past the end: there are ${length}`);
  return typeof value === 'string'
    ? Buffer.from(value).subarray(from, to).toString()
    : list('slice', value).slice(from, to);
}

/** Negative, zero or positive. */
function compare(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string')
    return Buffer.compare(Buffer.from(a), Buffer.from(b));
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b);
  if ((a ?? null) === null || (b ?? null) === null) return (a ?? null) === (b ?? null) ? 0 : 1;
  throw templateError(`${goString(a)} and ${goString(b)} cannot be compared`);
}

function text(name: string, value: unknown): string {
  if (typeof value !== 'string')
    throw templateError(`${name} wants a text, not ${goString(value)}`);
  return value;
}

function list(name: string, value: unknown): readonly unknown[] {
  if (value === null) return [];
  if (!Array.isArray(value)) throw templateError(`${name} wants a list, not ${goString(value)}`);
  return value;
}

function count(value: unknown): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0)
    throw templateError(`${goString(value)} is no position`);
  return value;
}
