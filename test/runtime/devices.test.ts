/** The devices of a container: what is done to them is done to none of the host's. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { containerUsers } from '../support/container-users.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { isRoot } from '../support/users.js';

t.setTimeout(120_000);
const skip = !isRoot && 'the devices that ply finds are copies, which takes root';

const names = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];

/**
 * Runs its words where /dev has copies of devices, and prints what these are like, before and
 * after.
 */
const host = `
  mount -t tmpfs -o mode=755 tmpfs "$1"
  for name in ${names.join(' ')} fuse; do cp -a "/dev/$name" "$1"; done
  mkdir "$1/pts" "$1/shm"
  mount --bind "$1" /dev
  shift
  (cd /dev && stat -c '%n %a %u:%g %Y' ${names.join(' ')})
  umask 077
  "$@" || exit
  (cd /dev && stat -c '%n %a %u:%g %Y' ${names.join(' ')})`;

const inside = `
  cd /dev
  stat -c '%n %t:%T %a' ${names.join(' ')}
  for device in ${names.join(' ')}; do
    chmod 600 $device 2>/dev/null; chown 33:33 $device 2>/dev/null; touch -d @1 $device 2>/dev/null
    stat -c '%n %a %u:%g %Y' $device
  done
  # Over files that are hidden lies the same null.
  stat -c '%a %u:%g' /proc/interrupts
  (mknod disk b 7 0 && cat disk) >/dev/null 2>&1 || echo no other device can be used
  rm -f disk null 2>/dev/null || echo none can be removed`;

t.test('mode, owner and times of devices', { skip }, async (t) => {
  const directory = await temporaryDirectory(t);
  chmodSync(directory, 0o755);
  const tar = await containerImage(directory);
  for (const user of await containerUsers(t)) {
    const own = join(directory, `dev-${user.name}`);
    mkdirSync(own);
    t.match(await user.ply('import', '-q', tar, 'image:1'), { status: 0 });
    const words = ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', host, 'sh', own];
    const { status, stdout, stderr } = await run([
      ...words,
      ...user.words,
      'run',
      '--rm',
      'image:1',
      'sh',
      '-c',
      inside,
    ]);
    t.equal(status, 0, stderr);
    const lines = stdout.trim().split('\n');
    const before = lines.slice(0, names.length);
    t.same(lines.slice(-names.length), before, `${user.name}: those of the host are as they were`);
    const shown = lines.slice(names.length, -names.length);
    // Documentation/admin-guide/devices.txt; whatever the umask of who runs it.
    t.same(shown.slice(0, names.length), [
      'null 1:3 666',
      'zero 1:5 666',
      'full 1:7 666',
      'random 1:8 666',
      'urandom 1:9 666',
      'tty 5:0 666',
    ]);
    t.same(shown.slice(-2), ['no other device can be used', 'none can be removed']);
    if (user.uid === 0) {
      const changed = [...names.map((name) => `${name} 600 33:33 1`), '600 33:33'];
      t.same(
        shown.slice(names.length, -2),
        changed,
        'root has devices of its own, and changes them',
      );
    }
    figure(t, names.length, 'devices changed in a container');
  }
});
