/**
 * Columns as docker prints them, which are those of Go's text/tabwriter with a least width of 10
 * and three spaces between. Counted are characters, as there.
 */

const LEAST = 10;
const BETWEEN = 3;

/** The first row is the headers. Every line ends with a newline. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(LEAST, ...rows.map((row) => lengthOf(row[column]) + BETWEEN)),
  );
  return rows
    .map(
      (row) =>
        `${row.map((cell, column) => padded(cell, column < row.length - 1 ? widths[column]! : 0)).join('')}\n`,
    )
    .join('');
}

/** Names and values, as `docker info` prints them. */
export function renderFields(
  fields: readonly (readonly [name: string, value: string])[],
  indent = '',
): string {
  return fields.map(([name, value]) => `${indent}${name}: ${value}`.trimEnd() + '\n').join('');
}

function lengthOf(cell: string | undefined): number {
  return Array.from(cell ?? '').length;
}

function padded(cell: string, width: number): string {
  return cell + ' '.repeat(Math.max(0, width - lengthOf(cell)));
}
