/** Large directories: listed, looked at, emptied, and emptied while others list them. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { outcomeOf, succeed, type Outcome } from '../../support/command.js';
import { Union, type Mounter } from '../mounters.js';
import { figure, givesBack } from './watched.js';

const worker = fileURLToPath(new URL('directory-worker.js', import.meta.url));

function work(job: string, directory: string, ...rest: (string | number)[]): Promise<string> {
  return succeed([process.execPath, worker, job, directory, ...rest.map(String)]);
}

/** A process that lists until it is stopped. */
class Lister {
  readonly outcome: Promise<Outcome>;
  readonly #child: ChildProcess;

  constructor(tree: string, ...rest: (string | number)[]) {
    this.#child = spawn(process.execPath, [worker, 'lister', tree, ...rest.map(String)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.outcome = outcomeOf(this.#child);
  }

  /** Resolves when a listing that began after the call has ended, or the process has. */
  async listsOnce(): Promise<void> {
    const ended = this.outcome.then(() => undefined);
    // What is said first may have waited in the pipe, and the listing after that may have begun
    // before.
    for (let i = 0; i < 3; i++) await Promise.race([once(this.#child.stdout!, 'data'), ended]);
  }
}

/**
 * What the upper holds is what the mount shows, deletions being whiteouts: nothing is left behind.
 */
async function inUpper(union: Union): Promise<string> {
  return succeed(['find', union.upper, '-mindepth', '1', '-printf', '%y %P\n']);
}

/**
 * `entries` files in one directory: ten thirteenths in the lower, four in the upper, so that one
 * thirteenth is in both.
 */
export async function largeDirectory(t: Test, mounter: Mounter, entries: number): Promise<void> {
  const part = Math.floor(entries / 13);
  const union = await Union.create(t, mounter, 1);
  await work('fill', `${union.lowers[0]}/many`, 'file-', 0, part * 10);
  await work('fill', `${union.upper}/many`, 'file-', part * 9, part * 13);
  const many = `${union.mnt}/many`;
  await union.mount();
  await givesBack(t, mounter, async () => {
    t.equal(
      await work('expect', many, 'file-', 0, part * 13, 1),
      '',
      `${part * 13} entries are listed once each, and have their attributes`,
    );
    t.equal(await work('expect', many, 'file-', 0, part * 13, 1), '', 'and again');
    figure(t, mounter, `${part * 13} entries in one directory listed and looked at`);
  });
  await givesBack(t, mounter, async () => {
    await succeed(['find', many, '-name', 'file-*[13579]', '-delete']);
    t.equal(await work('expect', many, 'file-', 0, part * 13, 2), '', 'without the odd ones');
  });
  await union.remount();
  await givesBack(t, mounter, async () => {
    t.equal(
      await work('expect', many, 'file-', 0, part * 13, 2),
      '',
      'mounted again: the odd ones stay away',
    );
    await succeed(['rm', '-r', many]);
    t.equal(await succeed(['ls', '-A', union.mnt]), '');
    figure(t, mounter, `${part * 13} entries of one directory removed`);
  });
  t.equal(await inUpper(union), 'c many\n', 'one whiteout is all that is left');
  await union.unmount();
}

/**
 * `count` directories that are all there at once, half of them in directories that are in the
 * lower, too.
 */
export async function manyDirectories(t: Test, mounter: Mounter, count: number): Promise<void> {
  const parents = 64;
  const each = Math.ceil(count / parents);
  const union = await Union.create(t, mounter, 1);
  for (let p = 0; p < parents; p += 2) {
    await work('fill', `${union.lowers[0]}/parent-${String(p).padStart(6, '0')}`, 'file-', 0, 3);
  }
  await union.mount();
  await givesBack(t, mounter, async () => {
    t.equal(await work('churn', union.mnt, parents, each), '');
    const left = await succeed([
      'find',
      union.mnt,
      '-mindepth',
      '1',
      '-type',
      'd',
      '-name',
      'made-*',
    ]);
    t.equal(left, '', `${parents * each} directories were made and removed`);
    figure(t, mounter, `${parents * each} directories made and removed`);
  });
  t.notMatch(await inUpper(union), /made-/, 'none is left in the upper either');
  await union.unmount();
}

/**
 * `rm -rf` of `entries` names, a third of them in the upper and as many of them in a directory that
 * goes too, while three processes list.
 */
export async function removedWhileListed(
  t: Test,
  mounter: Mounter,
  entries: number,
): Promise<void> {
  const stays = 500;
  const half = Math.floor(entries / 2);
  const third = Math.floor(half / 3);
  const subdirectories = 40;
  const union = await Union.create(t, mounter, 1);
  for (const [layer, from, to] of [
    [union.lowers[0], 0, half - third],
    [union.upper, half - third * 2, half],
  ] as const) {
    await work('fill', `${layer}/tree`, 'go-', from, to);
    await work('fill', `${layer}/tree/go`, 'file-', from, to);
  }
  await work('fill', `${union.lowers[0]}/tree`, 'stay-', 0, stays - 100);
  await work('fill', `${union.upper}/tree`, 'stay-', stays - 200, stays);
  for (let i = 0; i < subdirectories; i++) {
    await work(
      'fill',
      `${union.lowers[0]}/tree/go/dir-${String(i).padStart(6, '0')}`,
      'file-',
      0,
      50,
    );
  }
  const stop = `${union.base}/stop`;
  await union.mount();
  await givesBack(t, mounter, async () => {
    const listers = [1, 2, 3].map(
      () => new Lister(`${union.mnt}/tree`, stop, stays, half, subdirectories),
    );
    const listOnce = (): Promise<unknown> =>
      Promise.all(listers.map((lister) => lister.listsOnce()));
    try {
      // However fast names are removed, each lister meets all of them, some, and none.
      await listOnce();
      // Names in descending order of their listing's, and the reverse, are removed at once.
      await Promise.all([
        succeed(['sh', '-c', 'cd "$0" && exec rm -rf go go-*[0-4]', `${union.mnt}/tree`]),
        succeed([
          'find',
          `${union.mnt}/tree`,
          '-maxdepth',
          '1',
          '-ignore_readdir_race',
          '-name',
          'go-*[39]',
          '-delete',
        ]),
      ]);
      await listOnce();
      await succeed(['sh', '-c', 'cd "$0" && exec rm -rf go-*', `${union.mnt}/tree`]);
    } finally {
      await writeFile(stop, '');
    }
    let listings = 0;
    for (const lister of listers) {
      const { status, stdout, stderr } = await lister.outcome;
      t.equal(status, 0, stderr);
      t.match(stdout, /^\n*\{.*\}$/, 'every listing was right');
      const seen = JSON.parse(/\{.*\}$/.exec(stdout)?.[0] ?? '{}') as {
        listings?: number;
        partial?: number;
      };
      t.ok((seen.partial ?? 0) > 0, 'the lister met the removal under way');
      listings += seen.listings ?? 0;
    }
    figure(
      t,
      mounter,
      `${listings} listings beside the removal of what they list, ${half * 2} names`,
    );
  });
  await union.remount();
  t.equal(
    await work('expect', `${union.mnt}/tree`, 'stay-', 0, stays, 1),
    '',
    'mounted again: what stayed is there, and nothing else',
  );
  await union.unmount();
}
