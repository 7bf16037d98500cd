/**
 * What a command has told of is there after the power goes: a data root on an ext4 in a file, of
 * which a copy is made after each command, and opened. The copy is what a disk holds at that
 * moment: what is only in memory is not in it.
 *
 * On one ext4 a flush of anything commits the names of everything before it. So parts of the root
 * lie elsewhere as well, where all is kept at once: then one part is newer than the other, and a
 * step that comes too early, or is not flushed, shows.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  containerChanges,
  renameContainer,
  resetContainer,
} from '../../src/engine/containers/changes.js';
import { commitContainer } from '../../src/engine/containers/commit.js';
import { createContainer } from '../../src/engine/containers/create.js';
import { findContainer } from '../../src/engine/containers/find.js';
import { removeMounted } from '../../src/engine/containers/remove-container.js';
import { openDataRoot, type DataRoot } from '../../src/engine/data-root.js';
import { checkRoot } from '../../src/engine/fsck.js';
import { collectGarbage } from '../../src/engine/gc.js';
import { importImage } from '../../src/engine/images/import.js';
import { loadImage } from '../../src/engine/images/load.js';
import { removeImage } from '../../src/engine/images/remove.js';
import { tagImage } from '../../src/engine/images/tag.js';
import { familiarString } from '../../src/image/reference.js';
import { archiveOf, docker20, imageOf } from '../image/fixture.js';
import { sourceOf, tarOf } from '../layer/fixture.js';
import { succeed } from '../support/command.js';
import { mountExt4, mountImage } from '../support/disk-image.js';
import { isRoot } from '../support/users.js';
import { workspace } from '../suites/workspace.js';

/** What of the root lies on the disk that loses what was not flushed. */
type Part = 'all' | 'layers of the driver' | 'layerdb';

interface Scene {
  readonly root: DataRoot;
  /** The file system that is cut off. */
  readonly disk: string;
  /** Opens what the power cut would leave, and closes it again. */
  cut<T>(look: (root: DataRoot) => Promise<T>): Promise<T>;
}

const DRIVER = 'overlay2';

/** Where the disk is mounted; the other part of the root is below `base/root` as well. */
function diskOf(root: string, part: Part): string {
  return { all: root, 'layers of the driver': join(root, DRIVER), layerdb: join(root, 'image') }[
    part
  ];
}

async function scene(t: Test, part: Part): Promise<Scene | undefined> {
  const base = await workspace(t, 'root', 'seen');
  const disk = diskOf(`${base}/root`, part);
  await mkdir(disk, { recursive: true });
  // Nothing is written of itself for as long as the test takes, nor because a file is replaced.
  const options = ['commit=600', 'noauto_da_alloc'];
  const reason = await mountExt4(`${base}/image`, disk, { mebibytes: 24, options });
  if (reason !== undefined) {
    t.plan(0, reason);
    return undefined;
  }
  await rm(`${disk}/lost+found`, { recursive: true });
  // `writable`: the place of a disk is there before the root is ply's.
  const open = (path: string): Promise<DataRoot> =>
    openDataRoot({ root: path, storageDriver: DRIVER, write: true, writable: true });
  const root = await open(`${base}/root`);
  t.teardown(() => root.close());
  let cuts = 0;
  return {
    root,
    disk,
    cut: async (look) => {
      const image = `${base}/image${++cuts}`;
      const copy = `${base}/seen/${cuts}`;
      await mkdir(copy);
      await succeed(['cp', '--sparse=always', `${base}/image`, image]);
      if (part !== 'all') await succeed(['cp', '-a', '-x', `${base}/root/.`, copy]);
      const at = diskOf(copy, part);
      await mountImage(image, at);
      const after = await open(copy);
      try {
        return await look(after);
      } finally {
        after.close();
        await succeed(['umount', at]);
        await rm(image);
      }
    },
  };
}

/** All that `ply images`, `ply ps`, `ply inspect`, `ply diff` and `ply layers` would show. */
async function shownBy(root: DataRoot): Promise<unknown> {
  const images = root.images.list().map(({ id, parent }) => ({
    id,
    parent,
    updated: root.images.lastUpdated(id),
    names: root.references.of(id).map(familiarString),
  }));
  const containers = [];
  for (const { name } of root.layers.mountedLayers())
    containers.push({
      name,
      ...pick(findContainer(root, name)),
      changes: await containerChanges(root, name),
    });
  const { left } = await checkRoot(root, { deep: true });
  return {
    images: images.sort((a, b) => (a.id < b.id ? -1 : 1)),
    containers,
    layers: root.layers.layers().map(({ chainId }) => chainId),
    // A power cut may leave what is known to be nobody's.
    findings: left.filter(({ code }) => code !== 'garbage'),
  };
}

function pick({ id, image, imageId, created, config }: ReturnType<typeof findContainer>): object {
  return { id, image, imageId, created, env: config.env };
}

const base = await tarOf({ 'etc/': { type: 'directory', mode: 0o755 }, 'etc/motd': 'hello\n' });
const two = await imageOf([{ a: 'a'.repeat(5000) }, { b: 'b' }]);

/** In this order, each on what those before it left. */
const commands: Readonly<Record<string, (scene: Scene) => Promise<unknown>>> = {
  import: ({ root }) => importImage(root, sourceOf(base), { name: 'base:1' }),
  'load, of an image without a name': async ({ root }) =>
    loadImage(root, sourceOf(await archiveOf(docker20([{ image: two, tags: [] }])))),
  create: ({ root }) => createContainer(root, 'base:1', { name: 'one', env: ['A=1'] }),
  commit: async (scene) => {
    await write(scene, 'one', 'new');
    return commitContainer(scene.root, 'one', { name: 'child:1' });
  },
  'commit, of an image without a name': async (scene) => {
    await write(scene, 'one', 'newer');
    return commitContainer(scene.root, 'one');
  },
  tag: async ({ root }) => tagImage(root, 'base:1', 'other:1'),
  reset: ({ root }) => resetContainer(root, 'one'),
  rename: async ({ root }) => renameContainer(root, 'one', 'renamed'),
  'rmi, of a name': ({ root }) => removeImage(root, 'other:1'),
  'rmi, of an image whose layers others need': async ({ root }) => {
    const { id } = await commitContainer(root, 'renamed');
    await removeImage(root, id, { force: true });
  },
  'rmi, of an image': ({ root }) => removeImage(root, 'child:1'),
  rm: ({ root }) => removeMounted(root, 'renamed', { force: false }),
  gc: async ({ root }) => {
    const other = await openDataRoot({ root: root.root, write: true, writable: true });
    // As a load leaves it that is killed before its image is there.
    await other.layers.register(sourceOf(await tarOf({ left: 'x' })), undefined);
    other.close();
    return collectGarbage(root);
  },
};

/** Written and flushed by the container itself, which no command promises. */
async function write({ root, disk }: Scene, container: string, name: string): Promise<void> {
  const { own } = findContainer(root, container).mounted.directories();
  writeFileSync(join(own, name), `${name}\n`);
  await succeed(['sync', '-f', own]);
  await succeed(['sync', '-f', disk]);
}

t.setTimeout(240_000);
const skip = isRoot ? false : 'needs root';

for (const part of ['all', 'layers of the driver', 'layerdb'] as const) {
  await t.test(`on the disk: ${part}`, { skip }, async (t) => {
    const opened = await scene(t, part);
    if (opened === undefined) return;
    for (const [command, run] of Object.entries(commands)) {
      await run(opened);
      const before = await shownBy(opened.root);
      t.match(before, { findings: [] });
      t.strictSame(await opened.cut(shownBy), before, command);
    }
  });
}

await t.test('what was not flushed is not in the copy: the test can tell', { skip }, async (t) => {
  const opened = await scene(t, 'all');
  if (opened === undefined) return;
  let missed = false;
  // Somebody else's sync(1) may come in between.
  for (let i = 0; i < 3 && !missed; i++) {
    writeFileSync(`${opened.disk}/unflushed${i}`, 'x');
    missed = await opened.cut(async ({ root }) => !existsSync(`${root}/unflushed${i}`));
  }
  t.ok(missed);
});
