/** The reader of manifests over blobs in memory: what it takes, and what it does not believe. */
import t from 'tap';
import { sha256, type Digest } from '../../src/base/digest.js';
import { ManifestReader, MediaType, type Descriptor } from '../../src/image/manifest.js';
import type { Platform } from '../../src/image/image-config.js';
import { choosePlatform } from '../../src/image/platform.js';
import { Selection } from '../../src/image/selection.js';

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

class Blobs {
  readonly name = 'the test';
  readonly codes = { invalid: 'test-invalid', hostile: 'test-hostile' };
  readonly blobs = new Map<Digest, Buffer>();
  readonly asked: Digest[] = [];

  put(content: object | string, mediaType: string): Descriptor {
    const bytes = Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));
    const digest = sha256(bytes);
    this.blobs.set(digest, bytes);
    const nothing = { platform: undefined, annotations: new Map<string, string>(), urls: [] };
    return { mediaType, digest, size: bytes.length, ...nothing };
  }

  image({
    configType = MediaType.ociConfig,
    layers = [LAYER],
    architecture = 'amd64',
  }: { configType?: string; layers?: string[]; architecture?: string } = {}): Descriptor {
    const diffIds = layers.map((_, index) => sha256(`layer ${index}`));
    const config = this.put(
      { architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } },
      configType,
    );
    return this.put(
      {
        schemaVersion: 2,
        config,
        layers: layers.map((mediaType, index) => ({ ...this.put(`layer ${index}`, mediaType) })),
      },
      MediaType.ociManifest,
    );
  }

  whatOf(digest: Digest): string {
    return `blob ${digest}`;
  }

  async read({ digest }: Descriptor): Promise<Buffer> {
    this.asked.push(digest);
    return this.blobs.get(digest)!;
  }
}

const amd64: Platform = { os: 'linux', architecture: 'amd64' };
const reading = (blobs: Blobs, entry: Descriptor, selection = new Selection(undefined)) =>
  new ManifestReader(blobs, selection).image(entry, 0, true);

t.test('what is no image is refused by the name of its type', async (t) => {
  const cases: [string, Parameters<Blobs['image']>[0]][] = [
    [
      'application/vnd.cncf.helm.config.v1+json',
      { configType: 'application/vnd.cncf.helm.config.v1+json' },
    ],
    ['application/vnd.in-toto+json', { layers: ['application/vnd.in-toto+json'] }],
    [
      'application/vnd.dev.cosign.simplesigning.v1+json',
      { layers: [LAYER, 'application/vnd.dev.cosign.simplesigning.v1+json'] },
    ],
  ];
  for (const [type, options] of cases) {
    const blobs = new Blobs();
    const selection = new Selection(undefined);
    t.same(await reading(blobs, blobs.image(options), selection), []);
    t.match(selection.nothingLeft('it', 'test-invalid'), {
      code: 'test-invalid',
      message: `it holds no image, but something else: ${type}.`,
    });
  }
});

t.test('a manifest of schema 1 is refused by its name', async (t) => {
  const blobs = new Blobs();
  const old = { schemaVersion: 1, name: 'x', tag: '1', fsLayers: [], history: [] };
  for (const type of ['', 'application/vnd.docker.distribution.manifest.v1+prettyjws'])
    await t.rejects(reading(blobs, blobs.put(old, type)), {
      code: 'manifest-unsupported',
      message: /schema 1/,
    });
});

t.test('nothing is believed before it was checked', async (t) => {
  const blobs = new Blobs();
  const image = blobs.image();
  await t.rejects(reading(blobs, { ...image, size: image.size + 1 }), {
    code: 'blob-size-mismatch',
  });
  blobs.blobs.set(image.digest, Buffer.from('x'.repeat(image.size)));
  await t.rejects(reading(blobs, image), { code: 'blob-digest-mismatch' }, 'not parsed');

  const large = { ...blobs.image({ architecture: 'arm' }), size: 100 << 20 };
  blobs.asked.length = 0;
  await t.rejects(reading(blobs, large), { code: 'archive-too-large' });
  t.same(blobs.asked, [], 'one that is too large is not asked for');
});

t.test('indexes within indexes end', async (t) => {
  const blobs = new Blobs();
  let index = blobs.put({ schemaVersion: 2, manifests: [blobs.image()] }, MediaType.ociIndex);
  for (let depth = 0; depth < 3; depth++)
    index = blobs.put({ schemaVersion: 2, manifests: [index] }, MediaType.ociIndex);
  t.equal((await reading(blobs, index, new Selection(amd64))).length, 1);
  index = blobs.put({ schemaVersion: 2, manifests: [index] }, MediaType.ociIndex);
  await t.rejects(reading(blobs, index), { code: 'test-hostile' });
});

t.test('the configuration is read when it is asked for', async (t) => {
  const blobs = new Blobs();
  const [manifest] = await reading(blobs, blobs.image());
  t.equal(blobs.asked.length, 1);
  t.same((await manifest!.image()).config.platform, amd64);
  await manifest!.image();
  t.equal(blobs.asked.length, 2, 'once');
});

t.test('a platform runs the lower levels, and 32 bits where there is nothing else', (t) => {
  const of = (text: string): Platform => {
    const [architecture, variant] = text.split('/') as [string, string?];
    return { os: 'linux', architecture, ...(variant !== undefined && { variant }) };
  };
  const chosen = (wanted: string, ...offered: string[]): string | undefined => {
    const index = choosePlatform(offered.map(of), of(wanted));
    return index === undefined ? undefined : offered[index];
  };
  t.equal(chosen('amd64/v3', 'amd64', 'amd64/v2', 'amd64/v4'), 'amd64/v2');
  t.equal(chosen('amd64', 'amd64/v2'), undefined);
  t.equal(chosen('amd64', '386', 'amd64'), 'amd64');
  t.equal(chosen('amd64', 'arm64', '386'), '386');
  t.equal(chosen('arm64', 'arm/v6', 'arm/v7'), 'arm/v7');
  t.equal(chosen('arm/v6', 'arm/v5', 'arm/v7'), 'arm/v5');
  t.equal(chosen('386', 'amd64'), undefined);
  t.end();
});
