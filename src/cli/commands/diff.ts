import { textOf } from '../../base/bytes.js';
import { containerChanges } from '../../engine/containers/changes.js';
import { defineCommand } from '../command.js';
import { print as printBytes, shownBytes } from '../output.js';

/** Printed at once. */
const LINES = 1000;

export const diff = defineCommand({
  declare: (command) => void command.argument('<NAME>', 'a container by name or id'),
  async run([word], _options, { globals, openRoot, printJson }) {
    const changes = await containerChanges(await openRoot(false), textOf(word!));
    if (globals.json === true)
      return printJson(changes.map(({ kind, path }) => ({ kind, path: textOf(path) })));
    // Names are bytes.
    for (let at = 0; at < changes.length; at += LINES) {
      const lines = changes
        .slice(at, at + LINES)
        .map(({ kind, path }) => `${kind} ${shownBytes(path)}\n`);
      await printBytes(Buffer.from(lines.join(''), 'latin1'));
    }
  },
});
