/** The scenarios, with what is aimed at for each row on two cores. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { succeed } from '../support/command.js';
import type { Scenario, Scene } from './workload.js';

/** A shell line with the mount as its current directory. */
function shell(line: string): (scene: Scene) => readonly string[] {
  return ({ mnt, shared, scratch }) => ['sh', '-c', `cd "$1" && ${line}`, 'sh', mnt, shared, scratch];
}

/** Kibibytes of a process's resident memory, in MB. */
export function residentMemory(pid: number): number {
  const kibibytes = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return (Number(kibibytes) * 1024) / 1e6;
}

const walk = shell('find . -type f | wc -l');
const read = shell('tar cf - small | cat >/dev/null');

export const scenarios: readonly Scenario[] = [
  {
    key: 'walk',
    steps: [
      { key: 'walk-first', title: 'first walk (find -type f)', unit: 'ms', measure: walk, goal: { 'fuse-overlayfs': 0.3, kernel: 4 } },
      {
        key: 'memory-after-walk',
        title: "daemon's memory after it",
        unit: 'MB',
        measure: { figure: async ({ daemon }) => (daemon === undefined ? null : residentMemory(daemon)) },
        goal: { figure: 120, 'fuse-overlayfs': 1 },
      },
      { key: 'walk-again', title: 'walk again', unit: 'ms', measure: walk, goal: { 'fuse-overlayfs': 0.35, kernel: 1.5 } },
      { key: 'stat-all', title: 'ls -lR of all', unit: 'ms', measure: shell('ls -lR . | wc -l') },
    ],
  },
  {
    key: 'read',
    steps: [
      {
        key: 'read-first',
        title: 'first read of small files (tar)',
        unit: 'ms',
        measure: read,
        goal: { 'fuse-overlayfs': 0.45, kernel: 3.5 },
      },
      { key: 'read-again', title: 'read them again', unit: 'ms', measure: read, goal: { 'fuse-overlayfs': 0.25, kernel: 1.3 } },
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
        title: 'untar small files',
        unit: 'ms',
        before: ({ mnt }) => mkdir(`${mnt}/new`).then(() => undefined),
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
        title: 'create, stat, unlink 10,000 files',
        unit: 'ms',
        before: ({ mnt }) => mkdir(`${mnt}/many`).then(() => undefined),
        measure: shell(
          'cd many && seq -f f%g 10000 | xargs touch && seq -f f%g 10000 | xargs stat -c %s >/dev/null && seq -f f%g 10000 | xargs rm',
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
        title: 'copy-up of small files by chmod',
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
        title: 'rm -rf of small lower files',
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
  {
    key: 'sequential',
    steps: [
      {
        key: 'write-1g',
        title: 'sequential write of 1 GiB',
        unit: 'ms',
        measure: shell('dd if=/dev/zero of=big bs=1M count=1024 status=none'),
        goal: { 'fuse-overlayfs': 0.9, kernel: 1.5 },
      },
      {
        key: 'read-1g',
        title: 'sequential read of 1 GiB',
        unit: 'ms',
        measure: shell('dd if=big of=/dev/null bs=1M status=none'),
        goal: { 'fuse-overlayfs': 0.9, kernel: 1.5 },
      },
    ],
  },
  {
    key: 'deep',
    stack: 'deep',
    steps: [
      {
        key: 'mount-deep',
        title: 'mount to first answer, 125 layers',
        unit: 'ms',
        measure: { figure: async ({ mountTime }) => mountTime },
        goal: { figure: 250 },
      },
      {
        key: 'lookup-deep',
        title: 'stat of names in the bottom of 125 layers',
        unit: 'ms',
        measure: shell('find small -maxdepth 2 -name "f1*" -print0 | xargs -0 stat -c %s >/dev/null'),
      },
    ],
  },
];
