/** The file systems that layers lie on, mounted as long as a test lasts. Needs root. */
import type { Test } from 'tap';
import { run, succeed } from '../../support/command.js';
import { mountExt4, mountImage, mountTmpfs } from '../../support/disk-image.js';
import { workspace } from '../workspace.js';
import { places, type Place } from './scenario.js';

/** A directory on each; where one cannot be had, the disk's. */
export type Places = Readonly<Record<Place, string>>;

/** Images lie in memory: a flush of them costs nothing. */
export async function mountPlaces(t: Test): Promise<Places> {
  const base = await workspace(t, ...places, 'images');
  const at = Object.fromEntries(places.map((place) => [place, `${base}/${place}`])) as Record<
    Place,
    string
  >;
  await mountTmpfs(at.tmpfs, 'size=1g,mode=755');
  await mountTmpfs(at['second tmpfs'], 'size=1g,mode=755');
  await mountTmpfs(`${base}/images`, 'size=1g,mode=755');
  const lacking = (place: Place, why: string) => {
    t.comment(`no ${place}, its layers lie on the disk: ${why}`);
    at[place] = at.disk;
  };
  const ext4 = await mountExt4(`${base}/images/ext4`, at.ext4, {
    mebibytes: 256,
    block: 4096,
    options: ['nobarrier'],
  });
  if (ext4 !== undefined) lacking('ext4', ext4);
  const made = await run([
    'sh',
    '-c',
    'truncate -s 256M "$1" && mkfs.btrfs -q "$1"',
    'sh',
    `${base}/images/btrfs`,
  ]);
  const btrfs =
    made.status === 0
      ? await mountImage(`${base}/images/btrfs`, at.btrfs)
      : `${made.stderr.trim()} (Debian: btrfs-progs)`;
  if (btrfs !== undefined) lacking('btrfs', btrfs);
  await succeed(['chmod', '755', ...places.map((place) => at[place])]);
  return at;
}
