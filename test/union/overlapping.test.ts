/**
 * A lower directory that has the upper and the workdir in it: a throw-away copy of a whole system.
 * The kernel's overlay beside.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { isRoot } from '../support/users.js';
import { kernel, plyfs, unavailable, type Mounter } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';

const skip =
  !isRoot &&
  'an ordinary user has no private copy of a lower, so that the mount would lie in its own layer';

for (const mounter of [plyfs, kernel] as readonly Mounter[]) {
  t.test(mounter.name, { skip: skip || ((await unavailable(t, mounter)) ?? false) }, async (t) => {
    const base = await workspace(t, 'system');
    const system = `${base}/system`;
    for (const name of ['etc', 'mnt', 'place', 'place/upper', 'place/work', 'place/other'])
      mkdirSync(`${system}/${name}`);
    writeFileSync(`${system}/etc/motd`, 'as it was\n');
    // What a lookup must not reach, lying where the upper will have it.
    writeFileSync(`${system}/place/upper/before`, 'in the upper\n');
    const mnt = `${system}/mnt`;
    await mounter.mount(
      { lowers: [system], upper: `${system}/place/upper`, work: `${system}/place/work` },
      mnt,
    );

    t.equal(await succeed(['cat', `${mnt}/before`]), 'in the upper\n');
    t.equal(await succeed(['ls', `${mnt}/place`]), 'other\nupper\nwork\n', 'names are shown');
    for (const name of ['upper', 'work']) {
      t.match(
        await run(['ls', `${mnt}/place/${name}`]),
        { stderr: /Too many levels of symbolic links/ },
        name,
      );
      t.match(await run(['touch', `${mnt}/place/${name}/x`]), {
        stderr: /Too many levels of symbolic links/,
      });
      t.match(await run(['rmdir', `${mnt}/place/${name}`]), {
        stderr: /Too many levels of symbolic links/,
      });
    }
    t.match(
      await run(['ls', '-l', `${mnt}/place`]),
      { stdout: /other$/m },
      'the others are shown all the same',
    );

    await succeed([
      'sh',
      '-c',
      'echo changed >"$0/etc/motd"; echo new >"$0/place/other/new"; rm -r "$0/mnt"',
      mnt,
    ]);
    t.equal(await succeed(['cat', `${mnt}/etc/motd`, `${mnt}/place/other/new`]), 'changed\nnew\n');
    t.equal(readFileSync(`${system}/etc/motd`, 'utf8'), 'as it was\n', 'the system is as it was');
    t.equal(await succeed(['ls', `${system}/place/other`]), '');
    await succeed(['umount', mnt]);
  });
}

t.test('a lower directory inside the upper is refused', { skip }, async (t) => {
  for (const mounter of [plyfs, kernel]) {
    const base = await workspace(t, 'upper', 'upper/lower', 'work', 'mnt');
    await t.rejects(
      mounter.mount(
        { lowers: [`${base}/upper/lower`], upper: `${base}/upper`, work: `${base}/work` },
        `${base}/mnt`,
      ),
      mounter.name,
    );
  }
});
