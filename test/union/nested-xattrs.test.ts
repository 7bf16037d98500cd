/**
 * What other unions and stores of containers keep in attributes, on a mount: escaped on every level
 * of nesting, and without effect on the levels below.
 */
import { existsSync } from 'node:fs';
import t from 'tap';
import { succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { Actor } from '../suites/actor.js';
import { unmountAll } from '../support/mounts.js';
import { plyfs } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';
import { isRoot } from '../support/users.js';

t.setTimeout(120_000);

/** The mount of the level `depth`: its lower lies on the level above, `dir`. */
async function level(
  base: string,
  dir: string,
  depth: number,
  options: readonly string[],
): Promise<string> {
  // The upper of the second keeps deletions as .wh. files, and so takes none for an upper on it.
  const writable = depth < 2 ? dir : `${base}/aside`;
  const script =
    'mkdir -p "$0/lower/closed" "$0/lower/open" "$0/mnt" "$1/upper" "$1/work"; echo x >"$0/lower/closed/below"; echo x >"$0/lower/open/below"';
  await succeed(['sh', '-ec', script, dir, writable]);
  await plyfs.mount(
    { lowers: [`${dir}/lower`], upper: `${writable}/upper`, work: `${writable}/work`, options },
    `${dir}/mnt`,
  );
  return `${dir}/mnt`;
}

const names = [
  'user.fuseoverlayfs.opaque',
  'user.fuseoverlayfs.origin',
  'user.containers.override_stat',
  'user.containers.override_security.capability',
  'user.overlay.opaque',
  ...(isRoot
    ? [
        'security.fuseoverlayfs.override_stat',
        'trusted.overlay.opaque',
        'trusted.overlay.overlay.opaque',
      ]
    : []),
];

for (const options of [[], ['userxattr']] as const) {
  await t.test(
    `three levels ${options.join()}`,
    { skip: !existsSync('/dev/fuse') && 'there is no /dev/fuse' },
    async (t) => {
      const base = await workspace(t);
      const mounts: string[] = [];
      try {
        for (let dir = base, depth = 0; depth < 3; depth++) {
          const mnt = await level(base, dir, depth, options);
          mounts.push(mnt);
          dir = mnt;
        }
        let checks = 0;
        for (const [depth, mnt] of mounts.entries()) {
          const actor = await Actor.start({ cwd: mnt });
          for (const name of names) {
            const where = `${name} on level ${depth + 1}`;
            await actor.setxattr('closed', name, 'y');
            t.equal(await actor.getxattr('closed', name), 'y', where);
            t.same(await actor.listxattr('closed'), [name], `${where}: listed once`);
            t.same(await actor.names('closed'), ['below'], `${where}: without effect`);
            await actor.removexattr('closed', name);
            t.same(await actor.listxattr('closed'), [], `${where}: removed`);
            await actor.setxattr('open', name, '0:0:0700:dir');
            checks += 4;
          }
          await actor.end();
        }
        // Whatever a level keeps, the one below shows as it was set, after remounting as well.
        await unmountAll(base);
        for (let dir = base, depth = 0; depth < 3; depth++) {
          dir = await level(base, dir, depth, options);
          const actor = await Actor.start({ cwd: dir });
          t.same(
            (await actor.listxattr('open')).sort(),
            [...names].sort(),
            `level ${depth + 1} after remounting`,
          );
          t.same(await actor.names('open'), ['below']);
          t.equal((await actor.lstat('open')).mode & 0o777, 0o755);
          await actor.end();
          checks += 3;
        }
        figure(t, checks, 'attributes of unions on nested mounts');
      } finally {
        await unmountAll(base);
      }
    },
  );
}
