import { textOf } from '../../base/bytes.js';
import { tags as tagsOf } from '../../engine/registries/read.js';
import { defineCommand } from '../command.js';
import { tlsVerifyOf, tlsVerifyOption, type RegistryOptions } from '../registry-options.js';

export const tags = defineCommand<RegistryOptions>({
  declare: (command) =>
    void command.argument('<REPOSITORY>', 'a name without a tag').addOption(tlsVerifyOption()),
  async run([name], options, { globals, print, printJson, signal }) {
    const view = await tagsOf(textOf(name!), {
      environment: process.env,
      tlsVerify: tlsVerifyOf(options),
      signal,
    });
    if (globals.json === true) return printJson(view);
    await print(view.tags.map((tag) => `${tag}\n`).join(''));
  },
});
