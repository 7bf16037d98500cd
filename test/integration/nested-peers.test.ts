/**
 * fuse-overlayfs on a mount of plyfs: what it keeps in attributes there is what it keeps on a plain
 * directory.
 */
import t from 'tap';
import { succeed } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';
import { fuseOverlayfs, plyfs, unavailable } from '../suites/mounters.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

const skip = isRoot ? ((await unavailable(t, fuseOverlayfs)) ?? false) : 'owners need root';

const LAYER = 'mkdir -p low/d up work merged; echo x >low/f; echo y >low/d/a; mkfifo low/pipe';
const CHANGES = `cd merged; chown 5:6 f; chmod 4711 f; echo n >new; chown 7:8 new; mkdir made; chmod 2750 made
  echo z >d/b; chown 9:9 d/b; setfattr -n user.mine -v x new`;
const LIST =
  'cd merged; find . -mindepth 1 -printf "%P %y %m %U:%G %s\\n" | sort; getfattr -d -m user.mine new';

/** What fuse-overlayfs shows with its layers in `dir`, and after it was mounted again. */
async function shownIn(dir: string): Promise<string[]> {
  const script = (text: string) => succeed(['sh', '-ec', text], { cwd: dir });
  const mount = () =>
    fuseOverlayfs.mount(
      { lowers: [`${dir}/low`], upper: `${dir}/up`, work: `${dir}/work`, options },
      `${dir}/merged`,
    );
  const options = ['xattr_permissions=2'];
  await script(LAYER);
  await mount();
  await script(CHANGES);
  const shown = await script(LIST);
  await unmountAll(`${dir}/merged`);
  await mount();
  const again = await script(LIST);
  await unmountAll(`${dir}/merged`);
  const kept = await script(
    'cd up; getfattr -R -d -m fuseoverlayfs.override_stat . | sed "/^$/d; /^# file/d" | sort',
  );
  return [shown, again, kept];
}

await t.test('fuse-overlayfs on plyfs as on a plain directory', { skip }, async (t) => {
  const base = await workspace(t, 'plain', 'lower/nested', 'upper', 'work', 'mnt');
  await plyfs.mount(
    { lowers: [`${base}/lower`], upper: `${base}/upper`, work: `${base}/work` },
    `${base}/mnt`,
  );
  const [nested, plain] = [await shownIn(`${base}/mnt/nested`), await shownIn(`${base}/plain`)];
  t.match(plain[2], /override_stat="7:8:/, 'it keeps owners in attributes');
  t.same(nested, plain);
});
