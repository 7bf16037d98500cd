/**
 * A place for programs of containers: mounts, processes, /run, /dev/fuse and subordinate ids of
 * their own, so that nothing of this machine is changed, and whatever they started or mounted ends
 * with it, however the test ends.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Test } from 'tap';
import { textOf, type ByteString } from '../../src/base/bytes.js';
import { run, type Outcome } from './command.js';
import { root } from './root.js';

export interface PrivateHost {
  /** A directory that is the same inside and outside, but for mounts. */
  readonly base: string;
  /** Where this checkout is, inside: every user may look there. */
  readonly program: string;
  readonly run: (
    uid: number,
    environment: Readonly<Record<string, string>>,
    argv: readonly string[],
  ) => Promise<Outcome>;
}

/** `$1`: a directory for what is made here. `$2`: the checkout. `$3`: lines of subuid(5). */
const setUp = `
mount -t tmpfs -o mode=755 none "$1"
cd "$1"
mkdir program
mount --bind "$2" program
mknod fuse c 10 229
chmod 666 fuse
mount --bind fuse /dev/fuse
printf %s "$3" >subordinate
mount --bind subordinate /etc/subuid
mount --bind subordinate /etc/subgid
mount -t tmpfs -o mode=755 none /run
# crun refuses a machine that has cgroups of both versions.
test ! -d /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
echo ready
# Its end is the end of every process here. A shell waits for orphans, too.
cat >/dev/null
`;

/** Needs root. `base`: of `workspace`. */
export async function privateHost(
  t: Test,
  base: string,
  subordinateIds: string,
): Promise<PrivateHost> {
  const place = `${base}/host`;
  await mkdir(place);
  const host = spawn(
    'unshare',
    [
      '-m',
      '-p',
      '--fork',
      '--mount-proc',
      '--kill-child',
      'sh',
      '-eu',
      '-c',
      setUp,
      'sh',
      place,
      root,
      subordinateIds,
    ],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  const exited = once(host, 'exit');
  t.teardown(async () => {
    host.stdin.end();
    await exited;
  });
  let said = '';
  host.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ready = once(host.stdout, 'data').then(() => true);
  if (!(await Promise.race([ready, exited.then(() => false)])))
    throw new Error(`the host ended before it was ready: ${said}`);
  const enter = [
    'nsenter',
    `--mount=/proc/${String(host.pid)}/ns/mnt`,
    `--pid=/proc/${String(host.pid)}/ns/pid_for_children`,
  ];
  return {
    base,
    program: `${place}/program`,
    run: (uid, environment, argv) => {
      const words = Object.entries({
        PATH: `${dirname(process.execPath)}:/usr/sbin:/usr/bin:/sbin:/bin`,
        ...environment,
      });
      const identity =
        uid === 0 ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
      return run([
        ...enter,
        ...identity,
        'env',
        '-i',
        ...words.map(([name, value]) => `${name}=${value}`),
        ...argv,
      ]);
    },
  };
}

export interface ContainerClient {
  readonly uid: number;
  /** Its files. */
  readonly directory: string;
  /** What it prints, without the space around it; throws unless it succeeds. */
  readonly podman: (...words: string[]) => Promise<string>;
  readonly buildah: (...words: string[]) => Promise<string>;
  /** However it ends. */
  readonly outcome: (...words: string[]) => Promise<Outcome>;
  /** A shell script where the mounts of podman are seen. `words` are `$1` and so on. */
  readonly script: (script: string, ...words: string[]) => Promise<string>;
  /** As `script`, for buildah: a user's mounts are seen by the script alone, and end with it. */
  readonly buildahScript: (script: string, ...words: string[]) => Promise<string>;
}

export interface ClientOptions {
  readonly uid: number;
  /** Of `[storage.options.overlay]`, e.g. mount_program. */
  readonly overlay: Readonly<Record<string, string>>;
}

/**
 * podman and buildah of a user, with a store of their own in the directory `name` of the host's.
 */
export async function containerClient(
  host: PrivateHost,
  name: string,
  { uid, overlay }: ClientOptions,
): Promise<ContainerClient> {
  const directory = `${host.base}/${name}`;
  for (const path of ['', '/home', '/run', '/tmp']) await mkdir(`${directory}${path}`);
  const options = Object.entries(overlay).map(([key, value]) => `${key} = "${value}"\n`);
  await writeFile(
    `${directory}/storage.conf`,
    `[storage]
driver = "overlay"
runroot = "${directory}/run/storage"
graphroot = "${directory}/graph"
rootless_storage_path = "${directory}/graph"
[storage.options.overlay]
${options.join('')}`,
  );
  await writeFile(
    `${directory}/containers.conf`,
    `[containers]
netns = "host"
log_driver = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "crun"
`,
  );
  for (const path of ['', '/home', '/run', '/tmp']) await chown(`${directory}${path}`, uid, uid);
  await chmod(`${directory}/run`, 0o700);
  const environment = {
    HOME: `${directory}/home`,
    XDG_RUNTIME_DIR: `${directory}/run`,
    TMPDIR: `${directory}/tmp`,
    CONTAINERS_STORAGE_CONF: `${directory}/storage.conf`,
    CONTAINERS_CONF: `${directory}/containers.conf`,
  };
  const outcome = (...words: string[]): Promise<Outcome> => host.run(uid, environment, words);
  const called = async (...words: string[]): Promise<string> => {
    const { status, signal, stdout, stderr } = await outcome(...words);
    if (status !== 0)
      throw new Error(`${words.join(' ')}: exit ${status ?? signal ?? ''}: ${stderr}${stdout}`);
    return textOf(stdout as ByteString).trim();
  };
  const scriptBy =
    (program: string) =>
    (script: string, ...words: string[]): Promise<string> =>
      called(...(uid === 0 ? [] : [program, 'unshare']), 'sh', '-eu', '-c', script, 'sh', ...words);
  return {
    uid,
    directory,
    outcome,
    podman: (...words) => called('podman', ...words),
    buildah: (...words) => called('buildah', ...words),
    script: scriptBy('podman'),
    buildahScript: scriptBy('buildah'),
  };
}
