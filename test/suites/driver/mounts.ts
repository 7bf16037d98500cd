/** get and put: counted in a process, found again by others. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { mountAt } from '../../support/mounts.js';
import { id, type DriverCases, type DriverScene } from './scene.js';

/** A base, and a read-write layer on it. */
async function twoLayers(scene: DriverScene): Promise<void> {
  await scene.add(id(1), undefined, [
    { name: 'etc/', type: 'directory' },
    { name: 'etc/file', content: 'base' },
  ]);
  await scene.driver.createReadWrite(id(2), id(1));
}

function target(scene: DriverScene, name = 'target'): string {
  mkdirSync(`${scene.base}/${name}`);
  return `${scene.base}/${name}`;
}

export const mountCases: DriverCases = {
  'get and put are counted': async (scene) => {
    const { driver, t } = scene;
    await twoLayers(scene);
    const first = await driver.get(id(2));
    t.same(await driver.get(id(2)), first, 'the second get shows the same');
    t.same(readdirSync(`${first.path}/etc`), ['file']);
    await driver.put(id(2));
    t.same(readdirSync(`${first.path}/etc`), ['file'], 'still there after the first put');
    await driver.put(id(2));
    t.equal(mountAt(first.path), undefined, 'nothing is mounted after the last');
    if (first.by !== 'none')
      t.notOk(existsSync(first.path), 'the directory of the driver’s choosing is gone');
    await scene.fails('not-mounted', driver.put(id(2)), 'a put too many');
  },

  'a place of the driver’s choosing is outside its home': async (scene) => {
    await twoLayers(scene);
    const { path, by } = await scene.driver.get(id(2));
    scene.t.equal(path.startsWith(`${scene.home}/`), by === 'none');
    await scene.driver.put(id(2));
  },

  'what is written to a read-write layer is in its own directory, and there the next time': async (
    scene,
  ) => {
    const { t } = scene;
    await twoLayers(scene);
    await scene.with(id(2), false, async (_path, actor) => {
      await actor.put('etc/file', 'changed');
      await actor.put('new', 'new');
    });
    t.same(await scene.paths(id(2)), ['etc/', 'etc/file', 'new']);
    t.same(await scene.paths(id(1)), ['etc/', 'etc/file']);
    await scene.with(id(2), false, async (_path, actor) =>
      t.equal(await actor.get('etc/file'), 'changed'),
    );
    await scene.with(id(1), true, async (_path, actor) =>
      t.equal(await actor.get('etc/file'), 'base'),
    );
  },

  'a layer without a parent can be written to': async (scene) => {
    const { driver, t } = scene;
    await driver.createReadWrite(id(1), undefined);
    await scene.with(id(1), false, (_path, actor) => actor.put('file', 'x'));
    t.same(readdirSync(scene.own(id(1))), ['file']);
    t.same(await scene.paths(id(1)), ['file']);
  },

  'at a target: another process finds the mount and takes it away': async (scene) => {
    const { driver, t } = scene;
    await twoLayers(scene);
    const at = target(scene);
    const shown = await driver.get(id(2), { target: at });
    t.equal(shown.path, at);
    t.ok(mountAt(at), 'it is mounted');
    const other = await scene.open();
    t.same(other.mounts(), [{ id: id(2), target: at, readOnly: false, by: shown.by }]);
    await scene.fails(
      'layer-in-use',
      other.get(id(2), { target: target(scene, 'second') }),
      'written to in one place only',
    );
    await scene.fails('layer-in-use', other.remove(id(2)), 'a mounted layer is not removed');
    t.ok(driver.exists(id(2)));
    await other.put(id(2));
    t.equal(mountAt(at), undefined);
    t.ok(existsSync(at), 'the caller’s directory stays');
    await scene.fails('not-mounted', other.put(id(2)), 'a put too many');
  },

  'at a target, read-only': async (scene) => {
    const { driver, t } = scene;
    await twoLayers(scene);
    for (const [layer, name] of [
      [id(1), 'base'],
      [id(2), 'top'],
    ] as const) {
      const at = target(scene, name);
      await driver.get(layer, { target: at, readOnly: true });
      const actor = await scene.actor(at);
      await t.rejects(actor.put('etc/new', 'x'), { message: /EROFS/ });
      t.equal(await actor.get('etc/file'), 'base');
      await actor.end();
      await driver.put(layer);
    }
  },

  'a read-only layer is shown in several places, and each is taken away by its name': async (
    scene,
  ) => {
    const { driver, t } = scene;
    await twoLayers(scene);
    const [one, two] = [target(scene, 'one'), target(scene, 'two')];
    await driver.get(id(1), { target: one, readOnly: true });
    await driver.get(id(1), { target: two, readOnly: true });
    const other = await scene.open();
    await scene.fails('mount-ambiguous', other.put(id(1)), 'put without saying which');
    await scene.fails('mountpoint-in-use', driver.get(id(2), { target: one }), 'one layer a place');
    await other.put(id(1), one);
    t.same(
      driver.mounts().map((mount) => mount.target),
      [two],
    );
    await other.put(id(1), two);
  },

  'a busy mount is not taken away, and can be put again': async (scene) => {
    const { driver, t } = scene;
    await twoLayers(scene);
    const at = target(scene);
    await driver.get(id(2), { target: at });
    const inside = await scene.actor(at);
    await scene.fails('mount-busy', driver.put(id(2)), 'put');
    t.ok(mountAt(at));
    await inside.end();
    await driver.put(id(2));
    t.equal(mountAt(at), undefined);
  },

  'a target that is not there is told, and leaves nothing mounted': async (scene) => {
    await twoLayers(scene);
    await scene.fails(
      'mount-failed',
      scene.driver.get(id(2), { target: `${scene.base}/nowhere` }),
      'get',
    );
    scene.t.same(scene.driver.mounts(), []);
    await scene.with(id(2), false, (_path, actor) => actor.put('works', 'afterwards'));
  },
};
