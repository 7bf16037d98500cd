/** The POSIX suite on a union, with the names under test in each place a union can have them. */
import { basename } from 'node:path';
import type { Test } from 'tap';
import { succeed } from '../support/command.js';
import { Actor } from './actor.js';
import { S_IFCHR, S_IFDIR, S_IFMT } from './constants.js';
import { overlayPrefix, targetName, Union, type Mounter } from './mounters.js';
import { newNames, posixSuite } from './posix-suite.js';

/**
 * Where what a case prepared is: `upper`: in the upper alone; `lower`: in a lower alone; `merged`:
 * directories in both, the rest in the lower; `opaque`: in the upper, in an opaque directory over
 * names of other types; `whiteout`: in the upper, with whiteouts over lower names where new names
 * will be made.
 */
export const placements = ['upper', 'lower', 'merged', 'opaque', 'whiteout'] as const;
export type Placement = (typeof placements)[number];

const tooDeep = [
  'a path of 4,095 bytes works, one of 4,096 is ENAMETOOLONG',
  'relative to a deep directory, paths reach deeper than PATH_MAX',
];

type Exclusions = Readonly<Record<string, string>>;

export async function posixOnUnion(
  t: Test,
  mounter: Mounter,
  placement: Placement,
  exclude: Exclusions = {},
): Promise<void> {
  const union = await Union.create(t, mounter, 1);
  const lower = union.lowers[0] ?? '';
  await union.mount();
  const unreachable =
    placement === 'merged'
      ? tooDeep.map(
          (name) => [name, 'the suite cannot rebuild a tree this deep in the upper'] as const,
        )
      : [];
  await posixSuite(t, union.mnt, {
    target: targetName(mounter),
    exclude: { ...Object.fromEntries(unreachable), ...exclude },
    settle: async (dirs) => {
      await union.unmount();
      const actor = await Actor.start({ cwd: union.base });
      for (const name of dirs.map((dir) => basename(dir))) {
        const [above, below] = [`${union.upper}/${name}`, `${lower}/${name}`];
        if (placement === 'lower' || placement === 'merged') await actor.rename(above, below);
        if (placement === 'opaque') await hideByOpaque(actor, above, below);
        if (placement === 'whiteout') await hideByWhiteouts(actor, above, below);
      }
      await actor.end();
      if (placement === 'merged') await repeatDirectories(lower, union.upper);
      await union.mount();
    },
  });
  await union.unmount();
}

/**
 * Makes the directories of the lower in the upper too, with their attributes but for what makes
 * them opaque.
 */
async function repeatDirectories(lower: string, upper: string): Promise<void> {
  await succeed([
    'sh',
    '-c',
    `cd '${lower}' && find . -mindepth 1 -type d -print0 |
      tar --no-recursion --null -T - --format=posix --xattrs --xattrs-include='*' --xattrs-exclude='*overlay*' --acls -cf - |
      tar --xattrs --xattrs-include='*' --acls -p --same-owner -xf - -C '${upper}'`,
  ]);
}

async function notOpaque(actor: Actor, dir: string): Promise<void> {
  await actor.removexattr(dir, `${overlayPrefix}opaque`).catch(() => undefined);
}

/**
 * A name of another type below each name, and names where new ones will be made; the directory
 * above is opaque.
 */
async function hideByOpaque(actor: Actor, above: string, below: string): Promise<void> {
  await actor.mkdir(below, 0o755);
  for (const name of [...(await actor.names(above)), ...newNames]) {
    const path = (dir: string) =>
      Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name, 'latin1')]);
    const type = await actor.lstat(path(above)).then(
      (st) => st.mode & S_IFMT,
      () => 0,
    );
    if (type === S_IFDIR || type === 0) await actor.put(path(below), 'decoy');
    else {
      await actor.mkdir(path(below));
      await actor.put(Buffer.concat([path(below), Buffer.from('/decoy')]), 'decoy');
    }
  }
  await actor.setxattr(above, `${overlayPrefix}opaque`, 'y');
}

async function hideByWhiteouts(actor: Actor, above: string, below: string): Promise<void> {
  await actor.mkdir(below, 0o755);
  await notOpaque(actor, above);
  const { atime, mtime } = await actor.lstat(above);
  for (const [i, name] of newNames.entries()) {
    if (i === 0) {
      await actor.mkdir(`${below}/${name}`);
      await actor.put(`${below}/${name}/decoy`, 'decoy');
    } else await actor.put(`${below}/${name}`, 'decoy');
    await actor.mknod(`${above}/${name}`, S_IFCHR, 0, 0);
  }
  const time = (ns: bigint) => [Number(ns / 1_000_000_000n), Number(ns % 1_000_000_000n)] as const;
  await actor.utimens(above, time(atime), time(mtime));
}
