/**
 * Reads layers as `ply` does, over and over, while each look at the files fails once: the first
 * argument is the plan that the environment names, the second an empty directory. Prints a JSON
 * line for each failure: what was done, which call failed, and what came of it. Needs root.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { applyLayer, type ApplyOptions } from '../../src/archive/apply-layer.js';
import { compareTrees, type Change } from '../../src/archive/changes.js';
import { LayerReader } from '../../src/archive/layer-reader.js';
import { treeSize } from '../../src/archive/layer-size.js';
import { packChanges, packTree, type PackOptions } from '../../src/archive/pack-layer.js';
import { upperChanges } from '../../src/archive/upper-changes.js';
import type { ByteSource } from '../../src/base/byte-source.js';
import { bytesOf } from '../../src/base/bytes.js';
import { check, E, errnoName } from '../../src/base/errno.js';
import { PlyfsError } from '../../src/base/error.js';
import { VfsLayout } from '../../src/graphdriver/vfs-layout.js';
import { fillInitLayer } from '../../src/layer/init-layer.js';
import { AT_FDCWD, S_IFCHR } from '../../src/sys/constants.js';
import { sys } from '../../src/sys/index.js';
import { entry, inPieces, tar } from '../archive/tar-builder.js';
import { FaultPlan, LOOKS } from './fault-plan.js';

const [planPath = '', base = ''] = process.argv.slice(2);
const plan = new FaultPlan(planPath);

/** version 2, cap_net_raw, permitted and effective (linux/capability.h, vfs_cap_data). */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');

function attribute(path: string, name: string, value: string | Buffer): void {
  check(
    sys.setxattrat(AT_FDCWD, bytesOf(path), bytesOf(name), Buffer.from(value), 0),
    `${name} of ${path}`,
  );
}

function whiteout(path: string): void {
  check(sys.mknodat(AT_FDCWD, bytesOf(path), S_IFCHR, 0, 0), path);
}

/**
 * Directories with everything that is only known by looking again: attributes, markers, names
 * below.
 */
function scene(form: 'overlay' | 'aufs', override: boolean): { own: string; below: string[] } {
  const at = join(base, `${form}${override ? '-override' : ''}`);
  const [own, middle, low] = ['own', 'middle', 'low'].map((name) => join(at, name)) as [
    string,
    string,
    string,
  ];
  for (const [layer, ...names] of [
    [own, 'changed', 'opaque', 'new', 'etc', 'dev'],
    [middle, 'changed', 'etc', 'dev'],
    [low, 'changed', 'opaque', 'gone', 'etc', 'dev'],
  ] as const) {
    for (const name of names) mkdirSync(join(layer, name), { recursive: true });
  }
  const file = (path: string, content = path.slice(-1)): void => {
    writeFileSync(path, content);
    if (override) attribute(path, 'user.containers.override_stat', '7:8:0751:file');
  };
  for (const path of ['changed/a', 'changed/b', 'opaque/old', 'gone/x', 'deleted'])
    file(join(low, path));
  for (const path of ['changed/a', 'opaque/new', 'new/f', 'ping']) file(join(own, path), 'x');
  file(join(middle, 'ping'), 'x');
  for (const layer of [own, middle])
    attribute(join(layer, 'ping'), 'security.capability', CAPABILITY);
  attribute(join(own, 'new/f'), 'user.note', 'value');
  linkSync(join(own, 'new/f'), join(own, 'new/second'));
  symlinkSync('../f', join(own, 'new/link'));
  if (form === 'aufs')
    for (const marker of ['opaque/.wh..wh..opq', '.wh.deleted', 'changed/.wh.b'])
      writeFileSync(join(own, marker), '');
  else {
    for (const path of ['deleted', 'changed/b']) whiteout(join(own, path));
    attribute(join(own, 'opaque'), 'trusted.overlay.opaque', 'y');
    attribute(join(middle, 'dev'), 'trusted.overlay.opaque', 'y');
    mkdirSync(join(own, 'marked'));
    attribute(join(own, 'marked'), 'trusted.overlay.opaque', 'x');
    writeFileSync(join(own, 'marked/w'), '');
    attribute(join(own, 'marked/w'), 'trusted.overlay.whiteout', '');
    mkdirSync(join(low, 'marked'));
    file(join(low, 'marked/w'));
  }
  chownSync(join(low, 'etc'), 3, 4);
  chmodSync(join(low, 'dev'), 0o711);
  return { own, below: [middle, low] };
}

async function digestOf(source: ByteSource): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of source) hash.update(piece);
  return hash.digest('hex');
}

const linesOf = (changes: readonly Change[] | undefined): string =>
  (changes ?? []).map(({ kind, path }) => `${kind} ${path}`).join('\n');
const packed = (directory: string, options: Partial<PackOptions> = {}): Promise<string> =>
  digestOf(packTree(directory, { form: 'overlay', ownership: 'real', ...options }));

let fresh = 0;
function freshDirectory(): string {
  const path = join(base, `fresh${fresh++}`);
  mkdirSync(path);
  return path;
}

const layer = tar(
  ...[
    { name: 'd/', flag: '5', mode: 0o755 },
    { name: 'd/f', data: 'x' },
    { name: 'd/.wh.gone' },
    { name: 'd/.wh.f' },
    { name: 'e/', flag: '5', mode: 0o755 },
    { name: 'e/.wh..wh..opq' },
    { name: '.wh.e' },
    { name: 'l', flag: '1', link: 'd/f' },
    { name: 's', flag: '2', link: 'd' },
    { name: 's/f', data: 'y' },
    { name: 'n', flag: '3', major: 1, minor: 3 },
    { name: 'm', flag: '1', link: 'n' },
  ].map((fields) => entry(fields)),
);

async function applied(options: Pick<ApplyOptions, 'whiteouts' | 'ownership'>): Promise<string> {
  const into = freshDirectory();
  if (options.whiteouts === 'apply') {
    for (const name of ['d', 'e']) mkdirSync(join(into, name));
    for (const name of ['d/gone', 'd/f', 'e/old']) writeFileSync(join(into, name), '');
  }
  await applyLayer(new LayerReader(inPieces(layer)), into, options);
  plan.disarm();
  return packed(into, {
    form: options.whiteouts === 'aufs' ? 'aufs' : 'overlay',
    ownership: options.ownership,
  });
}

/** What an init layer is, without times, which are those of now. */
function treeOf(directory: string): string {
  const stat = readdirSync(directory, { recursive: true, withFileTypes: true });
  return stat
    .map(
      (each) =>
        `${each.parentPath.slice(directory.length)}/${each.name} ${each.isDirectory() ? 'd' : 'f'}`,
    )
    .sort()
    .join('\n');
}

const overlay = scene('overlay', false);
const aufs = scene('aufs', false);
const kept = scene('overlay', true);
const vfsHome = join(base, 'vfs');
const vfs = new VfsLayout(vfsHome);
vfs.prepare();
vfs.create('parent', undefined);
for (const name of ['f', 'g']) writeFileSync(join(vfs.directoryOf('parent'), name), name);
attribute(join(vfs.directoryOf('parent'), 'f'), 'security.capability', CAPABILITY);
linkSync(join(vfs.directoryOf('parent'), 'f'), join(vfs.directoryOf('parent'), 'h'));

const operations: Readonly<Record<string, () => string | Promise<string>>> = {
  'diff of an overlay': () => linesOf(upperChanges({ ...overlay, form: 'overlay' })),
  'diff of an overlay that keeps owners': () =>
    linesOf(upperChanges({ ...kept, form: 'overlay' }, { ownership: 'override' })),
  'diff of an upper with markers': () => linesOf(upperChanges({ ...aufs, form: 'aufs' })),
  'commit of an overlay': () => packed(overlay.own),
  'commit of an overlay that keeps owners': () => packed(kept.own, { ownership: 'override' }),
  'commit of an upper with markers': () => packed(aufs.own, { form: 'aufs' }),
  'naive diff': () => linesOf(compareTrees(overlay.own, overlay.below[1])),
  'naive commit': () =>
    digestOf(packChanges(overlay.own, compareTrees(overlay.own, overlay.below[0]))),
  'size of a layer': () => String(treeSize(overlay.own)),
  'init layer': () => {
    const own = freshDirectory();
    fillInitLayer({ own, below: overlay.below, form: 'overlay' });
    return treeOf(own);
  },
  'copy of a layer': () => {
    const id = `copy${fresh++}`;
    vfs.create(id, 'parent');
    plan.disarm();
    return packed(vfs.directoryOf(id), { form: 'none' });
  },
  'load as an overlay': () => applied({ whiteouts: 'overlay', ownership: 'real' }),
  'load that keeps owners': () => applied({ whiteouts: 'overlay', ownership: 'override' }),
  'load with markers': () => applied({ whiteouts: 'aufs', ownership: 'real' }),
  'load onto a copy': () => applied({ whiteouts: 'apply', ownership: 'real' }),
};

for (const [operation, run] of Object.entries(operations)) {
  plan.arm({ action: 'count', kinds: LOOKS });
  const expected = await run();
  plan.disarm();
  for (let at = 1; ; at++) {
    plan.arm({ action: 'fail', at, error: E.EIO, kinds: LOOKS });
    let came: 'same' | 'other' | 'told' | 'thrown';
    let said = '';
    try {
      came = (await run()) === expected ? 'same' : 'other';
    } catch (error) {
      said = String(error);
      came =
        error instanceof PlyfsError && error.message.includes(errnoName(E.EIO)) ? 'told' : 'thrown';
    }
    plan.disarm();
    if (plan.calls < at) break;
    console.log(JSON.stringify({ operation, at, call: plan.log[at - 1]?.name, came, said }));
  }
}
plan.close();
