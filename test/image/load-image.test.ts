import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { hexOf, type ChainId } from '../../src/base/digest.js';
import { historyOf } from '../../src/image/history.js';
import { loadImages } from '../../src/image/load-image.js';
import type { Progress } from '../../src/image/progress.js';
import { canonicalString, familiarString } from '../../src/image/reference.js';
import { chainOf, contentOf, isRoot, sourceOf } from '../layer/fixture.js';
import {
  archiveOf,
  docker20,
  fileOf,
  imageOf,
  imageOfTars,
  newStores,
  OciLayout,
  openStores,
  whatIsThere,
  writeTree,
  type Member,
  type Stores,
} from './fixture.js';

t.setTimeout(300_000);

/** What is loaded, as names and ids. */
async function load(
  source: Parameters<typeof loadImages>[0],
  stores: Stores,
  options?: Parameters<typeof loadImages>[2],
): Promise<string[]> {
  const loaded = await loadImages(source, stores, options);
  return loaded.map(({ image, tags }) => [...tags.map(familiarString), image.id].join(' '));
}

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const one = await imageOf([{ 'etc/issue': 'hello\n' }]);
  const two = imageOfTars([
    one.layers[0]!,
    (await imageOf([{ 'etc/.wh.issue': '', 'etc/motd': 'x'.repeat(3000) }])).layers[0]!,
  ]);
  const both = docker20([
    { image: one, tags: ['small:1', 'localhost:5000/a/b:latest'] },
    { image: two, tags: ['small:2'] },
  ]);

  await t.test(
    'an archive as Docker wrote it from 1.10 on, its layers linked and its manifest last',
    async (t) => {
      const stores = await newStores(t);
      const file = await fileOf(stores, 'a.tar', await archiveOf(both));
      t.same(await load(file, stores), [
        `small:1 localhost:5000/a/b:latest ${one.id}`,
        `small:2 ${two.id}`,
      ]);
      const top = chainOf(...two.diffIds);
      t.same(
        stores.layers.layers().map(({ chainId }) => chainId),
        [one.diffIds[0], top],
        'each layer once',
      );
      t.ok(
        (await contentOf(stores.layers.tar(top))).equals(two.layers[1]!),
        'the layer as it was in the archive',
      );
      t.equal(
        Buffer.compare(stores.images.get(one.id)!.raw, one.config),
        0,
        'the configuration as it was',
      );
      t.same(
        stores.references.list().map(({ reference }) => canonicalString(reference)),
        ['docker.io/library/small:1', 'docker.io/library/small:2', 'localhost:5000/a/b:latest'],
      );
      t.equal(
        stores.images.size(stores.images.get(two.id)!),
        'hello\n'.length + 3000,
        'the sizes of all its layers',
      );
      const content = join(stores.root, 'image/overlay2/imagedb/content/sha256');
      t.same(readdirSync(content).sort(), [hexOf(one.id), hexOf(two.id)].sort());
      t.equal((statSync(join(content, hexOf(one.id))).mode & 0o7777).toString(8), '600');
    },
  );

  await t.test('another process finds what was loaded', async (t) => {
    const stores = await newStores(t);
    await load(await fileOf(stores, 'a.tar', await archiveOf(both)), stores);
    const other = await openStores(stores.root, { readOnly: true });
    t.same(whatIsThere(other), whatIsThere(stores));
    t.same(other.images.skipped, []);
    t.throws(() => other.images.create(one.config), { code: 'root-read-only' });
  });

  await t.test('layers that are there are not read', async (t) => {
    const stores = await newStores(t);
    await load(
      await fileOf(stores, 'a.tar', await archiveOf(docker20([{ image: one, tags: [] }]))),
      stores,
    );
    const seen: Progress[] = [];
    const without = docker20([{ image: two, tags: ['small:2'] }]);
    without[Object.keys(without).find((name) => name.endsWith('layer.tar'))!] = 'no tar at all';
    const file = await fileOf(stores, 'b.tar', await archiveOf(without));
    t.same(await load(file, stores, { onProgress: (progress) => seen.push(progress) }), [
      `small:2 ${two.id}`,
    ]);
    t.same(seen[0], { kind: 'exists', id: one.diffIds[0], done: 0 });
    t.same(seen.at(-1), {
      kind: 'layer',
      id: two.diffIds[1],
      done: two.layers[1]!.length,
      total: two.layers[1]!.length,
    });
    const again: Progress[] = [];
    await load(file, stores, { onProgress: (progress) => again.push(progress) });
    t.ok(again.every(({ kind }) => kind === 'exists'));
  });

  await t.test('a tag that meant another image is taken from it', async (t) => {
    const stores = await newStores(t);
    await load(
      await fileOf(stores, 'a.tar', await archiveOf(docker20([{ image: one, tags: ['small:1'] }]))),
      stores,
    );
    const [loaded] = await loadImages(
      await fileOf(stores, 'b.tar', await archiveOf(docker20([{ image: two, tags: ['small:1'] }]))),
      stores,
    );
    t.same(
      loaded!.replaced.map(({ reference, former }) => [familiarString(reference), former]),
      [['small:1', one.id]],
    );
    t.equal(stores.images.list().length, 2, 'the other image stays, without a name');
  });

  await t.test(
    'an image whose parent comes with it is linked to it when its history is one step longer',
    async (t) => {
      const stores = await newStores(t);
      const stranger = imageOfTars(two.layers, {
        history: [{ created_by: 'a' }, { created_by: 'b' }],
      });
      const members = docker20([
        { image: two, tags: [], parent: one.id },
        { image: stranger, tags: [], parent: one.id },
        { image: one, tags: ['small:1'] },
      ]);
      await load(await fileOf(stores, 'a.tar', await archiveOf(members)), stores);
      t.equal(stores.images.get(two.id)!.parent, one.id);
      t.equal(stores.images.get(stranger.id)!.parent, undefined);
      t.same(
        historyOf(stores.images.get(two.id)!, stores).map(({ id, createdBy, size, tags }) => [
          id,
          createdBy,
          size,
          tags.map(familiarString),
        ]),
        [
          [two.id, 'step 1', 3000, []],
          [one.id, 'step 0', 6, ['small:1']],
        ],
      );
    },
  );

  await t.test('compressed archives, and compressed layers in them', async (t) => {
    const compressors = { gzip: ['gzip'], zstd: ['zstd', '-q'], xz: ['xz'], bzip2: ['bzip2'] };
    for (const [name, [program, ...words]] of Object.entries(compressors)) {
      const compress = (bytes: Buffer): Buffer => execFileSync(program!, words, { input: bytes });
      const stores = await newStores(t);
      t.same(await load(await fileOf(stores, 'a.tar.x', compress(await archiveOf(both))), stores), [
        `small:1 localhost:5000/a/b:latest ${one.id}`,
        `small:2 ${two.id}`,
      ]);
      const others = await newStores(t);
      const members = { ...both };
      for (const [key, member] of Object.entries(members))
        if (key.endsWith('layer.tar') && Buffer.isBuffer(member)) members[key] = compress(member);
      t.equal(
        (await load(await fileOf(others, 'a.tar', await archiveOf(members)), others)).length,
        2,
        `layers by ${name}`,
      );
      t.same(whatIsThere(others).layers, whatIsThere(stores).layers);
    }
  });

  await t.test(
    'an archive as a stream, and from a descriptor that is a pipe or a file',
    async (t) => {
      const bytes = await archiveOf(both);
      const stores = await newStores(t);
      t.equal((await load(sourceOf(gzipSync(bytes)), stores)).length, 2);
      t.same(whatIsThere(stores).temporary, [], 'the copy is gone');

      const { path } = await fileOf(stores, 'a.tar', bytes);
      const others = await newStores(t);
      const fd = openSync(path, 'r');
      t.teardown(() => closeSync(fd));
      t.equal((await load({ descriptor: fd, name: 'stdin' }, others)).length, 2);

      const piped = await newStores(t);
      const child = spawn(
        'sh',
        ['-c', 'mkfifo "$0" && exec cat "$1" > "$0"', join(piped.base, 'fifo'), path],
        { stdio: 'ignore' },
      );
      const ended = once(child, 'exit');
      // The fifo is there when it can be opened.
      while (!readdirSync(piped.base).includes('fifo'))
        await new Promise((resolve) => setImmediate(resolve));
      t.equal((await load({ path: join(piped.base, 'fifo') }, piped)).length, 2);
      await ended;
    },
  );

  await t.test('OCI layouts: a tar, a directory, compressed layers, names', async (t) => {
    const layout = new OciLayout();
    const named = {
      ...layout.image(one),
      annotations: { 'org.opencontainers.image.ref.name': 'quay.io/x/small:7' },
    };
    const containerd = {
      ...layout.image(
        two,
        two.layers.map((layer) => gzipSync(layer)),
      ),
      annotations: {
        'io.containerd.image.name': 'docker.io/library/small:8',
        'org.opencontainers.image.ref.name': '8',
      },
    };
    const onlyTag = {
      ...layout.image(one),
      annotations: { 'org.opencontainers.image.ref.name': '1.0' },
    };
    const members = layout.finish([named, containerd, onlyTag]);
    const expected = [`quay.io/x/small:7 ${one.id}`, `small:8 ${two.id}`, one.id];
    const stores = await newStores(t);
    t.same(await load(await fileOf(stores, 'oci.tar', await archiveOf(members)), stores), expected);
    const others = await newStores(t);
    await writeTree(join(others.base, 'layout'), members);
    t.same(await load({ path: join(others.base, 'layout') }, others), expected);
    t.same(await load({ directory: join(others.base, 'layout') }, others), expected);
    t.same(whatIsThere(others).layers, whatIsThere(stores).layers);
  });

  await t.test('of an image for several platforms the one for the wanted platform', async (t) => {
    const foreign = imageOfTars(two.layers, { architecture: 'arm64' });
    const platform = (architecture: string, variant?: string) => ({
      platform: { os: 'linux', architecture, ...(variant && { variant }) },
    });
    const v3 = imageOfTars(one.layers, { architecture: 'amd64', author: 'v3' });
    const layout = new OciLayout();
    const attestation = {
      ...layout.blob('{}', 'application/vnd.oci.image.manifest.v1+json'),
      platform: { os: 'unknown', architecture: 'unknown' },
      annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
    };
    const index = layout.index([
      { ...layout.image(foreign), ...platform('arm64', 'v8') },
      { ...layout.image(v3), ...platform('amd64', 'v3') },
      { ...layout.image(one), ...platform('amd64') },
      attestation,
    ]);
    const nested = layout.finish([
      { ...layout.index([index]), annotations: { 'org.opencontainers.image.ref.name': 'small:9' } },
    ]);
    const flat = layout.finish([
      { ...layout.image(foreign), ...platform('arm64', 'v8') },
      { ...layout.image(one), ...platform('amd64') },
    ]);
    const amd64 = { os: 'linux', architecture: 'amd64' };
    const stores = await newStores(t);
    const file = await fileOf(stores, 'nested.tar', await archiveOf(nested));
    t.same(
      await load(file, stores, { platform: amd64 }),
      [`small:9 ${one.id}`],
      'a plain amd64 cannot run v3',
    );
    t.same(await load(file, stores, { platform: { ...amd64, variant: 'v3' } }), [
      `small:9 ${v3.id}`,
    ]);
    t.same(await load(file, stores, { platform: { os: 'linux', architecture: 'arm64' } }), [
      `small:9 ${foreign.id}`,
    ]);
    await t.rejects(load(file, stores, { platform: { os: 'linux', architecture: 's390x' } }), {
      code: 'platform-unsupported',
      message: /arm64/,
    });
    const other = await fileOf(stores, 'flat.tar', await archiveOf(flat));
    t.same(
      await load(other, stores, { platform: amd64 }),
      [one.id],
      'entries of index.json that differ in the platform only',
    );
  });

  await t.test('what the tar of an archive may have more than once, and links in it', async (t) => {
    const members = docker20([{ image: one, tags: ['small:1'] }]);
    const layer = Object.keys(members).find((name) => name.endsWith('/layer.tar'))!;
    const content = members[layer] as Buffer;
    const load20 = async (...more: (readonly [string, Member])[]): Promise<string[]> => {
      const stores = await newStores(t);
      return load(
        await fileOf(stores, 'a.tar', await archiveOf([...Object.entries(members), ...more])),
        stores,
      );
    };
    const expected = [`small:1 ${one.id}`];
    t.same(
      await load20([layer, content], [`./${layer}`, Buffer.from(content)]),
      expected,
      'a file three times with equal bytes',
    );
    await t.rejects(
      load20([layer, { hardLink: 'again' }], ['again', content]),
      { code: 'archive-hostile' },
      'a file and a link',
    );
    const other = Buffer.from(content);
    other.write('X', other.length - 1);
    const rejected = { code: 'archive-hostile', message: /more than once, with different content/ };
    await t.rejects(load20([layer, other]), rejected, 'as long, but its last byte is another');
    await t.rejects(load20([layer, content], [layer, other]), rejected);
    await t.rejects(load20([layer, content.subarray(0, 512)]), rejected);

    const linked = async (...links: (readonly [string, Member])[]): Promise<string[]> => {
      const stores = await newStores(t);
      const rest = Object.entries(members).filter(([name]) => name !== layer);
      return load(
        await fileOf(stores, 'a.tar', await archiveOf([['0', content], ...links, ...rest])),
        stores,
      );
    };
    const chain = (length: number): [string, Member][] =>
      Array.from({ length }, (_, index) => [
        index + 1 === length ? layer : String(index + 1),
        { hardLink: String(index) },
      ]);
    t.same(await linked(...chain(2)), expected, 'a hard link of a hard link');
    t.same(await linked(...chain(2), ...chain(2).slice(1)), expected, 'twice');
    t.same(await linked(...chain(40)), expected);
    await t.rejects(linked(...chain(41)), {
      code: 'archive-hostile',
      message: /more than 40 hard links/,
    });
  });

  await t.test(
    "a directory of skopeo's: the registry's manifest, and blobs beside it",
    async (t) => {
      const stores = await newStores(t);
      const layout = new OciLayout();
      const manifest = layout.image(one);
      const members = Object.fromEntries(
        Object.entries(layout.members).flatMap(([name, member]) =>
          name.startsWith('blobs/') ? [[name.slice(13), member]] : [],
        ),
      );
      await writeTree(join(stores.base, 'dir'), {
        ...members,
        'manifest.json': members[hexOf(manifest.digest)]!,
        version: 'Directory Transport Version: 1.1\n',
      });
      t.same(await load({ path: join(stores.base, 'dir') }, stores), [one.id]);
    },
  );

  await t.test('an image without layers', async (t) => {
    const stores = await newStores(t);
    const empty = imageOfTars([], { history: [{ created_by: 'CMD', empty_layer: true }] });
    t.same(
      await load(
        await fileOf(
          stores,
          'a.tar',
          await archiveOf(docker20([{ image: empty, tags: ['none:1'] }])),
        ),
        stores,
      ),
      [`none:1 ${empty.id}`],
    );
    t.equal(stores.images.get(empty.id)!.chainId, undefined);
    t.equal(stores.images.size(stores.images.get(empty.id)!), 0);
  });

  await t.test('125 layers load, 126 do not', async (t) => {
    const tars = await Promise.all(
      Array.from({ length: 126 }, (_, index) =>
        archiveOf({ [`file${String(index)}`]: String(index) }),
      ),
    );
    const stores = await newStores(t);
    const many = imageOfTars(tars.slice(0, 125));
    await load(
      await fileOf(stores, 'a.tar', await archiveOf(docker20([{ image: many, tags: ['many:1'] }]))),
      stores,
    );
    t.equal(stores.layers.get(chainOf(...many.diffIds))!.depth, 125);
    const more = await fileOf(
      stores,
      'b.tar',
      await archiveOf(docker20([{ image: imageOfTars(tars), tags: [] }])),
    );
    await t.rejects(load(more, stores), { code: 'too-many-layers' });
  });

  await t.test('a failure leaves nothing of the image', async (t) => {
    const stores = await newStores(t);
    await load(
      await fileOf(stores, 'a.tar', await archiveOf(docker20([{ image: one, tags: ['small:1'] }]))),
      stores,
    );
    const before = whatIsThere(stores);
    const members = docker20([
      { image: imageOfTars([...two.layers, ...two.layers]), tags: ['small:1'] },
    ]);
    const last = Object.keys(members).findLast((name) => name.endsWith('layer.tar'))!;
    const spoilt = await archiveOf({ ...members, [last]: one.layers[0]! });
    const expected = {
      code: 'layer-digest-mismatch',
      message: /invalid diffID for layer 3: .*sha256:.*sha256:/,
    };
    await t.rejects(load(await fileOf(stores, 'b.tar', spoilt), stores), expected);
    t.same(whatIsThere(stores), before);
    await t.rejects(load(sourceOf(spoilt), stores), expected);
    t.same(whatIsThere(stores), before);
    t.same(stores.layers.garbage(), []);
  });

  await t.test('an abort leaves nothing of the image', async (t) => {
    const stores = await newStores(t);
    const before = whatIsThere(stores);
    const file = await fileOf(
      stores,
      'a.tar',
      await archiveOf(docker20([{ image: two, tags: ['small:2'] }])),
    );
    const controller = new AbortController();
    const second = two.diffIds[1]!;
    const abortAtSecond = ({ id }: Progress): void => {
      if (id === second) controller.abort();
    };
    await t.rejects(load(file, stores, { signal: controller.signal, onProgress: abortAtSecond }), {
      name: 'AbortError',
    });
    t.same(whatIsThere(stores), before);
    await t.rejects(load(sourceOf(await archiveOf(both)), stores, { signal: controller.signal }), {
      name: 'AbortError',
    });
    t.same(whatIsThere(stores), before);
    t.same(stores.layers.garbage(), []);
  });

  await t.test(
    'a layer that an image on disk needs is not deleted by a store that does not know the image',
    async (t) => {
      const stores = await newStores(t);
      const other = await openStores(stores.root);
      t.teardown(() => other.layers.close());
      await load(
        await fileOf(
          stores,
          'a.tar',
          await archiveOf(docker20([{ image: one, tags: ['small:1'] }])),
        ),
        stores,
      );
      other.layers.refresh();
      other.layers.lease(one.diffIds[0] as string as ChainId);
      t.same(await other.layers.release(one.diffIds[0] as string as ChainId), []);
      t.equal(whatIsThere(stores).layers.length, 1);
    },
  );

  await t.test('what is no archive of images is told so', async (t) => {
    const stores = await newStores(t);
    await mkdir(join(stores.base, 'empty'));
    const failing: readonly (readonly [
      string,
      Parameters<typeof loadImages>[0],
      { code: string; message?: RegExp },
    ])[] = [
      ['no file', { path: join(stores.base, 'missing') }, { code: 'archive-unreadable' }],
      ['an empty directory', { path: join(stores.base, 'empty') }, { code: 'archive-invalid' }],
      [
        'a root file system',
        await fileOf(stores, 'rootfs.tar', one.layers[0]!),
        { code: 'archive-invalid', message: /import/ },
      ],
      [
        'text',
        await fileOf(stores, 'text', Buffer.from('hello'.repeat(200))),
        { code: 'archive-damaged', message: /is no tar/ },
      ],
      [
        'some bytes',
        await fileOf(stores, 'bytes', Buffer.from('hello')),
        { code: 'archive-damaged', message: /is no tar/ },
      ],
      [
        'a tar with text in it',
        await fileOf(
          stores,
          'mixed',
          Buffer.concat([
            (await archiveOf({ a: 'x' })).subarray(0, 1024),
            Buffer.from('hello'.repeat(200)),
          ]),
        ),
        {
          code: 'archive-damaged',
          message: /^The tar .* is damaged: the block at byte 1024 is no header/,
        },
      ],
      ['nothing', await fileOf(stores, 'nothing', Buffer.alloc(0)), { code: 'archive-invalid' }],
    ];
    for (const [what, source, expected] of failing)
      await t.rejects(load(source, stores), expected, what);
  });
}
