/**
 * The rules of `docker rmi` (moby, daemon/images/image_delete.go), and how images are found and
 * listed.
 */
import t, { type Test } from 'tap';
import { sha256, type ImageId } from '../../src/base/digest.js';
import { findImage, shortId } from '../../src/image/find-image.js';
import { listImages } from '../../src/image/list-images.js';
import { loadImages } from '../../src/image/load-image.js';
import { familiarString, parseReference } from '../../src/image/reference.js';
import { removeImage, type RemoveOptions } from '../../src/image/remove-image.js';
import { chainOf, isRoot, sourceOf } from '../layer/fixture.js';
import {
  archiveOf,
  docker20,
  imageOf,
  imageOfTars,
  newStores,
  openStores,
  whatIsThere,
  type Stores,
} from './fixture.js';

t.setTimeout(120_000);

/** As `docker rmi` prints it. */
async function remove(name: string, stores: Stores, options?: RemoveOptions): Promise<string[]> {
  const removed = await removeImage(name, stores, options);
  return removed.map((one) =>
    'untagged' in one ? `Untagged: ${familiarString(one.untagged)}` : `Deleted: ${one.deleted}`,
  );
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const one = await imageOf([{ 'etc/issue': 'hello\n' }]);
  const two = imageOfTars([one.layers[0]!, (await imageOf([{ 'etc/motd': 'x' }])).layers[0]!], {
    created: '2024-05-07T07:08:09Z',
  });
  const [base, top] = [one.diffIds[0]!, chainOf(...two.diffIds)];
  const archive = await archiveOf(
    docker20([
      { image: one, tags: ['small:1', 'small:alias'] },
      { image: two, tags: ['small:2'] },
    ]),
  );
  const loaded = async (test: Test): Promise<Stores> => {
    const stores = await newStores(test);
    await loadImages(sourceOf(archive), stores);
    return stores;
  };

  await t.test(
    'a name goes first, the image with its last one, layers when nobody needs them',
    async (t) => {
      const stores = await loaded(t);
      t.same(await remove('small:alias', stores), ['Untagged: small:alias']);
      t.same(
        await remove('small:1', stores),
        ['Untagged: small:1', `Deleted: ${one.id}`],
        'its layer is the base of the other image',
      );
      t.same(await remove(two.id.slice(7, 15), stores), [
        'Untagged: small:2',
        `Deleted: ${two.id}`,
        `Deleted: ${top}`,
        `Deleted: ${base}`,
      ]);
      t.same(whatIsThere(stores), {
        layers: [],
        directories: [],
        images: [],
        names: [],
        temporary: [],
      });
      t.same(stores.layers.garbage(), []);
      await t.rejects(remove('small:1', stores), { code: 'image-missing' });
    },
  );

  await t.test('by its id an image with several names is removed only by force', async (t) => {
    const stores = await loaded(t);
    await t.rejects(remove(one.id, stores), {
      code: 'image-conflict',
      message: /must be forced.*small:1, small:alias/,
    });
    t.equal(stores.references.of(one.id).length, 2);
    t.same(await remove(one.id, stores, { force: true }), [
      'Untagged: small:1',
      'Untagged: small:alias',
      `Deleted: ${one.id}`,
    ]);
    t.equal(whatIsThere(stores).layers.length, 2);
  });

  await t.test('a digest goes with the last tag of its repository', async (t) => {
    const stores = await loaded(t);
    const digest = sha256('manifest');
    stores.references.set(parseReference(`small@${digest}`), two.id, { force: false });
    t.same(await remove('small:2', stores), [
      'Untagged: small:2',
      `Untagged: small@${digest}`,
      `Deleted: ${two.id}`,
      `Deleted: ${top}`,
    ]);
  });

  await t.test(
    'an image that others were made from stays, and goes with them when it has no name',
    async (t) => {
      const stores = await loaded(t);
      stores.images.setParent(two.id, one.id);
      await t.rejects(remove(one.id, stores, { force: true }), {
        code: 'image-conflict',
        message: /cannot be forced.*dependent child/,
      });
      t.same(await remove('small:1', stores), ['Untagged: small:1']);
      t.same(
        await remove('small:alias', stores),
        ['Untagged: small:alias'],
        'without a name, but there',
      );
      t.same(
        listImages(stores).map(({ image, tags }) => [image.id, tags.map(familiarString)]),
        [[two.id, ['small:2']]],
        'a step on the way to another is not listed',
      );
      t.equal(listImages(stores, { all: true }).length, 2);
      t.same(await remove('small:2', stores), [
        'Untagged: small:2',
        `Deleted: ${two.id}`,
        `Deleted: ${top}`,
        `Deleted: ${one.id}`,
        `Deleted: ${base}`,
      ]);
    },
  );

  await t.test('force is for the image that is named, not for what it was made from', async (t) => {
    const stores = await loaded(t);
    stores.images.setParent(two.id, one.id);
    t.same(await remove('small:2', stores, { force: true }), [
      'Untagged: small:2',
      `Deleted: ${two.id}`,
      `Deleted: ${top}`,
    ]);
    t.same(stores.references.of(one.id).map(familiarString), ['small:1', 'small:alias']);
    await remove('small:alias', stores);
    await stores.layers.createMounted('box', chainOf(base));
    await loadImages(sourceOf(archive), stores);
    stores.images.setParent(two.id, one.id);
    for (const name of ['small:1', 'small:alias']) stores.references.delete(parseReference(name));
    t.same(
      await remove(two.id, stores, { force: true }),
      ['Untagged: small:2', `Deleted: ${two.id}`, `Deleted: ${top}`],
      'nor for one without a name that a container is on',
    );
    t.ok(stores.images.get(one.id));
  });

  await t.test(
    'without pruning the image that it was made from stays, and loses its child',
    async (t) => {
      const stores = await loaded(t);
      stores.images.setParent(two.id, one.id);
      await remove('small:1', stores);
      await remove('small:alias', stores);
      t.same(await remove('small:2', stores, { prune: false }), [
        'Untagged: small:2',
        `Deleted: ${two.id}`,
        `Deleted: ${top}`,
      ]);
      t.same(await remove(one.id, stores), [`Deleted: ${one.id}`, `Deleted: ${base}`]);
    },
  );

  await t.test(
    'an image under a read-write layer is removed only by force, and its layers stay',
    async (t) => {
      const stores = await loaded(t);
      await stores.layers.createMounted('box', top);
      await t.rejects(remove('small:2', stores), {
        code: 'image-conflict',
        message: /must force.*box/,
      });
      await t.rejects(remove(two.id, stores), {
        code: 'image-conflict',
        message: /must be forced.*box/,
      });
      t.same(stores.references.of(two.id).map(familiarString), ['small:2'], 'nothing was done');
      t.same(await remove('small:2', stores, { force: true }), [
        'Untagged: small:2',
        `Deleted: ${two.id}`,
      ]);
      t.ok(stores.layers.get(top));
      t.same(
        (await stores.layers.releaseMounted('box')).map(({ chainId }) => chainId),
        [top],
        'the base is needed by the other image',
      );
    },
  );

  await t.test('a store that was open before sees what another removed', async (t) => {
    const stores = await loaded(t);
    const other = await openStores(stores.root);
    t.teardown(() => other.layers.close());
    await remove('small:2', stores);
    await t.rejects(other.images.delete(two.id), { code: 'image-missing' });
    t.same(whatIsThere(other), whatIsThere(stores));
    t.same(await remove('small:1', other), ['Untagged: small:1']);
  });

  await t.test('images are found by name, by id, and by the beginning of it', async (t) => {
    const stores = await loaded(t);
    const found = (name: string): ImageId => findImage(name, stores).image.id;
    t.equal(found('small:2'), two.id);
    t.equal(found('docker.io/library/small:2'), two.id);
    t.equal(found(two.id), two.id);
    t.equal(found(two.id.slice(7)), two.id);
    t.equal(found(shortId(two.id)), two.id);
    t.equal(found(`sha256:${shortId(two.id)}`), two.id);
    t.throws(() => found('small'), { code: 'image-missing' }, 'there is no small:latest');
    t.throws(() => found('f'.repeat(64)), { code: 'image-missing' });
    t.throws(() => found('Small'), { code: 'reference-invalid' });
    // A name that looks like the beginning of an id is a name.
    const digits = shortId(two.id);
    stores.references.set(parseReference(digits), one.id, { force: false });
    t.equal(found(digits), one.id);

    // Of seventeen images two have the same first digit.
    const many = Array.from({ length: 17 }, (_, index) =>
      imageOfTars(one.layers, { author: String(index) }),
    );
    await loadImages(
      sourceOf(await archiveOf(docker20(many.map((image) => ({ image, tags: [] }))))),
      stores,
    );
    const first = many
      .map(({ id }) => id.slice(7, 8))
      .find((digit, index, all) => all.indexOf(digit) !== index)!;
    const candidates = stores.images.withPrefix(first).map(({ id }) => id.slice(7));
    t.throws(
      () => found(first),
      { code: 'image-ambiguous', message: new RegExp(candidates.sort().join('.*')) },
      'all are named',
    );
  });

  await t.test('the newest is listed first, with its size', async (t) => {
    const stores = await loaded(t);
    t.same(
      listImages(stores).map(({ image, tags, size }) => [image.id, tags.map(familiarString), size]),
      [
        [two.id, ['small:2'], 7],
        [one.id, ['small:1', 'small:alias'], 6],
      ],
    );
  });
}
