import { textOf } from '../../base/bytes.js';
import { push as pushTo } from '../../engine/images/push.js';
import { defineCommand } from '../command.js';
import { silent, type Progress } from '../progress.js';
import { tlsVerifyOf, tlsVerifyOption, type RegistryOptions } from '../registry-options.js';

interface Options extends RegistryOptions {
  readonly allTags?: true;
  readonly quiet?: true;
}

export const push = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument(
        '<IMAGE>',
        'by the name that it is to have in the registry; a tag is `latest` if none',
      )
      .option('-a, --all-tags', 'every tag of the repository')
      .option('-q, --quiet', 'print nothing but the names')
      .addOption(tlsVerifyOption()),
  async run(
    [word],
    { allTags = false, quiet = false, ...options },
    { globals, openRoot, progress, print, printJson, shown, signal },
  ) {
    const root = await openRoot(true);
    let report: Progress['report'] = silent.report;
    const json = globals.json === true;
    const pushed = await pushTo(root, textOf(word!), {
      environment: process.env,
      allTags,
      tlsVerify: tlsVerifyOf(options),
      signal,
      onProgress: (event) => report(event),
      onRepository: async (name) => {
        if (!json && !quiet) await print(`The push refers to repository [${shown(name)}]\n`);
        ({ report } = await progress(quiet, 'Pushing'));
      },
      onPushed: async ({ tag, digest, size }) => {
        if (json) return;
        const name = tag.slice(tag.lastIndexOf(':') + 1);
        await print(quiet ? `${shown(tag)}\n` : `${name}: digest: ${digest} size: ${size}\n`);
      },
    });
    if (json) await printJson(pushed);
  },
});
