/**
 * What is done to make a container, in order: the policy. Whoever carries it out (first-process.cc)
 * only knows the operations.
 */
import { lstatSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { capabilityMask, defaultCapabilities } from './capabilities.js';
import {
  deviceLinks,
  devices,
  maskedPaths,
  readOnlyPaths,
  standardMounts,
  type StandardMount,
} from './container-mounts.js';
import { SandboxError } from './failure.js';
import type { Operation, OperationFlags } from './operations.js';
import type { ContainerProcess, SupervisorPlan } from './plan.js';
import { containerFilter } from './seccomp/container-filter.js';
import type { User } from './user.js';

export interface Step extends OperationFlags {
  readonly operation: Operation;
  /**
   * What its failure means to who runs the container; absent: that the sandbox is not to be had.
   */
  readonly failure?: (errno: number) => PlyfsError;
}

/** Numbers of descriptors that the first process was given. */
export interface GivenDescriptors {
  /** Where the other end of its terminal goes; present where the plan has a terminal. */
  readonly terminal?: number;
  /** Where the supervisor hears of its calls; present where ids are emulated. */
  readonly filter?: number;
}

const NOTHING = '' as ByteString;
/** Soft limit of open files: select(2) knows no higher numbers, and who needs more raises it. */
const OPEN_FILES = 1024;

const flagOf: Readonly<Record<string, number>> = {
  nosuid: c.MS_NOSUID,
  nodev: c.MS_NODEV,
  noexec: c.MS_NOEXEC,
  strictatime: c.MS_STRICTATIME,
  ro: c.MS_RDONLY,
};

/**
 * Up to where the container's tree is all there is, and its users can be looked up in it.
 * `devicesAt`: the directory of its devices, on the host.
 */
export function stepsToShow(
  plan: SupervisorPlan,
  devicesAt: string,
  { terminal }: GivenDescriptors,
): Step[] {
  const { scratch, readOnly, network } = plan;
  return [
    // A kernel without cgroups has no such namespace.
    { operation: { do: 'unshare', flags: c.CLONE_NEWCGROUP }, tolerated: true },
    { operation: { do: 'unshare', flags: c.CLONE_NEWNS } },
    { operation: { do: 'enter-root', path: bytesOf(`${scratch}/root`) } },
    ...standardMounts({ terminalGroup: manyIds(plan) }).flatMap((mount) => [
      // A kernel without message queues has no such file system.
      { ...standardMount(mount), tolerated: mount.type === 'mqueue' },
      ...(mount.target === '/dev' ? deviceSteps(devicesAt) : []),
    ]),
    ...sysSteps(),
    // Where /sys is the host's, so are the groups that are mounted in it.
    ...[...maskedPaths, '/sys/fs/cgroup'].map((path): Step => {
      const hidden = bytesOf(path);
      return {
        operation: { do: 'mask', path: hidden, file: bytesOf(`${devicesAt}/null`) },
        failure: notMounted(hidden),
      };
    }),
    ...readOnlyPaths.map((path): Step => {
      const confined = bytesOf(path);
      return {
        operation: { do: 'confine', path: confined, attributes: c.MOUNT_ATTR_RDONLY },
        failure: notMounted(confined),
      };
    }),
    ...Object.keys(plan.etc).map((name) =>
      bind(bytesOf(`${scratch}/etc/${name}`), bytesOf(`/etc/${name}`), { directory: false }),
    ),
    ...volumeSteps(plan),
    ...(terminal === undefined || plan.terminal === undefined
      ? []
      : [{ operation: { do: 'terminal', socket: terminal, ...plan.terminal } } satisfies Step]),
    // Where it cannot be made, entering it tells why.
    { operation: { do: 'make-directory', path: plan.process.cwd }, tolerated: true },
    {
      operation: {
        do: 'restrict-root',
        attributes: c.MOUNT_ATTR_NODEV | (readOnly ? c.MOUNT_ATTR_RDONLY : 0),
      },
    },
    { operation: { do: 'pivot' } },
    ...(network === 'none'
      ? [{ operation: { do: 'loopback-up' }, tolerated: true } satisfies Step]
      : []),
    { operation: { do: 'hostname', name: bytesOf(plan.hostname) } },
    { operation: { do: 'report' } },
  ];
}

/** From there to the program. */
export function stepsToBecome(
  plan: SupervisorPlan,
  user: User,
  { filter }: GivenDescriptors,
): Step[] {
  const { process: wanted } = plan;
  const kept = capabilityMask(Object.values(defaultCapabilities));
  const env = wanted.env.some((variable) => variable.startsWith('HOME='))
    ? wanted.env
    : [...wanted.env, `HOME=${user.home}` as ByteString];
  const [word] = wanted.args as [ByteString];
  return [
    {
      operation: { do: 'enter-directory', path: wanted.cwd },
      failure: (errno) => notEntered(wanted.cwd, errno),
    },
    { operation: { do: 'begin-session' } },
    ...(plan.terminal === undefined && !plan.input
      ? [{ operation: { do: 'empty-input' } } satisfies Step]
      : []),
    { operation: { do: 'limit-open-files', soft: OPEN_FILES }, tolerated: true },
    { operation: { do: 'join-keyring' }, failure: withoutKeyring },
    { operation: { do: 'bound-capabilities', kept } },
    // While there is CAP_SYS_ADMIN, which it takes. Calls that `emulate` has answered are allowed
    // here: of two filters the stricter verdict holds.
    { operation: { do: 'filter-calls', filter: callFilter() } },
    filter === undefined
      ? { operation: { do: 'ids', uid: user.uid, gid: user.gid, groups: user.groups } }
      : { operation: { do: 'emulate', socket: filter, uid: user.uid, gid: user.gid } },
    { operation: { do: 'keep-capabilities', kept } },
    {
      operation: { do: 'execute', paths: programsFor(word, env), args: wanted.args, env },
      failure: (errno) => notRun(wanted, errno),
    },
  ];
}

/** Throws `seccomp-unsupported`. */
function callFilter(): readonly number[] {
  const filter = containerFilter(Object.keys(defaultCapabilities));
  if (filter === undefined) {
    throw new PlyfsError(
      'seccomp-unsupported',
      `No filter of system calls is known for this processor (${process.arch}): have crun run the container, with --runtime crun.`,
    );
  }
  return [...new Uint32Array(filter.buffer)];
}

function manyIds({ ids }: SupervisorPlan): boolean {
  return ids === 'host' || ids === 'ranges';
}

function standardMount({ target, type, source, options }: StandardMount): Step {
  let flags = 0;
  for (const option of options) flags |= flagOf[option] ?? 0;
  const data = options.filter((option) => flagOf[option] === undefined).join(',');
  return mountStep(bytesOf(target), {
    source: bytesOf(source),
    type: bytesOf(type),
    flags,
    data: bytesOf(data),
  });
}

interface MountOptions {
  readonly directory?: boolean;
  readonly source: ByteString;
  readonly type?: ByteString;
  readonly flags: number;
  readonly data?: ByteString;
  readonly attributes?: number;
  readonly recursive?: boolean;
}

function mountStep(
  target: ByteString,
  {
    directory = true,
    source,
    type = NOTHING,
    flags,
    data = NOTHING,
    attributes = 0,
    recursive = false,
  }: MountOptions,
): Step {
  return {
    operation: { do: 'mount', target, directory, source, type, flags, data, attributes, recursive },
    failure: notMounted(target),
  };
}

function bind(
  source: ByteString,
  target: ByteString,
  options: Omit<MountOptions, 'source' | 'flags'>,
): Step {
  return mountStep(target, {
    ...options,
    source,
    flags: options.recursive === true ? c.MS_BIND | c.MS_REC : c.MS_BIND,
  });
}

function deviceSteps(devicesAt: string): Step[] {
  return [
    ...Object.keys(devices).map((name) =>
      bind(bytesOf(`${devicesAt}/${name}`), bytesOf(`/dev/${name}`), { directory: false }),
    ),
    ...deviceLinks.map(([name, to]): Step => ({
      operation: {
        do: 'link',
        target: bytesOf(to),
        directory: bytesOf('/dev'),
        name: bytesOf(name),
      },
    })),
  ];
}

/**
 * A sysfs of the container's own where it has a network of its own or is the machine's root; the
 * host's otherwise.
 */
function sysSteps(): Step[] {
  const target = bytesOf('/sys');
  const flags = c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC;
  const attributes =
    c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC;
  const sysfs = bytesOf('sysfs');
  return [
    { ...mountStep(target, { source: sysfs, type: sysfs, flags }), tolerated: true },
    { ...bind(target, target, { attributes, recursive: true }), otherwise: true },
  ];
}

function volumeSteps({ volumes }: SupervisorPlan): Step[] {
  const depth = (path: string): number => path.split('/').length;
  return [...volumes]
    .sort((a, b) => depth(a.target) - depth(b.target))
    .map(({ source, target, readOnly }) =>
      bind(source, target, {
        directory: lstatSync(Buffer.from(source, 'latin1')).isDirectory(),
        attributes: c.MOUNT_ATTR_NODEV | (readOnly ? c.MOUNT_ATTR_RDONLY : 0),
        recursive: true,
      }),
    );
}

/** Paths to try, as a shell does. */
function programsFor(word: ByteString, env: readonly ByteString[]): ByteString[] {
  if (word.includes('/')) return [word];
  const path =
    env.findLast((variable) => variable.startsWith('PATH='))?.slice('PATH='.length) ?? '';
  return path
    .split(':')
    .map((directory) => (directory === '' ? `./${word}` : `${directory}/${word}`) as ByteString);
}

function notMounted(target: ByteString): (errno: number) => PlyfsError {
  return (errno) =>
    new PlyfsError(
      'container-mount-failed',
      `Cannot mount at ${textOf(target)} in the container (${reasonOf(errno)}).`,
    );
}

function withoutKeyring(errno: number): PlyfsError {
  const remedy =
    errno === E.EDQUOT
      ? ': this user has as many keys as the machine allows (sysctl kernel.keys.maxkeys)'
      : '';
  return new PlyfsError(
    'sandbox-denied',
    `The container cannot have a keyring of its own (${reasonOf(errno)})${remedy}.`,
  );
}

function notEntered(cwd: ByteString, errno: number): SandboxError {
  return new SandboxError({
    status: 126,
    code: 'workdir-unusable',
    sentence: `The working directory ${textOf(cwd)} cannot be entered in the container (${reasonOf(errno)}): choose another with -w.`,
  });
}

function notRun({ args }: ContainerProcess, errno: number): SandboxError {
  const word = textOf(args[0] as ByteString);
  if (errno === E.ENOENT) {
    return new SandboxError({
      status: 127,
      code: 'program-missing',
      sentence: `${word} is not in the container: name a program of the image.`,
    });
  }
  const why = errno === E.EACCES ? 'permission denied' : reasonOf(errno);
  return new SandboxError({
    status: 126,
    code: 'program-unusable',
    sentence: `${word} cannot be run in the container (${why}).`,
  });
}
