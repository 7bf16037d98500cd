/**
 * The options of ownership, beside the program that defines them: the same operations show and
 * record the same owners.
 */
import t from 'tap';
import { succeed } from '../support/command.js';
import {
  fuseOverlayfs,
  plyfs,
  unavailable,
  Union,
  unmount,
  type Mounter,
} from '../suites/mounters.js';
import { isRoot } from '../support/users.js';

t.setTimeout(120_000);

const LAYER = `
  mkdir -p dir/sub; echo abc >file; echo g >group; echo o >outside; mkfifo pipe; ln -s file link
  chown 100005:200006 file; chown 100000:200000 group dir; chown -h 100007:200007 link; chown 7:8 outside; chmod 4755 file`;

const CHANGES = `
  chown 3:4 file; echo n >new; mkdir newdir; mkdir newdir/sub; ln -s x newlink; mkfifo newpipe; mknod newdevice c 1 3
  chmod 640 outside; chmod 2711 newdir; chmod 777 dir; ln new new2; setfattr -n user.x -v y new
  setpriv --reuid 3 --regid 4 --clear-groups sh -c 'echo z >dir/by-user'
  python3 -c 'import os; os.fsync(os.open("new", os.O_RDWR))'`;

/**
 * Every name with type, owner, mode; names of a file's links are counted, those of a directory are
 * not the peer's.
 */
const LIST = `find . -mindepth 1 ! -name '.wh.*' | sort | while read -r path; do
  if [ -d "$path" ] && [ ! -L "$path" ]; then stat -c '%n %F %u:%g %a' "$path"; else stat -c '%n %F %u:%g %a %h' "$path"; fi; done`;

async function outcome(
  test: Tap,
  mounter: Mounter,
  options: readonly string[],
): Promise<Record<string, string>> {
  const union = await Union.create(test, mounter, 1, options);
  const at = (directory: string, script: string): Promise<string> =>
    succeed(['sh', '-c', script], { cwd: directory });
  await at(union.lowers[0]!, LAYER);
  await union.mount();
  const lower = await at(union.mnt, LIST);
  await at(union.mnt, CHANGES);
  const shown = await at(union.mnt, LIST);
  await unmount(union.mnt);
  const recorded = await at(union.upper, LIST);
  return { lower, shown, recorded };
}

type Tap = Parameters<typeof unavailable>[0];

const missing = isRoot ? await unavailable(t, fuseOverlayfs) : 'owners need root';

for (const options of [
  [],
  ['uidmapping=100000:0:1000:7:2000:1', 'gidmapping=200000:0:1000'],
  ['squash_to_root'],
  ['squash_to_uid=7', 'squash_to_gid=8'],
  ['squash_to_uid=7'],
  ['squash_to_root', 'squash_to_uid=5'],
  ['noacl'],
  ['static_nlink'],
  ['volatile'],
  ['fsync=0'],
]) {
  await t.test(options.join(' ') || 'no option', { skip: missing ?? false }, async (t) => {
    t.same(await outcome(t, plyfs, options), await outcome(t, fuseOverlayfs, options));
  });
}

/*
 * Not compared: xattr_permissions. fuse-overlayfs 1.10 (Debian 12) writes another attribute than
 * containers/storage reads (user.fuseoverlayfs.override_stat), takes every owner that it copies up
 * for 0, and gives each new file the mode 755.
 */
