/** What a daemon has from the process that started it, and does not keep. */
import { statSync } from 'node:fs';
import t from 'tap';
import { run, succeed } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { layers, plyfsProgram } from '../support/plyfs.js';
import { isRoot, openFuseDevice } from '../support/users.js';

t.setTimeout(120_000);
if (isRoot) openFuseDevice(t);

t.test('descriptors: locks end and pipes close with who had them', async (t) => {
  const { directory, mountpoint, options } = await layers(t);
  // 12: a number of two digits.
  const script = 'exec 9>"$0/lock" && flock 9 && "$1" -o "$2" "$3" 12>&1';
  t.match(await run(['bash', '-c', script, directory, plyfsProgram, options, mountpoint]), {
    status: 0,
    stderr: '',
  });
  t.equal(
    (await run(['flock', '--nonblock', `${directory}/lock`, 'ls', mountpoint])).status,
    0,
    'the lock is free while the mount lives',
  );
  await succeed(['umount', mountpoint]);
  // Ends when the last process that has the pipe has closed it.
  t.match(
    await run(['sh', '-c', '{ "$0" -o "$1" "$2"; } 3>&1 | cat', plyfsProgram, options, mountpoint]),
    { status: 0 },
  );
  t.equal((await run(['ls', mountpoint])).status, 0);
});

t.test('a layer may be named by a descriptor all the same', async (t) => {
  const { bottom, mountpoint } = await layers(t);
  const script = 'exec 7<"$0" && "$1" -o lowerdir=/proc/self/fd/7 "$2"';
  t.match(await run(['sh', '-c', script, bottom, plyfsProgram, mountpoint]), {
    status: 0,
    stderr: '',
  });
  t.match(await run(['cat', `${mountpoint}/low`]), { stdout: 'low\n' });
});

t.test('bounds and signals', async (t) => {
  const { mountpoint, upper, options } = await layers(t);
  const script = 'ulimit -S -f 8; ulimit -S -t 60; exec "$0" -o "$1" "$2"';
  t.match(await run(['sh', '-c', script, plyfsProgram, options, mountpoint]), {
    status: 0,
    stderr: '',
  });
  await succeed([
    'dd',
    'if=/dev/zero',
    `of=${mountpoint}/large`,
    'bs=1M',
    'count=2',
    'status=none',
  ]);
  t.equal(
    statSync(`${upper}/large`).size,
    2 << 20,
    'the bound of who mounted is not that of who writes',
  );
  t.match(
    await run([
      'sh',
      '-c',
      'ulimit -f 8; dd if=/dev/zero of="$0/small" bs=1M count=2; exit $?',
      mountpoint,
    ]),
    { status: 153 },
    'SIGXFSZ',
  );

  const [daemon] = daemonsOf(mountpoint);
  for (const signal of [
    'SIGALRM',
    'SIGUSR2',
    'SIGVTALRM',
    'SIGPROF',
    'SIGXCPU',
    'SIGXFSZ',
  ] as const)
    process.kill(daemon as number, signal);
  t.equal(
    (await run(['ls', mountpoint])).status,
    0,
    'signals that a caller may have set for itself end no mount',
  );
});
