/** Names and attributes: walking, making, copying up and removing many files. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { succeed } from './program.js';
import { shell, type Scenario, type Sizes } from './workload.js';

/** Of a process, in bytes. */
export function residentMemory(pid: number): number {
  const kibibytes = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Number(kibibytes) * 1024;
}

const walk = shell('find . -type f | wc -l');
const read = shell('tar cf - small | cat >/dev/null');

export function metadataScenarios(sizes: Sizes): readonly Scenario[] {
  const files = sizes.smallFiles.toLocaleString('en');
  const { createdFiles } = sizes;
  return [
    {
      key: 'walk',
      steps: [
        {
          key: 'walk-first',
          title: 'first walk (find -type f)',
          unit: 'ms',
          measure: walk,
          goal: { 'fuse-overlayfs': 0.3, kernel: 4 },
        },
        {
          key: 'memory-after-walk',
          title: "daemon's memory after it",
          unit: 'MB',
          measure: {
            figure: async ({ daemon }) =>
              daemon === undefined ? null : residentMemory(daemon) / 1e6,
          },
          goal: { figure: 120 },
        },
        {
          key: 'memory-per-entry',
          title: 'what it grew by, per entry',
          unit: 'B',
          measure: {
            figure: async ({ daemon, memoryAtMount, stack }) =>
              daemon === undefined || memoryAtMount === undefined
                ? null
                : (residentMemory(daemon) - memoryAtMount) / stack.entries,
          },
          goal: { 'fuse-overlayfs': 1 },
        },
        {
          key: 'walk-again',
          title: 'walk again',
          unit: 'ms',
          measure: walk,
          goal: { 'fuse-overlayfs': 0.35, kernel: 1.5 },
        },
        { key: 'stat-all', title: 'ls -lR of all', unit: 'ms', measure: shell('ls -lR . | wc -l') },
      ],
    },
    {
      key: 'read',
      steps: [
        {
          key: 'read-first',
          title: `first read of ${files} small files (tar)`,
          unit: 'ms',
          measure: read,
          goal: { 'fuse-overlayfs': 0.45, kernel: 3.5 },
        },
        {
          key: 'read-again',
          title: 'read them again',
          unit: 'ms',
          measure: read,
          goal: { 'fuse-overlayfs': 0.25, kernel: 1.3 },
        },
      ],
    },
    {
      key: 'untar',
      prepare: async (shared, { lowers }) => {
        await succeed(['tar', '-cf', `${shared}/small.tar`, '-C', lowers.at(-1)!, 'small']);
      },
      steps: [
        {
          key: 'untar',
          title: `untar ${files} small files`,
          unit: 'ms',
          before: ({ mnt }) => mkdir(`${mnt}/new`),
          measure: shell('tar xf "$2/small.tar" -C new'),
          goal: { 'fuse-overlayfs': 0.6, kernel: 2 },
        },
        {
          key: 'rm-untarred',
          title: 'rm -rf of what was untarred',
          unit: 'ms',
          measure: shell('rm -rf new'),
          goal: { 'fuse-overlayfs': 0.35, kernel: 3 },
        },
      ],
    },
    {
      key: 'create',
      steps: [
        {
          key: 'create-stat-unlink',
          title: `create, stat, unlink ${createdFiles.toLocaleString('en')} files`,
          unit: 'ms',
          before: ({ mnt }) => mkdir(`${mnt}/many`),
          measure: shell(
            `cd many && seq -f f%g ${createdFiles} | xargs touch && seq -f f%g ${createdFiles} | xargs stat -c %s >/dev/null && seq -f f%g ${createdFiles} | xargs rm`,
          ),
          goal: { 'fuse-overlayfs': 0.6, kernel: 4 },
        },
      ],
    },
    {
      key: 'copy-up',
      steps: [
        {
          key: 'chmod',
          title: `copy-up of ${files} files by chmod`,
          unit: 'ms',
          measure: shell('find small -type f -print0 | xargs -0 chmod 600'),
          goal: { 'fuse-overlayfs': 0.9, kernel: 1.5 },
        },
      ],
    },
    {
      key: 'remove',
      steps: [
        {
          key: 'rm-lower',
          title: `rm -rf of ${files} lower files`,
          unit: 'ms',
          measure: shell('rm -rf small'),
          goal: { 'fuse-overlayfs': 0.35, kernel: 3 },
        },
      ],
    },
    {
      key: 'copy',
      steps: [
        {
          key: 'cp-a',
          title: 'cp -a of a lower tree',
          unit: 'ms',
          measure: shell('cp -a copied copy'),
          goal: { 'fuse-overlayfs': 0.8, kernel: 1.6 },
        },
      ],
    },
  ];
}
