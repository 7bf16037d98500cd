/**
 * `ply run`, as root, as an ordinary user with one id, and as one with a range: what a container
 * sees, how it ends, and what is left.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  chownSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ReadStream } from 'node:tty';
import t, { type Test } from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { AT_FDCWD, O_CLOEXEC, O_NOCTTY, O_RDWR } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { ended, outcomeOf, says, succeed } from '../support/command.js';
import { containerImage } from '../support/container-image.js';
import { containerUsers, type ContainerUser } from '../support/container-users.js';
import { temporaryDirectory } from '../support/mounts.js';
import { isRoot } from '../support/users.js';

/** Processes that have `word` among their words. */
function processesWith(word: string): string[] {
  return readdirSync('/proc').filter((entry) => {
    try {
      return (
        /^\d+$/.test(entry) &&
        readFileSync(`/proc/${entry}/cmdline`, 'latin1').split('\0').includes(word)
      );
    } catch {
      return false;
    }
  });
}

/** Runs `script` in a new container of the image and returns the lines it prints. */
async function lines(
  user: ContainerUser,
  options: readonly string[],
  script: string,
): Promise<string[]> {
  const { status, stdout, stderr } = await user.ply(
    'run',
    '--rm',
    ...options,
    'image:1',
    'sh',
    '-c',
    script,
  );
  if (status !== 0) throw new Error(`${user.name}: ${status ?? ''} ${stdout}${stderr}`);
  return stdout.trim().split('\n');
}

async function looks(t: Test, user: ContainerUser): Promise<void> {
  const script = `
    id -u; id -g
    stat -c '%u:%g %a' owned spool
    stat -c '%F %t:%T' node
    touch f; chown 33:44 f; chmod 6755 f; stat -c '%u:%g %a' f
    chown 0 f; stat -c '%u:%g %a' f; chown -h 33 f
    mkdir -p spool/d; stat -c '%g %a' spool/d
    (cat node) 2>/dev/null && echo open || echo closed
    echo x >/dev/null && [ -c /dev/null ] && echo null
    cat /proc/1/comm /proc/sys/kernel/hostname
    ls -d /proc/[0-9]*/ | { read -r one; echo "$one"; }
    stat -c %i / /proc/1/root/ /.. /proc/1/root/../.. | { read -r a; read -r b; read -r c; read -r d; [ "$a$a$a" = "$b$c$d" ] && echo same; }
    [ -e /proc/1/root$0 ] || [ -e $0 ] || echo hidden
    ls /proc/self/fd | { n=0; while read -r _; do n=$((n+1)); done; echo $n; }
    echo $HOME $A "$B"
    cat /etc/hostname`;
  const options = ['--hostname', 'box', '-e', 'A=b', '-e', 'B=c d', '-w', '/made/for/it'];
  const { stdout, stderr, status } = await user.ply(
    'run',
    '--rm',
    ...options,
    'image:1',
    'sh',
    '-c',
    `echo $PWD; cd /; ${script}; exit 0`,
    user.directory,
  );
  t.equal(status, 0, stderr);
  t.same(
    stdout.trim().split('\n'),
    [
      ...[
        '/made/for/it',
        '0',
        '0',
        '33:44 4755',
        '33:44 2770',
        'character special file 1:3',
        '33:44 6755',
        '0:44 755',
        '44 2755',
        'closed',
        'null',
        'sh',
        'box',
        '/proc/1/',
      ],
      ...['same', 'hidden'],
      // The three standard streams, and that by which the directory is read.
      '4',
      ...['/root b c d', 'box'],
    ],
    'what the image says is shown, and what is changed sticks; nothing of the host is',
  );
}

async function confinement(t: Test, user: ContainerUser): Promise<void> {
  const volume = join(user.directory, 'volume');
  mkdirSync(volume);
  writeFileSync(join(volume, 'file'), 'of the host\n');
  if (isRoot)
    for (const path of [volume, join(volume, 'file')]) chownSync(path, user.uid, user.uid);
  const options = [
    '--network',
    'none',
    '--read-only',
    '-v',
    `${volume}:/rw`,
    '-v',
    `${volume}:/deep/ro:ro`,
    '-w',
    '/tmp',
  ];
  t.same(
    await lines(
      user,
      options,
      `cat /rw/file; (echo more >/rw/new) && echo written
       (echo x >/deep/ro/new) 2>/dev/null || echo read-only
       (echo x >/file) 2>/dev/null || echo read-only
       (echo x >/proc/sys/kernel/hostname) 2>/dev/null || echo read-only
       (mknod /dev/disk b 254 0 && cat /dev/disk) 2>/dev/null | { read -r _ && echo device || echo none; }
       pwd; while read -r name _; do case $name in *:) echo $name;; esac; done </proc/net/dev`,
    ),
    ['of the host', 'written', 'read-only', 'read-only', 'read-only', 'none', '/tmp', 'lo:'],
  );
  t.equal(readFileSync(join(volume, 'new'), 'utf8'), 'more\n');
  t.same(
    await lines(
      user,
      ['-u', 'web'],
      'id -u; id -g; id -G; touch /tmp/mine; stat -c %u:%g /tmp/mine; echo $HOME; chown 0 /tmp/mine 2>/dev/null || echo refused',
    ),
    ['33', '33', '33 44', '33:33', '/srv/web', 'refused'],
    'another user of the image',
  );
  t.same(await lines(user, ['-u', '7:8'], 'id -u; id -G'), ['7', '8']);
}

/** Files that decide whom a program runs as, and never end, or never begin. */
async function endless(t: Test, user: ContainerUser): Promise<void> {
  const script = 'rm /etc/passwd /etc/group; ln -s /dev/zero /etc/passwd; mknod /etc/group p';
  t.match(await user.ply('run', '--name', 'endless', 'image:1', 'sh', '-c', script), {
    status: 0,
    stderr: '',
  });
  t.match(await user.ply('commit', 'endless', 'endless:1'), { status: 0 });
  t.match(await user.ply('rm', 'endless'), { status: 0 });
  t.match(
    await user.ply('run', '--rm', '-u', '7', 'endless:1', 'id', '-u'),
    { status: 0, stdout: '7\n' },
    'they say nothing',
  );
  t.match(await user.ply('run', '--rm', '-u', 'web', 'endless:1', 'id', '-u'), {
    status: 125,
    stderr: /web/,
  });
  t.match(await user.ply('rmi', 'endless:1'), { status: 0 });
}

async function limits(t: Test, user: ContainerUser): Promise<void> {
  // `-m` is RLIMIT_RSS and `-w` RLIMIT_LOCKS, hard and soft. A shell keeps the ids that a set-id
  // bit gave it with -p only.
  const script = `
    cat /bin/sh >/tmp/sh; chown 33:44 /tmp/sh; chmod 6755 /tmp/sh
    ulimit -m 0; ulimit -w 0; id -u; touch /tmp/a
    /tmp/sh -p -c '
      id -u; id -g; ulimit -m 1024; ulimit -w 1024; id -u; id -g; touch /tmp/b
      setpriv --reuid=33 --regid=44 --keep-groups sh -c "ulimit -m 0; id -u; id -ru; touch /tmp/c"'
    stat -c %u:%g /tmp/a /tmp/b /tmp/c`;
  const ids = ['0', '33', '44', '33', '44', '33', '33', '0:0', '33:44', '33:44'];
  t.same(await lines(user, [], script), ids, 'a limit that a container sets changes nobody');
}

async function endings(t: Test, user: ContainerUser): Promise<void> {
  const statusOf = async (...words: string[]): Promise<number | null> =>
    (await user.ply('run', '--rm', ...words)).status;
  // The statuses are docker run's (docs.docker.com/reference/cli/docker/container/run, "Exit
  // status").
  const [own, missing, refused, unknown, wrong, killed] = await Promise.all([
    statusOf('image:1', 'sh', '-c', 'exit 7'),
    statusOf('image:1', 'no-such-program'),
    statusOf('image:1', '/plain'),
    statusOf('--pull', 'never', 'no-such-image', 'true'),
    statusOf('--no-such-option', 'image:1', 'true'),
    statusOf('image:1', 'sh', '-c', 'sh -c "kill -9 \\$\\$"; exit $?'),
  ]);
  t.same(
    { own, missing, refused, unknown, wrong, killed },
    { own: 7, missing: 127, refused: 126, unknown: 125, wrong: 125, killed: 137 },
  );
  t.match(await user.ply('run', '--rm', 'image:1', 'no-such-program'), {
    stderr: /^ply: no-such-program [^\n]*\n$/,
  });

  const child = spawn(user.words[0]!, [
    ...user.words.slice(1),
    'run',
    '--rm',
    '-i',
    'image:1',
    'sh',
    '-c',
    'trap "echo got; exit 3" TERM; echo ready; read -r line; echo $line; while :; do sleep 0.1; done',
  ]);
  child.stdin.write('hello\n');
  t.teardown(() => child.kill('SIGKILL'));
  const outcome = outcomeOf(child);
  await says(child, child.stdout, 'hello');
  // Wrappers of this test become ply by exec.
  child.kill('SIGTERM');
  t.match(
    await outcome,
    { status: 3, stdout: 'ready\nhello\ngot\n' },
    'a signal and standard input reach it',
  );
}

async function killing(t: Test, user: ContainerUser): Promise<void> {
  const word = `${user.name}-${process.pid}`;
  const child = spawn(
    user.words[0]!,
    [
      ...user.words.slice(1),
      'run',
      '--name',
      'killed',
      'image:1',
      'sh',
      '-c',
      'echo ready; while :; do sleep 1; done',
      word,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const inside = processesWith(word).filter((pid) =>
    /^NSpid:.*\s1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
  );
  t.equal(inside.length, 1);
  const supervisor = readFileSync(`/proc/${inside[0]!}/status`, 'utf8').match(
    /^PPid:\s*(\d+)/m,
  )![1]!;
  const namespace = processesInMountNamespaceOf(supervisor);
  t.ok(namespace.length >= 2, 'the supervisor and the union');
  child.kill('SIGKILL');
  await Promise.all([...namespace, ...inside].map((pid) => ended(Number(pid))));
  t.same(
    processesWith(word).filter((pid) => existsSync(`/proc/${pid}/root/.`)),
    [],
    'SIGKILL of ply ends all that was started',
  );
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), user.dataRoot, 'and nothing is mounted');
  t.match(
    await user.ply('run', 'killed', 'sh', '-c', 'echo again'),
    { status: 0, stdout: 'again\n' },
    'the container can be run again',
  );

  await user.ply(
    'run',
    'killed',
    'sh',
    '-c',
    'mkdir -p /a/b; touch /a/b/c; chown -R 33:44 /a; chmod 0 /a/b /a; rm -f /owned',
  );
  // Root gives files to whom they belong.
  if (user.uid !== 0)
    t.equal(
      await succeed(['find', user.dataRoot, '!', '-uid', String(user.uid), '-print']),
      '',
      'all that was made is the own of who made it',
    );
  t.match(await user.ply('rm', 'killed'), { status: 0, stderr: '' });
  t.match(await user.ply('rmi', 'image:1'), { status: 0 });
  t.equal(
    await succeed([
      'find',
      join(user.dataRoot, 'overlay2'),
      '-mindepth',
      '2',
      '!',
      '-type',
      'l',
      '-print',
    ]),
    '',
    'and it can delete it all',
  );
}

function processesInMountNamespaceOf(pid: string): string[] {
  const namespace = (of: string): string | undefined => {
    try {
      return readFileSync(`/proc/${of}/mountinfo`, 'latin1');
    } catch {
      return undefined;
    }
  };
  const own = namespace(pid);
  return readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && namespace(entry) === own);
}

async function terminal(t: Test, user: ContainerUser): Promise<void> {
  const master = sys.openat(AT_FDCWD, bytesOf('/dev/ptmx'), O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
  const number = sys.unlockTerminal(master);
  sys.setWindowSize(master, 30, 100);
  const slave = sys.openat(
    AT_FDCWD,
    bytesOf(`/dev/pts/${number}`),
    O_RDWR | O_NOCTTY | O_CLOEXEC,
    0,
  );
  const words = [...user.words, 'run', '--rm', '-it', 'image:1', 'sh', '-c'];
  // In a wait, which a signal ends, no second one is lost before the first has been answered.
  const script =
    'tty; stty size; trap "stty size" WINCH; trap ended=1 USR1; echo ready; sleep 300 & until [ "$ended" ]; do wait; done; exit 5';
  const child = spawn('setsid', ['--ctty', '--wait', ...words, script], {
    stdio: [slave, slave, slave],
  });
  sys.close(slave);
  t.teardown(() => child.kill('SIGKILL'));
  const stream = new ReadStream(master);
  let said = '';
  stream.on('data', (bytes: Buffer) => (said += bytes.toString('latin1')));
  stream.on('error', () => undefined);
  await says(child, stream, 'ready');
  const resized = says(child, stream, '40 120');
  sys.setWindowSize(master, 40, 120);
  await resized;
  const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
  // Signals are passed in their order: after this one, no other SIGWINCH is on its way.
  child.kill('SIGUSR1');
  const [status] = (await once(child, 'exit')) as [number | null];
  t.equal(status, 5);
  // EIO, once what was written has been read.
  await closed;
  // The new size once: the terminal tells of it, and nobody else. A pseudo-terminal ends lines with
  // both characters.
  t.equal(said, '/dev/pts/0\r\n30 100\r\nready\r\n40 120\r\n');
}

t.setTimeout(300_000);

t.test('containers', async (t) => {
  const directory = await temporaryDirectory(t);
  const tar = await containerImage(directory);
  const archive = readFileSync(tar);
  for (const user of await containerUsers(t)) {
    await t.test(user.name, async (t) => {
      const own = join(user.directory, 'image.tar');
      writeFileSync(own, archive);
      const imported = await user.ply('import', own, 'image:1');
      t.equal(imported.status, 0, imported.stderr);
      await t.test('it shows what the image says', (t) => looks(t, user));
      await t.test('and is confined to it', (t) => confinement(t, user));
      await t.test('an image whose /etc/passwd never ends', (t) => endless(t, user));
      await t.test('limits are not ids', (t) => limits(t, user));
      await t.test('it ends as docker does', (t) => endings(t, user));
      await t.test('a terminal', (t) => terminal(t, user));
      await t.test('nothing outlives SIGKILL, and all can be removed', (t) => killing(t, user));
    });
  }
});
