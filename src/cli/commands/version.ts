import { defineCommand } from '../command.js';
import { packageVersion } from '../version.js';

export const version = defineCommand({
  declare: () => undefined,
  async run(_words, _options, { globals, print, printJson }) {
    const versions = { ply: packageVersion(), node: process.versions.node };
    await (globals.json === true
      ? printJson(versions)
      : print(`ply ${versions.ply}\nNode.js ${versions.node}\n`));
  },
});
