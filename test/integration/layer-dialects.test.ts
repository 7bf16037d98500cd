/**
 * Layers in the ways that programs write tars: dockerd and ply take and refuse the same, and make
 * the same trees of what they take.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { PlyfsError } from '../../src/base/error.js';
import { loadImages } from '../../src/image/load-image.js';
import { entry, longName, tar, type Fields } from '../archive/tar-builder.js';
import { archiveOf, docker20, imageOfTars, newStores } from '../image/fixture.js';
import { run, succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { startDockerd } from '../support/private-dockerd.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(300_000);

const gnu = 'ustar  \0';
const long = 'n'.repeat(255);
const octal = (value: number): string => `${value.toString(8).padStart(11, '0')}\0`;
const directory = (name: string): Fields => ({
  name: `${name}/`,
  flag: '5',
  mode: 0o755,
  mtime: 1e9,
});
const link = (name: string, target: string): Fields => ({ name, flag: '2', link: target });

/** Layers of one image each, the base first. */
const dialects: Readonly<Record<string, readonly (readonly (Fields | Buffer)[])[]>> = {
  'a prefix of Go before 1.8': [
    [
      {
        name: 'main.c',
        magic: gnu,
        uid: 3,
        patch: [[345, `home/${'a'.repeat(90)}/src`]],
        data: 'x',
      },
    ],
  ],
  'one that is no ASCII': [[{ name: 'main.c', magic: gnu, patch: [[345, 'caf\xe9']], data: 'x' }]],
  'times of GNU': [[{ name: 'f', magic: gnu, patch: [[345, octal(5) + octal(7)]], data: 'x' }]],
  'a first time of GNU and no second': [
    [{ name: 'f', magic: gnu, patch: [[345, `${octal(5)}nonsense`]], data: 'x' }],
  ],
  'numbers with zeros': [
    [
      {
        name: 'f',
        data: 'abc',
        pax: { size: '0'.repeat(30) + '3', uid: '0007', mtime: '00012.5' },
      },
    ],
  ],
  'records with zeros': [
    [
      entry({ name: 'p', flag: 'x', data: `${'0'.repeat(30)}40 path=a\n` }),
      { name: 'f', data: 'x' },
    ],
  ],
  'an empty long name': [[longName(''), { name: 'real', data: 'x' }]],
  'an empty long link': [[longName('', 'K'), link('l', 'target')]],
  'a deletion of the longest name': [
    [directory('d'), { name: 'd/f', pax: { path: `d/${long}` } }],
    [{ name: 'w', pax: { path: `d/.wh.${long}` } }],
  ],
  'a file through a link': [
    [
      directory('usr'),
      directory('usr/lib'),
      { name: 'usr/lib/x', data: 'one' },
      link('lib', 'usr/lib'),
      { name: 'lib/x', data: 'other' },
    ],
  ],
  'a directory that becomes a link': [
    [directory('b'), { name: 'b/f', data: 'two' }, { name: 'a/f', data: 'one' }, link('a', 'b')],
  ],
  'a hard link to a directory': [[directory('d'), { name: 'e', flag: '1', link: 'd' }]],
  'a link without a target': [[link('l', '')]],
  text: [[Buffer.from('hello\n'.repeat(200))]],
};

/**
 * Types, owners, sizes and names of all that is in the layers' directories, whichever program has
 * them.
 */
async function treesOf(home: string): Promise<string[]> {
  const trees: string[] = [];
  for (const id of readdirSync(home).filter((name) => name !== 'l'))
    trees.push(
      await succeed([
        'sh',
        '-c',
        'cd "$1" && find . -mindepth 1 -printf "%y %m %U:%G %s %l %P\\n" | sed "s/^d \\(.*\\) [0-9]* \\( .*\\)/d \\1\\2/" | LC_ALL=C sort',
        'sh',
        join(home, id, 'diff'),
      ]),
    );
  return trees.sort();
}

await t.test(
  'dockerd 20.10',
  { skip: process.getuid?.() === 0 ? false : 'dockerd needs root' },
  async (t) => {
    const base = await workspace(t);
    const { client, docker } = await startDockerd(t, base, { storageDriver: 'overlay2' });
    for (const [what, layers] of Object.entries(dialects)) {
      const image = imageOfTars(layers.map((parts) => tar(...parts)));
      const path = join(base, 'image.tar');
      writeFileSync(path, await archiveOf(docker20([{ image, tags: ['t:1'] }])));
      const theirs = await run([...client, 'load', '-q', '-i', path]);
      const stores = await newStores(t);
      const refused = await loadImages({ path }, stores).then(
        () => false,
        (error: unknown) => {
          t.ok(error instanceof PlyfsError, what);
          return true;
        },
      );
      t.equal(refused, theirs.status !== 0, `${what}: taken or refused by both`);
      if (refused) continue;
      const ours = await treesOf(join(stores.root, 'overlay2'));
      t.ok(ours.length === layers.length && !ours.includes(''));
      t.same(ours, await treesOf(join(base, 'root/overlay2')), what);
      await docker('rmi', 't:1');
      figure(t, 1, 'dialects of tars compared with dockerd');
    }
  },
);
