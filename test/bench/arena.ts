/**
 * Where a benchmark's layers and mounts lie: by default an ext4 image in memory, because a disk's
 * noise drowns what a file system itself costs. What is removed in it is given back (discard). Its
 * pages are in the page cache twice then (of the image and of its files), which every target pays
 * alike.
 */
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { run, succeed } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';

export interface Arena {
  readonly directory: string;
  /** The file that holds it all, if there is one. */
  readonly image?: string;
  /** For people: what lies below it. */
  readonly description: string;
  /** Unmounts all that was mounted in it, and removes it. */
  remove(): Promise<void>;
}

/**
 * `gibibytes`: of the image, which takes only what is written to it. `below` uses a directory
 * instead.
 */
export async function makeArena(gibibytes: number, below?: string): Promise<Arena> {
  if (below !== undefined) {
    await mkdir(below, { recursive: true });
    const directory = await mkdtemp(join(below, 'plyfs-bench-'));
    const type = (await succeed(['stat', '-f', '-c', '%T', directory])).trim();
    return {
      directory,
      description: `${type}, a directory`,
      remove: () => removeDirectory(directory),
    };
  }
  if (process.getuid?.() !== 0) {
    throw new Error(
      'An ext4 image can be mounted by root only: name a directory with --dir, or run `make bench` as root.',
    );
  }
  // What is written takes memory for the image, and for the page caches above it, which can be
  // dropped.
  const available =
    Number(/^MemAvailable:\s*(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'latin1'))?.[1]) /
    (1 << 20);
  if (available < gibibytes) {
    throw new Error(
      `The image in memory may grow to ${gibibytes} GiB and ${available.toFixed(1)} are there: name a directory with --dir.`,
    );
  }
  const holder = await mkdtemp('/dev/shm/plyfs-bench-');
  const image = join(holder, 'image');
  const above = await mkdtemp(join(tmpdir(), 'plyfs-bench-'));
  // Programs in it drop their rights.
  await chmod(above, 0o755);
  const directory = join(above, 'ext4');
  const remove = async (): Promise<void> => {
    await unmountAll(directory);
    await detached(image);
    await rm(holder, { recursive: true, force: true });
    await removeDirectory(above);
  };
  try {
    await succeed(['truncate', '-s', `${gibibytes}G`, image]);
    await succeed([
      'mkfs.ext4',
      '-q',
      '-F',
      '-m',
      '0',
      '-N',
      '1500000',
      '-E',
      'lazy_itable_init=1,lazy_journal_init=1,nodiscard',
      image,
    ]);
    await mkdir(directory);
    await succeed(['mount', '-o', 'loop,noatime,discard', image, directory]);
  } catch (error) {
    await remove();
    throw error;
  }
  return { directory, image, description: 'ext4 image in memory', remove };
}

/**
 * Waits until no loop device has the image: it is let go when the last that has a file open has
 * ended. Says so when that takes too long.
 */
async function detached(image: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline;) {
    const { stdout } = await run(['losetup', '-j', image]);
    if (stdout === '') return;
    await setTimeout(50);
  }
  throw new Error(
    `${image} is still in use: end what has files open below it, then remove its directory.`,
  );
}

async function removeDirectory(directory: string): Promise<void> {
  await unmountAll(directory);
  await succeed(['rm', '-rf', directory]);
}
