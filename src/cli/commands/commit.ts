import { textOf, type ByteString } from '../../base/bytes.js';
import { commitContainer } from '../../engine/containers/commit.js';
import { defineCommand } from '../command.js';
import { warnOfLost } from '../lost-attributes.js';
import { collect } from '../ply-command-line.js';

interface Options {
  readonly author?: ByteString;
  readonly change?: readonly ByteString[];
  readonly message?: ByteString;
  readonly quiet?: true;
}

export const commit = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<NAME>', 'a container by name or id')
      .argument('[REPOSITORY:TAG]', 'what the image is called')
      .option('-a, --author <TEXT>', 'who made it, as Jane Doe <jane@example.com>')
      .option(
        '-c, --change <INSTRUCTION>',
        'a Dockerfile instruction applied to it, as CMD ["/bin/sh"]; may be repeated',
        collect,
      )
      .option('-m, --message <TEXT>', 'what its history says')
      .option('-q, --quiet', 'do not say how far it is'),
  async run(
    [word, name],
    { author, change, message, quiet = false },
    { globals, openRoot, progress, print, printJson, signal, warn },
  ) {
    const root = await openRoot(true);
    const { report } = await progress(quiet, 'Committing');
    const committed = await commitContainer(root, textOf(word!), {
      onProgress: report,
      signal,
      ...(name !== undefined && { name: textOf(name) }),
      ...(author !== undefined && { author: textOf(author) }),
      ...(change !== undefined && { changes: change.map(textOf) }),
      ...(message !== undefined && { message: textOf(message) }),
    });
    warnOfLost(committed.lost, warn);
    await (globals.json === true ? printJson(committed) : print(`${committed.id}\n`));
  },
});
