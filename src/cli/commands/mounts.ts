import { listMounts, type MountView } from '../../engine/mounts/list-mounts.js';
import { defineCommand } from '../command.js';
import { formatList, type Field } from '../list-format.js';
import { rootIfAny } from '../root-if-any.js';

const fields: readonly Field<MountView>[] = [
  {
    name: 'Mountpoint',
    header: 'MOUNTPOINT',
    shown: true,
    value: ({ mountpoint = '' }) => mountpoint,
  },
  { name: 'Name', header: 'NAME', shown: true, value: ({ name = '' }) => name },
  { name: 'Image', header: 'IMAGE', shown: true, value: ({ image = '' }) => image },
  {
    name: 'Mode',
    header: 'MODE',
    shown: true,
    value: ({ readOnly }) => (readOnly === undefined ? '' : readOnly ? 'ro' : 'rw'),
  },
  {
    name: 'UID',
    header: 'UID',
    shown: true,
    value: ({ uid }) => (uid === undefined ? '' : String(uid)),
  },
  { name: 'Source', header: 'SOURCE', shown: true, value: ({ source = '' }) => source },
  { name: 'ImageID', header: 'IMAGE ID', shown: false, value: ({ imageId = '' }) => imageId },
  { name: 'ChainID', header: 'CHAIN ID', shown: false, value: ({ chainId = '' }) => chainId },
];

interface Options {
  readonly all?: true;
  readonly format?: string;
}

export const mounts = defineCommand<Options>({
  declare: (command) =>
    void command
      .option('-a, --all', 'also read-write layers that are not mounted')
      .option('--format <FORMAT>', 'table, json or a Go template for each'),
  async run(_words, { all = false, format }, context) {
    const found = await listMounts(await rootIfAny(context, all), { all });
    await (context.globals.json === true
      ? context.printJson(found)
      : context.print(formatList(found, fields, format, context.shown)));
  },
});
