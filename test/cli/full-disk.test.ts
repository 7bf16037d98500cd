/** What takes things away works where nothing is left: no block, or no inode. */
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import t from 'tap';
import type { Test } from 'tap';
import { Filler, mountExt4 } from '../support/disk-image.js';
import { tarOf } from '../support/layer-tar.js';
import { plyOn, type Ply } from '../support/ply.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

const skip = !isRoot && 'a file system is mounted that can be filled';
t.setTimeout(180_000);

interface Scene {
  readonly disk: string;
  readonly ply: Ply;
}

/**
 * A data root on a file system of its own, with the images one:1 and two:1 and four containers of
 * the first.
 */
async function scene(t: Test): Promise<Scene> {
  const base = await workspace(t, 'disk');
  const disk = `${base}/disk`;
  const failed = await mountExt4(`${base}/image`, disk, { mebibytes: 24, inodes: 1200 });
  if (failed !== undefined) throw new Error(failed);
  const ply = plyOn(`${disk}/root`);
  for (const name of ['one', 'two']) {
    writeFileSync(`${base}/tar`, await tarOf([{ name: 'file', content: name }]));
    await ply('import', '-q', `${base}/tar`, `${name}:1`);
  }
  for (const name of ['a', 'b', 'c', 'd']) await ply('create', '--name', name, 'one:1', 'true');
  return { disk, ply };
}

/** Each of these writes something new before, or instead of, what it takes away. */
async function takeAllAway(t: Test, ply: Ply): Promise<void> {
  t.match(
    await ply.outcome('create', '--name', 'e', 'one:1', 'true'),
    { status: 1, stderr: /ENOSPC|no space/i },
    'the disk is full',
  );
  for (const words of [
    ['rename', 'a', 'z'],
    ['reset', 'b'],
    ['rm', 'c'],
    ['rmi', 'two:1'],
    ['gc'],
    ['prune', '-f'],
    ['rmi', 'one:1'],
  ]) {
    t.match(await ply.outcome(...words), { status: 0, stderr: '' }, words.join(' '));
  }
  t.same(await ply.json('ps', '-a'), []);
  t.same(await ply.json('images'), []);
}

t.test('no block is free', { skip }, async (t) => {
  const { disk, ply } = await scene(t);
  const filler = new Filler(`${disk}/filler`);
  t.teardown(() => filler.close());
  filler.leave(0);
  await takeAllAway(t, ply);
});

t.test('no inode is free', { skip }, async (t) => {
  const { disk, ply } = await scene(t);
  mkdirSync(`${disk}/many`);
  t.throws(
    () => {
      for (let i = 0; ; i++) closeSync(openSync(`${disk}/many/${i}`, 'wx'));
    },
    { code: 'ENOSPC' },
  );
  await takeAllAway(t, ply);
});
