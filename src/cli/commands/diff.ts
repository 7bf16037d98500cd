import { textOf } from '../../base/bytes.js';
import { containerChanges } from '../../engine/container-changes.js';
import { defineCommand } from '../command.js';
import { print as printBytes } from '../output.js';

export const diff = defineCommand({
  declare: (command) => void command.argument('<NAME>', 'a container by name or id'),
  async run([word], _options, { globals, openRoot, printJson }) {
    const changes = await containerChanges(await openRoot(false), textOf(word!));
    if (globals.json === true) return printJson(changes.map(({ kind, path }) => ({ kind, path: textOf(path) })));
    // Names are bytes.
    await printBytes(Buffer.from(changes.map(({ kind, path }) => `${kind} ${path}\n`).join(''), 'latin1'));
  },
});
