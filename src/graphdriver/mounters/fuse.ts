/** Mounting by plyfs: a process of its own serves the mount, and lives as long. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { messageOf, PlyfsError } from '../../base/error.js';
import { programPath } from '../../base/program-path.js';
import type { Mounter, MountIds, UnionMount } from '../mounter.js';
import { unmount } from '../../host/unmount.js';

/** From dist/src/graphdriver/mounters/, where this file is when it runs. */
const program = fileURLToPath(new URL('../../../../bin/plyfs', import.meta.url));
const DEVICE = '/dev/fuse';
/** Linux's limit of one word of a command line (binfmts.h, MAX_ARG_STRLEN), NUL included. */
const WORD_LIMIT = 128 * 1024;

export const fuseMounter: Mounter = {
  name: 'fuse',

  unsupported() {
    if (!existsSync(DEVICE)) {
      return 'there is no /dev/fuse: load the kernel module with modprobe fuse, or start the container with --device /dev/fuse';
    }
    if (process.geteuid?.() === 0) return undefined;
    if (programPath('fusermount3') === undefined && programPath('fusermount') === undefined)
      return 'an ordinary user needs fusermount3: install the package fuse3';
    return undefined;
  },

  recipe: (mount, ids) => ({ by: 'program', words: [program, ...wordsOf(mount, ids)] }),

  async mount(mount) {
    const child = spawn(program, [...wordsOf(mount, undefined), mount.target], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    let status: number | null;
    try {
      [status] = (await once(child, 'close')) as [number | null];
    } catch (error) {
      throw new PlyfsError(
        'mount-failed',
        `${program} cannot be run (${messageOf(error)}): install plyfs again.`,
        { cause: error },
      );
    }
    if (status === 0) return;
    const why = said
      .trim()
      .split('\n')
      .at(-1)!
      .replace(/^plyfs: /, '');
    throw new PlyfsError(
      'mount-failed',
      `cannot mount ${mount.source} at ${mount.target}: ${why === '' ? `plyfs ended with status ${status ?? 'of a signal'}` : why}`,
    );
  },

  unmount: (target, { lazy = false } = {}) => unmount(target, lazy),
};

function wordsOf(mount: Omit<UnionMount, 'target'>, ids: MountIds | undefined): string[] {
  const options = optionsOf(mount, ids);
  if (Buffer.byteLength(options) < WORD_LIMIT) return ['-o', options, '--'];
  throw new PlyfsError(
    'mount-options-too-long',
    `the names of the ${mount.lowers.length} layers of ${mount.source} are too long together: use a data root with a shorter path.`,
  );
}

/** What a mount does with the owners that are kept beside the files. */
const ownersFor: Readonly<Record<MountIds, readonly string[]>> = {
  // Whose files they are on disk is whose they are: the owners that are kept aside are shown, and
  // do not lock that user out.
  host: ['permissions=off'],
  // Each of the namespace's ids means what it means in the layer.
  ranges: ['noacl'],
  emulated: ['permissions=off', 'emulate_owners'],
  single: ['permissions=off', 'squash_to_root'],
  squashed: [
    'permissions=off',
    `squash_to_uid=${process.geteuid?.() ?? 0}`,
    `squash_to_gid=${process.getegid?.() ?? 0}`,
  ],
};

function optionsOf(mount: Omit<UnionMount, 'target'>, ids: MountIds | undefined): string {
  const { lowers, upper, form, ownership, readOnly, suid, dev, source } = mount;
  const words = [`lowerdir=${lowers.map(escaped).join(':')}`];
  if (upper !== undefined)
    words.push(
      `upperdir=${escaped(upper.path)}`,
      `workdir=${escaped(upper.work)}`,
      `upper_whiteout=${form}`,
    );
  words.push(`whiteout=${form}`, `fsname=${escaped(source)}`);
  if (ownership === 'override') words.push('xattr_permissions=2', ...ownersFor[ids ?? 'host']);
  if (readOnly) words.push('ro');
  // What root's mounts have otherwise, and an ordinary user's have not.
  if (!suid) words.push('nosuid');
  if (!dev) words.push('nodev');
  return words.join(',');
}

function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}
