/** Mounts in mount namespaces that end without unmounting them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import t from 'tap';
import { runtimeDirectory } from '../../src/host/runtime-directory.js';
import { run } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { layers, plyfsProgram } from '../support/plyfs.js';
import { plyProgram } from '../support/ply.js';
import { isRoot } from '../support/users.js';

t.setTimeout(120_000);
const skip = !isRoot && 'a mount namespace of its own takes root, or a user namespace';

/** Returns when the process that serves can be asked. */
const MOUNT = '"$0" -o "$2" "$3" && "$1" explain "$3" low >/dev/null';

for (const namespaces of [
  ['unshare', '-m'],
  ['unshare', '-rm'],
]) {
  t.test(
    `${namespaces.join(' ')}: the upper directory can be mounted next`,
    { skip },
    async (t) => {
      const { mountpoint, options, upper } = await layers(t);
      const words = [plyfsProgram, plyProgram, options, mountpoint];
      t.match(await run([...namespaces, 'sh', '-c', MOUNT, ...words]), { status: 0, stderr: '' });
      const [first] = daemonsOf(mountpoint);
      t.type(first, 'number', 'a process that serves keeps its namespace');

      const second = await run([
        ...namespaces,
        'sh',
        '-c',
        `${MOUNT} && echo new >"$3/new" && umount "$3"`,
        ...words,
      ]);
      t.match(second, { status: 0, stderr: '' });
      t.equal(readFileSync(`${upper}/new`, 'utf8'), 'new\n');
      t.notOk(daemonsOf(mountpoint).includes(first as number), 'the former mount has ended');
    },
  );
}

t.test('a mount that somebody can reach stays', { skip }, async (t) => {
  const { mountpoint, options } = await layers(t);
  const user = spawn(
    'unshare',
    [
      '-m',
      'sh',
      '-c',
      `${MOUNT} && echo there && cat && umount "$3"`,
      plyfsProgram,
      plyProgram,
      options,
      mountpoint,
    ],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  const ended = once(user, 'exit');
  t.teardown(async () => {
    user.stdin.end();
    await ended;
  });
  await once(user.stdout, 'data');
  const [daemon] = daemonsOf(mountpoint);
  const name = readdirSync(runtimeDirectory()).find((entry) =>
    entry.endsWith(`-${daemon as number}`),
  );
  const socket = connect(`${runtimeDirectory()}/${name as string}`);
  const answered = once(socket, 'data');
  socket.write('leave\n');
  await answered;
  const shown = await run(['nsenter', '-t', String(user.pid), '-m', 'cat', `${mountpoint}/low`]);
  t.match(shown, { status: 0, stdout: 'low\n' });
  socket.destroy();
});
