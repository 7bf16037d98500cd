/** Whether what plyfs left in an upper and its workdir is what an overlay may leave there. */
import type { Actor } from '../actor.js';
import { S_IFCHR, S_IFMT } from '../constants.js';
import type { Scenario } from './scenario.js';
import type { Side } from './side.js';
import { snapshot } from './snapshot.js';

/** Attributes that an overlay writes; those escaped are a user's. */
const known = /^(?:trusted|user)\.overlay\.(opaque|origin|impure|redirect|nlink|uuid|overlay\..*)$/;

/**
 * After unmounting. `swapped`: the upper was begun by the kernel, which leaves more whiteouts than
 * it must. Returns sentences.
 */
export async function upperFaults(
  disk: Actor,
  side: Side,
  scenario: Scenario,
  swapped: boolean,
): Promise<string[]> {
  const faults: string[] = [];
  for (const path of (await snapshot(disk, Buffer.from(side.work))).keys()) {
    if (path !== '.' && path !== 'work' && !path.startsWith('index'))
      faults.push(`the workdir holds ${path}`);
  }
  const foreign = new Set(
    (scenario.upper?.entries ?? []).flatMap((entry) => Object.keys(entry.xattrs ?? {})),
  );
  const marks = scenario.userxattr === true ? 'user.overlay.' : 'trusted.overlay.';
  const whiteouts: string[] = [];
  for (const [path, { stat, more }] of await snapshot(disk, Buffer.from(side.upper))) {
    for (const [name] of more?.xattrs ?? []) {
      if (name.startsWith(marks) && !known.test(name) && !foreign.has(name))
        faults.push(`${path} carries ${name}`);
    }
    if (stat !== undefined && (stat.mode & S_IFMT) === S_IFCHR && more.rdev === '0:0')
      whiteouts.push(path);
  }
  if (swapped || scenario.redirect || scenario.upper !== undefined) return faults;
  for (const path of whiteouts) {
    const below = await Promise.all(
      side.set.lowers.map((lower) => exists(disk, `${lower}/`, path)),
    );
    if (!below.includes(true)) faults.push(`the whiteout ${JSON.stringify(path)} hides nothing`);
  }
  return faults;
}

function exists(disk: Actor, root: string, path: string): Promise<boolean> {
  return disk.lstat(Buffer.concat([Buffer.from(root), Buffer.from(path, 'latin1')])).then(
    () => true,
    () => false,
  );
}
