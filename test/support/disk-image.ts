/**
 * Small file systems of a test's own: an ext4 in a file, a tmpfs of limited size; and filling them
 * up. Needs root.
 */
import { closeSync, constants, ftruncateSync, openSync, statfsSync } from 'node:fs';
import { E, Errno } from '../../src/base/errno.js';
import { sys } from '../../src/sys/index.js';
import { run, succeed } from './command.js';

export interface Ext4Options {
  readonly mebibytes: number;
  /** Bytes. Default 1024. */
  readonly block?: number;
  readonly inodes?: number;
  /** Mount options. */
  readonly options?: readonly string[];
}

/**
 * Makes an ext4 in the new file `image` and mounts it at `dir`. Nothing of it is reserved. Resolves
 * to why it cannot be, or undefined.
 */
export async function mountExt4(
  image: string,
  dir: string,
  { mebibytes, block = 1024, inodes, options = [] }: Ext4Options,
): Promise<string | undefined> {
  await succeed(['truncate', '-s', `${mebibytes}M`, image]);
  const words = [
    '-q',
    '-F',
    '-b',
    String(block),
    '-m',
    '0',
    ...(inodes === undefined ? [] : ['-N', String(inodes)]),
  ];
  await succeed(['mkfs.ext4', ...words, image]);
  return mountImage(image, dir, options);
}

export async function mountImage(
  image: string,
  dir: string,
  options: readonly string[] = [],
): Promise<string | undefined> {
  const { status, stderr } = await run(['mount', '-o', ['loop', ...options].join(','), image, dir]);
  return status === 0 ? undefined : `no ext4 can be mounted from a file here: ${stderr.trim()}`;
}

export async function mountTmpfs(dir: string, options: string): Promise<void> {
  await succeed(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', dir]);
}

/** Bytes; a power of two. */
const LARGEST = 1 << 26;

/** A file that takes what is free in a file system, and gives back as many blocks as it is told. */
export class Filler {
  private readonly fd: number;
  private readonly block: number;
  private size = 0;

  /** `path`: a file to be made. */
  constructor(readonly path: string) {
    this.fd = openSync(path, constants.O_CREAT | constants.O_RDWR | constants.O_EXCL, 0o600);
    this.block = statfsSync(path).bsize;
  }

  /** Leaves this many blocks free, as nearly as the file system's own bookkeeping allows. */
  leave(blocks: number): void {
    for (let length = LARGEST; length >= this.block;) {
      const result = sys.fallocate(this.fd, 0, this.size, length);
      if (result >= 0) this.size += length;
      else if (result === -E.ENOSPC) length /= 2;
      else throw new Errno(-result, 'fallocate');
    }
    this.size = Math.max(0, Math.floor(this.size / this.block) - blocks) * this.block;
    ftruncateSync(this.fd, this.size);
  }

  release(): void {
    this.size = 0;
    ftruncateSync(this.fd, 0);
  }

  close(): void {
    closeSync(this.fd);
  }
}
