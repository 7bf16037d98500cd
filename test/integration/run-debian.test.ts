/**
 * `ply run` on a whole Debian, as an ordinary user: packages that make users and give files away;
 * and bundles, run by crun.
 */
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run, succeed } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { containerUsers, type ContainerUser } from '../support/container-users.js';
import { temporaryDirectory } from '../support/mounts.js';
import { asNobody, isRoot } from '../support/users.js';
import { hostSources } from './debian-host.js';

const skip =
  !isRoot && 'mmdebstrap makes the image, and the test becomes another user, which takes root';

async function debian(directory: string): Promise<string> {
  const { suite, list, options } = await hostSources();
  const tar = join(directory, 'debian.tar');
  const words = options.map((option) => `--aptopt=${option}`);
  await succeed(['mmdebstrap', '--quiet', '--variant=apt', '--mode=root', ...words, suite, tar], {
    input: list,
  });
  chmodSync(tar, 0o644);
  return tar;
}

async function installs(t: Test, user: ContainerUser): Promise<void> {
  // man-db runs a program as the user man, cron and openssh-client make groups and give files to
  // them; apt fetches as _apt.
  const script = `
    export DEBIAN_FRONTEND=noninteractive
    apt-get update && apt-get install -y --no-install-recommends man-db cron openssh-client || exit
    dpkg --audit
    stat -c '%a %U:%G %n' /usr/bin/crontab /usr/bin/ssh-agent /var/cache/man /var/spool/cron/crontabs`;
  const { status, stdout, stderr } = await user.ply(
    'run',
    '--name',
    'installed',
    'debian:1',
    'sh',
    '-c',
    script,
  );
  if (status !== 0) throw new Error(stderr + stdout);
  t.same(stdout.trim().split('\n').slice(-4), [
    // As dpkg-statoverride(1), the packages' postinst and tmpfiles say.
    '2755 root:crontab /usr/bin/crontab',
    '2755 root:_ssh /usr/bin/ssh-agent',
    '755 man:man /var/cache/man',
    '1730 root:crontab /var/spool/cron/crontabs',
  ]);
  t.notMatch(stdout + stderr, /not permitted|Invalid argument/);
  t.match(
    await user.ply(
      'run',
      'installed',
      'setpriv',
      '--reuid=man',
      '--regid=man',
      '--init-groups',
      'id',
      '-un',
    ),
    { stdout: 'man\n' },
  );
}

t.setTimeout(300_000);

t.test('Debian packages are installed in a container of an ordinary user', { skip }, async (t) => {
  const directory = await temporaryDirectory(t);
  chmodSync(directory, 0o755);
  const tar = await debian(directory);
  for (const user of (await containerUsers(t)).filter(({ uid }) => uid !== 0)) {
    await t.test(user.name, async (t) => {
      t.match(await user.ply('import', tar, 'debian:1'), { status: 0 });
      await installs(t, user);
    });
  }
});

t.test('crun runs what ply hands it, and a bundle', { skip }, async (t) => {
  const tar = await containerImage(await temporaryDirectory(t));
  chmodSync(join(tar, '..'), 0o755);
  for (const user of await containerUsers(t)) {
    await t.test(user.name, async (t) => {
      t.match(await user.ply('import', tar, 'image:1'), { status: 0 });
      const ran = await user.ply(
        'run',
        '--rm',
        '--runtime',
        'crun',
        '-e',
        'A=b',
        'image:1',
        'sh',
        '-c',
        'id -u; echo $A; exit 4',
      );
      t.match(ran, { status: 4, stdout: '0\nb\n' }, ran.stderr);
      const planted = join(user.directory, 'planted');
      const words = [
        'run',
        '--rm',
        '--runtime',
        'crun',
        'image:1',
        'sh',
        '-c',
        'echo x; chmod 4755 /proc/self/fd/0 /proc/self/fd/1',
      ];
      await run(['sh', '-c', 'umask 022; exec "$@" >"$0"', planted, ...user.words, ...words]);
      t.equal(readFileSync(planted, 'utf8'), 'x\n');
      t.equal(
        (statSync(planted).mode & 0o7777).toString(8),
        '644',
        'it cannot change the file that its output goes to',
      );

      const bundle = join(user.directory, 'bundle');
      t.match(
        await user.here(
          'bundle',
          '--name',
          'bundled',
          'image:1',
          bundle,
          'sh',
          '-c',
          'echo x >/made; id -u; exit 5',
        ),
        {
          stdout: 'bundled\n',
        },
      );
      // crun refuses the sight of two versions of cgroups, which some machines have.
      const hidden = [
        'unshare',
        '--mount',
        'sh',
        '-c',
        'mount -t tmpfs none /sys/fs/cgroup; exec "$@"',
        'sh',
      ];
      const as = user.uid === 0 ? [] : [...asNobody, 'env', `XDG_RUNTIME_DIR=${user.directory}`];
      const outcome = await run(
        [
          ...hidden,
          ...as,
          'crun',
          '--cgroup-manager=disabled',
          'run',
          '--bundle',
          bundle,
          `ply-${user.name}`,
        ],
        {
          cwd: '/',
        },
      );
      t.match(outcome, { status: 5, stdout: '0\n' }, outcome.stderr);
      t.match(await user.here('bundle', 'image:1', bundle), {
        status: 1,
        stderr: /config\.json already/,
      });
      t.match(await user.here('umount', 'bundled'), { status: 0 });
      t.match(
        await user.ply('run', 'bundled', 'cat', '/made'),
        { stdout: 'x\n' },
        'what it changed is in the container',
      );
    });
  }
});
