/**
 * What a container has mounted besides its root: /proc, /dev, /sys and their kin as the OCI runtime
 * specification and Docker have them (runtime-spec config-linux.md, "Default Filesystems"; moby,
 * oci/defaults.go).
 */

export interface StandardMount {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  /** In the words of mount(8), as an OCI configuration has them. */
  readonly options: readonly string[];
}

/** `terminalGroup`: whether group 5 (tty) has a place among the container's ids. */
export function standardMounts({ terminalGroup }: { terminalGroup: boolean }): StandardMount[] {
  return [
    { target: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      target: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'nodev', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      target: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: [
        'nosuid',
        'noexec',
        'newinstance',
        'ptmxmode=0666',
        'mode=0620',
        ...(terminalGroup ? ['gid=5'] : []),
      ],
    },
    {
      target: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
    },
    {
      target: '/dev/mqueue',
      type: 'mqueue',
      source: 'mqueue',
      options: ['nosuid', 'noexec', 'nodev'],
    },
  ];
}

/**
 * Devices that every container has (Documentation/admin-guide/devices.txt). Everybody may read and
 * write them.
 */
export const devices = {
  null: { major: 1, minor: 3 },
  zero: { major: 1, minor: 5 },
  full: { major: 1, minor: 7 },
  random: { major: 1, minor: 8 },
  urandom: { major: 1, minor: 9 },
  tty: { major: 5, minor: 0 },
} as const;

export const deviceLinks: readonly (readonly [name: string, to: string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['ptmx', 'pts/ptmx'],
];

/** What tells of the machine, or lets it be changed (moby, oci/defaults.go). */
export const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
] as const;

export const readOnlyPaths = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
] as const;
