/**
 * The naive diff, case by case after moby's changes_linux.go, and against a plain comparison of
 * random trees.
 */
import {
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { compareTrees } from '../../src/archive/changes.js';
import type { ByteString } from '../../src/base/bytes.js';
import { AT_FDCWD } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

const lines = (newer: string, older: string | undefined): string[] =>
  compareTrees(newer, older).map(({ kind, path }) => `${kind} ${path}`);

t.test('each kind of change', async (t) => {
  const base = await workspace(t, 'old/d/deep', 'old/dir-to-file', 'old/gone/below');
  const [older, newer] = [`${base}/old`, `${base}/new`];
  for (const path of [
    'd/content',
    'd/size',
    'd/deep/x',
    'mode',
    'time',
    'file-to-dir',
    'dir-to-file/x',
    'gone/below/x',
    'same',
    'half',
  ])
    writeFileSync(`${older}/${path}`, 'old');
  symlinkSync('old', `${older}/link`);
  await succeed(['cp', '-a', older, newer]);
  t.same(lines(newer, older), [], 'a copy is no change');
  t.same(lines(older, older), []);

  for (const side of [older, newer]) utimesSync(`${side}/half`, 5, 100);
  utimesSync(`${newer}/half`, 5, 100.5);
  utimesSync(`${newer}/d`, 5, 5);
  for (const [one, other] of [
    [newer, older],
    [older, newer],
  ] as const)
    t.same(
      lines(one, other),
      [],
      'one side has whole seconds only, and directories’ times say nothing',
    );

  writeFileSync(`${newer}/d/content`, 'new');
  utimesSync(`${newer}/d/content`, 5, 5);
  writeFileSync(`${newer}/d/deep/y`, '');
  chmodSync(`${newer}/mode`, 0o600);
  utimesSync(`${newer}/time`, 5, 5);
  rmSync(`${newer}/file-to-dir`);
  mkdirSync(`${newer}/file-to-dir`);
  writeFileSync(`${newer}/file-to-dir/inside`, '');
  rmSync(`${newer}/dir-to-file`, { recursive: true });
  writeFileSync(`${newer}/dir-to-file`, '');
  rmSync(`${newer}/gone`, { recursive: true });
  mkdirSync(`${newer}/added`);
  writeFileSync(`${newer}/added/x`, '');
  rmSync(`${newer}/link`);
  symlinkSync('elsewhere', `${newer}/link`);
  const expected = [
    'A /added',
    'A /added/x',
    'C /d',
    'C /d/content',
    'C /d/deep',
    'A /d/deep/y',
    'C /dir-to-file',
    'C /file-to-dir',
  ];
  t.same(lines(newer, older), [
    ...expected,
    'A /file-to-dir/inside',
    'D /gone',
    'C /link',
    'C /mode',
    'C /time',
  ]);
});

t.test('everything is added to nothing', async (t) => {
  const base = await workspace(t, 'x/d');
  writeFileSync(`${base}/x/d/f`, '');
  writeFileSync(`${base}/x/d-`, '');
  t.same(lines(`${base}/x`, undefined), ['A /d', 'A /d-', 'A /d/f'], 'in byte order');
  t.throws(() => compareTrees(`${base}/none`, undefined), { code: 'layer-missing' });
});

t.test('one file in both trees is not looked into', async (t) => {
  const base = await workspace(t, 'old', 'new');
  writeFileSync(`${base}/old/f`, '');
  linkSync(`${base}/old/f`, `${base}/new/f`);
  t.same(lines(`${base}/new`, `${base}/old`), []);
});

t.test(
  'capabilities and owners, no other attribute',
  { skip: isRoot ? false : 'needs root' },
  async (t) => {
    const base = await workspace(t, 'old');
    for (const name of ['a', 'b', 'c', 'd']) writeFileSync(`${base}/old/${name}`, '');
    cpSync(`${base}/old`, `${base}/new`, { recursive: true, preserveTimestamps: true });
    await succeed(['cp', '-aT', `${base}/old`, `${base}/new`]);
    const set = (name: string, attribute: string, value: string): number =>
      sys.setxattrat(
        AT_FDCWD,
        `${base}/new/${name}` as ByteString,
        attribute as ByteString,
        Buffer.from(value, 'latin1'),
        0,
      );
    t.equal(set('a', 'security.capability', '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0'), 0);
    t.equal(set('b', 'user.x', 'y'), 0);
    await succeed(['chown', '5', `${base}/new/c`]);
    await succeed(['chown', ':5', `${base}/new/d`]);
    t.same(lines(`${base}/new`, `${base}/old`), ['C /a', 'C /c', 'C /d']);
    t.same(lines(`${base}/old`, `${base}/new`), ['C /a', 'C /c', 'C /d']);
  },
);

t.test('owners kept aside count as owners', async (t) => {
  const base = await workspace(t, 'old');
  writeFileSync(`${base}/old/a`, '');
  await succeed(['cp', '-a', `${base}/old`, `${base}/new`]);
  const value = Buffer.from('5:6:0644:file');
  t.equal(
    sys.setxattrat(
      AT_FDCWD,
      `${base}/new/a` as ByteString,
      'user.containers.override_stat' as ByteString,
      value,
      0,
    ),
    0,
  );
  t.same(compareTrees(`${base}/new`, `${base}/old`, { ownership: 'override' }), [
    { kind: 'C', path: '/a' },
  ]);
  t.same(lines(`${base}/new`, `${base}/old`), []);
});

t.test('random trees, compared by paths alone', async (t) => {
  const base = await workspace(t);
  const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'a/x', 'a/y', 'b/x', 'b/x/z', 'c/x/y'), {
    selector: (path) => path,
  });
  /** The files of a tree, none of which is another's directory. */
  const tree = names.map((paths) =>
    paths.filter((path) => !paths.some((other) => other.startsWith(`${path}/`))),
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(tree, tree, async (older, newer) => {
      run++;
      for (const [side, paths] of [
        ['old', older],
        ['new', newer],
      ] as const) {
        mkdirSync(`${base}/${run}/${side}`, { recursive: true });
        for (const path of paths) {
          mkdirSync(`${base}/${run}/${side}/${path}`.replace(/\/[^/]*$/, ''), { recursive: true });
          writeFileSync(`${base}/${run}/${side}/${path}`, '');
          utimesSync(`${base}/${run}/${side}/${path}`, 5, 5);
        }
      }
      t.same(lines(`${base}/${run}/new`, `${base}/${run}/old`), expectedOf(older, newer));
    }),
    { numRuns: 60 },
  );
});

/** Of files that differ by nothing but being there. */
function expectedOf(older: readonly string[], newer: readonly string[]): string[] {
  const kinds = (files: readonly string[]): Map<string, 'f' | 'd'> => {
    const all = new Map<string, 'f' | 'd'>(files.map((path) => [path, 'f']));
    for (const path of files)
      for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1))
        all.set(path.slice(0, at), 'd');
    return all;
  };
  const [before, after] = [kinds(older), kinds(newer)];
  const changes = new Map<string, string>();
  for (const [path, kind] of after) {
    if (!before.has(path)) changes.set(path, 'A');
    else if (before.get(path) !== kind) changes.set(path, 'C');
  }
  for (const path of before.keys()) {
    const parent = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
    if (!after.has(path) && (parent === '' || after.get(parent) === 'd')) changes.set(path, 'D');
  }
  for (const path of [...changes.keys()]) {
    for (let at = path.lastIndexOf('/'); at >= 0; at = path.lastIndexOf('/', at - 1)) {
      const parent = path.slice(0, at);
      if (!changes.has(parent)) changes.set(parent, 'C');
    }
  }
  return [...changes]
    .map(([path, kind]) => `${kind} /${path}`)
    .sort((a, b) => (a.slice(2) < b.slice(2) ? -1 : 1));
}
