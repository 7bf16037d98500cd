/**
 * Loading an image from an archive: `ply load` beside `docker load` and `podman load`, each into an
 * empty store.
 *
 * The image is a Debian root file system. docker's figure is that of its client, which waits for an
 * engine that was started before; its memory is the engine's business and not shown.
 */
import { mkdir } from 'node:fs/promises';
import { startDockerd } from '../support/private-dockerd.js';
import { root } from '../support/root.js';
import type { DebianRoot } from './debian-root.js';
import { run, succeed } from './program.js';
import type { Row } from './results.js';

/** Columns of the rows; the first is ours. */
export const loaders = ['plyfs', 'docker', 'podman'] as const;
type Loader = (typeof loaders)[number];

const NAME = 'bench:debian';

/** Kibibytes, from time(1), after whatever the program itself said. */
function peakMemory(stderr: string): number {
  return (Number(stderr.trim().split('\n').at(-1)) * 1024) / 1e6;
}

/** Milliseconds and MB of one run. */
async function timed(argv: readonly string[]): Promise<{ time: number; memory: number }> {
  const started = performance.now();
  const { status, stderr } = await run(['/usr/bin/time', '-f', '%M', ...argv]);
  const time = performance.now() - started;
  if (status !== 0) throw new Error(`${argv.join(' ')}: ${stderr.trim()}`);
  return { time, memory: peakMemory(stderr) };
}

/** Makes the archive at `directory`/debian.tar. */
async function makeArchive(directory: string, rootfs: string): Promise<string> {
  const store = `${directory}/made`;
  await succeed([`${root}/bin/ply`, '--root', store, 'import', rootfs, NAME]);
  await succeed([
    `${root}/bin/ply`,
    '--root',
    store,
    'save',
    '-o',
    `${directory}/debian.tar`,
    NAME,
  ]);
  await succeed(['rm', '-rf', store]);
  return `${directory}/debian.tar`;
}

/**
 * Rows `load` and `load-memory`. `directory` is empty; what is in it afterwards may be removed.
 * `debian` makes the root file system.
 */
export async function measureLoading(
  directory: string,
  debian: () => Promise<DebianRoot>,
  rounds: number,
  say: (sentence: string) => void,
): Promise<Row[]> {
  say('making a Debian image');
  const archive = await makeArchive(directory, (await debian()).tar);
  const samples = (): Record<string, (number | null)[]> =>
    Object.fromEntries(loaders.map((name) => [name, []]));
  const time: Row = {
    key: 'load',
    title: 'load a Debian image',
    unit: 'ms',
    samples: samples(),
    failures: [],
    goal: { docker: 1, podman: 1 },
  };
  const memory: Row = {
    key: 'load-memory',
    title: 'peak memory of it',
    unit: 'MB',
    samples: samples(),
    failures: [],
    goal: { figure: 200 },
  };
  await mkdir(`${directory}/engine`);
  let end = (): Promise<void> => Promise.resolve();
  const engine = await startDockerd(
    { teardown: (ending) => (end = ending) },
    `${directory}/engine`,
    { storageDriver: 'overlay2' },
  );
  const podman = [
    'podman',
    '--root',
    `${directory}/podman`,
    '--runroot',
    `${directory}/podman-run`,
    '--storage-driver',
    'overlay',
  ];
  const commands: Record<Loader, { load: readonly string[]; clear: () => Promise<unknown> }> = {
    plyfs: {
      load: [`${root}/bin/ply`, '--root', `${directory}/ply`, 'load', '-q', '-i', archive],
      clear: () => succeed(['rm', '-rf', `${directory}/ply`]),
    },
    docker: {
      load: [...engine.client, 'load', '-q', '-i', archive],
      clear: () => succeed([...engine.client, 'rmi', '-f', NAME]),
    },
    podman: {
      load: [...podman, 'load', '-q', '-i', archive],
      clear: () => succeed([...podman, 'rmi', '-f', '-a']),
    },
  };
  try {
    for (let round = 0; round < rounds; round++) {
      for (const turn of loaders.keys()) {
        const name = loaders[(turn + round) % loaders.length]!;
        say(`round ${round + 1}/${rounds}: load with ${name}`);
        await succeed(['sync', '-f', directory]);
        const figures = await timed(commands[name].load);
        time.samples[name]!.push(figures.time);
        memory.samples[name]!.push(name === 'docker' ? null : figures.memory);
        await commands[name].clear();
      }
    }
  } finally {
    await end();
  }
  return [time, memory];
}
