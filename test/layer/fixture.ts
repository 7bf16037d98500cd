/** Layer stores on roots that go with the test, and layers to put into them. */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pack, type Header } from 'tar-stream';
import type { Test } from 'tap';
import type { ByteSource } from '../../src/base/byte-source.js';
import { readAll } from '../../src/base/byte-source.js';
import { sha256, type ChainId, type DiffId } from '../../src/base/digest.js';
import { drivers } from '../../src/graphdriver/drivers/index.js';
import type { DriverName, GraphDriver } from '../../src/graphdriver/driver.js';
import { LayerStore } from '../../src/layer/layer-store.js';
import { workspace } from '../suites/workspace.js';

export const isRoot = process.getuid?.() === 0;

export interface Opened {
  readonly store: LayerStore;
  readonly driver: GraphDriver;
}

export async function openDriver(
  root: string,
  { readOnly = false, name = 'overlay2' }: { readOnly?: boolean; name?: DriverName } = {},
): Promise<GraphDriver> {
  const definition = drivers.find((each) => each.name === name)!;
  return definition.open({
    home: join(root, name),
    readOnly,
    probe: true,
    options: [],
    mounter: 'fuse',
  });
}

export async function openStore(
  root: string,
  options: { readOnly?: boolean; name?: DriverName } = {},
): Promise<Opened> {
  const driver = await openDriver(root, options);
  return {
    driver,
    store: await LayerStore.open({ root, driver, readOnly: options.readOnly ?? false }),
  };
}

/** An empty root, and a store open on it. */
export async function newStore(
  t: Test,
  options: { name?: DriverName } = {},
): Promise<Opened & { root: string }> {
  const root = join(await workspace(t, 'root'), 'root');
  const opened = await openStore(root, options);
  t.teardown(() => opened.store.close());
  return { root, ...opened };
}

/** A tar of these entries. Strings are files. */
export async function tarOf(
  entries: Readonly<Record<string, string | Partial<Header>>>,
): Promise<Buffer> {
  const tar = pack();
  for (const [name, entry] of Object.entries(entries)) {
    const headers = { name, mtime: new Date(1_600_000_000_000), uid: 0, gid: 0 };
    if (typeof entry === 'string') tar.entry({ ...headers, mode: 0o644 }, entry);
    else tar.entry({ ...headers, ...entry });
  }
  tar.finalize();
  return (await readAll(tar as AsyncIterable<Buffer>, 2 ** 30))!;
}

export function sourceOf(bytes: Uint8Array): ByteSource {
  return Readable.from([bytes]) as AsyncIterable<Uint8Array>;
}

/** What `sha256sum` says of it. */
export function diffIdOf(tar: Uint8Array): DiffId {
  return sha256(tar) as DiffId;
}

/** As image-spec says it, from the whole stack, the base first. */
export function chainOf(...diffIds: readonly string[]): ChainId {
  return diffIds.reduce((chain, diffId) => sha256(`${chain} ${diffId}`)) as ChainId;
}

export async function contentOf(source: ByteSource): Promise<Buffer> {
  return (await readAll(source, 2 ** 30))!;
}
