/**
 * Commands that walk a container's own directory, when something is mounted in it: it is not the
 * container's, and stays whole.
 */
import { chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { plyOn } from '../support/ply.js';
import { asNobody, copyProgram, isRoot, NOBODY } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

const skip = !isRoot && 'mounts are made inside, which takes root';

/** The directory with what the only container of a root has written. */
async function ownDirectory(dataRoot: string, driver: string): Promise<string> {
  const found = driver === 'vfs' ? `${dataRoot}/vfs/dir` : `${dataRoot}/${driver}`;
  const places = (await succeed(['find', found, '-name', 'mine'])).trim().split('\n');
  if (places.length !== 1) throw new Error(`found in ${places.join(' ')}`);
  return join(places[0]!, '..');
}

for (const driver of ['overlay2', 'vfs']) {
  await t.test(driver, { skip }, async (t) => {
    const base = await workspace(t, 'tree/dir', 'from/dir', 'out');
    writeFileSync(`${base}/tree/dir/old`, 'old');
    await succeed(['tar', '-C', `${base}/tree`, '-cf', `${base}/image.tar`, '.']);
    const ply = plyOn(`${base}/root`, '--storage-driver', driver);
    await ply('import', `${base}/image.tar`, 'base:1');
    await ply('create', '--name', 'c', 'base:1');
    for (const name of ['mine', 'dir/covered']) writeFileSync(`${base}/from/${name}`, 'covered');
    await ply('cp', `${base}/from/.`, 'c:/');

    const own = await ownDirectory(`${base}/root`, driver);
    writeFileSync(`${base}/foreign`, 'precious');
    await succeed(['mount', '-t', 'tmpfs', 'tmpfs', `${own}/dir`]);
    writeFileSync(`${own}/dir/precious`, 'precious');
    await succeed(['mount', '--bind', `${base}/foreign`, `${own}/mine`]);

    t.match(await ply('diff', 'c'), /^C \/dir\nA \/dir\/covered\n(?:[^]*\n)?A \/mine$/m);
    await ply('commit', 'c', 'made:1');
    await ply('save', '-o', `${base}/made.tar`, 'made:1');
    t.equal((await run(['grep', '-qa', 'precious', `${base}/made.tar`])).status, 1, 'committed');
    await ply('export', '-o', `${base}/c.tar`, 'c');
    t.match(await succeed(['tar', '-tf', `${base}/c.tar`]), /^(?![^]*precious)[^]*^dir\/covered$/m);
    t.equal(await succeed(['tar', '-xOf', `${base}/c.tar`, 'mine']), 'covered');
    await ply('cp', 'c:/dir', `${base}/out`);
    t.same(readdirSync(`${base}/out/dir`).sort(), ['covered', 'old']);
    await ply('cp', `${base}/from/mine`, 'c:/dir/added');

    for (const words of [['rm', 'c'], ['gc']]) {
      t.match(
        await ply.outcome(...words),
        { status: 1, stderr: /mounted at [^\n]*\/(?:dir|mine), inside [^\n]*: unmount it/ },
        words.join(' '),
      );
    }
    const mounts = (await succeed(['findmnt', '-rno', 'TARGET']))
      .split('\n')
      .filter((path) => path.startsWith(`${base}/root/`));
    const tmpfs = mounts.find((path) => path.endsWith('/dir')) ?? '';
    t.same(readdirSync(tmpfs), ['precious'], 'neither deleted nor added to');
    await succeed(['umount', ...mounts]);
    await ply('gc');
    t.equal(
      (await succeed(['find', `${base}/root`, '-name', 'covered']))
        .split('\n')
        .filter((path) => path.includes('-removing')).length,
      0,
    );
    t.equal(await succeed(['cat', `${base}/foreign`]), 'precious');
  });
}

await t.test('an ordinary user is told', { skip }, async (t) => {
  const base = await workspace(t, 'tree/dir');
  await succeed(['tar', '-C', `${base}/tree`, '-cf', `${base}/image.tar`, '.']);
  chownSync(base, NOBODY, NOBODY);
  const ply = [
    ...asNobody,
    'env',
    `HOME=${base}`,
    join(copyProgram(base), 'bin/ply'),
    '--root',
    `${base}/root`,
  ];
  await succeed([...ply, 'import', `${base}/image.tar`, 'base:1']);
  await succeed([...ply, 'create', '--name', 'c', 'base:1']);
  const [id = ''] = (await succeed([...ply, 'ps', '-aq', '--no-trunc'])).trim().split('\n');
  const own = (await succeed(['find', `${base}/root`, '-path', `*/${id}/diff`])).trim();
  mkdirSync(`${own}/in`);
  chownSync(`${own}/in`, NOBODY, NOBODY);
  await succeed(['mount', '-t', 'tmpfs', '-o', `uid=${NOBODY}`, 'tmpfs', `${own}/in`]);
  writeFileSync(`${own}/in/precious`, 'precious');
  for (const command of ['diff', 'rm']) {
    t.match(
      await run([...ply, command, 'c']),
      { status: 1, stderr: /^ply: [^\n]*mounted[^\n]*: unmount it[^\n]*\n$/ },
      command,
    );
  }
  const [place = ''] = (await succeed(['findmnt', '-rno', 'TARGET']))
    .split('\n')
    .filter((path) => path.startsWith(`${base}/root/`));
  t.same(readdirSync(place), ['precious']);
});
