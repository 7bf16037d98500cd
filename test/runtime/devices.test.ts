/** The devices of a container are its own: what is done to them is done to nobody else's. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';

t.setTimeout(120_000);
const skip = !isRoot && 'only the container of the machine’s root can change what is root’s';

t.test('mode, owner and times of devices', { skip }, async (t) => {
  const directory = await temporaryDirectory(t);
  const dataRoot = join(directory, 'root');
  await plyOn(dataRoot)('import', '-q', await containerImage(directory), 'image:1');
  // The devices that ply finds are copies, in a mount namespace that goes with it.
  const own = join(directory, 'dev');
  mkdirSync(own);
  const host = `
    mount -t tmpfs -o mode=755 tmpfs "$1"
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/fuse "$1"
    mkdir "$1/pts" "$1/shm"
    mount --bind "$1" /dev
    shift
    (cd /dev && stat -c '%n %a %u:%g %Y' null zero full random urandom tty)
    umask 077
    "$@" || exit
    (cd /dev && stat -c '%n %a %u:%g %Y' null zero full random urandom tty)`;
  const inside = `
    cd /dev
    stat -c '%n %t:%T %a' null zero full random urandom tty
    for device in null zero full random urandom tty; do chmod 600 $device && chown 33:33 $device && touch -d @1 $device && stat -c '%n %a %u:%g %Y' $device; done
    # Over files that are hidden lies the same null.
    stat -c '%a %u:%g' /proc/interrupts
    (mknod disk b 7 0 && cat disk) >/dev/null 2>&1 || echo no other device can be used
    rm -f disk null 2>/dev/null || echo none can be removed`;
  const words = ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', host, 'sh', own];
  const { status, stdout, stderr } = await run([...words, plyProgram, '--root', dataRoot, 'run', '--rm', 'image:1', 'sh', '-c', inside]);
  t.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  const [before, after] = [lines.slice(0, 6), lines.slice(-6)];
  t.same(after, before, 'those of the host are as they were');
  t.same(lines.slice(6, -6), [
    // Documentation/admin-guide/devices.txt; whatever the umask of who runs it.
    ...['null 1:3 666', 'zero 1:5 666', 'full 1:7 666', 'random 1:8 666', 'urandom 1:9 666', 'tty 5:0 666'],
    ...['null', 'zero', 'full', 'random', 'urandom', 'tty'].map((name) => `${name} 600 33:33 1`),
    '600 33:33',
    'no other device can be used',
    'none can be removed',
  ]);
  figure(t, before.length, 'devices changed in a container');
});
