/** The options of commands that make a container. */
import type { Command } from 'commander';
import { textOf, type ByteString } from '../../base/bytes.js';
import { UsageError } from '../../base/error.js';
import type { CreateContainerOptions } from '../../engine/containers/create.js';
import { PULL_OPTION } from '../obtain.js';
import { collect } from '../ply-command-line.js';

export interface ContainerOptions {
  readonly name?: ByteString;
  readonly pull?: ByteString;
  readonly entrypoint?: ByteString;
  readonly env?: readonly ByteString[];
  readonly workdir?: ByteString;
  readonly user?: ByteString;
  readonly hostname?: ByteString;
  readonly label?: readonly ByteString[];
}

export function declareContainerOptions(command: Command): Command {
  return command
    .option('--name <TEXT>', 'what it is called (default: a random name)')
    .option(
      '-e, --env <NAME=VALUE>',
      "an environment variable; without = it is that of ply's environment; may be repeated",
      collect,
    )
    .option('-w, --workdir <PATH>', 'the working directory in it')
    .option('-u, --user <USER>', 'who runs its command: NAME or UID, and :GROUP or :GID')
    .option('--hostname <TEXT>', "the container's host name")
    .option(...PULL_OPTION)
    .option('-l, --label <KEY=TEXT>', 'a label; may be repeated', collect)
    .option('--entrypoint <PROGRAM>', "a program instead of the image's entrypoint; empty: none");
}

/** What of it was asked for. Throws UsageError. */
export function containerOptionsOf({
  name,
  entrypoint,
  env,
  workdir,
  user,
  hostname,
  label,
}: ContainerOptions): CreateContainerOptions {
  return {
    ...(name !== undefined && { name: textOf(name) }),
    ...(entrypoint !== undefined && { entrypoint: entrypoint === '' ? [] : [textOf(entrypoint)] }),
    ...(env !== undefined && { env: env.flatMap(variableOf) }),
    ...(workdir !== undefined && { workdir: textOf(workdir) }),
    ...(user !== undefined && { user: textOf(user) }),
    ...(hostname !== undefined && { hostname: textOf(hostname) }),
    ...(label !== undefined && { labels: new Map(label.map(labelOf)) }),
  };
}

/** A name alone stands for the variable that ply was given, and for nothing where there is none. */
function variableOf(word: ByteString): string[] {
  const text = textOf(word);
  const [name = '', value] = text.split(/=([^]*)/, 2);
  if (name === '')
    throw new UsageError(`'${text}' is no environment variable: write it as NAME=VALUE`);
  if (value !== undefined) return [text];
  const own = process.env[name];
  return own === undefined ? [] : [`${name}=${own}`];
}

function labelOf(word: ByteString): [string, string] {
  const [key = '', value = ''] = textOf(word).split(/=([^]*)/, 2);
  if (key === '') throw new UsageError(`'${textOf(word)}' is no label: write it as KEY=TEXT`);
  return [key, value];
}
