import { readAll } from '../../base/byte-source.js';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import { login as loginTo } from '../../engine/registries/login.js';
import { ask, askSecret } from '../ask.js';
import { defineCommand } from '../command.js';
import { tlsVerifyOf, tlsVerifyOption, type RegistryOptions } from '../registry-options.js';

interface Options extends RegistryOptions {
  readonly username?: ByteString;
  readonly passwordStdin?: true;
}

/** Bytes: tokens that are used as passwords have some thousand. */
const PASSWORD_MAX = 64 << 10;

export const login = defineCommand<Options>({
  declare: (command) =>
    void command
      .argument('[REGISTRY]', 'host or host:port; default: Docker Hub')
      .option('-u, --username <NAME>', 'who logs in')
      .option('--password-stdin', 'read the password from standard input')
      .addOption(tlsVerifyOption()),
  async run([registry], options, { globals, print, printJson, warn, signal }) {
    const { username, passwordStdin = false } = options;
    if (passwordStdin && username === undefined)
      throw new UsageError('With --password-stdin, name the user with --username');
    const view = await loginTo(registry === undefined ? undefined : textOf(registry), {
      environment: process.env,
      tlsVerify: tlsVerifyOf(options),
      signal,
      ...(username !== undefined && { username: textOf(username) }),
      ...(passwordStdin && { password: await passwordFromStdin() }),
      ...(!passwordStdin &&
        process.stdin.isTTY && {
          ask: {
            username: () => ask('Username: ', signal),
            password: () => askSecret('Password: ', signal),
          },
        }),
    });
    const { path, helper, known } = view;
    if (!known && helper === undefined)
      warn(
        `The password is kept in ${path}, readable for you alone but not encrypted: a credential helper (credsStore) would keep it better.`,
      );
    if (globals.json === true)
      return printJson({ registry: view.registry, ...(helper !== undefined && { helper }) });
    await print('Login Succeeded\n');
  },
});

/** Without the end of the line, which `echo` adds. */
async function passwordFromStdin(): Promise<string> {
  const bytes = await readAll(process.stdin, PASSWORD_MAX);
  if (bytes === undefined) throw new UsageError(`The password has more than ${PASSWORD_MAX} bytes`);
  return bytes.toString('utf8').replace(/\r?\n$/, '');
}
