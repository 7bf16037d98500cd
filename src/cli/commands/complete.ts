import { textOf, type ByteString } from '../../base/bytes.js';
import type { RootNames } from '../../engine/names.js';
import { candidatesFor, type GlobalValues } from '../completion/candidates.js';
import { defineCommand, type CommandEntry } from '../command.js';

/** Hidden: what the scripts of `ply completion` call. `commands`: those that may be completed. */
export const completeFrom = (commands: readonly CommandEntry[]) =>
  defineCommand({
    declare: () => undefined,
    async run(words, _options, { print }) {
      const { values, more } = await candidatesFor(words, commands, {
        images: async (globals) => (await namesOf(globals)).images,
        mounted: async (globals) => (await namesOf(globals)).mounts,
      });
      const lines = values.map(({ value, description = '' }) =>
        description === '' ? value : `${value}\t${description}`,
      );
      await print(`${[...lines, `:${more}`].join('\n')}\n`);
    },
  });

async function namesOf({ root, storageDriver }: GlobalValues): Promise<RootNames> {
  const { namesIn } = await import('../../engine/names.js');
  return namesIn({
    ...(root !== undefined && { root: textOf(root as ByteString) }),
    ...(storageDriver !== undefined && { storageDriver: textOf(storageDriver as ByteString) }),
  });
}
