/**
 * Which images of an archive are loaded, what is passed over and told, and what is refused because
 * it could be taken for two things.
 */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hexOf, sha256 } from '../../src/base/digest.js';
import { loadImages } from '../../src/image/load-image.js';
import { familiarString } from '../../src/image/reference.js';
import { isRoot } from '../layer/fixture.js';
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
} from './fixture.js';

t.setTimeout(120_000);

const REF_NAME = 'org.opencontainers.image.ref.name';
const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };
const named = (name: string) => ({ annotations: { [REF_NAME]: name } });

interface Loaded {
  readonly images: readonly string[];
  readonly warnings: readonly string[];
}

async function load(
  t: Test,
  members: Readonly<Record<string, Member>>,
  {
    platform,
    directory = false,
  }: { platform?: typeof amd64 & { variant?: string }; directory?: boolean } = {},
): Promise<Loaded> {
  const stores = await newStores(t);
  const warnings: string[] = [];
  const before = whatIsThere(stores);
  const options = {
    ...(platform && { platform }),
    onWarning: (sentence: string) => void warnings.push(sentence),
  };
  if (directory) await writeTree(join(stores.base, 'tree'), members);
  const source = directory
    ? { directory: join(stores.base, 'tree') }
    : await fileOf(stores, 'a.tar', await archiveOf(members));
  try {
    const loaded = await loadImages(source, stores, options);
    return {
      images: loaded.map(({ image, tags }) => [...tags.map(familiarString), image.id].join(' ')),
      warnings,
    };
  } catch (error) {
    t.same(whatIsThere(stores), before, 'nothing is left of what was refused');
    throw error;
  }
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const one = await imageOf([{ 'etc/issue': 'hello\n' }]);
  const two = await imageOf([{ 'etc/motd': 'two\n' }]);
  const foreign = imageOfTars(one.layers, { architecture: 'arm64' });

  await t.test('entries of index.json', async (t) => {
    const layout = new OciLayout();
    const [first, second, other] = [layout.image(one), layout.image(two), layout.image(foreign)];
    const of = (...entries: object[]) => load(t, layout.finish(entries), { platform: amd64 });
    t.same(
      (await of({ ...first, platform: amd64 }, { ...second, platform: amd64 })).images,
      [one.id, two.id],
      'two without a name are two',
    );
    t.same((await of({ ...other, platform: arm64 }, { ...first, platform: amd64 })).images, [
      one.id,
    ]);
    const ambiguous = {
      code: 'archive-invalid',
      message: /several images for one platform under the name t:1/,
    };
    await t.rejects(
      of(
        { ...first, platform: amd64, ...named('t:1') },
        { ...second, platform: amd64, ...named('t:1') },
      ),
      ambiguous,
    );
    t.same(
      (
        await of(
          { ...first, platform: amd64, ...named('t:1') },
          { ...first, platform: amd64, ...named('t:1') },
        )
      ).images,
      [`t:1 ${one.id}`],
    );
    t.same(
      (await of({ ...other, ...named('t:1') }, { ...first, ...named('t:1') })).images,
      [`t:1 ${one.id}`],
      'configurations say what they are for',
    );
    await t.rejects(of({ ...first, ...named('t:1') }, { ...second, ...named('t:1') }), ambiguous);
    await t.rejects(
      of(
        { ...other, ...named('t:1') },
        { ...layout.image(imageOfTars([], { architecture: 's390x' })), ...named('t:1') },
      ),
      {
        code: 'platform-unsupported',
        message: /for linux\/amd64, but for linux\/arm64, linux\/s390x/,
      },
    );
  });

  await t.test('a platform that was asked for, and none', async (t) => {
    const layout = new OciLayout();
    const index = layout.finish([
      { ...layout.index([{ ...layout.image(foreign), platform: arm64 }]), ...named('t:1') },
    ]);
    const unsupported = { code: 'platform-unsupported', message: /linux\/arm64/ };
    if (process.arch === 'x64')
      await t.rejects(load(t, index), unsupported, 'an index is a choice, of one too');
    await t.rejects(load(t, index, { platform: amd64 }), unsupported);
    t.same((await load(t, index, { platform: arm64 })).images, [`t:1 ${foreign.id}`]);

    const alone = layout.finish([{ ...layout.image(foreign), ...named('t:1') }]);
    const archive = docker20([{ image: foreign, tags: ['t:1'] }]);
    const both = docker20([
      { image: one, tags: ['t:1'] },
      { image: foreign, tags: ['t:2'] },
    ]);
    for (const members of [alone, archive]) {
      t.same(
        (await load(t, members)).images,
        [`t:1 ${foreign.id}`],
        'one image is no choice, as for docker and skopeo',
      );
      t.same((await load(t, members, { platform: arm64 })).images, [`t:1 ${foreign.id}`]);
      await t.rejects(load(t, members, { platform: amd64 }), unsupported);
    }
    t.equal((await load(t, both)).images.length, 2);
    const narrowed = await load(t, both, { platform: arm64 });
    t.same(narrowed.images, [`t:2 ${foreign.id}`]);
    t.match(narrowed.warnings, [
      /^Passed over 1 image of .*, not for linux\/arm64, but for linux\/amd64\.$/,
    ]);
    const silent = imageOfTars(one.layers, { architecture: undefined });
    t.equal(
      (await load(t, docker20([{ image: silent, tags: ['t:1'] }]), { platform: arm64 })).images
        .length,
      1,
      'one that does not say',
    );
  });

  await t.test('what is no image', async (t) => {
    const layout = new OciLayout();
    const image = { ...layout.image(one), ...named('t:1') };
    const empty = layout.blob('{}', 'application/vnd.oci.empty.v1+json');
    const sbom = layout.blob(
      JSON.stringify({
        schemaVersion: 2,
        artifactType: 'application/vnd.example.sbom',
        config: empty,
        layers: [empty],
      }),
      image.mediaType,
    );
    const attestation = {
      ...layout.image(two),
      ...{ annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
    };
    const elsewhere = {
      mediaType: 'application/vnd.example.thing',
      digest: sha256(Buffer.from('not there')),
      size: 9,
    };
    const found = await load(t, layout.finish([sbom, attestation, image, elsewhere, elsewhere]));
    t.same(found.images, [`t:1 ${one.id}`]);
    t.match(found.warnings, [
      /^Passed over 4 entries of .*, no images: attestation-manifest, application\/vnd\.example\.thing \(2\), application\/vnd\.example\.sbom\.$/,
    ]);
    t.same((await load(t, layout.finish([image]))).warnings, []);
    for (const [what, members] of [
      ['attestations only', layout.finish([{ ...layout.index([attestation]), ...named('t:1') }])],
      ['artifacts only', layout.finish([sbom, elsewhere])],
      ['an empty index', layout.finish([])],
      ['an empty index in an index', layout.finish([layout.index([])])],
      ['an empty manifest.json', { 'manifest.json': '[]' }],
      ['an empty repositories', { repositories: '{}' }],
    ] as const) {
      await t.rejects(
        load(t, members),
        { code: 'archive-invalid', message: /holds no image/ },
        what,
      );
    }
  });

  await t.test('what could be taken for two things (CVE-2021-41190)', async (t) => {
    const layout = new OciLayout();
    const image = layout.image(one);
    const manifest = JSON.parse(
      (layout.members[`blobs/sha256/${hexOf(image.digest)}`] as Buffer).toString(),
    ) as Record<string, unknown>;
    const index = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [image],
    };
    const of = (document: object, mediaType: string) =>
      load(
        t,
        layout.finish([{ ...layout.blob(JSON.stringify(document), mediaType), ...named('t:1') }]),
      );
    t.equal((await of(manifest, image.mediaType)).images.length, 1);
    const { mediaType: _, ...untyped } = manifest;
    const twofold = { code: 'archive-hostile', message: /taken for two things/ };
    for (const [what, document, mediaType] of [
      ['a manifest with manifests', { ...manifest, manifests: [] }, image.mediaType],
      ['in another spelling', { ...manifest, Manifests: [image] }, image.mediaType],
      ['an index with layers', { ...index, layers: [] }, index.mediaType],
      ['an index with a configuration', { ...index, config: manifest['config'] }, index.mediaType],
      ['a manifest that its index calls an index', manifest, index.mediaType],
      ['an index that its index calls a manifest', index, image.mediaType],
      [
        'a manifest with the layers of a former format',
        { ...manifest, fsLayers: [] },
        image.mediaType,
      ],
      ['a manifest without a type', { ...untyped, manifests: [image] }, ''],
    ] as const) {
      await t.rejects(of(document, mediaType), twofold, what);
    }
    const members = layout.finish([image]);
    const top = {
      ...(JSON.parse(members['index.json'] as string) as object),
      config: manifest['config'],
    };
    await t.rejects(
      load(t, { ...members, 'index.json': JSON.stringify(top) }),
      twofold,
      'index.json itself',
    );
    const skopeo = {
      version: 'Directory Transport Version: 1.1\n',
      'manifest.json': JSON.stringify({ ...manifest, manifests: [] }),
    };
    await t.rejects(load(t, skopeo, { directory: true }), twofold, 'the manifest of a directory');
  });

  await t.test('times', async (t) => {
    const created = (time: unknown, inHistory = false) => {
      const config = inHistory
        ? { history: [{ created: time, created_by: 'x' }] }
        : { created: time };
      return load(t, docker20([{ image: imageOfTars(one.layers, config), tags: ['t:1'] }]));
    };
    for (const time of [
      '2024-02-29T23:59:59.999999999Z',
      '0001-01-01T00:00:00Z',
      '2024-05-06T07:08:09+23:59',
      null,
    ])
      t.equal((await created(time)).images.length, 1, String(time));
    // Each is an error of Go's time.Time, and dockerd does not show an image that has it.
    const impossible = [
      '',
      '2023-02-29T00:00:00Z',
      '2024-13-01T00:00:00Z',
      '2024-00-01T00:00:00Z',
      '2024-01-32T00:00:00Z',
      '2024-01-01T24:00:00Z',
    ];
    for (const time of [
      ...impossible,
      '2024-01-01T00:60:00Z',
      '2024-01-01T00:00:60Z',
      '2024-01-01',
      'yesterday',
      '1900-02-29T00:00:00Z',
    ])
      await t.rejects(
        created(time),
        { code: 'image-invalid', message: /as a time, which is none/ },
        JSON.stringify(time),
      );
    await t.rejects(created('', true), { code: 'image-invalid', message: /history\[0\]\.created/ });
    await t.rejects(created(5), { code: 'image-invalid' });
  });

  await t.test(
    'fields in any case, as Go reads them, and commands that are one string',
    async (t) => {
      const stores = await newStores(t);
      const { rootfs } = JSON.parse(one.config.toString()) as { rootfs: object };
      const imageWith = (config: object) => ({
        ...one,
        config: Buffer.from(JSON.stringify(config)),
        id: sha256(Buffer.from(JSON.stringify(config))) as typeof one.id,
      });
      const odd = imageWith({
        ARCHITECTURE: 'arm64',
        Os: 'linux',
        RootFS: rootfs,
        History: [{ Created: '2024-05-06T07:08:09Z', CREATED_BY: 'x' }],
        Config: {
          cmd: '/bin/sh',
          ENTRYPOINT: ['/x'],
          env: ['A=1'],
          Labels: { Cmd: 'kept', cmd: 'kept' },
          Own: 1,
        },
      });
      const members = docker20([{ image: odd, tags: ['t:1'] }]);
      const manifest = (members['manifest.json'] as string)
        .replace('Config', 'config')
        .replace('RepoTags', 'repotags')
        .replace('Layers', 'LAYER\u017f');
      await loadImages(
        await fileOf(stores, 'a.tar', await archiveOf({ ...members, 'manifest.json': manifest })),
        stores,
      );
      const config = stores.images.list()[0]!.config;
      t.match(config, {
        platform: arm64,
        history: [{ createdBy: 'x', created: '2024-05-06T07:08:09Z' }],
      });
      t.match(config.run, {
        cmd: ['/bin/sh'],
        entrypoint: ['/x'],
        env: ['A=1'],
        labels: new Map([
          ['Cmd', 'kept'],
          ['cmd', 'kept'],
        ]),
      });
      t.match(
        config.document['config'],
        { Cmd: ['/bin/sh'], Entrypoint: ['/x'], Own: 1 },
        'shown as docker shows it',
      );
      const twice = imageWith({
        architecture: 'amd64',
        os: 'linux',
        rootfs,
        config: { Cmd: ['a'], cmd: ['b'] },
      });
      await t.rejects(load(t, docker20([{ image: twice, tags: [] }])), {
        code: 'image-invalid',
        message: /config\.Cmd twice, in two spellings/,
      });
    },
  );
}
