/**
 * Space that a data root keeps for itself, so that what takes things away works on a full disk too.
 *
 * To remove an image or a container is to write as well: names anew, a record, a directory to put
 * aside. The reserve is given up before that where the disk is full, and made again by the next
 * command that finds room.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const DIRECTORY = 'plyfs/reserve';
/** As many inodes as a reset container takes anew, and some. */
const FILES = 16;
const FILE_BYTES = 16 * 1024;
/** How much of either must be free for the reserve to be made. */
const ABUNDANCE = 16;

function room(root: string): { readonly bytes: number; readonly inodes: number } {
  const { bavail, bsize, ffree, files } = statfsSync(root);
  // btrfs counts no inodes.
  return { bytes: bavail * bsize, inodes: files === 0 ? Infinity : ffree };
}

/**
 * Makes the reserve, or what of it is missing, where there is abundant room; with `anyRoom` also
 * where there is little.
 */
export function keepReserve(root: string, { anyRoom }: { anyRoom: boolean }): void {
  const directory = join(root, DIRECTORY);
  try {
    // A link in its place leads elsewhere.
    const there = lstatSync(directory, { throwIfNoEntry: false });
    if (there !== undefined && (!there.isDirectory() || readdirSync(directory).length === FILES))
      return;
    const { bytes, inodes } = room(root);
    if (!anyRoom && (bytes < ABUNDANCE * FILES * FILE_BYTES || inodes < ABUNDANCE * FILES)) return;
    if (there === undefined) mkdirSync(directory, { mode: 0o700 });
    const content = Buffer.alloc(FILE_BYTES);
    for (let i = 0; i < FILES; i++) {
      const path = join(directory, String(i));
      if (!existsSync(path)) writeFileSync(path, content, { mode: 0o600, flag: 'wx' });
    }
  } catch {
    // Another process makes it, or the disk is full.
  }
}

/** Gives the reserve up if there is less room on the disk than it has; returns whether it did. */
export function spendReserve(root: string): boolean {
  const { bytes, inodes } = room(root);
  if (bytes >= FILES * FILE_BYTES && inodes >= FILES) return false;
  rmSync(join(root, DIRECTORY), { recursive: true, force: true });
  return true;
}
