/**
 * Layers whose attributes and markers are lies: everything is walked, changed and removed, mounted
 * again and walked once more. Whatever they say, answers are errnos, walks end, lower layers stay
 * as they are, and nothing outside is touched or shown.
 */
import { lstatSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import type { Test } from 'tap';
import { bytesOf, type ByteString } from '../../src/base/bytes.js';
import { PlyfsError } from '../../src/base/error.js';
import { Opcode } from '../../src/fuse/protocol.js';
import { sys } from '../../src/sys/index.js';
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../../src/sys/constants.js';
import { dirents, strings, u32, u64, type ListedEntry } from '../fuse/fake-session.js';
import { run } from '../support/command.js';
import { unmountAll } from '../support/mounts.js';
import { plyfs, unmount } from '../suites/mounters.js';
import { S_IFCHR, S_IFDIR, S_IFIFO } from '../suites/constants.js';
import { workspace } from '../suites/workspace.js';
import { campaign, type FuzzSettings } from './campaign.js';
import { originLike, overrideLike, redirectLike } from './hostile-values.js';
import { openDescriptors, ServedUnion, type ServedOptions } from './served-union.js';

type Arb<T> = fc.Arbitrary<T>;

const DT_DIR = 4;
/** No layers below are as large: a walk that meets more goes round in circles. */
const MOST_NODES = 3000;
const MOST_CALLS = 20_000;
/** Listing a directory once takes fewer requests. */
const MOST_READS = 200;

interface Entry {
  readonly path: string;
  readonly kind: 'file' | 'dir' | 'symlink' | 'fifo' | 'whiteout' | 'link';
  readonly target: string;
  readonly size: number;
  readonly attributes: readonly (readonly [string, Buffer])[];
}

const component = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('a', 'b', 'c', 'dir') },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '.wh.a',
      '.wh.b',
      '.wh..wh..opq',
      '.wh..wh.aufs',
      '.wh..wh.plnk',
      '.wh.',
      '.wh..wh.',
      '#1',
      'index',
      `.wh.${'n'.repeat(250)}`,
    ),
  },
);
const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));

const small = fc.constantFrom('', 'y', 'x', 'n', 'Y', 'y\0', 'yy').map((text) => Buffer.from(text));
const noise = fc.oneof(
  fc.uint8Array({ maxLength: 60 }).map((data) => Buffer.from(data)),
  fc.constantFrom(Buffer.alloc(2000, 0xff), Buffer.alloc(600, 0)),
);
const handle = Buffer.from([8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
const value = fc.oneof(
  { weight: 4, arbitrary: small },
  { weight: 4, arbitrary: redirectLike },
  { weight: 2, arbitrary: originLike(Buffer.alloc(16), handle) },
  { weight: 3, arbitrary: overrideLike },
  { weight: 2, arbitrary: noise },
);
const overlay = fc.constantFrom(
  ...'opaque redirect origin metacopy impure nlink whiteout uuid upper protattr xwhiteouts overlay.opaque overlay.overlay.x verity'.split(
    ' ',
  ),
);
const attributeName = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom('trusted.overlay.', 'trusted.overlay.', 'user.overlay.'), overlay)
      .map((parts) => parts.join('')),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'user.fuseoverlayfs.opaque',
      'user.fuseoverlayfs.origin',
      'user.fuseoverlayfs.override_stat',
      'security.fuseoverlayfs.override_stat',
      'user.containers.override_stat',
      'security.capability',
      'system.posix_acl_access',
      'system.posix_acl_default',
      'user.note',
    ),
  },
);
/** What goes together, so that it is more than noise. */
const telling: Arb<readonly (readonly [string, Buffer])[]> = fc.oneof(
  fc.array(fc.tuple(attributeName, value), { maxLength: 3 }),
  redirectLike.map((to) => [['trusted.overlay.redirect', to]] as const),
  redirectLike.map(
    (to) =>
      [
        ['trusted.overlay.metacopy', Buffer.alloc(0)],
        ['trusted.overlay.redirect', to],
      ] as const,
  ),
  overrideLike.map((override) => [['user.containers.override_stat', override]] as const),
);

const entry: Arb<Entry> = fc.record({
  path,
  kind: fc.constantFrom(
    ...([
      'file',
      'file',
      'file',
      'dir',
      'dir',
      'dir',
      'symlink',
      'fifo',
      'whiteout',
      'link',
    ] as const),
  ),
  target: fc.oneof(path, fc.constantFrom('../../outside', '/', '.', '../outside/secret', 'a')),
  size: fc.constantFrom(0, 0, 5, 5000),
  attributes: telling,
});
const layer = fc.record({
  root: telling,
  entries: fc.array(entry, { minLength: 2, maxLength: 12, size: 'max' }),
});
type LayerOnDisk = typeof layer extends Arb<infer T> ? T : never;

/** Makes a layer; what the file system refuses is left out. */
function lay(root: string, { root: own, entries }: LayerOnDisk): void {
  const fd = sys.openat(AT_FDCWD, bytesOf(root), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) throw new Error(`open of ${root}: ${fd}`);
  const attempt = (make: () => void) => {
    try {
      make();
    } catch {
      // The name is taken, or its parent is no directory.
    }
  };
  const mark = (name: string, attributes: Entry['attributes']) => {
    for (const [attribute, bytes] of attributes)
      sys.setxattrat(fd, bytesOf(name), attribute as ByteString, bytes, 0);
  };
  for (const one of entries) {
    const at = `${root}/${one.path}`;
    attempt(() => mkdirSync(at.slice(0, at.lastIndexOf('/')), { recursive: true }));
    switch (one.kind) {
      case 'file':
        attempt(() => writeFileSync(at, 'x'.repeat(one.size), { flag: 'wx' }));
        break;
      case 'dir':
        attempt(() => mkdirSync(at, { recursive: true }));
        break;
      case 'symlink':
        sys.symlinkat(bytesOf(one.target), fd, bytesOf(one.path));
        break;
      case 'fifo':
        sys.mknodat(fd, bytesOf(one.path), S_IFIFO | 0o600, 0, 0);
        break;
      case 'whiteout':
        sys.mknodat(fd, bytesOf(one.path), S_IFCHR, 0, 0);
        break;
      case 'link':
        if (one.target.includes('..')) break;
        sys.linkat(fd, bytesOf(one.target), fd, bytesOf(one.path));
        break;
    }
    // Attributes of a directory are set without following links, as layers are walked.
    mark(one.path, one.attributes);
  }
  mark('', own);
  sys.close(fd);
}

/** Everything below a directory of the disk, with what a change would move. */
function held(root: string): string[] {
  const found: string[] = [];
  const walk = (directory: string) => {
    for (const name of readdirSync(directory)) {
      const at = `${directory}/${name}`;
      const { mode, size, mtimeMs, ctimeMs, nlink } = lstatSync(at);
      found.push(`${at} ${mode} ${size} ${mtimeMs} ${ctimeMs} ${nlink}`);
      if ((mode & 0o170000) === S_IFDIR) walk(at);
    }
  };
  walk(root);
  return found.sort();
}

const read = (cookie: number, size: number): Buffer =>
  Buffer.concat([u64(0, cookie), u32(size, 0), u64(0), u32(0, 0)]);

interface Met extends ListedEntry {
  readonly parent: number;
}

class Walk {
  #calls = 0;
  readonly met: Met[] = [];

  constructor(readonly union: ServedUnion) {}

  async ask(opcode: number, node: number, body?: Buffer): Promise<Buffer> {
    if (++this.#calls > MOST_CALLS) throw new Error('a walk without end');
    return (await this.union.ask(opcode, node, body)).body;
  }

  async list(node: number): Promise<ListedEntry[]> {
    const found: ListedEntry[] = [];
    for (let cookie = 0, reads = 0; ; reads++) {
      if (reads > MOST_READS) throw new Error('a listing without end');
      const some = dirents(await this.ask(Opcode.READDIRPLUS, node, read(cookie, 4096)), true);
      if (some.length === 0) break;
      found.push(...some);
      cookie = some.at(-1)?.cookie ?? 0;
    }
    const names = found.map(({ name }) => name);
    if (new Set(names).size !== names.length) throw new Error(`listed twice: ${names.join(' ')}`);
    return found.filter(({ name }) => name !== '.' && name !== '..');
  }

  /** Looks at all there is, and reads what can be read. */
  async all(): Promise<void> {
    const directories = [1];
    for (let node = directories.shift(); node !== undefined; node = directories.shift()) {
      for (const entry of await this.list(node)) {
        if (entry.name === 'secret') throw new Error('what lies outside is shown');
        this.met.push({ ...entry, parent: node });
        if (this.met.length > MOST_NODES) throw new Error('more nodes than there are files');
        const looked = await this.ask(Opcode.LOOKUP, node, strings(entry.name));
        const id = looked.length === 128 ? Number(looked.readBigUInt64LE(0)) : 0;
        if (id === 0) continue;
        if (entry.node !== 0 && entry.node !== id)
          throw new Error(`${entry.name} is node ${entry.node} when listed, ${id} when looked up`);
        await this.ask(Opcode.GETATTR, id, Buffer.alloc(16));
        await this.ask(Opcode.READLINK, id);
        await this.ask(Opcode.READ, id, read(0, 4096));
        await this.ask(
          Opcode.GETXATTR,
          id,
          Buffer.concat([u32(1000, 0), strings('security.capability')]),
        );
        const attributes = (await this.ask(Opcode.LISTXATTR, id, u32(4096, 0)))
          .toString('latin1')
          .split('\0');
        for (const name of attributes.slice(0, -1)) {
          if (/override_stat|fuseoverlayfs/.test(name)) throw new Error(`${name} is shown`);
          await this.ask(Opcode.GETXATTR, id, Buffer.concat([u32(4096, 0), strings(name)]));
        }
        if (entry.type === DT_DIR) directories.push(id);
      }
    }
  }

  /** Changes what was met, each in some way. */
  async change(ways: readonly number[]): Promise<void> {
    const setattr = (valid: number) =>
      Buffer.concat([u32(valid, 0), u64(0, 3, 0, 5, 6, 0), u32(7, 8, 0, 0o640, 0, 1, 1, 0)]);
    for (const [i, { node, parent, name }] of this.met.entries()) {
      const id = node === 0 ? 1 : node;
      switch ((ways[i % ways.length] ?? 0) % 9) {
        case 0:
          await this.ask(Opcode.SETATTR, id, setattr(1));
          break;
        case 1:
          await this.ask(Opcode.SETATTR, id, setattr(8 | 16 | 32));
          break;
        case 2:
          await this.ask(
            Opcode.SETXATTR,
            id,
            Buffer.concat([u32(1, 0, 0, 0), strings('user.b'), Buffer.from('v')]),
          );
          break;
        case 3:
          await this.ask(
            Opcode.RENAME2,
            parent,
            Buffer.concat([u64(1), u32(0, 0), strings(name, `moved${i}`)]),
          );
          break;
        case 4:
          await this.ask(Opcode.LINK, parent, Buffer.concat([u64(id), strings(`linked${i}`)]));
          break;
        case 5:
          await this.ask(Opcode.UNLINK, parent, strings(name));
          break;
        case 6:
          await this.ask(Opcode.RMDIR, parent, strings(name));
          break;
        case 7:
          await this.ask(Opcode.MKDIR, parent, Buffer.concat([u32(0o755, 0), strings(`made${i}`)]));
          await this.ask(
            Opcode.RENAME2,
            parent,
            Buffer.concat([u64(parent), u32(2, 0), strings(name, `made${i}`)]),
          );
          break;
        case 8:
          await this.ask(
            Opcode.WRITE,
            id,
            Buffer.concat([u64(0, 0), u32(1, 0), u64(0), u32(0, 0), Buffer.from('w')]),
          );
          break;
      }
    }
  }

  /** As rm(1) does it. */
  async remove(node: number, depth = 0): Promise<void> {
    if (depth > 12) return;
    for (const { name, node: id, type } of await this.list(node)) {
      if (type === DT_DIR && id !== 0) await this.remove(id, depth + 1);
      await this.ask(type === DT_DIR ? Opcode.RMDIR : Opcode.UNLINK, node, strings(name));
    }
  }
}

const input = fc.record({
  lowers: fc.array(layer, { minLength: 1, maxLength: 4 }),
  upper: layer,
  aufs: fc.boolean(),
  redirectDir: fc.boolean(),
  userXattr: fc.boolean(),
  xattrPermissions: fc.constantFrom(0 as const, 0 as const, 2 as const),
  acl: fc.boolean(),
  ways: fc.array(fc.nat(8), { minLength: 1, maxLength: 20 }),
});

type Input = typeof input extends Arb<infer T> ? T : never;

/**
 * Makes the layers in `base`, lets `run` do what it will with them, and takes them away. Throws if
 * a lower one was changed.
 */
async function onLayers(
  base: string,
  { lowers, upper }: Input,
  run: (lowers: string[]) => Promise<void>,
): Promise<void> {
  const names = [...lowers.map((_, i) => `lower${i + 1}`), 'upper', 'work', 'mnt'];
  for (const name of names) mkdirSync(`${base}/${name}`);
  try {
    const paths = lowers.map((_, i) => `${base}/lower${i + 1}`);
    for (const [i, one] of lowers.entries()) lay(`${base}/lower${i + 1}`, one);
    lay(`${base}/upper`, upper);
    const before = paths.map(held);
    await run(paths);
    if (JSON.stringify(paths.map(held)) !== JSON.stringify(before))
      throw new Error('a lower layer was changed');
  } finally {
    await unmountAll(`${base}/mnt`);
    for (const name of names) rmSync(`${base}/${name}`, { recursive: true, force: true });
  }
}

/** Whatever can be read is; what cannot says so, and is removed all the same. */
const lines = [
  'find . -type f -exec cat {} +',
  'getfattr -Rhm - -d .',
  'find . -type f -exec chmod a+r {} +',
  'rm -rf ./*',
];

/** On real mounts, where the kernel looks at the answers, and the data path is not a test's. */
export async function fuzzHostileMounts(t: Test, settings: FuzzSettings): Promise<void> {
  const base = await workspace(t);
  const check = (one: Input) =>
    onLayers(base, one, async (lowers) => {
      const options = [
        ...(one.aufs ? ['whiteout=aufs'] : []),
        ...(one.redirectDir ? ['redirect_dir=on'] : []),
        `xattr_permissions=${one.xattrPermissions}`,
      ];
      await plyfs.mount(
        { lowers, upper: `${base}/upper`, work: `${base}/work`, options },
        `${base}/mnt`,
      );
      for (const line of lines) {
        const { status } = await run([
          'timeout',
          '20',
          'sh',
          '-c',
          `cd "$0" && { ${line}; } >/dev/null`,
          `${base}/mnt`,
        ]);
        if (status === 124) throw new Error(`no end: ${line}`);
      }
      await unmount(`${base}/mnt`);
    });
  await campaign(t, 'hostile layers, mounted', input, settings, check, 2);
}

/** Served to requests of the test's own. */
export async function fuzzHostileLayers(t: Test, settings: FuzzSettings): Promise<void> {
  const base = await workspace(t, 'outside');
  const secret = `${base}/outside/secret`;
  writeFileSync(secret, 'secret');
  const outside = () => {
    const { mtimeMs, ctimeMs, atimeMs } = statSync(secret);
    return JSON.stringify([mtimeMs, ctimeMs, atimeMs, readdirSync(`${base}/outside`)]);
  };
  let descriptors: number | undefined;
  let refused = 0;
  const check = (one: Input) =>
    onLayers(base, one, async (lowers) => {
      const before = outside();
      const { redirectDir, userXattr, acl, xattrPermissions } = one;
      const options: ServedOptions = {
        redirectDir,
        userXattr,
        acl,
        ownership: { uidMapping: [], gidMapping: [], xattrPermissions },
        ...(one.aufs ? { form: 'aufs' as const } : {}),
      };
      for (const round of ['first', 'again']) {
        const union = opened(base, lowers, options);
        if (union === undefined) {
          refused++;
          break;
        }
        try {
          await union.begin();
          const walk = new Walk(union);
          await walk.all();
          if (round === 'first') await walk.change(one.ways);
          else await walk.remove(1);
          await new Walk(union).all();
        } finally {
          await union.end();
        }
      }
      if (outside() !== before) throw new Error('something outside was touched');
      const open = openDescriptors();
      descriptors ??= open;
      if (open > descriptors) throw new Error(`${open - descriptors} descriptors were left open`);
    });
  await campaign(t, 'hostile layers', input, settings, check);
  if (refused > 0) t.comment(`${refused} stacks of layers were refused`);
}

/** Undefined where the layers are refused with a sentence. */
function opened(
  base: string,
  lowers: readonly string[],
  options: ServedOptions,
): ServedUnion | undefined {
  try {
    return new ServedUnion(base, lowers, options);
  } catch (error) {
    if (error instanceof PlyfsError) return undefined;
    throw error;
  }
}
