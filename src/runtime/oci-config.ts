/**
 * The configuration of an OCI bundle (runtime-spec, config.md and config-linux.md), for programs
 * that run one.
 */
import { textOf, type ByteString } from '../base/bytes.js';
import { defaultCapabilities } from './capabilities.js';
import { devices, maskedPaths, readOnlyPaths, standardMounts } from './container-mounts.js';
import type { ContainerProcess, Volume } from './plan.js';
import { ociSeccomp } from './seccomp/container-filter.js';
import type { User } from './user.js';

export interface BundleOptions {
  readonly process: ContainerProcess;
  readonly user: User;
  /** Absolute, or relative to the bundle. */
  readonly rootPath: string;
  readonly readOnly: boolean;
  readonly hostname: string;
  /** `own`: with nothing but a loopback interface. `shared`: that of whoever runs it. */
  readonly network: 'shared' | 'own';
  readonly terminal: boolean;
  readonly volumes: readonly Volume[];
  /** Files of the runtime's own in /etc: name and where it lies. */
  readonly etc: Readonly<Record<string, string>>;
  /** The id outside that is root inside; absent: no user namespace of its own. */
  readonly mapRootTo?: { readonly uid: number; readonly gid: number };
  /** Whether a sysfs can be mounted; otherwise the host's is shown. */
  readonly ownSys: boolean;
  /**
   * Where the runtime confines devices by no control group and lets root of the machine open them:
   * an absolute path of mount(8). The container makes no nodes then, and those of its root are not
   * opened.
   */
  readonly withoutDevices?: { readonly mountProgram: string };
  /** Whether there are ids besides root's. */
  readonly manyIds: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
}

export function ociConfig(options: BundleOptions): object {
  const {
    process: wanted,
    user,
    rootPath,
    readOnly,
    hostname,
    network,
    terminal,
    volumes,
    etc,
    mapRootTo,
    ownSys,
    withoutDevices,
    manyIds,
    annotations,
  } = options;
  const capabilities = Object.keys(defaultCapabilities).filter(
    (name) => withoutDevices === undefined || name !== 'CAP_MKNOD',
  );
  const seccomp = ociSeccomp(capabilities);
  const env = wanted.env.some((variable) => variable.startsWith('HOME='))
    ? wanted.env
    : [...wanted.env, `HOME=${user.home}` as ByteString];
  const namespaces = [
    'pid',
    'mount',
    'ipc',
    'uts',
    ...(network === 'own' ? ['network'] : []),
    ...(mapRootTo === undefined ? [] : ['user']),
  ];
  return {
    ociVersion: '1.0.2',
    process: {
      terminal,
      user: {
        uid: user.uid,
        gid: user.gid,
        ...(manyIds && user.groups.length > 0 && { additionalGids: user.groups }),
      },
      args: wanted.args.map(textOf),
      env: env.map(textOf),
      cwd: textOf(wanted.cwd),
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: false,
    },
    root: { path: rootPath, readonly: readOnly },
    hostname,
    mounts: [
      ...standardMounts({ terminalGroup: manyIds }).map(
        ({ target, type, source, options: words }) => ({
          destination: target,
          type,
          source,
          // Its devices are made in it.
          options: target === '/dev' ? words.filter((word) => word !== 'nodev') : words,
        }),
      ),
      ownSys
        ? {
            destination: '/sys',
            type: 'sysfs',
            source: 'sysfs',
            options: ['nosuid', 'noexec', 'nodev', 'ro'],
          }
        : {
            destination: '/sys',
            type: 'none',
            source: '/sys',
            options: ['rbind', 'nosuid', 'noexec', 'nodev', 'ro'],
          },
      ...Object.entries(etc).map(([name, source]) => bound(source, `/etc/${name}`, [])),
      ...volumes.map((volume) =>
        bound(textOf(volume.source), textOf(volume.target), volume.readOnly ? ['ro'] : []),
      ),
    ],
    // crun mounts the root once more, and drops what its mount does not allow: that is taken away
    // again before the program runs.
    ...(withoutDevices !== undefined && {
      hooks: {
        createContainer: [
          {
            path: withoutDevices.mountProgram,
            args: ['mount', '-o', `remount,bind,nodev${readOnly ? ',ro' : ''}`, rootPath],
          },
        ],
      },
    }),
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      ...(mapRootTo !== undefined && {
        uidMappings: [{ containerID: 0, hostID: mapRootTo.uid, size: 1 }],
        gidMappings: [{ containerID: 0, hostID: mapRootTo.gid, size: 1 }],
      }),
      // In a user namespace runtimes bind the host's.
      devices: [],
      resources: {
        devices: [
          { allow: false, access: 'rwm' },
          ...Object.values(devices).map((numbers) => ({
            allow: true,
            type: 'c',
            ...numbers,
            access: 'rwm',
          })),
        ],
      },
      maskedPaths,
      readonlyPaths: readOnlyPaths,
      ...(seccomp !== undefined && { seccomp }),
    },
    ...(annotations !== undefined && { annotations }),
  };
}

function bound(source: string, destination: string, options: readonly string[]): object {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', 'nodev', ...options] };
}
