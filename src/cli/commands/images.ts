import { textOf, type ByteString } from '../../base/bytes.js';
import { listImages, type ImageRow, type ListedImageView } from '../../engine/images/list.js';
import { defineCommand } from '../command.js';
import { goTime, humanAge, humanSize, shortId } from '../human-format.js';
import { formatList, type Field } from '../list-format.js';
import { collect } from '../ply-command-line.js';

interface Options {
  readonly all?: true;
  readonly quiet?: true;
  readonly digests?: true;
  /** False: `--no-trunc`. */
  readonly trunc: boolean;
  readonly filter?: readonly ByteString[];
  readonly format?: ByteString;
}

interface Row {
  readonly image: ListedImageView;
  readonly name: ImageRow;
}

const NONE = '<none>';

export const images = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('[IMAGE]', 'only that repository, or that name')
      .option('-a, --all', 'also those that are only steps on the way to others')
      .option('-q, --quiet', 'ids only')
      .option('--digests', 'show digests')
      .option('--no-trunc', 'show whole ids')
      .option(
        '-f, --filter <FILTER>',
        'dangling=true, label=NAME[=TEXT], before=IMAGE, since=IMAGE, reference=PATTERN; may be repeated',
        collect,
      )
      .option('--format <FORMAT>', 'table, json or a Go template for each'),
  async run(
    [name],
    { all = false, quiet = false, digests = false, trunc, filter = [], format },
    { globals, openRoot, print, printJson, shown },
  ) {
    const filters = [
      ...filter.map(textOf),
      ...(name === undefined ? [] : [`reference=${textOf(name)}`]),
    ];
    const found = listImages(await openRoot(false), { all, filters });
    if (globals.json === true)
      return printJson(
        found.map(({ rows: _, ...image }) => ({
          ...image,
          labels: Object.fromEntries(image.labels),
        })),
      );
    const rows = found.flatMap((image): Row[] =>
      withoutRepeats(image.rows, digests).map((row) => ({ image, name: row })),
    );
    const fields = fieldsFor({ trunc, digests });
    if (quiet && format === undefined) {
      const id = fields.find((field) => field.name === 'ID')!;
      return print(rows.map((row) => `${id.value(row)}\n`).join(''));
    }
    return print(
      formatList(rows, fields, format === undefined ? undefined : textOf(format), shown),
    );
  },
});

/** Without digests a name is a row once, whatever digests it has. */
function withoutRepeats(rows: readonly ImageRow[], digests: boolean): readonly ImageRow[] {
  return digests
    ? rows
    : rows.filter(
        (row, i) =>
          rows.findIndex((one) => one.repository === row.repository && one.tag === row.tag) === i,
      );
}

function fieldsFor({
  trunc,
  digests,
}: {
  trunc: boolean;
  digests: boolean;
}): readonly Field<Row>[] {
  return [
    {
      name: 'Repository',
      header: 'REPOSITORY',
      shown: true,
      value: ({ name }) => name.repository ?? NONE,
    },
    { name: 'Tag', header: 'TAG', shown: true, value: ({ name }) => name.tag ?? NONE },
    { name: 'Digest', header: 'DIGEST', shown: digests, value: ({ name }) => name.digest ?? NONE },
    {
      name: 'ID',
      header: 'IMAGE ID',
      shown: true,
      value: ({ image }) => (trunc ? shortId(image.id) : image.id),
    },
    {
      name: 'CreatedSince',
      header: 'CREATED',
      shown: true,
      value: ({ image }) => humanAge(image.created),
    },
    {
      name: 'CreatedAt',
      header: 'CREATED AT',
      shown: false,
      value: ({ image }) => goTime(image.created),
    },
    { name: 'Size', header: 'SIZE', shown: true, value: ({ image }) => humanSize(image.size) },
    {
      name: 'VirtualSize',
      header: 'SIZE',
      shown: false,
      value: ({ image }) => humanSize(image.size),
    },
  ];
}
