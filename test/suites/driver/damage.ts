/** What a driver finds on disk and must not believe. */
import {
  mkdirSync,
  readlinkSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  renameSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { id, type DriverCases, type DriverScene } from './scene.js';

async function chain(scene: DriverScene): Promise<void> {
  for (let i = 1; i <= 3; i++)
    await scene.add(id(i), i === 1 ? undefined : id(i - 1), [{ name: `file-${i}`, content: 'x' }]);
}

/** Each: what is done to the home, of which layer 3 is damaged then. */
const damages: Readonly<Record<string, Readonly<Record<string, (home: string) => void>>>> = {
  overlay: {
    'lower names no layer': (home) =>
      writeFileSync(`${home}/${id(3)}/lower`, `l/${'A'.repeat(26)}`),
    'lower leads out of the home': (home) =>
      writeFileSync(`${home}/${id(3)}/lower`, '../../../etc'),
    'lower is absolute': (home) => writeFileSync(`${home}/${id(3)}/lower`, '/etc'),
    'lower is empty': (home) => writeFileSync(`${home}/${id(3)}/lower`, ''),
    'lower is huge': (home) =>
      writeFileSync(`${home}/${id(3)}/lower`, `l/${'A'.repeat(26)}:`.repeat(100_000)),
    'lower names a layer twice': (home) => {
      const name = shortOf(home, 1);
      writeFileSync(`${home}/${id(3)}/lower`, `l/${name}:l/${name}`);
    },
    'lower names more layers than there may be': (home) =>
      writeFileSync(
        `${home}/${id(3)}/lower`,
        Array.from({ length: 129 }, () => `l/${shortOf(home, 1)}`).join(':'),
      ),
    'lower is a symbolic link': (home) => {
      unlinkSync(`${home}/${id(3)}/lower`);
      symlinkSync(`../${id(2)}/lower`, `${home}/${id(3)}/lower`);
    },
    'lower is a directory': (home) => {
      unlinkSync(`${home}/${id(3)}/lower`);
      mkdirSync(`${home}/${id(3)}/lower`);
    },
    'the short name is missing': (home) => unlinkSync(`${home}/l/${shortOf(home, 2)}`),
    'the short name leads nowhere': (home) => relink(home, 2, `../${id(77)}/diff`),
    'the short name leads out of the home': (home) => relink(home, 2, '../../../etc'),
    'the short name is absolute': (home) => relink(home, 2, '/etc'),
    'the short name leads to another layer': (home) => relink(home, 2, `../${id(1)}/diff`),
    'the short name is a directory': (home) => {
      unlinkSync(`${home}/l/${shortOf(home, 2)}`);
      mkdirSync(`${home}/l/${shortOf(home, 2)}`);
    },
    'a parent is gone': (home) => rmSync(`${home}/${id(2)}`, { recursive: true }),
    'a parent’s files are gone': (home) => rmSync(`${home}/${id(2)}/diff`, { recursive: true }),
    'a parent’s files are a symbolic link': (home) => replaceByLink(`${home}/${id(2)}/diff`),
    'a parent is a symbolic link': (home) => replaceByLink(`${home}/${id(2)}`),
    'its own files are a symbolic link': (home) => replaceByLink(`${home}/${id(3)}/diff`),
    'its own short name is none': (home) =>
      writeFileSync(`${home}/${id(3)}/link`, '../../../../../../../etc/x'),
  },
  aufs: {
    'its list names no layer': (home) => writeFileSync(`${home}/layers/${id(3)}`, `${id(77)}\n`),
    'its list leads out of the home': (home) =>
      writeFileSync(`${home}/layers/${id(3)}`, '../../../../etc\n'),
    'its list is huge': (home) =>
      writeFileSync(`${home}/layers/${id(3)}`, `${id(1)}\n`.repeat(10_000)),
    'its list names a layer twice': (home) =>
      writeFileSync(`${home}/layers/${id(3)}`, `${id(1)}\n${id(1)}\n`),
    'its list names itself': (home) => writeFileSync(`${home}/layers/${id(3)}`, `${id(3)}\n`),
    'its list is missing': (home) => unlinkSync(`${home}/layers/${id(3)}`),
    'its list is a symbolic link': (home) => {
      unlinkSync(`${home}/layers/${id(3)}`);
      symlinkSync(id(2), `${home}/layers/${id(3)}`);
    },
    'a parent’s files are gone': (home) => rmSync(`${home}/diff/${id(2)}`, { recursive: true }),
    'a parent’s files are a symbolic link': (home) => replaceByLink(`${home}/diff/${id(2)}`),
    'its own files are a symbolic link': (home) => replaceByLink(`${home}/diff/${id(3)}`),
  },
  vfs: {},
};

function shortOf(home: string, layer: number): string {
  return readdirSync(`${home}/l`).find(
    (name) => readlinkSync(`${home}/l/${name}`) === `../${id(layer)}/diff`,
  )!;
}

function relink(home: string, layer: number, target: string): void {
  const name = shortOf(home, layer);
  unlinkSync(`${home}/l/${name}`);
  symlinkSync(target, `${home}/l/${name}`);
}

function replaceByLink(path: string): void {
  renameSync(path, join(dirname(path), 'elsewhere'));
  symlinkSync('elsewhere', path);
}

function damagesOf(scene: DriverScene): Readonly<Record<string, (home: string) => void>> {
  const { name } = scene.target.definition;
  return damages[name === 'aufs' || name === 'vfs' ? name : 'overlay']!;
}

export const damageCases: DriverCases = {
  'what is damaged is told, not mounted, and can be removed': async (scene) => {
    const { t } = scene;
    for (const [what, damage] of Object.entries(damagesOf(scene))) {
      await t.test(what, async (t) => {
        const one = await (await import('./scene.js')).DriverScene.create(t, scene.target);
        await chain(one);
        damage(one.home);
        await one.fails('layer-damaged', () => one.driver.directories(id(3)), 'directories');
        await one.fails('layer-damaged', one.driver.get(id(3), { readOnly: true }), 'get');
        t.same(one.driver.mounts(), []);
        await one.driver.remove(id(3));
        t.notOk(one.driver.exists(id(3)));
        t.notOk(one.driver.ids().includes(id(3)), 'nothing of it is left');
        await one.end();
      });
    }
    if (Object.keys(damagesOf(scene)).length === 0)
      t.pass('the layout says nothing that could be wrong');
  },

  'a layer that is a symbolic link is none': async (scene) => {
    const { t } = scene;
    await chain(scene);
    const own = scene.driver.directories(id(1)).own;
    replaceByLink(own);
    t.notOk(scene.driver.exists(id(1)));
    t.throws(() => scene.driver.directories(id(1)));
  },
};
