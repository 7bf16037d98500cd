/** `ply run`: a container's program, in namespaces of its own, until it ends. */
import { readFileSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../../base/bytes.js';
import { PlyfsError, UsageError } from '../../base/error.js';
import { sandboxDirectory } from '../../host/runtime-directory.js';
import type { ContainerProcess, SandboxPlan, Volume } from '../../runtime/plan.js';
import { chooseIds, runSandbox, sandboxUnsupported } from '../../runtime/sandbox.js';
import type { SandboxStreams } from '../../runtime/standard-streams.js';
import type { ConfigOverrides, Container } from './container.js';
import { createContainer } from './create.js';
import type { DataRoot } from '../data-root.js';
import { findContainer, tryFindMounted } from './find.js';
import { findObject } from '../find-object.js';
import { volumeOf } from './volume.js';

export { SandboxError } from '../../runtime/failure.js';

export interface RunContainerOptions extends ConfigOverrides {
  readonly name?: string;
  /** Its words as they came, in place of `command`. */
  readonly words?: readonly ByteString[];
  /** `SOURCE:TARGET[:ro|:rw]` */
  readonly volumes?: readonly ByteString[];
  readonly readOnly?: boolean;
  readonly network?: 'host' | 'none';
  /**
   * Of this process's standard streams, which the container has where it is not given `streams`:
   * whether input is among them.
   */
  readonly interactive?: boolean;
  readonly streams?: SandboxStreams;
  /** Its size; absent: no terminal. */
  readonly terminal?: { readonly rows: number; readonly columns: number };
  /** An OCI runtime, crun or runc, that runs it. */
  readonly runtime?: string;
  /** The container goes when its program has ended. */
  readonly remove?: boolean;
}

/** What a shell in an image is given where the image says nothing (moby, oci/defaults.go). */
export const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Of files of the host that a container gets a copy of. */
const LARGEST_FILE = 1 << 20;

/**
 * `word`: an image or a ChainID, of which a container is made, or a container, whose program is run
 * again. Returns the exit status. Throws SandboxError, whose `status` tells what of docker's 125,
 * 126 and 127 it is, and what making a container throws.
 */
export async function runContainer(
  root: DataRoot,
  word: string,
  options: RunContainerOptions,
): Promise<number> {
  const unsupported = sandboxUnsupported();
  if (unsupported !== undefined) throw new PlyfsError('sandbox-unsupported', unsupported);
  const volumes = (options.volumes ?? []).map(volumeOf);
  const { container, made } = await containerFor(root, word, options);
  try {
    const ids = chooseIds({ emulation: options.runtime === undefined });
    const recipe = await root.layers.recipe(container.mounted.name, {
      readOnly: false,
      ids: ids.mode,
    });
    const plan = planOf(container, options, volumes, { root: recipe, ids: ids.mode });
    return await runSandbox(
      plan,
      ids,
      options.streams ?? {
        ...(options.interactive === true && { stdin: 0 }),
        stdout: 1,
        stderr: 2,
      },
    );
  } finally {
    if (options.remove === true && made) await root.layers.releaseMounted(container.mounted.name);
  }
}

/** An image is meant before a container of that name. */
async function containerFor(
  root: DataRoot,
  word: string,
  options: RunContainerOptions,
): Promise<{ container: Container; made: boolean }> {
  if (
    options.name === undefined &&
    findObject(root, word, ['image', 'layer', 'mount']).kind === 'mount'
  ) {
    if (options.remove === true && tryFindMounted(root, word) !== undefined)
      throw new UsageError(
        `'${word}' is a container that is there already: leave --rm out, and remove it with ply rm`,
      );
    return { container: findContainer(root, word), made: false };
  }
  const { words } = options;
  return {
    container: await createContainer(root, word, {
      ...options,
      ...(words !== undefined && { command: words.map(textOf) }),
    }),
    made: true,
  };
}

function planOf(
  container: Container,
  { readOnly = false, network = 'host', terminal, ...options }: RunContainerOptions,
  volumes: readonly Volume[],
  where: Pick<SandboxPlan, 'root' | 'ids'>,
): SandboxPlan {
  const hostname = options.hostname ?? container.config.hostname;
  return {
    ...where,
    scratch: sandboxDirectory(),
    network,
    hostname,
    etc: filesOfEtc(hostname, network),
    readOnly,
    volumes,
    process: processOf(container, options, terminal !== undefined),
    ...(options.runtime !== undefined && { runtime: options.runtime }),
    ...(terminal !== undefined && { terminal }),
  };
}

/** Throws `command-missing`. */
export function processOf(
  container: Container,
  options: RunContainerOptions,
  terminal: boolean,
): ContainerProcess {
  const { config } = container;
  const entrypoint = (options.entrypoint ?? config.entrypoint).map(bytesOf);
  const command =
    options.words ?? (options.entrypoint === undefined ? config.cmd.map(bytesOf) : []);
  const args = [...entrypoint, ...command];
  if (args.length === 0 || args[0] === '') {
    throw new PlyfsError(
      'command-missing',
      `${container.image ?? container.name} names no program to run: say one after it.`,
    );
  }
  return {
    args,
    env: environmentOf(options.env ?? [], config.env, {
      terminal,
      hostname: options.hostname ?? config.hostname,
    }),
    cwd: absolute(options.workdir ?? config.workingDir),
    user: bytesOf(options.user ?? config.user),
  };
}

function environmentOf(
  given: readonly string[],
  ofImage: readonly string[],
  { terminal, hostname }: { terminal: boolean; hostname: string },
): ByteString[] {
  const variables = new Map<string, string>();
  const put = (variable: string): void => void variables.set(variable.split('=', 1)[0]!, variable);
  for (const variable of [
    DEFAULT_PATH,
    `HOSTNAME=${hostname}`,
    ...(terminal ? ['TERM=xterm'] : []),
    ...ofImage,
    ...given,
  ])
    put(variable);
  return [...variables.values()].map(bytesOf);
}

function absolute(path: string): ByteString {
  if (path !== '' && !path.startsWith('/'))
    throw new UsageError(`the working directory '${path}' must be an absolute path`);
  return bytesOf(path === '' ? '/' : path);
}

/** A container on the host's network knows the names that the host knows. */
export function filesOfEtc(hostname: string, network: 'host' | 'none'): SandboxPlan['etc'] {
  const own = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
  ];
  const hosts =
    network === 'host' ? readOr('/etc/hosts', `${own.join('\n')}\n`) : `${own.join('\n')}\n`;
  return {
    'resolv.conf': readOr('/etc/resolv.conf', ''),
    hosts: `${hosts}${hosts.endsWith('\n') ? '' : '\n'}127.0.1.1\t${hostname}\n`,
    hostname: `${hostname}\n`,
  };
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path).subarray(0, LARGEST_FILE).toString();
  } catch {
    return otherwise;
  }
}
