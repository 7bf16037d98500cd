/** Whether what plyfs left in an upper and its workdir is what an overlay may leave there. */
import type { Actor } from '../actor.js';
import { treeOf } from '../tree.js';
import type { Scenario } from './scenario.js';
import type { Side } from './side.js';

/** `trusted.overlay.` attributes that an overlay writes; those escaped are a user's. */
const known = /^trusted\.overlay\.(opaque|origin|impure|redirect|nlink|uuid|overlay\..*)$/;

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
  for (const path of (await treeOf(disk, side.work, { mtime: false })).keys()) {
    if (path !== '.' && path !== 'work' && !path.startsWith('index'))
      faults.push(`the workdir holds ${path}`);
  }
  const foreign = new Set(
    (scenario.upper?.entries ?? []).flatMap((entry) => Object.keys(entry.xattrs ?? {})),
  );
  const upper = await treeOf(disk, side.upper, { mtime: false });
  for (const [path, line] of upper) {
    for (const [, name] of line.matchAll(/ (trusted\.overlay\.[^= ]+)=/g)) {
      if (name !== undefined && !known.test(name) && !foreign.has(name))
        faults.push(`${path} carries ${name}`);
    }
    if (
      swapped ||
      scenario.redirect ||
      scenario.upper !== undefined ||
      !/^char .* rdev 0:0/.test(line)
    )
      continue;
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
