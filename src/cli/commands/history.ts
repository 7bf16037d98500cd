import { textOf, type ByteString } from '../../base/bytes.js';
import { imageHistory, type HistoryStep } from '../../engine/images/history.js';
import { defineCommand } from '../command.js';
import { ellipsis, humanAge, humanSize, localRfc3339, shortId } from '../human-format.js';
import { formatList, type Field } from '../list-format.js';

interface Options {
  readonly quiet?: true;
  /** False: `--no-trunc`. */
  readonly trunc: boolean;
  /** `--human=false` turns it off. */
  readonly human: string | true;
  readonly format?: ByteString;
}

const MISSING = '<missing>';
const CREATED_BY_LENGTH = 45;

export const history = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<IMAGE>', 'an image by name or id')
      .option('-H, --human [BOOL]', 'sizes and dates for people', true)
      .option('-q, --quiet', 'ids only')
      .option('--no-trunc', 'show whole ids and commands')
      .option('--format <FORMAT>', 'table, json or a Go template for each'),
  async run(
    [name],
    { quiet = false, trunc, human, format },
    { globals, openRoot, print, printJson, shown },
  ) {
    const steps = imageHistory(await openRoot(false), textOf(name!));
    if (globals.json === true) return printJson(steps);
    const fields = fieldsFor({ trunc, human: human === true || /^(true|1|t)$/i.test(human) });
    if (quiet && format === undefined)
      return print(steps.map((step) => `${idOf(step, trunc)}\n`).join(''));
    return print(
      formatList(steps, fields, format === undefined ? undefined : textOf(format), shown),
    );
  },
});

function idOf({ id }: HistoryStep, trunc: boolean): string {
  return id === undefined ? MISSING : trunc ? shortId(id) : id;
}

function fieldsFor({
  trunc,
  human,
}: {
  trunc: boolean;
  human: boolean;
}): readonly Field<HistoryStep>[] {
  const createdBy = (text: string): string => (trunc ? ellipsis(text, CREATED_BY_LENGTH) : text);
  return [
    { name: 'ID', header: 'IMAGE', shown: true, value: (step) => idOf(step, trunc) },
    {
      name: 'CreatedSince',
      header: human ? 'CREATED' : 'CREATED AT',
      shown: true,
      value: ({ created }) => (human ? humanAge(created) : localRfc3339(created)),
    },
    {
      name: 'CreatedAt',
      header: 'CREATED AT',
      shown: false,
      value: ({ created }) => localRfc3339(created),
    },
    {
      name: 'CreatedBy',
      header: 'CREATED BY',
      shown: true,
      value: (step) => createdBy(step.createdBy.replaceAll('\t', ' ')),
    },
    {
      name: 'Size',
      header: 'SIZE',
      shown: true,
      value: ({ size }) => (human ? humanSize(size) : String(size)),
    },
    { name: 'Comment', header: 'COMMENT', shown: true, value: ({ comment }) => comment },
  ];
}
