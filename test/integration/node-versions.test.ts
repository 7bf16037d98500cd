/**
 * The programs on other releases of Node than the one that built the addon: mount, images, and
 * containers of each kind of user.
 */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run, succeed } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { containerUsers, type ContainerUser } from '../support/container-users.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyfsProgram } from '../support/plyfs.js';
import { isRoot } from '../support/users.js';

const skip = !isRoot && 'the test becomes another user, which takes root';
const VERSIONS = ['22', '24'] as const;

/** The directory of a Node of this release, from npm's packages of it. */
async function nodeOf(version: string, directory: string): Promise<string> {
  const own = join(directory, `node-${version}`);
  mkdirSync(own);
  const packed = await succeed(
    ['npm', 'pack', '--silent', `node-linux-${process.arch}@${version}`],
    { cwd: own },
  );
  await succeed(['tar', '-xzf', packed.trim()], { cwd: own });
  return join(own, 'package/bin');
}

async function mounts(t: Test, directory: string): Promise<void> {
  for (const name of ['lower', 'upper', 'work', 'mnt']) mkdirSync(join(directory, name));
  writeFileSync(join(directory, 'lower/file'), 'below\n');
  const mnt = join(directory, 'mnt');
  const options = `lowerdir=${directory}/lower,upperdir=${directory}/upper,workdir=${directory}/work`;
  t.match(await run([plyfsProgram, '-o', options, mnt]), { status: 0, stderr: '' });
  t.teardown(() => run(['umount', '-l', mnt]));
  await succeed(['sh', '-ec', 'cat file; echo above >>file; mkdir d; mv file d; ls -R'], {
    cwd: mnt,
  });
  t.equal(readFileSync(join(directory, 'upper/d/file'), 'utf8'), 'below\nabove\n');
  t.match(await run(['umount', mnt]), { status: 0 });
}

async function images(t: Test, user: ContainerUser, tar: string): Promise<void> {
  const saved = join(user.directory, 'saved.tar');
  const mnt = join(user.directory, 'mnt');
  await succeed([
    'setpriv',
    `--reuid=${user.uid}`,
    `--regid=${user.uid}`,
    '--clear-groups',
    'mkdir',
    mnt,
  ]);
  for (const words of [
    ['import', '-q', tar, 'image:1'],
    ['save', '-q', '-o', saved, 'image:1'],
    ['rmi', 'image:1'],
    ['load', '-q', '-i', saved],
  ]) {
    t.match(await user.ply(...words), { status: 0, stderr: '' }, words[0]!);
  }
  t.match(await user.here('mount', '--name', 'mounted', 'image:1', mnt), { status: 0, stderr: '' });
  t.match(await user.here('umount', 'mounted'), { status: 0, stderr: '' });
}

/** For a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

async function containers(t: Test, user: ContainerUser): Promise<void> {
  const words = [
    'run',
    '--rm',
    'image:1',
    'sh',
    '-c',
    'chown 33:44 /plain; stat -c %u:%g /plain; exit 4',
  ];
  t.match(
    await user.ply(...words),
    { status: 4, stdout: '33:44\n', stderr: '' },
    'without a terminal',
  );
  const terminal = [...user.words, 'run', '--rm', '-it', 'image:1', 'sh', '-c', 'tty; exit 4'];
  // script(1) has the program's status with -e, and a terminal for it.
  const outcome = await run(['script', '-qec', terminal.map(quoted).join(' '), '/dev/null'], {
    input: '',
  });
  t.match(outcome, { status: 4, stdout: '/dev/pts/0\r\n', stderr: '' }, 'with one');
  t.match(
    await user.ply('run', '--rm', '--runtime', 'crun', 'image:1', 'sh', '-c', 'echo x; exit 4'),
    { status: 4, stdout: 'x\n', stderr: '' },
    'by crun',
  );
}

t.setTimeout(300_000);

t.test('other releases of Node', { skip }, async (t) => {
  const directory = await temporaryDirectory(t);
  chmodSync(directory, 0o755);
  const tar = await containerImage(directory);
  const path = process.env['PATH'];
  t.teardown(() => void (process.env['PATH'] = path));
  for (const version of VERSIONS) {
    await t.test(version, async (t) => {
      process.env['PATH'] = `${await nodeOf(version, directory)}:${path ?? ''}`;
      t.match(await succeed(['node', '--version']), new RegExp(`^v${version}\\.`));
      const own = join(directory, version);
      mkdirSync(own);
      await mounts(t, own);
      for (const user of await containerUsers(t)) {
        await t.test(user.name, async (t) => {
          await images(t, user, tar);
          await containers(t, user);
        });
      }
    });
  }
});
