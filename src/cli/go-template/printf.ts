/** fmt.Sprintf, for what a template's values can be. */
import { goString } from './values.js';

const verb = /%([-+# 0]*)(\*|\d+)?(?:\.(\d+))?([a-zA-Z%])/g;

/** As Go (fmt/print.go, tooLarge). */
const MAX_COLUMNS = 1e6;

/**
 * An argument that a verb does not fit, that is missing or too many is shown in Go's way:
 * `%!d(string=x)`.
 */
export function goPrintf(format: string, values: readonly unknown[]): string {
  let next = 0;
  const text = format.replace(
    verb,
    (
      _,
      flags: string,
      width: string | undefined,
      precision: string | undefined,
      letter: string,
    ) => {
      if (letter === '%') return '%';
      const columns = width === '*' ? Number(values[next++]) : Number(width ?? 0);
      if (columns > MAX_COLUMNS || Number(precision) > MAX_COLUMNS) return '%!(BADWIDTH)';
      if (next >= values.length) return `%!${letter}(MISSING)`;
      const shown = formatted(
        letter,
        flags,
        precision === undefined ? undefined : Number(precision),
        values[next++],
      );
      if (flags.includes('-')) return shown.padEnd(columns);
      const numeric = flags.includes('0') && /[dxXofeg]/.test(letter);
      return numeric && shown.startsWith('-')
        ? `-${shown.slice(1).padStart(columns - 1, '0')}`
        : shown.padStart(columns, numeric ? '0' : ' ');
    },
  );
  const extra = values.slice(next).map((value) => `${typeName(value)}=${goString(value)}`);
  return extra.length === 0 ? text : `${text}%!(EXTRA ${extra.join(', ')})`;
}

function formatted(
  letter: string,
  flags: string,
  precision: number | undefined,
  value: unknown,
): string {
  const plus = flags.includes('+') && typeof value === 'number' && value >= 0 ? '+' : '';
  if (typeof value === 'number') {
    switch (letter) {
      case 'd':
        return plus + String(Math.trunc(value));
      case 'x':
        return value.toString(16);
      case 'X':
        return value.toString(16).toUpperCase();
      case 'o':
        return value.toString(8);
      case 'c':
        return String.fromCodePoint(value);
      case 'f':
        return plus + value.toFixed(precision ?? 6);
      case 'g':
        return (
          plus +
          (precision === undefined
            ? String(value)
            : String(Number(value.toPrecision(Math.max(1, precision)))))
        );
    }
  }
  if (typeof value === 'string') {
    const cut = precision === undefined ? value : Array.from(value).slice(0, precision).join('');
    if (letter === 's' || letter === 'v') return cut;
    if (letter === 'q') return JSON.stringify(cut);
    if (letter === 'x') return Buffer.from(value).toString('hex');
  }
  if (letter === 'v' || letter === 's' || (letter === 't' && typeof value === 'boolean'))
    return goString(value);
  if (letter === 'q' && Array.isArray(value))
    return `[${value.map((entry) => formatted('q', flags, precision, entry)).join(' ')}]`;
  return `%!${letter}(${typeName(value)}=${goString(value)})`;
}

function typeName(value: unknown): string {
  switch (typeof value) {
    case 'number':
      return Number.isInteger(value) ? 'int' : 'float64';
    case 'boolean':
      return 'bool';
    case 'string':
      return 'string';
    default:
      return value === null || value === undefined
        ? '<nil>'
        : Array.isArray(value)
          ? '[]interface {}'
          : 'map[string]interface {}';
  }
}
