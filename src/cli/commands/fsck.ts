import { PlyfsError } from '../../base/error.js';
import { checkRoot } from '../../engine/fsck.js';
import { defineCommand } from '../command.js';

interface Options {
  readonly repair?: true;
  readonly deep?: true;
  readonly quiet?: true;
}

export const fsck = defineCommand<Options>({
  declare: (command) =>
    void command
      .option('--repair', 'remove what is provably garbage')
      .option(
        '--deep',
        "put every layer's tar together again and compare its digest, which reads everything",
      )
      .option('-q, --quiet', 'say only what is wrong'),
  async run(
    _words,
    { repair = false, deep = false, quiet = false },
    { globals, openRoot, progress, print, printJson, shown, signal },
  ) {
    const root = await openRoot(repair);
    const { report } = await progress(quiet, 'Checking');
    const { repaired, left } = await checkRoot(root, {
      repair,
      deep,
      signal,
      onProgress: ({ done, total }) =>
        report({ kind: 'layers', id: root.driver.name, done, total, unit: 'things' }),
    });
    if (globals.json === true) await printJson({ repaired, left });
    else
      await print(
        [
          ...repaired.map(
            ({ problem, repair: how = 'repaired' }) => `${shown(problem)} (${how})\n`,
          ),
          ...left.map(({ problem }) => `${shown(problem)}\n`),
          ...(left.length === 0 && !quiet
            ? [
                `${root.root}: ${root.layers.layers().length} layers and ${root.images.list().length} images, nothing wrong.\n`,
              ]
            : []),
        ].join(''),
      );
    if (left.length > 0) {
      const what =
        left.length === 1
          ? 'One thing is not as it should be'
          : `${left.length} things are not as they should be`;
      throw new PlyfsError('findings', `${what} in ${root.root}.`);
    }
  },
});
