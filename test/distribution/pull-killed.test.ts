/**
 * A pull that is killed in each of its states and repeated: it ends right, fetches what is missing
 * and nothing that came before, and leaves nothing but what garbage collection takes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { sha256 } from '../../src/base/digest.js';
import { MediaType } from '../../src/image/manifest.js';
import { imageOf } from '../image/fixture.js';
import { isRoot } from '../layer/fixture.js';
import { startMemoryRegistry } from '../support/memory-registry.js';
import { plyOn, plyProgram } from '../support/ply.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(300_000);

/** Bytes of a blob that come before the pull is killed in the middle of it. */
const BEFORE = 100_000;

if (!isRoot) t.pass('needs root', { skip: 'layers with owners need root' });
else {
  const image = await imageOf([
    { large: randomBytes(150_000).toString('hex') },
    { 'etc/motd': 'above\n', more: randomBytes(150_000).toString('hex') },
  ]);
  const blobs = image.layers.map((layer) => gzipSync(layer));
  type Answer = (request: IncomingMessage, response: ServerResponse, killed: () => void) => boolean;
  const at =
    (path: string): Answer =>
    ({ url = '' }, _, killed) => {
      if (!url.endsWith(path)) return false;
      killed();
      return true;
    };
  const within =
    (blob: Buffer): Answer =>
    ({ url = '' }, response, killed) => {
      if (!url.endsWith(sha256(blob))) return false;
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, BEFORE));
      killed();
      return true;
    };
  const states: Record<string, { answer: Answer; partOf?: Buffer }> = {
    'asking for the manifest': { answer: at('/manifests/1') },
    'asking for the configuration': { answer: at(image.id) },
    'within the first layer': { answer: within(blobs[0]!), partOf: blobs[0]! },
    'within the second layer, the first there': {
      answer: within(blobs[1]!),
      partOf: blobs[1]!,
    },
  };
  for (const [state, { answer, partOf }] of Object.entries(states))
    await t.test(state, async (t) => {
      const base = await workspace(t, 'root');
      const root = join(base, 'data');
      const parts = join(root, 'plyfs/tmp/blobs');
      const registry = await startMemoryRegistry(t);
      const put = (bytes: Buffer, mediaType: string): object => ({
        mediaType,
        ...registry.putBlob('team/x', bytes),
      });
      registry.putManifest('team/x', '1', MediaType.ociManifest, {
        schemaVersion: 2,
        mediaType: MediaType.ociManifest,
        config: put(image.config, MediaType.ociConfig),
        layers: blobs.map((blob) => put(blob, 'application/vnd.oci.image.layer.v1.tar+gzip')),
      });
      const name = `${registry.host}/team/x:1`;
      const child = spawn(plyProgram, ['--root', root, 'pull', '-q', name], {
        stdio: 'ignore',
      });
      t.teardown(() => child.kill('SIGKILL'));
      const reached = new Promise<void>((resolve) => {
        registry.intercept = (request, response) => answer(request, response, resolve);
      });
      await reached;
      // What has been sent is written down before the program can be seen to have it.
      if (partOf !== undefined) await sizeOf(join(parts, sha256(partOf).slice(7)), BEFORE);
      child.kill('SIGKILL');
      await once(child, 'close');

      registry.intercept = undefined;
      registry.requests.length = 0;
      const ply = plyOn(root);
      t.equal(await ply('pull', '-q', name), name);
      t.match(await ply('images', '--no-trunc', '-q'), image.id);
      if (partOf !== undefined) {
        const asked = registry.counted('GET', sha256(partOf));
        t.same(
          asked.map(({ headers }) => headers.range),
          [`bytes=${BEFORE}-`],
          'only what is missing is asked for',
        );
      }
      t.same(existsSync(parts) ? readdirSync(parts) : [], []);
      await ply('gc');
      t.equal((await ply.outcome('fsck', '--deep')).status, 0);
    });
}

async function sizeOf(path: string, size: number): Promise<void> {
  const { statSync } = await import('node:fs');
  while ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) < size)
    await new Promise((resolve) => setTimeout(resolve, 10));
}
