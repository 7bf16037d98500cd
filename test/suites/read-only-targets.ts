/** Places that are read-only: a bind mount, and unions without an upper or mounted `ro`. */
import type { Test } from 'tap';
import { succeed } from '../support/command.js';
import { Actor } from './actor.js';
import { targetName, unmount, type Mounter } from './mounters.js';
import { prepare, readOnlySuite } from './read-only-suite.js';
import { workspace } from './workspace.js';

async function prepared(directory: string): Promise<void> {
  const actor = await Actor.start({ cwd: directory });
  try {
    await prepare(actor);
  } finally {
    await actor.end();
  }
}

export async function readOnlyBind(t: Test): Promise<void> {
  const base = await workspace(t, 'tree', 'mnt');
  await prepared(`${base}/tree`);
  await succeed(['mount', '--bind', `${base}/tree`, `${base}/mnt`]);
  await succeed(['mount', '-o', 'remount,bind,ro', `${base}/mnt`]);
  await readOnlySuite(t, `${base}/mnt`, { target: 'a bind mount' });
}

/** `no upper`: the tree in two lower layers; `ro`: half of it in the upper. */
export async function readOnlyOnUnion(
  t: Test,
  mounter: Mounter,
  how: 'no upper' | 'ro',
  exclude: Readonly<Record<string, string>> = {},
): Promise<void> {
  const base = await workspace(t, 'top', 'bottom', 'work', 'mnt');
  await prepared(`${base}/bottom`);
  // The rest stays below; what is moved up stands in the topmost directory alone.
  const actor = await Actor.start({ cwd: base });
  for (const name of ['fifo', 'socket', 'empty', 'dangling'])
    await actor.rename(`bottom/${name}`, `top/${name}`);
  await actor.end();
  const lowers = [`${base}/bottom`];
  const top = `${base}/top`;
  if (how === 'no upper') await mounter.mount({ lowers: [top, ...lowers] }, `${base}/mnt`);
  else
    await mounter.mount(
      { lowers, upper: top, work: `${base}/work`, options: ['ro'] },
      `${base}/mnt`,
    );
  await readOnlySuite(t, `${base}/mnt`, { target: targetName(mounter), exclude });
  await unmount(`${base}/mnt`);
}
