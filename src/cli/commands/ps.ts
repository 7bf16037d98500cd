import { textOf, type ByteString } from '../../base/bytes.js';
import { listContainers, type ContainerView } from '../../engine/containers/list.js';
import { defineCommand } from '../command.js';
import { ellipsis, goTime, humanAge, humanSize, shortId } from '../human-format.js';
import { formatList, type Field } from '../list-format.js';

interface Options {
  readonly all?: true;
  readonly quiet?: true;
  readonly size?: true;
  /** False: `--no-trunc`. */
  readonly trunc: boolean;
  readonly format?: ByteString;
}

/** As docker. */
const COMMAND_LENGTH = 20;

export const ps = defineCommand<Options>({
  declare: (command) =>
    void command
      .option('-a, --all', 'as docker takes it: all are listed without it, too')
      .option('-q, --quiet', 'ids only')
      .option('-s, --size', 'how much was written')
      .option('--no-trunc', 'show whole ids and commands')
      .option('--format <FORMAT>', 'table, json or a Go template for each'),
  async run(
    _words,
    { quiet = false, size = false, trunc, format },
    { globals, openRoot, print, printJson, shown, warn },
  ) {
    const containers = await listContainers(await openRoot(false), { size });
    for (const { problem } of containers) if (problem !== undefined) warn(problem);
    if (globals.json === true)
      return printJson(
        containers.map((container) => ({
          ...container,
          labels: Object.fromEntries(container.labels),
        })),
      );
    const fields = fieldsFor({ trunc, size });
    if (quiet && format === undefined)
      return print(containers.map((container) => `${fields[0]!.value(container)}\n`).join(''));
    return print(
      formatList(containers, fields, format === undefined ? undefined : textOf(format), shown),
    );
  },
});

function fieldsFor({
  trunc,
  size,
}: {
  trunc: boolean;
  size: boolean;
}): readonly Field<ContainerView>[] {
  return [
    {
      name: 'ID',
      header: 'CONTAINER ID',
      shown: true,
      value: ({ id }) => (trunc ? shortId(id) : id),
    },
    { name: 'Image', header: 'IMAGE', shown: true, value: ({ image = '' }) => image },
    {
      name: 'Command',
      header: 'COMMAND',
      shown: true,
      value: ({ command }) =>
        `"${trunc ? ellipsis(command.join(' '), COMMAND_LENGTH) : command.join(' ')}"`,
    },
    {
      name: 'RunningFor',
      header: 'CREATED',
      shown: true,
      value: ({ created }) => humanAge(created),
    },
    {
      name: 'CreatedAt',
      header: 'CREATED AT',
      shown: false,
      value: ({ created }) => goTime(created),
    },
    { name: 'Status', header: 'STATUS', shown: true, value: statusOf },
    { name: 'State', header: 'STATE', shown: false, value: ({ state }) => state },
    { name: 'Names', header: 'NAMES', shown: true, value: ({ name }) => name },
    {
      name: 'Size',
      header: 'SIZE',
      shown: size,
      value: ({ size: bytes }) => (bytes === undefined ? '' : humanSize(bytes)),
    },
    {
      name: 'Labels',
      header: 'LABELS',
      shown: false,
      value: ({ labels }) => [...labels].map(([key, value]) => `${key}=${value}`).join(','),
    },
  ];
}

function statusOf({ state, mountpoints }: ContainerView): string {
  switch (state) {
    case 'idle':
      return 'Created';
    case 'mounted':
      return `Mounted at ${mountpoints.join(', ')}`;
    case 'dead':
      return `Dead at ${mountpoints.join(', ')}: its daemon was killed, ply umount it`;
    case 'in-use':
      return 'In use';
  }
}
