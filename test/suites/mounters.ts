/** Ways to mount a union: the program under test, the kernel's overlay (the oracle) and a peer. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Test } from 'tap';
import { run, succeed } from '../support/command.js';
import { mountAt } from '../support/mounts.js';
import { root } from '../support/root.js';
import { workspace } from './workspace.js';

export interface UnionSpec {
  /** Topmost first, absolute. */
  readonly lowers: readonly string[];
  /** Absent: read-only. */
  readonly upper?: string;
  readonly work?: string;
  /** Further `-o` words. */
  readonly options?: readonly string[];
}

export interface Mounter {
  readonly name:
    'plyfs' | 'plyfs over fuse-native' | 'plyfs with passthrough' | 'kernel' | 'fuse-overlayfs';
  /** Mounts at `dir`, an existing directory; rejects with what the program said. */
  mount(spec: UnionSpec, dir: string): Promise<void>;
}

/** The mounter as figures name it. */
export function targetName(mounter: Mounter): string {
  return mounter.name === 'kernel' ? "the kernel's overlay" : mounter.name;
}

const isRoot = process.getuid?.() === 0;

/** The namespace of the union's own xattrs: `trusted.overlay.` where the test may set it. */
export const overlayPrefix = isRoot ? 'trusted.overlay.' : 'user.overlay.';

/** `\` and `:` (and for mount(8) `,`) escaped, as overlayfs reads a lowerdir. */
export function optionsOf(spec: UnionSpec): string {
  const escape = (path: string) =>
    path.replaceAll('\\', '\\\\').replaceAll(':', '\\:').replaceAll(',', '\\,');
  const words = [`lowerdir=${spec.lowers.map(escape).join(':')}`];
  if (spec.upper !== undefined && spec.work !== undefined)
    words.push(`upperdir=${escape(spec.upper)}`, `workdir=${escape(spec.work)}`);
  return [...words, ...(spec.options ?? [])].join(',');
}

async function fuseMount(command: readonly string[], spec: UnionSpec, dir: string): Promise<void> {
  await succeed([...command, '-o', optionsOf(spec), dir]);
  if (!mountAt(dir))
    throw new Error(`${command.join(' ')} returned and nothing is mounted at ${dir}`);
}

/**
 * bin/plyfs of this checkout; the environment's PLYFS_PROGRAM names another program with the same
 * arguments.
 */
export function programUnderTest(): string {
  return process.env['PLYFS_PROGRAM'] ?? `${root}/bin/plyfs`;
}

export const plyfs: Mounter = {
  name: 'plyfs',
  mount: (spec, dir) => fuseMount([programUnderTest()], spec, dir),
};

/**
 * plyfs started by another program, which `words` name with its arguments: `env X=Y`,
 * `prlimit --nofile=99`.
 */
export function plyfsThrough(words: readonly string[]): Mounter {
  return {
    name: 'plyfs',
    mount: (spec, dir) => fuseMount([...words, programUnderTest()], spec, dir),
  };
}

/** The same program over its other transport. */
export const plyfsFuseNative: Mounter = {
  name: 'plyfs over fuse-native',
  mount: (spec, dir) =>
    plyfs.mount({ ...spec, options: ['transport=fuse-native', ...(spec.options ?? [])] }, dir),
};

/** The same program, files of the upper read and written by the kernel. */
export const plyfsPassthrough: Mounter = {
  name: 'plyfs with passthrough',
  mount: (spec, dir) =>
    plyfs.mount({ ...spec, options: ['passthrough', ...(spec.options ?? [])] }, dir),
};

export const kernel: Mounter = {
  name: 'kernel',
  mount: async (spec, dir) => {
    await succeed(['mount', '-t', 'overlay', 'overlay', '-o', optionsOf(spec), dir]);
  },
};

export const fuseOverlayfs: Mounter = {
  name: 'fuse-overlayfs',
  // Its defaults need a mapping when set-id files and devices matter.
  mount: (spec, dir) =>
    fuseMount(
      ['fuse-overlayfs'],
      { ...spec, options: ['suid', 'dev', 'allow_other', ...(spec.options ?? [])] },
      dir,
    ),
};

export async function unmount(dir: string): Promise<void> {
  if (isRoot) await succeed(['umount', dir]);
  else await succeed(['fusermount3', '-u', dir]);
}

/** Why this mounter cannot be used here, in one sentence; undefined when it can. */
export async function unavailable(t: Test, mounter: Mounter): Promise<string | undefined> {
  if (mounter.name === 'kernel') {
    if (!isRoot) return 'the kernel overlay needs root';
    const dir = await workspace(t, 'lower', 'upper', 'work', 'mnt');
    const { status, stderr } = await run([
      'mount',
      '-t',
      'overlay',
      'overlay',
      '-o',
      `lowerdir=${dir}/lower,upperdir=${dir}/upper,workdir=${dir}/work`,
      `${dir}/mnt`,
    ]);
    if (status !== 0) return `the kernel overlay cannot be mounted here: ${stderr.trim()}`;
    await succeed(['umount', `${dir}/mnt`]);
    return undefined;
  }
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse';
  if (mounter.name === 'plyfs with passthrough') return await withoutPassthrough(t);
  if (
    mounter.name === 'fuse-overlayfs' &&
    (await run(['sh', '-c', 'command -v fuse-overlayfs'])).status !== 0
  )
    return 'fuse-overlayfs is not installed';
  return undefined;
}

/** Why files cannot be passed through here. */
async function withoutPassthrough(t: Test): Promise<string | undefined> {
  if (!isRoot) return 'passthrough needs root';
  const dir = await workspace(t, 'lower', 'mnt');
  const { status, stderr } = await run([
    programUnderTest(),
    '-o',
    `passthrough,lowerdir=${dir}/lower`,
    `${dir}/mnt`,
  ]);
  if (status !== 0) return `passthrough cannot be had here: ${stderr.trim()}`;
  await succeed(['umount', `${dir}/mnt`]);
  return undefined;
}

/** A union over directories of a test's own: layers, upper, work and mount point side by side. */
export class Union {
  private constructor(
    readonly mounter: Mounter,
    readonly base: string,
    readonly lowers: readonly string[],
    readonly options: readonly string[],
  ) {}

  /** Makes `lower1` (topmost) to `lowerN`, `upper`, `work` and `mnt`; nothing is mounted yet. */
  static async create(
    t: Test,
    mounter: Mounter,
    layers: number,
    options: readonly string[] = [],
  ): Promise<Union> {
    const names = Array.from({ length: layers }, (_, i) => `lower${i + 1}`);
    const base = await workspace(t, ...names, 'upper', 'work', 'mnt');
    const lowers = names.map((name) => `${base}/${name}`);
    return new Union(mounter, base, lowers, options);
  }

  get mnt(): string {
    return `${this.base}/mnt`;
  }
  get upper(): string {
    return `${this.base}/upper`;
  }

  async mount(by: Mounter = this.mounter): Promise<void> {
    const { lowers, upper, base, options } = this;
    await by.mount({ lowers, upper, work: `${base}/work`, options }, this.mnt);
  }

  async mountReadOnly(by: Mounter = this.mounter): Promise<void> {
    await by.mount({ lowers: this.lowers, options: this.options }, this.mnt);
  }

  async unmount(): Promise<void> {
    await unmount(this.mnt);
  }

  /** Unmounts and mounts again, by another program if one is given. */
  async remount(by: Mounter = this.mounter): Promise<void> {
    await this.unmount();
    // A workdir belongs to its mount; the next one starts with an empty one.
    await mkdir(`${this.base}/work`, { recursive: true });
    await this.mount(by);
  }
}
