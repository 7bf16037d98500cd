/**
 * The values a template sees, and how Go prints them (fmt's %v).
 *
 * A plain object stands for a struct: a field that it has not is an error. A Map stands for a map:
 * a key that it has not prints as `<no value>`. Numbers are integers where they can be, undefined
 * is what a map has not, null a nil pointer.
 */

export function isStruct(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Map)
  );
}

/** A map's entries in the order Go ranges over them. */
export function sortedEntries(map: ReadonlyMap<unknown, unknown>): (readonly [string, unknown])[] {
  return [...map]
    .map(([key, value]) => [String(key), value] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

export function isTrue(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '')
    return false;
  if (Array.isArray(value)) return value.length > 0;
  return !(value instanceof Map) || value.size > 0;
}

/** As `%v`. */
export function goString(value: unknown): string {
  if (value === undefined || value === null) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(goString).join(' ')}]`;
  if (value instanceof Map) {
    return `map[${sortedEntries(value)
      .map(([key, entry]) => `${key}:${goString(entry)}`)
      .join(' ')}]`;
  }
  if (isStruct(value)) return `{${Object.values(value).map(goString).join(' ')}}`;
  // eslint-disable-next-line @typescript-eslint/no-base-to-string -- a string, a number or a boolean: all else is above.
  return String(value);
}

/** As fmt.Sprint: a space between two operands of which neither is a string. */
export function goPrint(values: readonly unknown[]): string {
  return values
    .map(
      (value, i) =>
        (i > 0 && typeof value !== 'string' && typeof values[i - 1] !== 'string' ? ' ' : '') +
        goString(value),
    )
    .join('');
}

/** A value as JSON.stringify takes it: maps become objects, sorted by key as Go writes them. */
export function jsonValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(jsonValue);
  if (value instanceof Map)
    return Object.fromEntries(sortedEntries(value).map(([key, entry]) => [key, jsonValue(entry)]));
  if (isStruct(value))
    return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, jsonValue(field)]));
  return value ?? null;
}
