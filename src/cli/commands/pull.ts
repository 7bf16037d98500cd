import { textOf, type ByteString } from '../../base/bytes.js';
import { pull as pullFrom } from '../../engine/images/pull.js';
import { defineCommand } from '../command.js';
import { warnOfLost } from '../lost-attributes.js';
import { pullEvents, pullProgress } from '../pull-progress.js';
import { tlsVerifyOf, tlsVerifyOption, type RegistryOptions } from '../registry-options.js';

interface Options extends RegistryOptions {
  readonly allTags?: true;
  readonly platform?: ByteString;
  readonly quiet?: true;
}

export const pull = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<REFERENCE>', 'a name, with a tag or a digest; its tag is `latest` if it has none')
      .option('-a, --all-tags', 'every tag of the repository')
      .option(
        '--platform <PLATFORM>',
        'the image for this platform, as linux/arm64; default: of several the one for this machine',
      )
      .option('-q, --quiet', 'print nothing but the names')
      .addOption(tlsVerifyOption()),
  async run([word], options, context) {
    const { allTags = false, platform, quiet = false } = options;
    const { globals, openRoot, print, shown, signal, warn } = context;
    const root = await openRoot(true);
    const json = globals.json === true;
    const events = json ? pullEvents(print) : undefined;
    const report = events?.report ?? (await pullProgress(context, quiet));
    await pullFrom(root, textOf(word!), {
      environment: process.env,
      allTags,
      tlsVerify: tlsVerifyOf(options),
      signal,
      ...(platform !== undefined && { platform: textOf(platform) }),
      onProgress: report,
      onWarning: warn,
      onBegin: async ({ version, repository }) => {
        if (!json && !quiet) await print(`${version}: Pulling from ${shown(repository)}\n`);
      },
      onPulled: async (pulled) => {
        warnOfLost(pulled.lost, warn);
        if (events !== undefined) {
          events.pulled(pulled);
          return;
        }
        const { name, familiar, digest, status } = pulled;
        if (!quiet)
          await print(
            `Digest: ${digest}\nStatus: ${
              status === 'current' ? 'Image is up to date' : 'Downloaded newer image'
            } for ${shown(familiar)}\n`,
          );
        await print(`${shown(name)}\n`);
      },
    });
    await events?.written();
  },
});
