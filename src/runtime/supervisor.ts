/**
 * Process 1 of a sandbox: shows the root file system, starts the container and waits for it, and
 * unmounts.
 *
 * Whatever ends it, the kernel ends all that was started below with it, and the mount namespace
 * goes with the last of them. It never looks at the union from the main thread once that is
 * mounted; the thread that answers the container's calls does, and the union is another process.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { basename } from 'node:path';
import { bytesOf } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { messageOf, PlyfsError, sentenceOf } from '../base/error.js';
import { programPath } from '../base/program-path.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';
import { startContainer, type Container } from './container.js';
import { makeDevices } from './devices.js';
import { failureOf } from './failure.js';
import { eachMessage, lineOf } from './messages.js';
import { ociConfig } from './oci-config.js';
import type { SandboxPlan, SignalMessage, SupervisorMessage, SupervisorPlan } from './plan.js';
import { readInRoot } from './read-in-root.js';
import { newPipe } from './standard-streams.js';
import { findUser } from './user.js';

const NOTHING = bytesOf('');

/**
 * Descriptors that this process was given besides its standard streams: where the starter is, and
 * where the other end of the container's terminal goes, if it has one.
 */
const [control, terminal] = process.argv.slice(2).map((word) => {
  const given = Number(word);
  // Close-on-exec: what is started here gets what it is given.
  const own = check(sys.dup(given), 'descriptor');
  sys.close(given);
  return own;
}) as [number, number?];
const starter = new Socket({ fd: control });

function tell(message: SupervisorMessage): Promise<void> {
  return new Promise((resolve) => starter.write(lineOf(message), () => resolve()));
}

function mountAt(source: string, target: string, type: string, flags: number, data: string): void {
  const result = sys.mount(bytesOf(source), bytesOf(target), bytesOf(type), flags, bytesOf(data));
  if (result < 0)
    throw new PlyfsError(
      'sandbox-denied',
      `Cannot mount ${type} at ${target} in a namespace (${reasonOf(-result)}).`,
    );
}

/**
 * Process numbers here are those of this namespace: what is asked about processes below must be.
 */
function mountProc(): number {
  const result = sys.mount(
    bytesOf('proc'),
    bytesOf('/proc'),
    bytesOf('proc'),
    c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC,
    NOTHING,
  );
  if (result < 0) {
    throw new PlyfsError(
      'sandbox-denied',
      `The kernel refuses a /proc for a container (${reasonOf(-result)}): within another container, that one must not hide parts of /proc.`,
    );
  }
  return openSync('/proc', c.O_RDONLY | c.O_DIRECTORY);
}

function prepareScratch({ scratch, etc }: SandboxPlan): void {
  mountAt('tmpfs', scratch, 'tmpfs', c.MS_NOSUID | c.MS_NODEV, 'mode=755,size=16m');
  mkdirSync(`${scratch}/root`);
  mkdirSync(`${scratch}/etc`);
  for (const [name, content] of Object.entries(etc))
    writeFileSync(`${scratch}/etc/${name}`, content, { mode: 0o644 });
}

async function showRoot({ root, scratch }: SandboxPlan): Promise<void> {
  const target = `${scratch}/root`;
  switch (root.by) {
    case 'bind':
      mountAt(root.path, target, '', c.MS_BIND, '');
      break;
    case 'mount': {
      const from = check(
        sys.openat(c.AT_FDCWD, bytesOf(root.from), c.O_RDONLY | c.O_DIRECTORY | c.O_CLOEXEC, 0),
        root.from,
      );
      const result = sys.mountFrom(
        from,
        bytesOf(root.source),
        bytesOf(target),
        bytesOf(root.type),
        root.flags,
        bytesOf(root.data),
      );
      sys.close(from);
      if (result < 0)
        throw new PlyfsError(
          'mount-failed',
          `The kernel refuses to mount ${root.source} (${reasonOf(-result)}).`,
        );
      break;
    }
    case 'program': {
      const [program = '', ...words] = root.words;
      const child = spawn(program, [...words, target], { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
      const [status] = (await once(child, 'close')) as [number | null];
      if (status !== 0) {
        const why = said.trim().split('\n').at(-1) ?? '';
        throw new PlyfsError(
          'mount-failed',
          `The container's root cannot be mounted: ${why === '' ? `${program} has failed` : why}`,
        );
      }
    }
  }
}

function mountProgram(): string {
  const path = programPath('mount');
  if (path === undefined)
    throw new PlyfsError(
      'mount-missing',
      'mount cannot be run: install the package mount, or leave --runtime out.',
    );
  return path;
}

/**
 * Hands a bundle to an OCI runtime, which makes the namespaces below these itself. Where it and its
 * containers' state lie goes with this mount namespace.
 */
async function startRuntime(plan: SupervisorPlan, runtime: string): Promise<Container> {
  const bundle = `${plan.scratch}/bundle`;
  const root = `${plan.scratch}/root`;
  const crun = basename(runtime) === 'crun';
  mkdirSync(bundle);
  if (plan.network === 'none') sys.loopbackUp();
  const config = ociConfig({
    process: plan.process,
    user: findUser(plan.process.user, readInRoot(root, ['/etc/passwd', '/etc/group'])),
    rootPath: root,
    readOnly: plan.readOnly,
    hostname: plan.hostname,
    network: 'shared',
    terminal: plan.terminal !== undefined,
    volumes: plan.volumes,
    etc: Object.fromEntries(
      Object.keys(plan.etc).map((name) => [name, `${plan.scratch}/etc/${name}`]),
    ),
    ownSys: plan.ids === 'host' || plan.network === 'none',
    ...(crun && plan.ids === 'host' && { withoutDevices: { mountProgram: mountProgram() } }),
    manyIds: plan.ids === 'host' || plan.ids === 'ranges',
  });
  writeFileSync(`${bundle}/config.json`, JSON.stringify(config));
  const words = ['--root', `${plan.scratch}/state`, 'run', '--bundle', bundle, 'ply'];
  // There is nobody to ask for a cgroup, and crun refuses the sight of some that it is not to use.
  if (crun)
    sys.mount(
      bytesOf('tmpfs'),
      bytesOf('/sys/fs/cgroup'),
      bytesOf('tmpfs'),
      c.MS_RDONLY,
      bytesOf('size=0'),
    );
  // Of what this process has for standard input, nothing that is the host's goes in: without any,
  // an empty pipe does.
  const empty = plan.input || plan.terminal !== undefined ? undefined : newPipe();
  if (empty !== undefined) sys.close(empty[1]);
  const child = spawn(runtime, [...(crun ? ['--cgroup-manager=disabled'] : []), ...words], {
    stdio: [empty?.[0] ?? 'inherit', 'inherit', 'inherit'],
  });
  if (empty !== undefined) sys.close(empty[0]);
  const running = once(child, 'spawn').then(
    () => undefined,
    (error: unknown) => {
      throw new PlyfsError(
        'runtime-missing',
        `${runtime} cannot be run (${messageOf(error)}): install it, or leave --runtime out.`,
      );
    },
  );
  return { child, running };
}

function deviceOf(path: string): readonly [number, number] {
  const stat = new Float64Array(STAT_FIELDS);
  check(sys.statx(c.AT_FDCWD, bytesOf(path), stat, 0), path);
  return [stat[StatField.DevMajor] as number, stat[StatField.DevMinor] as number];
}

function start(plan: SupervisorPlan, proc: number): Container {
  const device = deviceOf(`${plan.scratch}/root`);
  const devicesAt = makeDevices(`${plan.scratch}/devices`, plan.ids);
  return startContainer(plan, { proc, device, devicesAt }, terminal);
}

async function supervise(plan: SupervisorPlan): Promise<void> {
  const proc = mountProc();
  prepareScratch(plan);
  await showRoot(plan);
  const { child, running, groups } =
    plan.runtime === undefined ? start(plan, proc) : await startRuntime(plan, plan.runtime);
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  signals.push((signal) => child.kill(signal));
  try {
    await running;
    await tell({ started: true });
    const [exited, signal] = await ended;
    await tell({ exited, signal });
  } finally {
    groups?.remove();
    await sys.umount2Async(bytesOf(`${plan.scratch}/root`), c.UMOUNT_NOFOLLOW);
  }
}

const signals: ((signal: number) => void)[] = [];
let planned = false;

eachMessage(starter, (message) => {
  if (planned) {
    const { signal } = message as SignalMessage;
    for (const pass of signals) pass(signal);
    return;
  }
  planned = true;
  supervise(message as SupervisorPlan)
    .catch((error: unknown) => tell({ failed: failureOf(error) }))
    .finally(() => process.exit(0));
});
// Who started all this is gone.
starter.on('close', () => sys.exitNow(1));
starter.on('error', () => sys.exitNow(1));
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    void tell({
      failed: { status: 125, code: 'sandbox-failed', sentence: sentenceOf(error) },
    }).finally(() => process.exit(1));
  });
}
