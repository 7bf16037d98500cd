import { rootInfo } from '../../engine/info.js';
import { defineCommand } from '../command.js';
import { renderFields } from '../table.js';
import { packageVersion } from '../version.js';

export const info = defineCommand({
  declare: () => undefined,
  async run(_words, _options, { globals, openRoot, print, printJson, warn }) {
    const { driverStatus, skipped, ...about } = rootInfo(await openRoot(false));
    if (globals.json === true)
      return printJson({
        version: packageVersion(),
        ...about,
        driverStatus: Object.fromEntries(driverStatus),
        skipped,
      });
    await print(
      renderFields([
        ['Version', packageVersion()],
        ['Data Root', about.root],
        ['Made By', about.foreign ? 'another program (changed with --writable only)' : 'plyfs'],
        ['Images', String(about.images)],
        ['Layers', String(about.layers)],
        ['Mounts', String(about.mounts)],
        ['Storage Driver', about.storageDriver],
      ]) +
        renderFields(driverStatus, ' ') +
        renderFields([['Kernel Version', about.kernelVersion]]),
    );
    for (const sentence of skipped) warn(sentence);
  },
});
