/** Layers made, found and removed. */
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { id, type DriverCases } from './scene.js';

export const layerCases: DriverCases = {
  'a layer is there from create to remove': async ({ t, driver }) => {
    t.notOk(driver.exists(id(1)));
    await driver.create(id(1), undefined);
    await driver.create(id(2), id(1));
    await driver.createReadWrite(`${id(3)}-init`, id(2));
    await driver.createReadWrite(id(3), `${id(3)}-init`);
    for (const one of [id(1), id(2), `${id(3)}-init`, id(3)]) t.ok(driver.exists(one), one);
    t.same(driver.ids(), [id(1), id(2), id(3), `${id(3)}-init`]);
    await driver.remove(id(3));
    t.notOk(driver.exists(id(3)));
    t.ok(driver.exists(`${id(3)}-init`), 'its parent stays');
    t.same(driver.ids(), [id(1), id(2), `${id(3)}-init`]);
  },

  'removing what is not there does nothing': async ({ t, driver }) => {
    await driver.remove(id(1));
    t.same(driver.ids(), []);
  },

  'a layer of that id is not made twice, and a parent must be there': async (scene) => {
    const { driver, t } = scene;
    await driver.create(id(1), undefined);
    writeFileSync(`${scene.own(id(1))}/kept`, 'yes');
    await scene.fails('layer-exists', driver.create(id(1), undefined), 'create');
    await scene.fails('layer-exists', driver.createReadWrite(id(1), undefined), 'createReadWrite');
    await scene.fails('layer-missing', driver.create(id(2), id(9)), 'no parent');
    await scene.fails('layer-missing', () => driver.directories(id(9)), 'directories');
    await scene.fails('layer-missing', driver.get(id(9)), 'get');
    t.same(driver.ids(), [id(1)], 'nothing was left');
    t.same(readdirSync(scene.own(id(1))), ['kept']);
  },

  'an id that would lead out of the home is refused everywhere': async (scene) => {
    const { driver, t } = scene;
    const before = scene.names();
    for (const wrong of [
      '..',
      '.',
      '',
      'a/b',
      '../x',
      '/etc',
      'l\0',
      'a\n',
      '.hidden',
      `${id(1)}-removing`,
    ]) {
      await scene.fails(
        'layer-id-invalid',
        driver.create(wrong, undefined),
        `create ${JSON.stringify(wrong)}`,
      );
      await scene.fails(
        'layer-id-invalid',
        driver.remove(wrong),
        `remove ${JSON.stringify(wrong)}`,
      );
      await scene.fails(
        'layer-id-invalid',
        () => driver.exists(wrong),
        `exists ${JSON.stringify(wrong)}`,
      );
      await scene.fails(
        'layer-id-invalid',
        () => driver.directories(wrong),
        `directories ${JSON.stringify(wrong)}`,
      );
      await scene.fails('layer-id-invalid', driver.get(wrong), `get ${JSON.stringify(wrong)}`);
    }
    t.same(scene.names(), before);
  },

  'a driver opened for reading changes nothing': async (scene) => {
    const { t } = scene;
    await scene.add(id(1), undefined, [{ name: 'file', content: 'x' }]);
    const before = scene.names();
    const reader = await scene.open({ readOnly: true });
    t.ok(reader.exists(id(1)));
    t.ok(reader.status().length > 0);
    await scene.fails('read-only', reader.create(id(2), id(1)), 'create');
    await scene.fails('read-only', reader.createReadWrite(id(2), id(1)), 'createReadWrite');
    await scene.fails('read-only', reader.remove(id(1)), 'remove');
    t.same(scene.names(), before);
  },

  'a home that is not there yet is empty for a reader, and is not made': async (scene) => {
    const home = `${scene.base}/nowhere/${scene.target.definition.name}`;
    const reader = await scene.open({ readOnly: true, home });
    scene.t.same(reader.ids(), []);
    scene.t.notOk(reader.exists(id(1)));
    scene.t.throws(() => statSync(home));
  },

  'a size is refused where it cannot be kept': async (scene) => {
    await scene.driver.create(id(1), undefined);
    await scene.fails(
      'option-unsupported',
      scene.driver.createReadWrite(id(2), id(1), { size: 1 << 20 }),
      'createReadWrite',
    );
    scene.t.same(scene.driver.ids(), [id(1)]);
  },

  'an unknown option is refused by its name': async (scene) => {
    await scene.fails('option-unknown', scene.open({ options: ['color=green'] }), 'open');
  },

  'a tree of any depth and with any names is removed, and nothing outside of it': async (scene) => {
    const { driver, t, base } = scene;
    await driver.create(id(1), undefined);
    const inside = await scene.actor(scene.own(id(1)));
    writeFileSync(`${base}/outside`, 'stays');
    await inside.symlink(`${base}/outside`, 'link');
    await inside.symlink(base, 'directory');
    await inside.put(Buffer.from([0x66, 0xff, 0xfe]), 'not UTF-8');
    for (let depth = 0; depth < 300; depth++) {
      await inside.mkdir('a-directory-with-a-long-name');
      await inside.put('file', 'x');
      await inside.chdir('a-directory-with-a-long-name');
    }
    await driver.remove(id(1));
    t.same(driver.ids(), []);
    t.notOk(
      scene.names().some((name) => name.includes('a-directory')),
      'nothing is left',
    );
    t.equal(statSync(`${base}/outside`).size, 5);
  },
};
