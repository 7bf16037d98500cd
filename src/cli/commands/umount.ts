import { unmount } from '../../engine/mounts/unmount.js';
import { defineCommand } from '../command.js';

interface Options {
  readonly lazy?: true;
}

export const umount = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('<DIR|NAME>', 'where it is mounted, or its name')
      .option('-l, --lazy', 'also while it is in use: it disappears now and ends later'),
  async run([word], { lazy = false }, { globals, openRoot, printJson }) {
    const unmounted = await unmount(word!, { lazy }, () => openRoot(false));
    if (globals.json === true) await printJson(unmounted);
  },
});
