/** What is compared: ways to mount the same layers with an upper directory of their own. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { release } from 'node:os';
import { daemonsOf } from '../support/mounts.js';
import {
  fuseOverlayfs,
  plyfs,
  plyfsFuseNative,
  programUnderTest,
  type UnionSpec,
} from '../suites/mounters.js';
import { missing, run, succeed } from './program.js';

export type TargetName =
  | 'kernel'
  | 'plyfs'
  | 'plyfs-passthrough'
  | 'plyfs-writeback'
  | 'plyfs-fuse-native'
  | 'fuse-overlayfs'
  | 'mergerfs'
  | 'unionfs-fuse';

export interface Target {
  readonly name: TargetName;
  /** Takes several times as long as the others, or cannot do much of it. */
  readonly slow?: true;
  /** One sentence that says why it cannot be measured here, or undefined. */
  unavailable(): Promise<string | undefined>;
  mount(spec: UnionSpec, dir: string): Promise<void>;
  /** The process that serves the mount; undefined for the kernel. */
  daemon(dir: string): number | undefined;
}

/**
 * An option that a program does not know it ignores, and would then be measured under a wrong name.
 */
async function passthroughUnavailable(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'reads and writes pass through the kernel for root only';
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 9))
    return `Linux ${release()} has no FUSE passthrough: 6.9 has`;
  const { stdout } = await run([programUnderTest(), '--help']);
  return stdout.includes('passthrough') ? undefined : 'this plyfs has no option passthrough';
}

/** The process of that name whose arguments end with the mount point. */
function processServing(program: string, dir: string): number | undefined {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, 'latin1').split('\0');
      if (words[0]?.endsWith(program) && words.includes(dir)) return Number(entry);
    } catch {
      // It has ended.
    }
  }
  return undefined;
}

/**
 * The peers that know branches, not layers: no opaque directories, and a whiteout of their own kind
 * or none.
 */
function branches(spec: UnionSpec): string {
  return [
    ...(spec.upper === undefined ? [] : [`${spec.upper}=RW`]),
    ...spec.lowers.map((lower) => `${lower}=RO`),
  ].join(':');
}

/**
 * From the layers' own directory: mount(2) takes a page of options, which 125 absolute paths exceed
 * and which it then cuts off.
 */
async function mountKernel({ lowers, upper, work }: UnionSpec, dir: string): Promise<void> {
  const [parent] = lowers.map(dirname);
  const words = [`lowerdir=${lowers.map((lower) => relative(parent!, lower)).join(':')}`];
  if (upper !== undefined && work !== undefined) words.push(`upperdir=${upper}`, `workdir=${work}`);
  await succeed(['mount', '-t', 'overlay', 'overlay', '-o', words.join(','), dir], {
    cwd: parent!,
  });
}

export const targets: readonly Target[] = [
  {
    name: 'kernel',
    unavailable: async () =>
      process.getuid?.() === 0 ? undefined : "the kernel's overlay needs root",
    mount: mountKernel,
    daemon: () => undefined,
  },
  {
    name: 'plyfs',
    unavailable: async () => undefined,
    mount: (spec, dir) => plyfs.mount(spec, dir),
    daemon: (dir) => daemonsOf(dir)[0],
  },
  {
    name: 'plyfs-passthrough',
    unavailable: passthroughUnavailable,
    mount: (spec, dir) => plyfs.mount({ ...spec, options: ['passthrough'] }, dir),
    daemon: (dir) => daemonsOf(dir)[0],
  },
  {
    name: 'plyfs-writeback',
    unavailable: async () => undefined,
    mount: (spec, dir) => plyfs.mount({ ...spec, options: ['writeback'] }, dir),
    daemon: (dir) => daemonsOf(dir)[0],
  },
  {
    name: 'plyfs-fuse-native',
    slow: true,
    unavailable: async () =>
      process.arch === 'x64' ? undefined : `fuse-native brings no libfuse for ${process.arch}`,
    mount: (spec, dir) => plyfsFuseNative.mount(spec, dir),
    daemon: (dir) => daemonsOf(dir)[0],
  },
  {
    name: 'fuse-overlayfs',
    unavailable: () => missing('fuse-overlayfs'),
    mount: (spec, dir) => fuseOverlayfs.mount(spec, dir),
    daemon: (dir) => processServing('fuse-overlayfs', dir),
  },
  {
    // It copies nothing up: what changes lower files fails there.
    name: 'mergerfs',
    slow: true,
    unavailable: () => missing('mergerfs'),
    mount: async (spec, dir) => {
      await succeed([
        'mergerfs',
        '-o',
        'allow_other,cache.files=auto-full,category.create=ff,minfreespace=0',
        branches(spec),
        dir,
      ]);
    },
    daemon: (dir) => processServing('mergerfs', dir),
  },
  {
    name: 'unionfs-fuse',
    slow: true,
    unavailable: () => missing('unionfs'),
    mount: async (spec, dir) => {
      await succeed(['unionfs', '-o', 'cow,allow_other,suid,dev', branches(spec), dir]);
    },
    daemon: (dir) => processServing('unionfs', dir),
  },
];
