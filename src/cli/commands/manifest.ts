import { textOf } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { inspectManifest } from '../../engine/registries/read.js';
import { defineCommand } from '../command.js';
import { tlsVerifyOf, tlsVerifyOption, type RegistryOptions } from '../registry-options.js';

export const manifest = defineCommand<RegistryOptions>({
  declare: (command) =>
    void command
      .argument('<WHAT>', 'inspect: print it as the registry has it')
      .argument('<REFERENCE>', 'the name of an image in a registry')
      .addOption(tlsVerifyOption()),
  async run([what, name], options, { print, signal }) {
    if (what !== 'inspect')
      throw new UsageError(`There is no 'manifest ${textOf(what!)}': say manifest inspect`);
    const { bytes } = await inspectManifest(textOf(name!), {
      environment: process.env,
      tlsVerify: tlsVerifyOf(options),
      signal,
    });
    await print(bytes.toString('utf8').replace(/\n?$/, '\n'));
  },
});
