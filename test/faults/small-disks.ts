/** Small file systems that run out of blocks or inodes. */
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { Filler, mountExt4, mountTmpfs } from '../support/disk-image.js';
import type { Shortage, SmallDisk } from './full-disk.js';

/** Empty files that take the inodes. */
class InodeFiller implements Shortage {
  private readonly made: string[] = [];
  private next = 0;

  constructor(private readonly dir: string) {}

  leave(inodes: number): void {
    try {
      for (;;) {
        const path = `${this.dir}/inode${this.next++}`;
        closeSync(openSync(path, 'wx'));
        this.made.push(path);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
    for (const path of this.made.splice(0, inodes)) unlinkSync(path);
  }

  release(): void {
    for (const path of this.made.splice(0)) unlinkSync(path);
  }

  close(): void {
    this.release();
  }
}

export const fullExt4: SmallDisk = {
  mount: (dir, image) => mountExt4(image, dir, { mebibytes: 160 }),
  shortage: (dir) => new Filler(`${dir}/filler`),
};

export const fullTmpfs: SmallDisk = {
  mount: (dir) => mountTmpfs(dir, 'size=160m').then(() => undefined),
  shortage: (dir) => new Filler(`${dir}/filler`),
};

export const ext4WithoutInodes: SmallDisk = {
  mount: (dir, image) => mountExt4(image, dir, { mebibytes: 24, inodes: 800 }),
  shortage: (dir) => new InodeFiller(dir),
};
