/**
 * `--format` of commands that list: `table` (docker's columns), `table TEMPLATE`, `json` (one
 * object a line), or a Go template for each row (docker/cli, cli/command/formatter).
 */
import type { Functions } from './go-template/functions.js';
import { compileTemplate } from './go-template/template.js';
import { renderTable } from './table.js';

export interface Field<Row> {
  /** As in templates: `.ID`. */
  readonly name: string;
  readonly header: string;
  /** Whether the plain table shows it. */
  readonly shown: boolean;
  value(row: Row): string;
}

/**
 * `shown`: what a value looks like where this is printed; JSON has it as it is. Throws UsageError
 * for a template that cannot be used.
 */
export function formatList<Row>(
  rows: readonly Row[],
  fields: readonly Field<Row>[],
  format = 'table',
  shown: (value: string) => string = (value) => value,
): string {
  const quote = format === 'json' ? (value: string) => value : shown;
  const structs = rows.map((row) =>
    Object.fromEntries(fields.map((field) => [field.name, quote(field.value(row))])),
  );
  const [, isTable, rest = ''] = /^(table\b)?\s*([^]*)$/.exec(format)!;
  if (isTable === undefined) {
    const render =
      format === 'json'
        ? (struct: unknown) => JSON.stringify(struct)
        : compileTemplate(unescape(format));
    return structs.map((struct) => `${render(struct)}\n`).join('');
  }
  if (rest === '') {
    const columns = fields.filter((field) => field.shown);
    return renderTable([
      columns.map((field) => field.header),
      ...structs.map((struct) => columns.map((field) => struct[field.name]!)),
    ]);
  }
  const headers = Object.fromEntries(fields.map((field) => [field.name, field.header]));
  const template = unescape(rest);
  const lines = [
    compileTemplate(template, plain)(headers),
    ...structs.map(compileTemplate(template)),
  ];
  return renderTable(lines.map((line) => line.split('\t')));
}

/** In the line of headers these change nothing. */
const plain: Functions = Object.fromEntries(
  ['json', 'lower', 'upper', 'title', 'truncate', 'pad', 'join', 'split'].map((name) => [
    name,
    (value: unknown) => value,
  ]),
);

/** Formats are often written in single quotes, where the shell leaves `\t` as it is. */
function unescape(format: string): string {
  return format.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
}
