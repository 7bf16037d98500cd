import { Argument } from 'commander';
import { defineCommand } from '../command.js';
import { completionScripts, type Shell } from '../completion/scripts.js';

export const completion = defineCommand({
  declare: (command) =>
    void command.addArgument(
      new Argument('<SHELL>', 'for which shell').choices(Object.keys(completionScripts)),
    ),
  run: ([shell], _options, { print }) => print(completionScripts[shell as string as Shell]),
});
