/**
 * A container's first process: what it is run from, and that nothing of the host's can be reached
 * by way of it.
 */
import { execFileSync, spawn, type StdioOptions } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { E } from '../../src/base/errno.js';
import { sealedFirstProgram } from '../../src/runtime/first-program.js';
import { sys } from '../../src/sys/index.js';
import { outcomeOf, run } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';

t.setTimeout(120_000);

t.test('its program is sealed, and links no library', async (t) => {
  const fd = sealedFirstProgram();
  t.teardown(() => sys.close(fd));
  t.throws(
    () => writeSync(fd, Buffer.from('x'), 0, 1, 0),
    { code: 'EPERM' },
    'it cannot be changed',
  );
  t.equal(sys.ftruncate(fd, 0), -E.EPERM, 'nor shortened');
  t.equal(sys.fallocate(fd, 0, 1 << 20, 1 << 20), -E.EPERM, 'nor made longer');
  const program = readFileSync(`/proc/self/fd/${fd}`);
  // Program headers, elf(5): a dynamically linked program names its interpreter in one of type
  // PT_INTERP, 3.
  const [offset, size, count] = [
    Number(program.readBigUInt64LE(32)),
    program.readUInt16LE(54),
    program.readUInt16LE(56),
  ];
  const types = Array.from({ length: count }, (_, i) => program.readUInt32LE(offset + i * size));
  t.ok(types.length > 0);
  t.notOk(types.includes(3));
  t.match(await run([`/proc/${process.pid}/fd/${fd}`]), {
    status: 2,
    stderr: /^This program is started by ply run\.\n$/,
  });
});

const skip = !isRoot && 'only the container of the machine’s root can change what is root’s';

t.test('nothing of the host can be reached by way of it', { skip }, async (t) => {
  const directory = await temporaryDirectory(t);
  const dataRoot = join(directory, 'root');
  const tar = await containerImage(directory);
  const programs = join(directory, 'programs');
  mkdirSync(programs);
  // The node that runs ply here is a copy: what a container does to it is done to nobody else.
  const node = join(programs, 'node');
  copyFileSync(process.execPath, node);
  const env = { ...process.env, PATH: `${programs}:${process.env['PATH'] ?? ''}` };
  const ply = (words: readonly string[], more: object = {}) =>
    run([plyProgram, '--root', dataRoot, ...words], { env, ...more });
  t.match(await ply(['import', '-q', tar, 'image:1']), { status: 0 });

  await t.test('the program that made the container', async (t) => {
    const libraries = [
      ...execFileSync('ldd', [node], { encoding: 'utf8' }).matchAll(/(\/[^\s)]+) \(0x/g),
    ].map(([, path]) => path!);
    const shown = libraries.flatMap((path) => ['-v', `${path}:${path}:ro`]);
    const before = statSync(node);
    const script = 'require("fs").chmodSync("/proc/self/exe",0o4755)';
    const attack = await ply([
      'run',
      '--rm',
      ...shown,
      '--entrypoint',
      '/proc/self/exe',
      'image:1',
      '-e',
      script,
    ]);
    t.not(attack.status, 0);
    t.equal(statSync(node).mode.toString(8), before.mode.toString(8), 'its mode is what it was');
    t.ok(readFileSync(node).equals(readFileSync(process.execPath)), 'and its bytes');
  });

  await t.test('links below /proc', async (t) => {
    // Device and inode of what each leads to; a link to itself counts for itself.
    const script = `
      for process in /proc/[0-9]* /proc/self; do
        for link in $process/exe $process/cwd $process/root $process/fd/* $process/map_files/* $process/task/*/exe $process/task/*/fd/*; do
          [ -e "$link" ] && stat -L -c "%t:%T %d %i %F $link" "$link"
        done
      done; exit 0`;
    const { stdout, stderr } = await ply(['run', '--rm', 'image:1', 'sh', '-c', script]);
    const found = stdout.trim().split('\n');
    t.ok(found.length > 10, stderr);
    const hosts = new Set(
      readFileSync('/proc/self/mountinfo', 'latin1')
        .trim()
        .split('\n')
        .map((line) => line.split(' ')[2]!.split(':').map(Number) as [number, number])
        // As stat(2) tells it (makedev(3)).
        .map(([major, minor]) =>
          String(((major & 0xfff) << 8) | (minor & 0xff) | ((minor & ~0xff) << 12)),
        ),
    );
    t.same(
      found.filter((line) => hosts.has(line.split(' ')[1]!)),
      [],
      'none leads to a file system that the host has mounted',
    );
    figure(t, found.length, 'links below /proc followed');
  });

  await t.test('a directory that whoever called had open, as the working directory', async (t) => {
    const secret = join(directory, 'secret');
    mkdirSync(secret);
    writeFileSync(join(secret, 'file'), 'of the host\n');
    const open = openSync(secret, 'r');
    t.teardown(() => closeSync(open));
    const stdio: StdioOptions = [
      'ignore',
      'pipe',
      'pipe',
      ...Array.from({ length: 30 }, () => open),
    ];
    for (const fd of [3, 8]) {
      const words = ['run', '--rm', '-w', `/proc/self/fd/${fd}`, 'image:1', 'cat', 'file'];
      const { stdout, status } = await outcomeOf(
        spawn(plyProgram, ['--root', dataRoot, ...words], { env, stdio }),
      );
      t.same(
        { fd, stdout, refused: status !== 0 },
        { fd, stdout: '', refused: true },
        'leads nowhere',
      );
    }
  });
});
