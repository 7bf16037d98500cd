/**
 * Layers whose later entries take the place of earlier ones by way of a link: they show what docker
 * shows of them, and their tar can be had again.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import type { DriverName } from '../../src/graphdriver/driver.js';
import { PlyfsError } from '../../src/base/error.js';
import { entry, tar, type Fields } from '../archive/tar-builder.js';
import { succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { contentOf, isRoot, newStore, sourceOf } from './fixture.js';

t.setTimeout(180_000);
const directory = (name: string): Fields => ({ name: `${name}/`, flag: '5', mode: 0o755 });
const link = (name: string, target: string): Fields => ({ name, flag: '2', link: target });
const file = (name: string, data: string): Fields => ({ name, data });
const large = 'large'.repeat(50_000);

interface Case {
  readonly below?: readonly Fields[];
  readonly entries: readonly Fields[];
  /** Paths, and what they show. */
  readonly shown: Readonly<Record<string, string>>;
}

const cases: Readonly<Record<string, Case>> = {
  'a file through a link to its directory': {
    entries: [
      directory('usr'),
      directory('usr/lib'),
      file('usr/lib/x.so', 'one'),
      link('lib', 'usr/lib'),
      file('lib/x.so', 'other'),
    ],
    shown: { 'usr/lib/x.so': 'other', 'lib/x.so': 'other' },
  },
  'several of one content, large and empty ones': {
    entries: [
      directory('d'),
      ...['a', 'b', 'c'].map((name) => file(`d/${name}`, large)),
      file('d/e', ''),
      link('l', 'd'),
      ...['a', 'b', 'e'].map((name) => file(`l/${name}`, name)),
    ],
    shown: { 'd/a': 'a', 'd/b': 'b', 'd/c': large, 'd/e': 'e' },
  },
  'a directory that the tar does not name becomes a link': {
    entries: [
      directory('b'),
      file('b/f', 'two'),
      file('a/f', 'one'),
      file('a/g', 'gone'),
      link('a', 'b'),
    ],
    shown: { 'a/f': 'two', 'b/f': 'two' },
  },
  'a directory replaced through a link to its parent': {
    entries: [
      directory('d'),
      file('d/f', 'x'),
      directory('d/e'),
      file('d/e/g', 'y'),
      link('s', '.'),
      file('s/d', 'a file'),
    ],
    shown: { d: 'a file' },
  },
  'a file becomes a directory through a link': {
    entries: [
      directory('d'),
      file('d/f', 'x'),
      link('l', 'd'),
      directory('l/f'),
      file('l/f/g', 'y'),
    ],
    shown: { 'd/f/g': 'y' },
  },
  'three names for one place': {
    entries: [
      directory('d'),
      link('l', 'd'),
      link('m', 'l'),
      file('d/f', '1'),
      file('l/f', '2'),
      file('m/f', '3'),
    ],
    shown: { 'd/f': '3' },
  },
  'hard links of what is replaced': {
    entries: [
      directory('d'),
      file('d/f', 'old'),
      { name: 'kept', flag: '1', link: 'd/f' },
      link('l', 'd'),
      file('l/f', 'new'),
    ],
    shown: { 'd/f': 'new', kept: 'old' },
  },
  'a link of the layer below, which counts where a layer is a copy': {
    below: [
      directory('usr'),
      directory('usr/lib'),
      link('lib', 'usr/lib'),
      file('usr/lib/other', 'below'),
    ],
    entries: [
      file('usr/lib/x.so', 'one'),
      file('lib/x.so', 'other'),
      file('usr/lib/other', 'replaced'),
    ],
    shown: { 'lib/x.so': 'other' },
  },
};

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  for (const name of ['overlay2', 'fuse-overlayfs', 'aufs', 'vfs'] satisfies DriverName[]) {
    await t.test(name, async (t) => {
      const { store, driver } = await newStore(t, { name });
      for (const [what, { below, entries, shown }] of Object.entries(cases)) {
        const parent =
          below === undefined
            ? undefined
            : (await store.register(sourceOf(tar(...below)), undefined)).chainId;
        const bytes = tar(...entries);
        const layer = await store.register(sourceOf(bytes), parent);
        t.ok(
          (await contentOf(store.tar(layer.chainId))).equals(bytes),
          `${what}: the tar as it was`,
        );
        const { own } = driver.directories(layer.cacheId);
        for (const [path, content] of Object.entries(shown))
          t.equal(readFileSync(join(own, path), 'latin1'), content, `${what}: ${path}`);
        figure(t, 1, 'layers that replace their own files');
      }
      t.same(
        await store
          .check({ deep: true })
          .then((found) => found.filter(({ code }) => code !== 'garbage')),
        [],
      );
      // readdir(2) by Node would follow the links of these layers.
      t.equal(
        await succeed(['find', driver.home, '-name', '*-removing*']),
        '',
        'nothing is left beside the layers',
      );
    });
  }

  await t.test(
    'whatever a layer replaces: it is refused, or its tar can be had again',
    async (t) => {
      const { store } = await newStore(t, { name: 'vfs' });
      const name = fc.constantFrom('a', 'b', 'c');
      const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
      const any: fc.Arbitrary<Fields> = fc.oneof(
        fc.record({ name: path, data: fc.constantFrom('1', '2', '22', '') }),
        fc.record({
          name: path,
          flag: fc.constant('2'),
          link: fc.oneof(path, fc.constant('.'), fc.constant('..')),
        }),
        path.map(directory),
        fc.record({ name: path, flag: fc.constant('1'), link: path }),
      );
      let accepted = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(any, { minLength: 3, maxLength: 12 }), async (entries) => {
          const bytes = tar(...entries.map((fields) => entry(fields)));
          try {
            const { chainId } = await store.register(sourceOf(bytes), undefined);
            accepted++;
            t.ok((await contentOf(store.tar(chainId))).equals(bytes));
            await store.release(chainId);
          } catch (error) {
            if (!(error instanceof PlyfsError && /^archive-(?:hostile|damaged)$/.test(error.code)))
              throw error;
          }
        }),
        { numRuns: 300 },
      );
      t.ok(accepted > 0, 'some of them are taken');
      figure(t, accepted, 'random layers had again');
    },
  );
}
