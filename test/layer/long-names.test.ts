/**
 * Names of up to 255 bytes are deleted like shorter ones, though the marker for one in a tar is up
 * to four bytes longer than any name.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { DriverName } from '../../src/graphdriver/driver.js';
import { figure } from '../support/figures.js';
import { contentOf, diffIdOf, isRoot, newStore, sourceOf, tarOf } from './fixture.js';

t.setTimeout(120_000);
const directory = { type: 'directory', mode: 0o755 } as const;
/** NAME_MAX, and what is left of it beside `.wh.`. */
const [LONGEST, LONGEST_MARKED] = [255, 251];
const lengths = [251, 252, 255];
const nameOf = (length: number): string => 'n'.repeat(length);
const base = {
  'd/': directory,
  'd/kept': 'x',
  ...Object.fromEntries(lengths.map((length) => [`d/${nameOf(length)}`, String(length)])),
};

if (!isRoot) t.pass('needs root', { skip: 'layers with owners and devices need root' });
else {
  for (const name of ['overlay2', 'fuse-overlayfs', 'aufs', 'vfs'] satisfies DriverName[]) {
    const markers = name === 'fuse-overlayfs' || name === 'aufs';

    await t.test(`${name}: from a tar`, async (t) => {
      const { store, driver } = await newStore(t, { name });
      const below = await store.register(sourceOf(await tarOf(base)), undefined);
      for (const length of lengths) {
        const tar = await tarOf({ 'd/': directory, [`d/.wh.${nameOf(length)}`]: '' });
        if (markers && length > LONGEST_MARKED) {
          const expected = {
            code: 'whiteout-unstorable',
            message: new RegExp(`deletes d/n{${length}}\\. .* overlay2`),
          };
          await t.rejects(store.register(sourceOf(tar), below.chainId), expected);
          continue;
        }
        const layer = await store.register(sourceOf(tar), below.chainId);
        t.equal(diffIdOf(await contentOf(store.tar(layer.chainId))), layer.diffId);
        const { path } = await store.mountReadOnly(layer.chainId);
        t.notOk(
          readdirSync(join(path, 'd')).includes(nameOf(length)),
          `${length} bytes are deleted`,
        );
        t.equal(readdirSync(join(path, 'd')).length, lengths.length);
        await driver.put(layer.cacheId);
        figure(t, 1, 'long names deleted');
      }
      const hidden = `d/.wh.${'n'.repeat(LONGEST + 1)}`;
      await t.rejects(
        store.register(sourceOf(await tarOf({ [hidden]: '' })), below.chainId),
        { code: 'archive-hostile' },
        'no name has more',
      );
      await t.rejects(
        store.register(sourceOf(await tarOf({ [`d/${'n'.repeat(LONGEST + 1)}`]: '' })), undefined),
        {
          code: 'archive-hostile',
        },
      );
    });

    await t.test(`${name}: through a mount`, async (t) => {
      const { store } = await newStore(t, { name });
      const below = await store.register(sourceOf(await tarOf(base)), undefined);
      await store.createMounted('one', below.chainId, { init: false });
      const { path } = await store.mount('one');
      const deletable = lengths.filter((length) => !markers || length <= LONGEST_MARKED);
      const left = ['kept', ...lengths.filter((length) => !deletable.includes(length)).map(nameOf)];
      for (const length of lengths) {
        const remove = (): void => rmSync(join(path, 'd', nameOf(length)));
        if (deletable.includes(length)) remove();
        else
          t.throws(
            remove,
            { code: 'ENAMETOOLONG' },
            'that its marker has no place is told, and the name stays',
          );
      }
      t.same(readdirSync(join(path, 'd')), left);
      t.same(
        (await store.changes('one')).map(({ kind, path }) => [kind, path.length]),
        [['C', 2], ...deletable.map((length) => ['D', length + 3])],
      );
      const committed = await store.commitMounted('one');
      t.equal(diffIdOf(await contentOf(store.tar(committed!.chainId))), committed!.diffId);
      await store.createMounted('two', committed!.chainId, { init: false });
      const again = await store.mount('two');
      t.same(readdirSync(join(again.path, 'd')), left);
      await store.unmount('two');
      await store.unmount('one');
    });
  }
}
