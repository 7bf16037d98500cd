/** The commands of ply, one a verb. */
import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError, UsageError, messageOf } from '../base/error.js';
import { errnoName } from '../base/errno.js';
import { mountAt, readMountTable } from '../sys/mount-table.js';

export interface PlyCommand {
  /** The words that follow the verb. */
  readonly usage: string;
  readonly summary: string;
  /** Returns what to print. Throws `PlyfsError`. */
  run(words: readonly ByteString[]): Promise<string>;
}

const FUSE_TYPE = 'fuse.plyfs';
/** Of umount2(2). */
const MNT_DETACH = 2;

export const plyCommands: Readonly<Record<string, PlyCommand>> = {
  mounts: { usage: '', summary: 'List the mounts of plyfs that are yours (as root: all).', run: listMounts },
  umount: { usage: '[-l|--lazy] DIRECTORY', summary: 'Unmount what plyfs mounted there.', run: unmount },
};

async function listMounts(words: readonly ByteString[]): Promise<string> {
  if (words.length > 0) throw new UsageError(`ply mounts takes no words, but there is '${textOf(words[0]!)}'.`);
  const me = process.getuid?.();
  const rows = [['MOUNTPOINT', 'SOURCE', 'MODE', 'UID']];
  for (const { type, mountpoint, source, options } of readMountTable()) {
    if (type !== FUSE_TYPE) continue;
    // The kernel notes with every FUSE mount who made it.
    const user = Number(options.find((option) => option.startsWith('user_id='))?.slice('user_id='.length));
    if (me === 0 || user === me) rows.push([textOf(mountpoint), textOf(source), options.includes('ro') ? 'ro' : 'rw', String(user)]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

async function unmount(words: readonly ByteString[]): Promise<string> {
  const { directory, lazy } = unmountWords(words);
  const mountpoint = resolved(directory);
  if (mountAt(mountpoint)?.type !== FUSE_TYPE) {
    throw new PlyfsError('not-mounted', `${textOf(directory)} is not a mount point of plyfs: \`ply mounts\` lists them.`);
  }
  const failure = process.getuid?.() === 0 ? await unmountAsRoot(mountpoint, lazy) : unmountAsUser(mountpoint, lazy);
  if (failure === undefined) return '';
  const why = /EBUSY|busy/.test(failure) ? 'something still uses it: end that, or say --lazy' : failure;
  throw new PlyfsError('umount-failed', `${textOf(directory)} cannot be unmounted: ${why}.`);
}

function unmountWords(words: readonly ByteString[]): { directory: ByteString; lazy: boolean } {
  try {
    const options = { lazy: { type: 'boolean', short: 'l' } } as const;
    const { values, positionals } = parseArgs({ args: [...words], allowPositionals: true, options });
    if (positionals.length === 1) return { directory: positionals[0] as ByteString, lazy: values.lazy ?? false };
  } catch (error) {
    throw new UsageError(`${textOf(messageOf(error).split(/\.\s|\n/)[0]! as ByteString)}: see ply --help.`);
  }
  throw new UsageError('Name one directory: `ply umount [--lazy] DIRECTORY`.');
}

/** undefined, or why not. */
async function unmountAsRoot(mountpoint: ByteString, lazy: boolean): Promise<string | undefined> {
  const { sys } = await import('../sys/index.js');
  const result = sys.umount2(mountpoint, lazy ? MNT_DETACH : 0);
  return result < 0 ? errnoName(-result) : undefined;
}

function unmountAsUser(mountpoint: ByteString, lazy: boolean): string | undefined {
  const helper = spawnSync('fusermount3', ['-u', ...(lazy ? ['-z'] : []), '--', textOf(mountpoint)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  if (helper.error !== undefined) return 'an ordinary user needs fusermount3, which cannot be run: install fuse3';
  return helper.status === 0 ? undefined : helper.stderr.trim();
}

/** Absolute and without symbolic links. A mount whose server has died cannot be looked at, only the directory it is in. */
function resolved(directory: ByteString): ByteString {
  try {
    return realpathSync.native(Buffer.from(directory, 'latin1'), 'buffer').toString('latin1') as ByteString;
  } catch {
    const [, parent = '', name = ''] = /^(.*\/)?([^/]+)\/*$/s.exec(textOf(directory)) ?? [];
    try {
      return bytesOf(`${realpathSync.native(parent === '' ? '.' : parent).replace(/\/$/, '')}/${name}`);
    } catch {
      return directory;
    }
  }
}
