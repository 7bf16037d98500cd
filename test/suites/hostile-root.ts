/**
 * A data root in which somebody put something else in the place of a file: each file that a store
 * has, each kind of thing, each command. None waits, none takes memory for it, none follows a link,
 * and what fails says why.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { Test } from 'tap';
import { archiveOf, docker20, imageOf } from '../image/fixture.js';
import { figure } from '../support/figures.js';
import { plyOn } from '../support/ply.js';
import { watchedPly } from '../support/watched.js';
import { workspace } from './workspace.js';

/**
 * Bytes: what ply takes at most when nothing is wrong (70 MB), doubled. `/dev/zero` gave 8.8 GB.
 */
const MEMORY = 160 << 20;

const obstacles: Readonly<Record<string, (path: string) => void | Promise<void>>> = {
  'a FIFO': (path) => void execFileSync('mkfifo', [path]),
  'a link to /dev/zero': (path) => symlinkSync('/dev/zero', path),
  'a device': (path) => void execFileSync('mknod', [path, 'c', '1', '5']),
  'a directory': (path) => mkdirSync(path),
  'a socket': async (path) => {
    // Bound by a short name: a socket's path has 107 bytes.
    const short = `/tmp/plyfs-test-${process.pid}.sock`;
    const server = createServer().listen(short);
    await once(server, 'listening');
    renameSync(short, path);
    server.close();
  },
  'a huge file': (path) => {
    writeFileSync(path, '');
    truncateSync(path, 2 ** 40);
  },
};

/** Every file below `root` but those of the layers, which are the images'. */
function filesOf(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .map((entry) => ({ entry, path: join(entry.parentPath, entry.name).slice(root.length + 1) }))
    .filter(({ entry, path }) => entry.isFile() && !/^overlay2\/[^/]+\/diff\//.test(path))
    .map(({ path }) => path)
    .sort();
}

/** Where the first file is that differs from this one in digests and random names only. */
function firstOfKind(files: readonly string[], file: string): number {
  const kind = (path: string): string => path.replace(/[0-9a-f]{64}|\b[0-9A-Z]{26}\b/g, 'ID');
  return files.findIndex((other) => kind(other) === kind(file));
}

export async function storeIn(base: string): Promise<string> {
  const root = join(base, 'root');
  const ply = plyOn(root);
  const image = await imageOf([{ 'a/file': 'one' }, { 'b/file': 'two' }]);
  const child = await imageOf([{ 'a/file': 'one' }, { 'b/file': 'two' }, { c: 'three' }]);
  const archive = docker20([
    { image, tags: ['one:1'] },
    { image: child, tags: ['two:1'], parent: image.id },
  ]);
  writeFileSync(join(base, 'image.tar'), await archiveOf(archive));
  await ply('load', '-q', '-i', join(base, 'image.tar'));
  await ply('create', '--name', 'box', 'one:1', '/bin/true');
  // What a command that was killed leaves, and what dockerd has.
  writeFileSync(join(root, 'plyfs/leases', 'e'.repeat(64)), '');
  for (const database of [
    'volumes/metadata.db',
    'network/files/local-kv.db',
    'buildkit/cache.db',
  ]) {
    mkdirSync(join(root, dirname(database)), { recursive: true });
    writeFileSync(join(root, database), '');
  }
  await ply('create', '--name', 'd'.repeat(64), 'one:1');
  const mountId = readFileSync(
    join(root, 'image/overlay2/layerdb/mounts', 'd'.repeat(64), 'mount-id'),
    'latin1',
  );
  rmSync(join(root, `plyfs/containers/overlay2/${mountId}.json`));
  mkdirSync(join(root, 'containers', 'd'.repeat(64)), { recursive: true });
  writeFileSync(
    join(root, 'containers', 'd'.repeat(64), 'config.v2.json'),
    '{"Name":"/of-docker"}',
  );
  return root;
}

/**
 * Something else in the place of each file of a data root, and a command on it. Of all files, or
 * of one of each kind.
 */
export async function hostileFiles(t: Test, which: 'every' | 'each kind'): Promise<void> {
  const base = await workspace(t);
  const original = await storeIn(base);
  const commands: readonly (readonly string[])[] = [
    ['images', '-a'],
    ['fsck', '--deep'],
    ['ps', '-a', '-s'],
    ['gc'],
    ['layers', 'two:1'],
    ['history', 'two:1'],
    ['save', '-o', '/dev/null', 'two:1'],
    ['load', '-q', '-i', join(base, 'image.tar')],
    ['info'],
    ['inspect', 'two:1', 'box'],
    ['create', 'two:1'],
    ['tag', 'two:1', 'three:1'],
    ['rmi', '-f', 'two:1'],
    ['diff', 'box'],
    ['commit', 'box', 'four:1'],
    ['rm', 'box'],
    ['tree', 'two:1'],
    ['explain', 'two:1', '/a/file'],
    ['prune', '-f'],
    ['reset', 'box'],
    ['export', '-o', '/dev/null', 'box'],
    ['rename', 'box', 'chest'],
  ];
  const all = filesOf(original);
  const files = which === 'every' ? all : all.filter((file, at) => firstOfKind(all, file) === at);
  for (const needed of [
    'repositories.json',
    'store.lock',
    'format',
    'tar-split.json.gz',
    'link',
    'lower',
    'cache-id',
    'config.v2.json',
    'parent',
  ])
    t.ok(
      files.some((file) => basename(file) === needed),
      `there is a ${needed}`,
    );
  const [fifo, link, ...others] = Object.keys(obstacles);
  let next = 0;
  const cases = files.flatMap((file, index) =>
    [fifo!, link!, others[index % others.length]!].map((obstacle) => ({
      file,
      obstacle,
      command: commands[next++ % commands.length]!,
    })),
  );
  figure(t, cases.length, 'commands on a hostile data root');
  const workers = [1, 2, 3].map(async (worker) => {
    const root = join(base, `copy-${worker}`);
    for (let each = cases.pop(); each !== undefined; each = cases.pop()) {
      const { file, obstacle, command } = each;
      rmSync(root, { recursive: true, force: true });
      execFileSync('cp', ['-a', original, root]);
      rmSync(join(root, file));
      await obstacles[obstacle]!(join(root, file));
      const outcome = await watchedPly(['--root', root, '--writable', ...command]);
      const what = `${command[0]!} with ${obstacle} for ${file}`;
      const sentence = outcome.stderr + outcome.stdout;
      const good =
        !outcome.hung &&
        outcome.status !== null &&
        (outcome.peak ?? 0) < MEMORY &&
        !/internal|TypeError|\n {4}at /.test(sentence);
      if (!good) t.fail(what, { outcome });
      // The file, its directory, or the layer, image or container that it is of.
      const [owner] = /[0-9a-f]{64}/.exec(file) ?? [];
      const named =
        sentence.includes(join(root, dirname(file))) ||
        (owner !== undefined && sentence.includes(owner));
      if (outcome.status !== 0 && !named) t.fail(`${what} names what is wrong`, { outcome });
    }
  });
  await Promise.all(workers);
}
