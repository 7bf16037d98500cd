import t from 'tap';
import { formatList, type Field } from '../../src/cli/list-format.js';
import { renderTable } from '../../src/cli/table.js';

interface Row {
  readonly id: string;
  readonly size: number;
}

const fields: readonly Field<Row>[] = [
  { name: 'ID', header: 'IMAGE ID', shown: true, value: ({ id }) => id },
  { name: 'Size', header: 'SIZE', shown: true, value: ({ size }) => String(size) },
  { name: 'Hidden', header: 'HIDDEN', shown: false, value: () => 'h' },
];
const rows = [
  { id: 'a', size: 1 },
  { id: 'a-long-identifier', size: 22 },
];

t.test(
  'columns are those of tabwriter: the longest and three spaces, at least ten, counted in characters',
  (t) => {
    t.equal(
      renderTable([
        ['A', 'B'],
        ['ü', 'x'],
      ]),
      'A         B\nü         x\n',
    );
    t.equal(
      renderTable([
        ['A', 'B'],
        ['12345678', 'x'],
      ]),
      'A          B\n12345678   x\n',
    );
    t.equal(renderTable([]), '');
    t.end();
  },
);

t.test('formats', (t) => {
  t.equal(
    formatList(rows, fields),
    'IMAGE ID            SIZE\na                   1\na-long-identifier   22\n',
  );
  t.equal(formatList([], fields), 'IMAGE ID   SIZE\n');
  t.equal(formatList(rows, fields, '{{.ID}}\\t{{.Hidden}}'), 'a\th\na-long-identifier\th\n');
  t.equal(
    formatList(rows, fields, 'table {{.Size}}\\t{{upper .ID}}'),
    'SIZE      IMAGE ID\n1         A\n22        A-LONG-IDENTIFIER\n',
  );
  t.equal(formatList(rows.slice(0, 1), fields, 'json'), '{"ID":"a","Size":"1","Hidden":"h"}\n');
  t.equal(
    formatList(rows.slice(0, 1), fields, 'tables {{.ID}}'),
    'tables a\n',
    'a word that begins so',
  );
  t.throws(() => formatList(rows, fields, '{{.None}}'), { code: 'usage' });
  t.end();
});
