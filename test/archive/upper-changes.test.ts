/** Changes read from an upper, against the naive diff of the kernel's own overlay. */
import { utimesSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { compareTrees } from '../../src/archive/changes.js';
import { upperChanges } from '../../src/archive/upper-changes.js';
import { run, succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.test(
  'as the kernel’s overlay shows them',
  { skip: isRoot ? false : 'needs root: mounts an overlay' },
  async (t) => {
    const base = await workspace(
      t,
      'l1/d/deep',
      'l1/gone',
      'l1/whole/sub',
      'l2/d',
      'l2/whole',
      'l2/opaque',
      'l1/opaque',
      'upper',
      'work',
      'merged',
      'below',
    );
    for (const path of [
      'l1/d/a',
      'l1/d/deep/x',
      'l1/gone/x',
      'l1/whole/x',
      'l1/whole/sub/y',
      'l1/f',
      'l1/opaque/hidden',
      'l2/d/b',
      'l2/whole/z',
      'l2/opaque/shown',
      'l1/copied',
      'l1/to-dir',
      'l1/hidden',
    ]) {
      writeFileSync(`${base}/${path}`, path);
    }
    await succeed([
      'sh',
      '-ec',
      `cd ${base}/l2; mknod hidden c 0 0; setfattr -n trusted.overlay.opaque -v y opaque`,
    ]);
    const mount = (options: string, target: string) =>
      run(['mount', '-t', 'overlay', 'overlay', '-o', options, `${base}/${target}`]);
    if ((await mount(`lowerdir=${base}/l2:${base}/l1`, 'below')).status !== 0) {
      t.pass('no overlay', { skip: 'this kernel mounts no overlay here' });
      return;
    }
    await succeed([
      'mount',
      '-t',
      'overlay',
      'overlay',
      '-o',
      `lowerdir=${base}/l2:${base}/l1,upperdir=${base}/upper,workdir=${base}/work,redirect_dir=off,index=off`,
      `${base}/merged`,
    ]);
    await succeed([
      'sh',
      '-ec',
      `cd ${base}/merged
     echo new >d/a; rm d/b; echo x >d/deep/new; rm -r gone; mkdir gone; echo x >gone/y
     rm -r whole; mkdir whole; echo x >whole/z; echo x >opaque/added; rm opaque/shown; rm f; ln -s x f
     touch -a copied; rm to-dir; mkdir to-dir; echo x >to-dir/in; echo x >hidden; mkdir -p n/e/w; echo x >n/e/w/f; rm -r d/deep`,
    ]);
    const expected = compareTrees(`${base}/merged`, `${base}/below`);
    t.ok(expected.length > 15, 'the scene has changes of every kind');
    const found = upperChanges({
      own: `${base}/upper`,
      below: [`${base}/l2`, `${base}/l1`],
      form: 'overlay',
    });
    const lines = (changes: typeof found): string[] =>
      changes!.map(({ kind, path }) => `${kind} ${path}`);
    t.same(lines(found), lines(expected));

    await succeed(['setfattr', '-n', 'trusted.overlay.redirect', '-v', '/d', `${base}/upper/n`]);
    t.equal(
      upperChanges({ own: `${base}/upper`, below: [`${base}/l2`, `${base}/l1`], form: 'overlay' }),
      undefined,
    );
  },
);

t.test('an upper with markers', async (t) => {
  const base = await workspace(
    t,
    'low/d/e',
    'upper/d',
    'upper/new',
    'low/again',
    'upper/again',
    'mid',
  );
  for (const path of ['low/a', 'low/b', 'low/d/x', 'low/again/old', 'low/hidden', 'mid/.wh.hidden'])
    writeFileSync(`${base}/${path}`, '');
  for (const path of [
    '.wh.a',
    '.wh.nothing',
    '.wh.hidden',
    'd/.wh..wh..opq',
    'd/y',
    '.wh.again',
    'again/mine',
    '.wh..wh.plnk',
  ])
    writeFileSync(`${base}/upper/${path}`, '');
  const found = upperChanges({
    own: `${base}/upper`,
    below: [`${base}/mid`, `${base}/low`],
    form: 'aufs',
  });
  const lines = found!.map(({ kind, path }) => `${kind} ${path}`);
  t.same(lines, [
    'D /a',
    'C /again',
    'A /again/mine',
    'D /again/old',
    'C /d',
    'D /d/e',
    'D /d/x',
    'A /d/y',
    'A /new',
  ]);
});

t.test('what a layer in the middle hides is not below', async (t) => {
  const base = await workspace(
    t,
    'low/twice/sub',
    'low/opaque',
    'mid/twice/sub',
    'mid/opaque',
    'upper/twice/sub',
    'upper/opaque',
  );
  for (const path of [
    'low/twice/l',
    'low/twice/sub/l',
    'low/opaque/l',
    'mid/twice/m',
    'mid/opaque/.wh..wh..opq',
    // Beside a directory of its own layer.
    'mid/.wh.twice',
    'upper/twice/l',
    'upper/twice/m',
    'upper/twice/sub/l',
    'upper/opaque/l',
  ])
    writeFileSync(`${base}/${path}`, '');
  // All else is as it was.
  for (const path of ['twice', 'twice/sub', 'opaque', 'twice/m'])
    for (const layer of ['mid', 'upper']) utimesSync(`${base}/${layer}/${path}`, 5, 5);
  const changes = (): string[] =>
    upperChanges({
      own: `${base}/upper`,
      below: [`${base}/mid`, `${base}/low`],
      form: 'aufs',
    })!.map(({ kind, path }) => `${kind} ${path}`);
  t.same(changes(), [
    'C /opaque',
    'A /opaque/l',
    'C /twice',
    'A /twice/l',
    'C /twice/sub',
    'A /twice/sub/l',
  ]);

  writeFileSync(`${base}/low/root`, '');
  writeFileSync(`${base}/upper/root`, 'changed');
  t.ok(changes().includes('C /root'));
  writeFileSync(`${base}/mid/.wh..wh..opq`, '');
  t.ok(changes().includes('A /root'), 'nothing of the layers below an opaque root');
});
