import { textOf, type ByteString } from '../../base/bytes.js';
import { copy as copyImage } from '../../engine/registries/copy.js';
import { defineCommand } from '../command.js';
import { tlsVerifyOf, tlsVerifyOption, type RegistryOptions } from '../registry-options.js';

interface Options extends RegistryOptions {
  readonly all?: true;
  readonly platform?: ByteString;
  readonly quiet?: true;
}

export const copy = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<SOURCE>', 'docker://NAME, or oci:DIRECTORY[:TAG]')
      .argument('<DESTINATION>', 'the same')
      .option('-a, --all', 'the images for all platforms')
      .option('--platform <PLATFORM>', 'the image for this platform, as linux/arm64')
      .option('-q, --quiet', 'do not say how far it is')
      .addOption(tlsVerifyOption()),
  async run(
    [source, destination],
    { all = false, platform, quiet = false, ...options },
    { globals, progress, print, printJson, signal },
  ) {
    const { report } = await progress(quiet, 'Copying');
    const view = await copyImage(textOf(source!), textOf(destination!), {
      environment: process.env,
      all,
      tlsVerify: tlsVerifyOf(options),
      onProgress: report,
      signal,
      ...(platform !== undefined && { platform: textOf(platform) }),
    });
    if (globals.json === true) return printJson(view);
    await print(`${view.digest}\n`);
  },
});
