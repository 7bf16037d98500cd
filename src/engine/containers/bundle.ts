/**
 * `ply bundle`: an OCI bundle, `config.json` and `rootfs`, for crun, runc and others that run one.
 *
 * The root file system is mounted, not unpacked: it is there at once, takes no space, and what is
 * changed in it is in a container that `ply diff` and `ply commit` know. Its set-id programs are to
 * work in a container, so that nobody else may reach the bundle of root. An ordinary user's is
 * everything root's, because root is the one id that other programs map; owners stay kept aside.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  realpathSync,
  rmdirSync,
  statSync,
  writeFileSync,
  type PathLike,
} from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { dirname, join } from 'node:path';
import { textOf, type ByteString } from '../../base/bytes.js';
import { PlyfsError } from '../../base/error.js';
import { ociConfig } from '../../runtime/oci-config.js';
import { readInRoot } from '../../runtime/read-in-root.js';
import { findUser } from '../../runtime/user.js';
import { createContainer } from './create.js';
import type { DataRoot } from '../data-root.js';
import { processOf, type RunContainerOptions } from './run.js';
import { volumeOf } from './volume.js';

export interface Bundle {
  /** Of the container that keeps what is changed. */
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
}

/**
 * `directory` is made, for this user alone, if it is not there. Throws `bundle-exists`,
 * `bundle-exposed`, and what making and mounting a container throws; then nothing is left.
 */
export async function makeBundle(
  root: DataRoot,
  word: string,
  directory: ByteString,
  options: RunContainerOptions,
): Promise<Bundle> {
  const volumes = (options.volumes ?? []).map(volumeOf);
  const at = newDirectory(Buffer.from(directory, 'latin1'), textOf(directory));
  const { words } = options;
  const container = await createContainer(root, word, {
    ...options,
    ...(words !== undefined && { command: words.map(textOf) }),
  });
  const { name } = container.mounted;
  const rootfs = join(at, 'rootfs');
  let mounted = false;
  try {
    mkdirSync(rootfs);
    await show(root, name, rootfs);
    mounted = true;
    const user = findUser(
      processOf(container, options, false).user,
      readInRoot(rootfs, ['/etc/passwd', '/etc/group']),
    );
    const ordinary = process.geteuid?.() !== 0;
    const config = ociConfig({
      process: processOf(container, options, options.terminal !== undefined),
      user,
      rootPath: 'rootfs',
      readOnly: options.readOnly ?? false,
      hostname: options.hostname ?? container.config.hostname,
      network: options.network === 'none' ? 'own' : 'shared',
      terminal: options.terminal !== undefined,
      volumes,
      etc: existsSync('/etc/resolv.conf') ? { 'resolv.conf': '/etc/resolv.conf' } : {},
      ...(ordinary && {
        mapRootTo: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
      }),
      ownSys: !ordinary || options.network === 'none',
      manyIds: !ordinary,
      annotations: { 'io.plyfs.container': container.name },
    });
    writeFileSync(join(at, 'config.json'), `${JSON.stringify(config, null, 2)}\n`, { flag: 'wx' });
    return { name: container.name, directory: at };
  } catch (error) {
    if (mounted) await root.layers.unmount(name);
    if (existsSync(rootfs)) rmdirSync(rootfs);
    await root.layers.releaseMounted(name);
    throw error;
  }
}

function newDirectory(path: PathLike & Buffer, shown: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const real = realpathSync.native(path, 'buffer');
  if (!isUtf8(real))
    throw new PlyfsError(
      'name-not-text',
      `${shown} is not UTF-8: make the bundle in another directory.`,
    );
  const at = real.toString();
  for (const name of ['config.json', 'rootfs']) {
    if (existsSync(join(at, name)))
      throw new PlyfsError(
        'bundle-exists',
        `${at} has a ${name} already: choose another directory.`,
      );
  }
  if (process.geteuid?.() === 0 && othersReach(at)) {
    throw new PlyfsError(
      'bundle-exposed',
      `${at} is open to other users, who would have the image's set-id programs: chmod go-rwx it first, or name one that is not there yet.`,
    );
  }
  return at;
}

/** Whether somebody else than root may go through each directory down to this one. */
function othersReach(at: string): boolean {
  for (let directory = at; ; directory = dirname(directory)) {
    const { mode, uid } = statSync(directory);
    if (uid === 0 && (mode & 0o011) === 0) return false;
    if (directory === '/') return true;
  }
}

async function show(root: DataRoot, name: string, target: string): Promise<void> {
  const recipe =
    process.geteuid?.() === 0
      ? undefined
      : await root.layers.recipe(name, { readOnly: false, ids: 'squashed' });
  if (recipe?.by !== 'program') {
    await root.layers.mount(name, { target, suid: true });
    return;
  }
  const [program = '', ...words] = recipe.words;
  const child = spawn(program, [...words, target], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0)
    throw new PlyfsError(
      'mount-failed',
      said
        .trim()
        .split('\n')
        .at(-1)
        ?.replace(/^plyfs: /, '') ?? `cannot mount at ${target}.`,
    );
}
