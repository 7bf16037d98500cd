import { Option } from 'commander';
import { textOf } from '../../base/bytes.js';
import { followMount } from '../../mount/control-client.js';
import { findMount } from '../../engine/mounts/find-mount.js';
import type { MountStack } from '../../mount/control-socket.js';
import { quoted, traceLine, type TraceForm } from '../../mount/trace-lines.js';
import { defineCommand } from '../command.js';
import { say } from '../output.js';
import { layerName } from '../../mount/layer-name.js';

interface Options {
  readonly format?: TraceForm;
}

export const trace = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<DIR|NAME>', 'where it is mounted, or its name')
      .addOption(
        new Option('--format <FORMAT>', 'a line each, for people or as JSON').choices([
          'plain',
          'json',
        ]),
      )
      .addHelpText(
        'after',
        '\nShows lookups, copy-ups, whiteouts, opaque directories and refused renames, until the mount ends or Ctrl-C.\nWhat the kernel knows already it does not ask for again.',
      ),
  async run([word], { format }, { globals, openRoot, print, warn, signal }) {
    const form = format ?? (globals.json === true ? 'json' : 'plain');
    const { stack, told } = await followMount(
      await findMount(word!, () => openRoot(false)),
      signal,
    );
    if (form === 'plain') say(legend(stack));
    for await (const one of told) {
      if ('lost' in one)
        warn(`${one.lost} events were not shown: they came faster than they were read`);
      else await print(traceLine(one.event, form, one.time));
    }
  },
});

/** On stderr: stdout has the events alone. */
function legend({ mountpoint, layers }: MountStack): string {
  const lines = layers.map(({ index, path }) => `  ${layerName(index)}: ${quoted(textOf(path))}\n`);
  return `Following ${quoted(textOf(mountpoint))}:\n${lines.join('')}`;
}
