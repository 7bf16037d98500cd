/**
 * Containers of an ordinary user: owners that are kept beside the files end up in the layer, and
 * the user deletes all of it.
 */
import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { succeed } from '../support/command.js';
import { NOBODY, asNobody, copyProgram, isRoot, openFuseDevice } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(180_000);
const skip = !isRoot && 'the test becomes another user, which takes root';

t.test('created, changed, committed, copied and removed', { skip }, async (t) => {
  openFuseDevice(t);
  const base = await workspace(t, 'mnt', 'home', 'tree');
  for (const path of ['mnt', 'home']) chownSync(`${base}/${path}`, NOBODY, NOBODY);
  const program = copyProgram(base);
  const ply = (...words: string[]): Promise<string> =>
    succeed([...asNobody, `${program}/bin/ply`, '--root', `${base}/home/root`, ...words], {
      cwd: `${base}/home`,
    });
  const script =
    'mkdir -p etc bin; touch etc/shadow bin/su; chown 0:42 etc/shadow; chmod 640 etc/shadow; chmod 4755 bin/su; tar -cf ../image.tar etc bin';
  await succeed(['sh', '-ec', script], { cwd: `${base}/tree` });
  await ply('import', '-q', `${base}/image.tar`, 'base:1');
  await ply('create', '--name', 'one', 'base:1');
  await ply('mount', 'one', `${base}/mnt`);
  await succeed([
    ...asNobody,
    'sh',
    '-ec',
    'cd "$0"; echo x >> etc/shadow; echo new > etc/new; chown 7:8 etc/new; chmod 4711 etc/new',
    `${base}/mnt`,
  ]);
  t.equal(await ply('diff', 'one'), 'C /etc\nA /etc/new\nC /etc/shadow\n');
  await ply('commit', '-q', 'one', 'new:1');
  writeFileSync(`${base}/file`, 'from the host\n');
  await ply('cp', `${base}/file`, 'one:/etc/copied');
  await ply('umount', 'one');
  await ply('cp', 'one:/etc/copied', 'got');
  t.equal(readFileSync(`${base}/home/got`, 'utf8'), 'from the host\n');

  // The tar of the layer, as it is saved.
  await ply('save', '-q', '-o', 'saved.tar', 'new:1');
  mkdirSync(`${base}/saved`);
  await succeed(['tar', '-xf', `${base}/home/saved.tar`, '-C', `${base}/saved`]);
  const [{ Layers }] = JSON.parse(readFileSync(`${base}/saved/manifest.json`, 'utf8')) as [
    { Layers: string[] },
  ];
  const top = Layers.at(-1)!;
  t.equal(
    (await succeed(['sha256sum', `${base}/saved/${top}`])).slice(0, 64),
    top.split('/').at(-1),
    'the DiffID is the digest of the tar',
  );
  const listed = await succeed(['tar', '--numeric-owner', '-tvf', `${base}/saved/${top}`]);
  t.match(listed, /^-rws--x--x 7\/8 .* etc\/new$/m);
  t.match(listed, /^-rw-r----- 0\/42 .* etc\/shadow$/m);
  t.match(listed, /^drwxr-xr-x 0\/0 .* etc\/$/m);

  await ply('reset', 'one');
  t.equal(await ply('diff', 'one'), '');
  await ply('rm', 'one');
  await succeed([...asNobody, 'rm', '-r', `${base}/home/root`]);
});
