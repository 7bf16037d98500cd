/**
 * Archives that are damaged, lie, or were made to do harm: a clear error, and nothing of them in
 * the store.
 */
import { symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { hexOf, sha256 } from '../../src/base/digest.js';
import { loadImages } from '../../src/image/load-image.js';
import { CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX } from '../../src/image/limits.js';
import { isRoot } from '../layer/fixture.js';
import { succeed } from '../support/command.js';
import {
  archiveOf,
  docker20,
  fileOf,
  imageOf,
  imageOfTars,
  newStores,
  OciLayout,
  whatIsThere,
  writeTree,
  type Member,
  type TestImage,
} from './fixture.js';

t.setTimeout(120_000);

interface Case {
  readonly what: string;
  readonly members: Readonly<Record<string, Member>> | readonly (readonly [string, Member])[];
  readonly code: string;
  readonly message?: RegExp;
}

/** The archive of one image, its `manifest.json` changed. */
function withManifest(
  image: TestImage,
  changes: Readonly<Record<string, unknown>>,
): Record<string, Member> {
  const members = docker20([{ image, tags: ['small:1'] }]);
  const [item] = JSON.parse(members['manifest.json'] as string) as Record<string, unknown>[];
  return { ...members, 'manifest.json': JSON.stringify([{ ...item, ...changes }]) };
}

/** The archive of one image whose configuration is `text`. */
function withConfig(image: TestImage, text: string): Record<string, Member> {
  return docker20([
    {
      image: { ...image, config: Buffer.from(text), id: sha256(text) as TestImage['id'] },
      tags: [],
    },
  ]);
}

/**
 * An OCI layout of one image with a compressed layer, one of its blobs with bytes after its end,
 * which gunzip passes over, or without its last.
 */
function withOtherSize(
  image: TestImage,
  which: 'layer' | 'manifest' | 'configuration',
  change: 'longer' | 'shorter',
): Record<string, Member> {
  const layout = new OciLayout();
  const compressed = image.layers.map((layer) => gzipSync(layer));
  const manifest = layout.image(image, compressed);
  const digest = {
    layer: sha256(compressed[0]!),
    manifest: manifest.digest,
    configuration: image.id,
  };
  const path = `blobs/sha256/${hexOf(digest[which])}`;
  const blob = layout.members[path] as Buffer;
  const changed =
    change === 'longer' ? Buffer.concat([blob, Buffer.alloc(8)]) : blob.subarray(0, -1);
  return { ...layout.finish([manifest]), [path]: changed };
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const image = await imageOf([{ 'etc/issue': 'hello\n' }, { 'etc/motd': 'x' }]);
  const config = JSON.parse(image.config.toString()) as Record<string, unknown>;
  const plain = docker20([{ image, tags: ['small:1'] }]);
  const [layerPath] = Object.keys(plain).filter((name) => name.endsWith('layer.tar')) as [string];
  const layout = new OciLayout();
  const descriptor = layout.image(image);
  const spoiltLayout = (
    change: (members: Record<string, Member>) => void,
  ): Record<string, Member> => {
    const members = layout.finish([descriptor]);
    change(members);
    return members;
  };
  const manifestBlob = `blobs/sha256/${hexOf(descriptor.digest)}`;
  const loop = (depth: number): object =>
    depth === 0 ? descriptor : layout.index([loop(depth - 1)]);

  const cases: readonly Case[] = [
    {
      what: 'an entry that leads out',
      members: { ...plain, '../../evil': 'x' },
      code: 'archive-hostile',
      message: /lead out/,
    },
    {
      what: 'an entry with .. within',
      members: { ...plain, 'a/../../evil': 'x' },
      code: 'archive-hostile',
    },
    {
      what: 'a manifest that names a file outside',
      members: withManifest(image, { Config: '../../../etc/passwd' }),
      code: 'archive-hostile',
    },
    {
      what: 'a layer that leads out',
      members: withManifest(image, { Layers: ['/../etc/passwd', layerPath] }),
      code: 'archive-hostile',
    },
    {
      what: 'a link to a file outside',
      members: { ...plain, [layerPath]: { link: '../../../../../../etc/passwd' } },
      code: 'layer-missing',
    },
    {
      what: 'an absolute link',
      members: { ...plain, [layerPath]: { link: '/etc/passwd' } },
      code: 'layer-missing',
    },
    {
      what: 'a link to itself',
      members: { ...plain, [layerPath]: { link: 'layer.tar' } },
      code: 'archive-hostile',
      message: /symbolic links/,
    },
    {
      what: 'directories that are links to each other',
      members: {
        ...withManifest(image, { Layers: ['a/b/layer.tar', layerPath] }),
        a: { link: 'c' },
        c: { link: 'a' },
      },
      code: 'archive-hostile',
    },
    {
      what: 'hard links to each other',
      members: { ...plain, [layerPath]: { hardLink: 'x' }, x: { hardLink: layerPath } },
      code: 'archive-hostile',
    },
    {
      what: 'two manifests',
      members: [...Object.entries(plain), ['manifest.json', '[]']],
      code: 'archive-hostile',
      message: /more than once/,
    },
    {
      what: 'two layers of one name',
      members: [...Object.entries(plain), [`./${layerPath}`, 'x']],
      code: 'archive-hostile',
    },
    {
      what: 'a huge manifest',
      members: { ...plain, 'manifest.json': ' '.repeat(MANIFEST_BYTES_MAX + 1) },
      code: 'archive-too-large',
    },
    {
      what: 'a huge configuration',
      members: withConfig(image, ' '.repeat(CONFIG_BYTES_MAX + 1)),
      code: 'archive-too-large',
    },
    {
      what: 'a manifest that is no JSON',
      members: { ...plain, 'manifest.json': '[{"Config":' },
      code: 'archive-invalid',
      message: /not JSON/,
    },
    {
      what: 'a deeply nested manifest',
      members: { ...plain, 'manifest.json': '['.repeat(1_000_000) },
      code: 'archive-invalid',
    },
    {
      what: 'a manifest that is null',
      members: { ...plain, 'manifest.json': 'null' },
      code: 'archive-invalid',
    },
    {
      what: 'a manifest of numbers',
      members: { ...plain, 'manifest.json': '[1]' },
      code: 'archive-invalid',
    },
    {
      what: 'no configuration',
      members: withManifest(image, { Config: null }),
      code: 'archive-invalid',
      message: /Config/,
    },
    {
      what: 'a configuration that is not there',
      members: withManifest(image, { Config: 'missing.json' }),
      code: 'archive-invalid',
    },
    {
      what: 'layers that are no list',
      members: withManifest(image, { Layers: 'x' }),
      code: 'archive-invalid',
      message: /Layers/,
    },
    {
      what: 'too few layers',
      members: withManifest(image, { Layers: [layerPath] }),
      code: 'archive-invalid',
      message: /length mismatch/,
    },
    {
      what: 'a layer that is not there',
      members: withManifest(image, { Layers: [layerPath, 'missing'] }),
      code: 'layer-missing',
    },
    {
      what: 'a tag that is none',
      members: withManifest(image, { RepoTags: ['small'] }),
      code: 'archive-invalid',
    },
    {
      what: 'a tag that is no reference',
      members: withManifest(image, { RepoTags: ['Small:1'] }),
      code: 'reference-invalid',
    },
    {
      what: 'a tag that looks like an id',
      members: withManifest(image, { RepoTags: ['sha256:1'] }),
      code: 'reference-invalid',
    },
    {
      what: 'layers in another order',
      members: withManifest(image, {
        Layers: [
          ...(JSON.parse(plain['manifest.json'] as string) as [{ Layers: string[] }])[0].Layers,
        ].reverse(),
      }),
      code: 'layer-digest-mismatch',
    },
    {
      what: 'no rootfs',
      members: withConfig(image, '{}'),
      code: 'image-invalid',
      message: /rootfs/,
    },
    {
      what: 'a rootfs of another kind',
      members: withConfig(
        image,
        JSON.stringify({ ...config, rootfs: { type: 'x', diff_ids: image.diffIds } }),
      ),
      code: 'image-invalid',
    },
    {
      what: 'DiffIDs that are none',
      members: withConfig(
        image,
        JSON.stringify({
          ...config,
          rootfs: { type: 'layers', diff_ids: ['sha256:../../x', 'y'] },
        }),
      ),
      code: 'image-invalid',
    },
    {
      what: 'a longer history than there are layers',
      members: withConfig(image, JSON.stringify({ ...config, history: [{}, {}, {}] })),
      code: 'image-invalid',
      message: /too many non-empty layers/,
    },
    {
      what: 'fields of other types',
      members: withConfig(image, JSON.stringify({ ...config, config: { Env: { a: 1 } } })),
      code: 'image-invalid',
      message: /config\.Env/,
    },
    {
      what: 'a configuration that is a list',
      members: withConfig(image, '[]'),
      code: 'image-invalid',
    },
    {
      what: 'an image for Windows',
      members: withConfig(image, JSON.stringify({ ...config, os: 'windows' })),
      code: 'platform-unsupported',
    },
    {
      what: 'a manifest with another digest',
      members: spoiltLayout(
        (members) =>
          (members[manifestBlob] = Buffer.from(members[manifestBlob] as Buffer).fill(' ', 0, 1)),
      ),
      code: 'blob-digest-mismatch',
    },
    {
      what: 'a blob of another size',
      members: spoiltLayout((members) => (members[manifestBlob] = 'x')),
      code: 'archive-damaged',
    },
    ...(['layer', 'manifest', 'configuration'] as const).flatMap((which) =>
      (['longer', 'shorter'] as const).map((change) => ({
        what: `a ${which} that is ${change} than is said`,
        members: withOtherSize(image, which, change),
        code: 'archive-damaged',
        message: /where \d+ belong/,
      })),
    ),
    {
      what: 'a blob that is not there',
      members: Object.fromEntries(
        Object.entries(layout.finish([descriptor])).filter(([name]) => name !== manifestBlob),
      ),
      code: 'archive-invalid',
    },
    {
      what: 'a digest that is a path',
      members: layout.finish([{ ...descriptor, digest: 'sha256:../../../etc/passwd' }]),
      code: 'archive-invalid',
    },
    {
      what: 'a digest of another kind',
      members: layout.finish([{ ...descriptor, digest: `sha512:${'a'.repeat(128)}` }]),
      code: 'archive-invalid',
    },
    {
      what: 'a negative size',
      members: layout.finish([{ ...descriptor, size: -1 }]),
      code: 'archive-invalid',
    },
    { what: 'indexes within indexes', members: layout.finish([loop(20)]), code: 'archive-hostile' },
    {
      what: 'no image but something else',
      members: layout.finish([
        layout.blob(
          JSON.stringify({
            config: layout.blob('{}', 'application/vnd.cncf.helm.config.v1+json'),
            layers: [],
          }),
          descriptor.mediaType,
        ),
      ]),
      code: 'archive-invalid',
      message: /helm/,
    },
    {
      what: 'an old image made from itself',
      members: {
        repositories: '{}',
        [`${'a'.repeat(64)}/json`]: JSON.stringify({ parent: 'a'.repeat(64) }),
        [`${'a'.repeat(64)}/layer.tar`]: '',
      },
      code: 'archive-hostile',
    },
    {
      what: 'a name for an old image that is not there',
      members: { repositories: JSON.stringify({ small: { 1: 'a'.repeat(64) } }) },
      code: 'archive-invalid',
    },
    {
      what: 'an old image without a layer',
      members: { repositories: '{}', [`${'a'.repeat(64)}/json`]: '{}' },
      code: 'archive-invalid',
    },
  ];

  await t.test('in a tar', async (t) => {
    const stores = await newStores(t);
    const before = whatIsThere(stores);
    for (const { what, members, code, message } of cases) {
      const file = await fileOf(stores, 'a.tar', await archiveOf(members));
      await t.rejects(loadImages(file, stores), { code, ...(message && { message }) }, what);
    }
    t.same(whatIsThere(stores), before);
  });

  await t.test('cut off at every block, and within one', async (t) => {
    const stores = await newStores(t);
    const before = whatIsThere(stores);
    const { repositories: _, ...needed } = plain;
    const whole = await archiveOf(needed);
    const { path } = await fileOf(stores, 'a.tar', whole);
    // The last two blocks only say that it ends, and Go's programs do without them.
    for (let size = whole.length - 1024 - 512; size > 0; size -= 512) {
      await truncate(path, size);
      await t.rejects(
        loadImages({ path }, stores),
        { code: /^(?:archive-(?:damaged|invalid)|layer-missing)$/ },
        `${size} bytes`,
      );
    }
    await writeFile(path, whole.subarray(0, 1100));
    await t.rejects(loadImages({ path }, stores), {
      code: 'archive-damaged',
      message: /within a header/,
    });
    t.same(whatIsThere(stores), before);
  });

  await t.test('headers that lie', async (t) => {
    const stores = await newStores(t);
    const whole = await archiveOf(plain);
    const spoil = async (change: (bytes: Buffer) => void): Promise<{ path: string }> => {
      const bytes = Buffer.from(whole);
      change(bytes);
      return fileOf(stores, 'a.tar', bytes);
    };
    await t.rejects(
      loadImages(await spoil((bytes) => bytes.write('7777777', 127)), stores),
      { code: 'archive-damaged' },
      'a checksum',
    );
    await t.rejects(
      loadImages(await spoil((bytes) => sized(bytes, 2 ** 33 - 1)), stores),
      { code: 'archive-damaged', message: /should have/ },
      'a size',
    );
    await t.rejects(
      loadImages(
        await fileOf(stores, 'a.tar.gz', Buffer.from('1f8b0800000000000003deadbeef', 'hex')),
        stores,
      ),
      { code: 'archive-damaged' },
      'gzip',
    );
  });

  await t.test('in a directory', async (t) => {
    const stores = await newStores(t);
    const directory = join(stores.base, 'layout');
    await writeTree(directory, layout.finish([descriptor]));
    const blob = join(directory, manifestBlob);
    const before = whatIsThere(stores);
    const rejected = (what: string, code: string) =>
      t.rejects(loadImages({ path: directory }, stores), { code }, what);
    await writeFile(join(stores.base, 'outside'), layout.members[manifestBlob] as Buffer);
    const replace = async (target: string): Promise<void> => {
      await succeed(['rm', '-rf', blob]);
      await symlink(target, blob);
    };
    await replace('../../../outside');
    await rejected('a link to a file outside', 'archive-invalid');
    await replace(join(stores.base, 'outside'));
    await rejected('an absolute link to a file outside', 'archive-invalid');
    await replace(hexOf(descriptor.digest));
    await rejected('a link to itself', 'archive-hostile');
    await succeed(['rm', '-f', blob]);
    await succeed(['mkfifo', blob]);
    await rejected('a fifo', 'archive-invalid');
    t.same(whatIsThere(stores), before);
  });

  await t.test('layers that are links within the archive are read', async (t) => {
    const stores = await newStores(t);
    const twice = imageOfTars([image.layers[0]!, image.layers[0]!]);
    const members = docker20([{ image: twice, tags: ['twice:1'] }]);
    const links = {
      ...members,
      deep: { link: '/nested' },
      'nested/here': { link: `../${Object.keys(members)[2]!}` },
    };
    const [item] = JSON.parse(members['manifest.json'] as string) as [{ Layers: string[] }];
    const manifest = JSON.stringify([{ ...item, Layers: [item.Layers[0], 'deep/here'] }]);
    const loaded = await loadImages(
      await fileOf(stores, 'a.tar', await archiveOf({ ...links, 'manifest.json': manifest })),
      stores,
    );
    t.equal(loaded[0]!.image.id, twice.id);
    const others = await newStores(t);
    await writeTree(join(others.base, 'tree'), { ...links, 'manifest.json': manifest });
    t.equal(
      (await loadImages({ directory: join(others.base, 'tree') }, others))[0]!.image.id,
      twice.id,
    );
  });
}

/** Gives the first entry another size, and the checksum that goes with it. */
function sized(bytes: Buffer, size: number): void {
  bytes.write(`${size.toString(8).padStart(11, '0')} `, 124);
  bytes.fill(' ', 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
}
