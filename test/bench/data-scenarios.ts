/**
 * Large files: read and written in order and at random, and copied up while others look at other
 * files.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { root } from '../support/root.js';
import { missing, succeed } from './program.js';
import { shell, type Scenario, type Scene, type Sizes, type Step } from './workload.js';

interface FioReport {
  readonly jobs: readonly { readonly read: FioSide; readonly write: FioSide }[];
}

interface FioSide {
  readonly total_ios: number;
  /** Per second of the job's run time. */
  readonly iops: number;
}

/**
 * Milliseconds that a fixed number of 4 KiB operations took, by fio's own clock: its start takes
 * longer than they do.
 */
async function randomAccess(
  mode: 'randread' | 'randwrite',
  { mnt }: Scene,
  { randomMiB, randomOperations }: Sizes,
): Promise<number> {
  const report = await succeed(
    [
      ...[
        'fio',
        '--name=random',
        '--filename=random',
        `--rw=${mode}`,
        '--bs=4k',
        `--size=${randomMiB}M`,
      ],
      ...[
        '--ioengine=psync',
        `--number_ios=${randomOperations}`,
        '--randseed=7',
        '--norandommap',
        '--end_fsync=0',
      ],
      // The page cache stays warm.
      ...['--invalidate=0', '--allow_file_create=0', '--output-format=json'],
    ],
    { cwd: mnt },
  );
  // Sentences about the machine may come before the document.
  const { jobs } = JSON.parse(report.slice(report.indexOf('{'))) as FioReport;
  const side = jobs[0]?.[mode === 'randread' ? 'read' : 'write'];
  if (side === undefined || side.total_ios === 0) throw new Error('fio did nothing');
  return (side.total_ios / side.iops) * 1000;
}

/**
 * Bytes that differ from block to block, so that nothing below finds them to be the same or none.
 */
async function writeLarge(path: string, mebibytes: number): Promise<void> {
  const block = Buffer.alloc(1 << 20, 'plyfs');
  const file = createWriteStream(path);
  for (let i = 0; i < mebibytes; i++) {
    const copy = Buffer.from(block);
    copy.writeUInt32LE(i);
    if (!file.write(copy)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');
}

export function dataScenarios(sizes: Sizes): readonly Scenario[] {
  const { sequentialMiB, randomMiB, randomOperations, copiedUpMiB } = sizes;
  const operations = randomOperations.toLocaleString('en');
  const random = (mode: 'randread' | 'randwrite', before?: Step['before']): Step => ({
    key: mode === 'randread' ? 'random-read' : 'random-write',
    title: `${operations} random ${mode === 'randread' ? 'reads' : 'writes'} of 4 KiB in ${size(randomMiB)}`,
    unit: 'ms',
    ...(before === undefined ? {} : { before }),
    measure: { figure: (scene) => randomAccess(mode, scene, sizes) },
    goal: { 'fuse-overlayfs': 0.8, kernel: 1.5 },
    passthroughGoal: { kernel: 1.1 },
  });
  return [
    {
      key: 'sequential',
      steps: [
        {
          key: 'write-1g',
          title: `sequential write of ${size(sequentialMiB)}`,
          unit: 'ms',
          measure: shell(`dd if=/dev/zero of=big bs=1M count=${sequentialMiB} status=none`),
          goal: { 'fuse-overlayfs': 0.9, kernel: 1.5 },
          passthroughGoal: { kernel: 1.1 },
        },
        {
          key: 'read-1g',
          title: `sequential read of ${size(sequentialMiB)}`,
          unit: 'ms',
          measure: shell('dd if=big of=/dev/null bs=1M status=none'),
          goal: { 'fuse-overlayfs': 0.9, kernel: 1.5 },
          passthroughGoal: { kernel: 1.1 },
        },
      ],
    },
    {
      key: 'random',
      unavailable: () => missing('fio'),
      steps: [
        random('randread', async ({ mnt }) => {
          await succeed(
            [
              'sh',
              '-c',
              `dd if=/dev/zero of=random bs=1M count=${randomMiB} status=none && cat random >/dev/null`,
            ],
            {
              cwd: mnt,
            },
          );
        }),
        random('randwrite'),
      ],
    },
    {
      key: 'busy',
      layer: 'large',
      prepare: (_shared, _stack, layer) => writeLarge(`${layer}/large`, copiedUpMiB),
      steps: [
        {
          key: 'stat-while-copy-up',
          title: `stat of others while ${size(copiedUpMiB)} are copied up, 99th percentile`,
          unit: 'ms',
          measure: {
            figure: async ({ mnt }) => {
              const program = join(root, 'dist/test/bench/stat-while.js');
              return Number(
                await succeed([process.execPath, program, 'tree', 'sh', '-c', 'printf x >>large'], {
                  cwd: mnt,
                }),
              );
            },
          },
          goal: { figure: 20 },
        },
      ],
    },
  ];
}

function size(mebibytes: number): string {
  return mebibytes % 1024 === 0 ? `${mebibytes / 1024} GiB` : `${mebibytes} MiB`;
}
