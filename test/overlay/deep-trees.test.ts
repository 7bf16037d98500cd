/** Trees of any depth: compared, packed, sized, copied and removed with few descriptors. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { isDeepStrictEqual as areSame } from 'node:util';
import t from 'tap';
import { compareTrees, type Change } from '../../src/archive/changes.js';
import { treeSize } from '../../src/archive/layer-size.js';
import { packChanges, packTree } from '../../src/archive/pack-layer.js';
import { upperChanges } from '../../src/archive/upper-changes.js';
import { readAll } from '../../src/base/byte-source.js';
import { bytesOf, type Name } from '../../src/base/bytes.js';
import { check, E, type Errno } from '../../src/base/errno.js';
import { copyTree } from '../../src/graphdriver/copy-tree.js';
import { openBelow } from '../../src/overlay/layer-root.js';
import { removeTree, removeTreeAt } from '../../src/overlay/remove-tree.js';
import { walkTrees, type TreeWalk, type Visit } from '../../src/overlay/walk-trees.js';
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { workspace } from '../suites/workspace.js';
import { succeed } from '../support/command.js';
import {
  DEEP,
  deepPaths,
  FILES_EVERY,
  makeDeepTree,
  withFewDescriptors,
} from '../support/deep-tree.js';

t.setTimeout(300_000);

const lines = (changes: readonly Change[]): string[] =>
  changes.map(({ kind, path }) => `${kind} ${path}`);
const sorted = (paths: readonly string[]): string[] =>
  [...paths].sort((a, b) => (a < b ? -1 : 1)).map((path) => `A /${path}`);

t.test('sizes and removal', async (t) => {
  const base = await workspace(t);
  for (const tree of ['one', 'other']) makeDeepTree(`${base}/${tree}`);
  await withFewDescriptors(t, () => {
    t.equal(treeSize(`${base}/one`), DEEP / FILES_EVERY);
    removeTree(`${base}/one`);
    t.equal(removeTreeAt(AT_FDCWD, bytesOf(`${base}/other`)), 0);
  });
  t.notOk(existsSync(`${base}/one`));
  t.notOk(existsSync(`${base}/other`));
});

t.test('what was added, against trees that end sooner', async (t) => {
  const base = await workspace(t);
  const half = DEEP / 2;
  makeDeepTree(`${base}/own`);
  makeDeepTree(`${base}/below`, half);
  mkdirSync(`${base}/empty`);
  const own = `${base}/own`;
  await withFewDescriptors(t, () => {
    const added = sorted(deepPaths(DEEP, half + 1));
    t.ok(areSame(lines(compareTrees(own, `${base}/empty`)), sorted(deepPaths())), 'all of it');
    t.ok(areSame(onlyAdded(compareTrees(own, `${base}/below`)), added), 'two trees');
    // The file beside the directory is looked up on the way back, when the descriptors of the
    // layer below were closed long ago.
    const changes = upperChanges({
      own,
      below: [`${base}/empty`, `${base}/below`],
      form: 'overlay',
    });
    t.ok(areSame(onlyAdded(changes ?? []), added), 'a layer and those below');
  });
});

/** All directories above what was added are changed. */
function onlyAdded(changes: readonly Change[]): string[] {
  return lines(changes.filter(({ kind }) => kind !== 'C'));
}

t.test('packed, both ways: GNU tar lists all of it', async (t) => {
  const base = await workspace(t);
  makeDeepTree(`${base}/own`);
  const own = `${base}/own`;
  const tars = await withFewDescriptors(t, async () => [
    await readAll(packTree(own, { form: 'overlay', ownership: 'real' }), 2 ** 26),
    await readAll(packChanges(own, compareTrees(own, undefined)), 2 ** 26),
  ]);
  const withSlash = deepPaths().map((path) => (path.endsWith('d') ? `${path}/` : path));
  for (const [index, tar] of tars.entries()) {
    await writeFile(`${base}/${index}.tar`, tar!);
    const listing = await succeed(['tar', '-tf', `${base}/${index}.tar`]);
    const listed = listing.trim().split('\n');
    // A walk has a directory's content where its name stands, a list of changes is sorted.
    if (index === 0) t.ok(areSame(listed, withSlash), 'the tree');
    else t.ok(areSame(listed.sort(), withSlash.sort()), 'the changes');
  }
});

t.test('copied', async (t) => {
  const base = await workspace(t);
  makeDeepTree(`${base}/from`);
  await withFewDescriptors(t, () => copyTree(`${base}/from`, `${base}/to`, `${base}/links`));
  t.same(lines(compareTrees(`${base}/to`, `${base}/from`)), []);
  t.equal(treeSize(`${base}/to`), DEEP / FILES_EVERY);
});

t.test('a directory that is moved while it is walked is not left for another', async (t) => {
  const base = await workspace(t, 'elsewhere');
  makeDeepTree(`${base}/tree`, 300);
  function* visit(walk: TreeWalk, level: number): Visit<number> {
    if (level === 300) renameSync(`${base}/tree/d/d`, `${base}/elsewhere/d`);
    const name = 'd' as Name;
    const fd = openBelow(walk.fd(), name);
    if (fd < 0) return level;
    return yield { name, fds: [fd], visit: visit(walk, level + 1) };
  }
  const root = check(sys.openat(AT_FDCWD, bytesOf(`${base}/tree`), O_RDONLY | O_DIRECTORY, 0));
  t.teardown(() => sys.close(root));
  let error: unknown;
  try {
    walkTrees([root], (walk) => visit(walk, 0));
  } catch (thrown) {
    error = thrown;
  }
  t.equal((error as Errno).errno, E.ESTALE);
});

t.test('a directory of very many directories is removed', async (t) => {
  const base = await workspace(t, 'wide');
  const count = 20_000;
  for (let index = 0; index < count; index++) mkdirSync(`${base}/wide/${index}`);
  writeFileSync(`${base}/wide/file`, '');
  removeTree(`${base}/wide`);
  t.notOk(existsSync(`${base}/wide`));
});
