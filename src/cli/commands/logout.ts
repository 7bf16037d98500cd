import { textOf } from '../../base/bytes.js';
import { logout as logoutFrom } from '../../engine/registries/login.js';
import { defineCommand } from '../command.js';

export const logout = defineCommand<object>({
  declare: (command) =>
    void command.argument('[REGISTRY]', 'host or host:port; default: Docker Hub'),
  async run([registry], _options, { globals, print, printJson }) {
    const view = await logoutFrom(registry === undefined ? undefined : textOf(registry), {
      environment: process.env,
    });
    if (globals.json === true) return printJson(view);
    await print(
      view.erased
        ? `Removing login credentials for ${view.registry}\n`
        : `Not logged in to ${view.registry}\n`,
    );
  },
});
