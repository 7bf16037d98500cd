/**
 * Random scenarios, each from its seed.
 *
 * Few names, so that operations meet: what a layer has, what another deletes, and what a step
 * before has made. Most operations are chosen so that they can succeed, by what the union should
 * hold (namespace.ts); the rest go astray in every way they can.
 */
import { randomNumbers } from '../../support/random-numbers.js';
import {
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFREG,
  S_IFSOCK,
  UTIME_NOW,
  UTIME_OMIT,
} from '../constants.js';
import { Namespace, newNode, type Node, type Place as Named } from './namespace.js';
import { actors } from './scenario.js';
import type {
  Dialect,
  EntryKind,
  Layer,
  LayerEntry,
  Operation,
  Place,
  Scenario,
  Time,
  Xattrs,
} from './scenario.js';

class Random {
  private readonly next: (below: number) => number;

  constructor(seed: number) {
    // Neighbouring seeds are to have nothing in common.
    const mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b);
    this.next = randomNumbers((mixed ^ (mixed >>> 15)) | 1);
    for (let i = 0; i < 8; i++) this.next(2);
  }

  below(limit: number): number {
    return this.next(limit);
  }
  from(least: number, most: number): number {
    return least + this.next(most - least + 1);
  }
  /** True once in so many times. */
  once(inTimes: number): boolean {
    return this.next(inTimes) === 0;
  }
  pick<T>(all: readonly T[]): T | undefined {
    return all.length === 0 ? undefined : all[this.next(all.length)];
  }
  weighted<T>(...choices: readonly (readonly [weight: number, value: T])[]): T {
    let left = this.next(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, value] of choices) if ((left -= weight) < 0) return value;
    throw new Error('nothing to choose from');
  }
}

const LONG = 'n'.repeat(255);

/** struct vfs_cap_data, revision 2: CAP_NET_RAW, effective. */
const CAPABILITY =
  '\x01\x00\x00\x02\x00\x20\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00';

function acl(
  ...entries: readonly (readonly [tag: number, permissions: number, id?: number])[]
): string {
  const value = Buffer.alloc(4 + 8 * entries.length);
  value.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions, owner]] of entries.entries()) {
    value.writeUInt16LE(tag, 4 + 8 * i);
    value.writeUInt16LE(permissions, 6 + 8 * i);
    value.writeUInt32LE(owner ?? 0xffffffff, 8 + 8 * i);
  }
  return value.toString('latin1');
}
/** u::rwx u:1001:rw- g::r-x m::rwx o::r-- */
const WIDE_ACL = acl([1, 7], [2, 6, 1001], [4, 5], [0x10, 7], [0x20, 4]);
/** u::rwx g::r-x o::--- : what a mode can say as well. */
const PLAIN_ACL = acl([1, 7], [4, 5], [0x20, 0]);

const XATTRS = [
  [4, ['user.note', 'of a user']],
  [1, ['user.long', 'v'.repeat(300)]],
  [1, ['user.empty', '']],
  [3, ['trusted.note', 'of root']],
  [2, ['security.capability', CAPABILITY]],
  [2, ['system.posix_acl_access', WIDE_ACL]],
  [1, ['system.posix_acl_access', PLAIN_ACL]],
  [2, ['system.posix_acl_default', WIDE_ACL]],
  [1, ['trusted.overlay.note', 'of a union in a union']],
] as const;

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;
const AT_SYMLINK_FOLLOW = 0x400;

/** Random values, which say nothing of what there is. */
class Values extends Random {
  component(): string {
    return this.weighted(
      [40, 'a'],
      [40, 'b'],
      [20, 'c'],
      [10, 'd\xe9\xff'],
      [10, 'e'],
      // As long as a name can be; with the mark of AUFS before it too long, or just not.
      [2, LONG],
      [1, 'w'.repeat(this.from(249, 254))],
    );
  }
  path(): string {
    const depth = this.weighted([7, 1], [10, 2], [2, 3]);
    return Array.from({ length: depth }, () => this.component()).join('/');
  }
  /** As an operation names one: now and then a name that is too long, or a trailing slash. */
  named(): string {
    return this.weighted(
      [60, () => this.path()],
      [2, () => `${this.path()}/`],
      [2, () => `${this.path()}/.wh.a`],
      [1, () => 'n'.repeat(256)],
      [2, () => '.'],
    )();
  }
  target(): string {
    return this.weighted(
      [4, 'a'],
      [3, 'b'],
      [3, 'a/b'],
      [1, 'b/a/c'],
      [1, './c'],
      [1, 'nowhere'],
      [1, 'c/'],
      [1, LONG],
    );
  }
  id(): number {
    return this.weighted([3, 0], [4, 1000], [2, 1001], [1, 65534]);
  }
  fileMode(): number {
    return this.weighted(
      [4, 0o644],
      [3, 0o666],
      [2, 0o600],
      [1, 0o640],
      [1, 0o4755],
      [1, 0o2755],
      [1, 0o6777],
      [1, 0o444],
      [1, 0],
    );
  }
  dirMode(): number {
    return this.weighted(
      [4, 0o755],
      [5, 0o777],
      [1, 0o700],
      [1, 0o1777],
      [2, 0o2777],
      [1, 0o3775],
      [1, 0o555],
      [1, 0o711],
    );
  }
  xattr(): readonly [name: string, value: string] {
    return this.weighted<readonly [string, string]>(...XATTRS);
  }
  size(): number {
    return this.weighted([8, 0], [12, 1], [16, 10], [12, 5000], [4, 70_000], [1, 1_500_000]);
  }
  offset(): number {
    return this.weighted([16, 0], [8, 3], [8, 4096], [3, 70_000], [1, 1_400_000]);
  }
  length(): number {
    return this.weighted([2, 0], [8, 1], [8, 10], [4, 5000], [1, 100_000]);
  }
  fill(): string {
    return this.weighted([1, 'A'], [1, 'B'], [1, 'C'], [1, 'D']);
  }
  time(): Time {
    const s = this.from(1_100_000_000, 1_100_000_999);
    return this.weighted<Time>(
      [4, [s, (s * 31) % 1_000_000_000]],
      [1, [0, UTIME_NOW]],
      [1, [0, UTIME_OMIT]],
    );
  }
  who(): number {
    return this.weighted([7, 0], [3, 1], [1, 2]);
  }
}

function layerEntry(values: Values, kinds: readonly (readonly [number, EntryKind])[]): LayerEntry {
  const kind = values.weighted(...kinds);
  const at = { path: values.path(), kind };
  const owned = {
    uid: values.id(),
    gid: values.id(),
    time: values.from(1_000_000_000, 1_000_000_999),
  };
  const attributes = Array.from({ length: values.below(3) }, () => values.xattr());
  const xattrs: { xattrs?: Xattrs } =
    attributes.length === 0 ? {} : { xattrs: Object.fromEntries(attributes) };
  // Only what the kind has: a counterexample is read by people.
  switch (kind) {
    case 'file': {
      const fill = values.weighted([1, 'p'], [1, 'q'], [1, 'r'], [1, 's']);
      return { ...at, ...owned, mode: values.fileMode(), ...xattrs, fill, size: values.size() };
    }
    case 'dir':
    case 'opaque':
    case 'subvolume':
      return { ...at, ...owned, mode: values.dirMode(), ...xattrs };
    case 'symlink':
      return { ...at, ...owned, ...xattrs, target: values.target() };
    case 'fifo':
    case 'socket':
    case 'char':
    case 'block':
      return { ...at, ...owned, mode: values.fileMode(), ...xattrs };
    case 'link':
      return { ...at, target: values.path() };
    case 'whiteout':
    case 'xwhiteout':
      return at;
  }
}

const KINDS: readonly (readonly [number, EntryKind])[] = [
  [12, 'file'],
  [9, 'dir'],
  [2, 'opaque'],
  [2, 'symlink'],
  [1, 'fifo'],
  [1, 'socket'],
  [1, 'char'],
  [1, 'block'],
  [4, 'whiteout'],
];

/** What a lower layer may have besides. */
interface Has {
  readonly links: boolean;
  readonly dialects: readonly Dialect[];
  readonly places: readonly Place[];
}

function layer(values: Values, longest: number, has: Has): Layer {
  const place = values.pick(has.places);
  const dialect = values.weighted<Dialect | undefined>(
    [4, undefined],
    [1, values.pick(has.dialects)],
  );
  const kinds = [...KINDS];
  // AUFS has one form of a whiteout.
  if (dialect === undefined) kinds.push([1, 'xwhiteout']);
  if (has.links) kinds.push([3, 'link']);
  if (place === 'btrfs') kinds.push([3, 'subvolume']);
  const entries = Array.from({ length: values.from(3, longest) }, () => layerEntry(values, kinds));
  return {
    ...(dialect === undefined ? {} : { dialect }),
    ...(place === undefined ? {} : { place }),
    entries,
  };
}

const PLACES: readonly (readonly [number, Place])[] = [
  [16, 'ext4'],
  [1, 'disk'],
];

function layers(values: Values): Omit<Scenario, 'operations' | 'program'> {
  const userxattr = values.once(8);
  const place = values.weighted(...PLACES);
  const spread = values.once(3);
  // The kernel's copy of a layer in a dialect has files of its own, so the names of one file that
  // both know are left out. Nor can they have an index over several devices.
  const links = !spread && values.once(2);
  const dialects: Dialect[] = links ? [] : userxattr ? ['aufs', 'fuse-overlayfs'] : ['aufs'];
  const has: Has = {
    links,
    dialects,
    places: spread ? [place, 'tmpfs', 'second tmpfs', 'ext4', 'btrfs'] : [place],
  };
  const [count, longest] = values.once(8) ? [values.from(5, 12), 8] : [values.from(1, 4), 24];
  const lowers = Array.from({ length: count }, () => layer(values, longest, has));
  const upper: Layer = {
    entries: Array.from({ length: values.from(3, 24) }, () =>
      layerEntry(values, links ? [...KINDS, [2, 'link']] : KINDS),
    ),
  };
  return {
    lowers,
    ...(values.once(4) ? { upper } : {}),
    redirect: !userxattr && values.once(4),
    ...(userxattr ? { userxattr } : {}),
    ...(place === 'ext4' ? {} : { place }),
  };
}

interface Open {
  readonly who: number;
  readonly node: Node;
  readonly reads: boolean;
  readonly writes: boolean;
}

const SLOTS = 3;

/** Chooses operations one after the other, and keeps account of what they should have done. */
class Play {
  private readonly names: Namespace;
  private readonly slots: (Open | undefined)[] = [];

  constructor(
    private readonly values: Values,
    private readonly scenario: Omit<Scenario, 'operations'>,
  ) {
    this.names = new Namespace(scenario);
  }

  /** One operation, or some that belong together. */
  next(): readonly Operation[] {
    for (;;) {
      const chosen = this.values.once(6) ? this.astray() : this.likely();
      if (chosen === undefined) continue;
      return 'op' in chosen ? [chosen] : chosen;
    }
  }

  /** A name that is there, of those that fit and that `who` can reach. */
  private there(who: number, fits: (place: Named) => boolean): Named | undefined {
    return this.values.pick(
      this.names
        .all()
        .filter((one) => one.path !== '.' && fits(one) && this.names.reaches(who, one.path)),
    );
  }

  private directory(who: number, bits: number): Named | undefined {
    const { names } = this;
    return this.values.pick(
      names
        .all()
        .filter(
          ({ path, node }) =>
            node.kind === 'dir' && names.may(who, node, bits) && names.reaches(who, path),
        ),
    );
  }

  /** A name that is not there, in a directory where `who` may make it. */
  private vacant(who: number): { path: string; parent: Node; name: string } | undefined {
    const directory = this.directory(who, 3);
    if (directory === undefined) return undefined;
    const { path, node } = directory;
    for (let i = 0; i < 4; i++) {
      const name = this.values.component();
      if (node.children.has(name) || path.length > 1500) continue;
      return { path: path === '.' ? name : `${path}/${name}`, parent: node, name };
    }
    return undefined;
  }

  private owner(who: number, parent: Node): { uid: number; gid: number } {
    const { uid, gid } = actors[who] ?? actors[0];
    return { uid, gid: (parent.mode & 0o2000) !== 0 ? parent.gid : gid };
  }

  private make(who: number, kind: Node['kind'], mode: number) {
    const at = this.vacant(who);
    if (at === undefined) return undefined;
    const node = newNode(kind, mode & ~0o022, this.owner(who, at.parent));
    this.names.add(at.parent, at.name, node);
    return { path: at.path, node };
  }

  private slot(fits: (open: Open) => boolean): number | undefined {
    return this.values.pick(
      Array.from({ length: SLOTS }, (_, i) => i).filter((i) => {
        const open = this.slots[i];
        return open !== undefined && fits(open);
      }),
    );
  }

  private open(who: number, node: Node, path: string, flags: number, mode: number): Operation {
    const slot = this.values.below(SLOTS);
    const access = flags & 3;
    this.slots[slot] = {
      who,
      node,
      reads: access !== O_WRONLY,
      writes: access !== O_RDONLY,
    };
    return { op: 'open', who, path, flags, mode, slot };
  }

  private likely(): Operation | readonly Operation[] | undefined {
    const { values, names } = this;
    const who = values.who();
    const mine = ({ node }: Named) => names.owns(who, node);
    const file = (bits: number) => (place: Named) =>
      place.node.kind === 'file' && names.may(who, place.node, bits);
    const choice = values.weighted<() => Operation | readonly Operation[] | undefined>(
      [6, () => this.openFile(who)],
      [2, () => this.openDirectory(who)],
      [3, () => this.openNew(who)],
      [
        2,
        () =>
          this.onSlot(
            () => true,
            (slot) => {
              this.slots[slot] = undefined;
              return { op: 'close', slot };
            },
          ),
      ],
      [
        5,
        () =>
          this.onFile('reads', (slot) => ({
            op: 'read',
            slot,
            length: values.length(),
            offset: values.offset(),
          })),
      ],
      [
        7,
        () =>
          this.onFile('writes', (slot) => ({
            op: 'write',
            slot,
            fill: values.fill(),
            length: values.length(),
            offset: values.once(5) ? -1 : values.offset(),
          })),
      ],
      [3, () => this.onFile('writes', (slot) => ({ op: 'ftruncate', slot, size: values.size() }))],
      [2, () => this.onFile('writes', (slot) => this.fallocate(slot))],
      [
        2,
        () =>
          this.onSlot(
            (open) => names.owns(open.who, open.node),
            (slot, { node }) => {
              const mode = node.kind === 'dir' ? values.dirMode() : values.fileMode();
              node.mode = mode;
              return { op: 'fchmod', slot, mode };
            },
          ),
      ],
      [
        2,
        () =>
          this.onSlot(
            (open) => open.who === 0,
            (slot, { node }) => {
              const [uid, gid] = [values.id(), values.id()];
              Object.assign(node, { uid, gid });
              return { op: 'fchown', slot, uid, gid };
            },
          ),
      ],
      [
        2,
        () =>
          this.onSlot(
            (open) => names.owns(open.who, open.node),
            (slot) => ({ op: 'futimens', slot, atime: values.time(), mtime: values.time() }),
          ),
      ],
      [
        1,
        () =>
          this.onSlot(
            () => true,
            (slot) => ({ op: 'fsync', slot }),
          ),
      ],
      [
        3,
        () =>
          this.onSlot(
            () => true,
            (slot) => ({ op: 'fstat', slot }),
          ),
      ],
      [
        2,
        () =>
          this.onSlot(
            ({ node }) => node.kind === 'dir',
            (slot) => ({ op: 'flist', slot }),
          ),
      ],
      [
        2,
        () =>
          this.onFile('writes', (slot, { node, who }) => {
            const at = this.vacant(who);
            if (at === undefined) return undefined;
            names.add(at.parent, at.name, node);
            return { op: 'linkfd', slot, path: at.path };
          }),
      ],
      [
        2,
        () =>
          this.between((slot, to) => ({
            op: 'copy',
            slot,
            to,
            offset: values.offset(),
            toOffset: values.offset(),
            length: values.length(),
          })),
      ],
      [
        1,
        () =>
          this.between((slot, to) => ({
            op: 'send',
            slot,
            to,
            offset: values.offset(),
            length: values.length(),
          })),
      ],
      [
        2,
        () =>
          this.onFile('reads', (slot) => ({
            op: 'mapread',
            slot,
            offset: values.offset(),
            length: Math.max(1, values.length()),
          })),
      ],
      [
        4,
        () =>
          this.onFile('writes', (slot, { reads }) =>
            !reads
              ? undefined
              : {
                  op: 'mapwrite',
                  slot,
                  fill: values.fill(),
                  offset: values.offset(),
                  length: Math.max(1, values.length()),
                },
          ),
      ],
      [10, () => this.put(who)],
      [5, () => this.at(this.there(who, file(4)), ({ path }) => ({ op: 'get', who, path }))],
      [
        2,
        () =>
          this.at(
            this.there(who, () => true),
            ({ path }) => ({ op: 'stat', who, path }),
          ),
      ],
      [
        3,
        () =>
          this.at(
            this.there(who, () => true),
            ({ path }) => ({ op: 'lstat', who, path }),
          ),
      ],
      [5, () => this.at(this.directory(who, 5), ({ path }) => ({ op: 'list', who, path }))],
      [
        1,
        () =>
          this.at(
            this.there(who, ({ node }) => node.kind === 'symlink'),
            ({ path }) => ({ op: 'readlink', who, path }),
          ),
      ],
      [
        9,
        () =>
          this.at(
            this.there(who, (one) => one.node.kind !== 'dir' && names.mayRemove(who, one)),
            ({ path }) => this.removal('unlink', who, path),
          ),
      ],
      [
        5,
        () =>
          this.at(
            this.there(
              who,
              (one) =>
                one.node.kind === 'dir' &&
                one.node.children.size === 0 &&
                names.mayRemove(who, one),
            ),
            ({ path }) => this.removal('rmdir', who, path),
          ),
      ],
      // Whatever a merged directory holds is deleted, then itself.
      [
        1,
        () =>
          this.at(
            this.there(0, ({ node }) => node.kind === 'dir' && node.children.size > 0),
            ({ path }) => this.removeAll(path),
          ),
      ],
      [
        2,
        () =>
          this.at(
            this.there(who, () => true),
            ({ path }) => ({ op: 'access', who, path, mode: who === 0 ? values.below(8) : 0 }),
          ),
      ],
      [
        4,
        () =>
          this.at(this.there(who, file(2)), ({ path }) => ({
            op: 'truncate',
            who,
            path,
            size: values.size(),
          })),
      ],
      [
        9,
        () => {
          const mode = values.dirMode();
          return this.at(this.make(who, 'dir', mode), ({ path }) => ({
            op: 'mkdir',
            who,
            path,
            mode,
          }));
        },
      ],
      [
        6,
        () =>
          this.at(
            this.there(who, (one) => mine(one) && one.node.kind !== 'symlink'),
            ({ path, node }) => {
              const mode = node.kind === 'dir' ? values.dirMode() : values.fileMode();
              node.mode = mode;
              return { op: 'chmod', who, path, mode };
            },
          ),
      ],
      [4, () => this.mknod(who)],
      [
        4,
        () => {
          const target = values.target();
          return this.at(this.make(who, 'symlink', 0o777), ({ path }) => ({
            op: 'symlink',
            who,
            path,
            target,
          }));
        },
      ],
      [16, () => this.rename(who)],
      [7, () => this.link(who)],
      [
        5,
        () =>
          this.at(
            this.there(who, () => true),
            ({ path, node }) => {
              const uid = values.once(4) ? -1 : values.id();
              const gid = values.id();
              if (uid >= 0) node.uid = uid;
              node.gid = gid;
              return { op: 'lchown', who: 0, path, uid, gid };
            },
          ),
      ],
      [
        5,
        () =>
          this.at(this.there(who, mine), ({ path }) => ({
            op: 'utimens',
            who,
            path,
            atime: values.time(),
            mtime: values.time(),
          })),
      ],
      [5, () => this.setxattr(who)],
      [
        4,
        () =>
          this.at(
            this.there(0, ({ node }) => node.xattrs.size > 0),
            ({ path, node }) => {
              const name = values.pick([...node.xattrs]) ?? '';
              if (values.once(2)) return { op: 'getxattr', who: 0, path, name };
              node.xattrs.delete(name);
              return { op: 'removexattr', who: 0, path, name };
            },
          ),
      ],
      [
        2,
        () =>
          this.at(
            this.there(who, () => true),
            ({ path }) => ({
              op: 'listxattr',
              who,
              path,
            }),
          ),
      ],
      [2, () => ({ op: 'compare' })],
      [
        1,
        () => {
          this.slots.length = 0;
          return { op: values.weighted([2, 'remount' as const], [1, 'exchange' as const]) };
        },
      ],
    );
    return choice();
  }

  private at<T, R>(found: T | undefined, what: (found: T) => R): R | undefined {
    return found === undefined ? undefined : what(found);
  }

  private onSlot(
    fits: (open: Open) => boolean,
    what: (slot: number, open: Open) => Operation | undefined,
  ): Operation | undefined {
    const slot = this.slot(fits);
    const open = slot === undefined ? undefined : this.slots[slot];
    return slot === undefined || open === undefined ? undefined : what(slot, open);
  }

  private onFile(
    how: 'reads' | 'writes',
    what: (slot: number, open: Open) => Operation | undefined,
  ): Operation | undefined {
    return this.onSlot((open) => open.node.kind === 'file' && open[how], what);
  }

  private between(what: (slot: number, to: number) => Operation): Operation | undefined {
    return this.onFile('reads', (slot, { who }) =>
      this.onSlot(
        (open) => open.node.kind === 'file' && open.writes && open.who === who,
        (to) => what(slot, to),
      ),
    );
  }

  private openFile(who: number): Operation | undefined {
    const { values, names } = this;
    const flags = values.weighted(
      [6, O_RDONLY],
      [6, O_RDWR],
      [3, O_WRONLY],
      [2, O_RDWR | O_CREAT],
      [2, O_WRONLY | O_TRUNC],
      [2, O_WRONLY | O_APPEND],
      [2, O_RDWR | O_NOFOLLOW],
    );
    const access = flags & 3;
    const bits = access === O_RDONLY ? 4 : access === O_WRONLY ? 2 : 6;
    return this.at(
      this.there(who, ({ node }) => node.kind === 'file' && names.may(who, node, bits)),
      ({ path, node }) => this.open(who, node, path, flags, 0o644),
    );
  }

  private openDirectory(who: number): Operation | undefined {
    return this.at(this.directory(who, 5), ({ path, node }) =>
      this.open(who, node, path, O_RDONLY | O_DIRECTORY, 0),
    );
  }

  private openNew(who: number): Operation | undefined {
    const { values } = this;
    const mode = values.fileMode();
    if (values.once(4)) {
      return this.at(this.directory(who, 3), ({ path, node }) =>
        this.open(
          who,
          newNode('file', mode & ~0o022, this.owner(who, node)),
          path,
          O_RDWR | O_TMPFILE | (values.once(3) ? O_EXCL : 0),
          mode,
        ),
      );
    }
    const flags = values.weighted(
      [4, O_RDWR | O_CREAT],
      [3, O_RDWR | O_CREAT | O_EXCL],
      [2, O_WRONLY | O_CREAT | O_TRUNC],
    );
    return this.at(this.make(who, 'file', mode), ({ path, node }) =>
      this.open(who, node, path, flags, mode),
    );
  }

  private fallocate(slot: number): Operation {
    const { values } = this;
    return {
      op: 'fallocate',
      slot,
      mode: values.weighted(
        [2, 0],
        [1, FALLOC_FL_KEEP_SIZE],
        [1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE],
        [1, FALLOC_FL_ZERO_RANGE],
      ),
      offset: values.offset(),
      length: Math.max(1, values.length()),
    };
  }

  private put(who: number): Operation | undefined {
    const { values, names } = this;
    const rest = { fill: values.fill(), length: values.length() };
    if (values.once(2)) {
      const flags = values.weighted(
        [6, O_WRONLY | O_CREAT | O_TRUNC],
        [3, O_WRONLY | O_CREAT | O_EXCL],
      );
      return this.at(this.make(who, 'file', 0o666), ({ path }) => ({
        op: 'put',
        who,
        path,
        ...rest,
        flags,
      }));
    }
    const flags = values.weighted([6, O_WRONLY | O_TRUNC], [3, O_WRONLY], [2, O_WRONLY | O_APPEND]);
    return this.at(
      this.there(who, ({ node }) => node.kind === 'file' && names.may(who, node, 2)),
      ({ path }) => ({ op: 'put', who, path, ...rest, flags }),
    );
  }

  private removal(op: 'unlink' | 'rmdir', who: number, path: string): Operation {
    this.names.remove(path);
    return { op, who, path };
  }

  private removeAll(path: string): readonly Operation[] | undefined {
    const below = this.names.all().filter((one) => one.path.startsWith(`${path}/`));
    if (below.length > 12) return undefined;
    return [
      ...below
        .reverse()
        .map(({ path, node }) => this.removal(node.kind === 'dir' ? 'rmdir' : 'unlink', 0, path)),
      this.removal('rmdir', 0, path),
    ];
  }

  private mknod(who: number): Operation | undefined {
    const { values } = this;
    const type = values.weighted(
      [3, S_IFIFO],
      [2, S_IFSOCK],
      [2, S_IFCHR],
      [1, S_IFBLK],
      [2, S_IFREG],
    );
    const bits = values.fileMode();
    const maker = type === S_IFCHR || type === S_IFBLK ? 0 : who;
    const rdev = values.weighted([4, [1, 3] as const], [1, [259, 70_000] as const]);
    const kind = type === S_IFREG ? 'file' : 'special';
    return this.at(this.make(maker, kind, bits), ({ path }) => ({
      op: 'mknod',
      who: maker,
      path,
      mode: type | bits,
      rdev,
    }));
  }

  private rename(who: number): Operation | undefined {
    const { values, names } = this;
    const movable = (one: Named) =>
      names.mayRemove(who, one) &&
      (one.node.kind !== 'dir' || !one.node.lower || this.scenario.redirect);
    const from = this.there(who, movable);
    if (from === undefined) return undefined;
    const { path, node } = from;
    const apart = (other: string) =>
      other !== path && !other.startsWith(`${path}/`) && !path.startsWith(`${other}/`);
    const how = values.weighted([5, 'vacant' as const], [4, 'over' as const], [3, 'both' as const]);
    if (how === 'vacant') {
      const at = this.vacant(who);
      if (at === undefined || !apart(at.path)) return undefined;
      names.remove(path);
      names.add(at.parent, at.name, node);
      const flags = values.once(3) ? RENAME_NOREPLACE : 0;
      return { op: 'rename', who, path, to: at.path, flags };
    }
    const to = this.there(
      who,
      (one) =>
        apart(one.path) &&
        names.mayRemove(who, one) &&
        (how === 'both'
          ? movable(one)
          : node.kind === 'dir'
            ? one.node.kind === 'dir' && one.node.children.size === 0
            : one.node.kind !== 'dir'),
    );
    if (to === undefined) return undefined;
    names.remove(path);
    const name = (at: string) => at.slice(at.lastIndexOf('/') + 1);
    if (to.parent !== undefined) names.add(to.parent, name(to.path), node);
    if (how === 'both' && from.parent !== undefined) names.add(from.parent, name(path), to.node);
    return { op: 'rename', who, path, to: to.path, flags: how === 'both' ? RENAME_EXCHANGE : 0 };
  }

  private link(who: number): Operation | undefined {
    const { values, names } = this;
    const from = this.there(who, (one) => one.node.kind !== 'dir' && names.owns(who, one.node));
    const at = from === undefined ? undefined : this.vacant(who);
    if (from === undefined || at === undefined) return undefined;
    names.add(at.parent, at.name, from.node);
    const flags = values.once(4) ? AT_SYMLINK_FOLLOW : 0;
    return { op: 'link', who, path: from.path, to: at.path, flags };
  }

  private setxattr(who: number): Operation | undefined {
    const { values, names } = this;
    const [name, value] = values.xattr();
    const caller = /^(trusted|security)\./.test(name) ? 0 : who;
    const fits = ({ node }: Named) => {
      if (name.startsWith('user.'))
        return (node.kind === 'file' || node.kind === 'dir') && names.may(caller, node, 2);
      if (name === 'system.posix_acl_default')
        return node.kind === 'dir' && names.owns(caller, node);
      if (name.startsWith('system.')) return node.kind !== 'symlink' && names.owns(caller, node);
      return name === 'security.capability' ? node.kind === 'file' : true;
    };
    return this.at(this.there(caller, fits), ({ path, node }) => {
      const flags = values.once(4) ? (node.xattrs.has(name) ? 2 : 1) : 0;
      node.xattrs.add(name);
      return { op: 'setxattr', who: caller, path, name, value, flags };
    });
  }

  /** What nothing speaks for: it may fail, and must fail in the same way. */
  private astray(): Operation | undefined {
    const { values } = this;
    const at = { who: values.who(), path: this.anything() };
    const slot = values.below(SLOTS);
    return values.weighted<() => Operation | undefined>(
      [
        4,
        () => ({
          op: 'open',
          ...at,
          flags: values.weighted(
            [2, O_RDWR],
            [2, O_RDWR | O_CREAT | O_EXCL],
            [1, O_WRONLY | O_TRUNC],
            [1, O_RDWR | O_NOFOLLOW],
            [2, O_RDONLY | O_DIRECTORY],
            [1, O_RDWR | O_TMPFILE],
          ),
          mode: values.fileMode(),
          slot,
        }),
      ],
      [2, () => ({ op: 'read', slot, length: values.length(), offset: values.offset() })],
      [
        2,
        () => ({
          op: 'write',
          slot,
          fill: values.fill(),
          length: values.length(),
          offset: values.offset(),
        }),
      ],
      [1, () => ({ op: 'ftruncate', slot, size: values.size() })],
      [1, () => ({ ...this.fallocate(slot), length: values.length() }) as Operation],
      [1, () => ({ op: 'fchmod', slot, mode: values.fileMode() })],
      [1, () => ({ op: 'fchown', slot, uid: values.id(), gid: values.id() })],
      [1, () => ({ op: 'futimens', slot, atime: values.time(), mtime: values.time() })],
      [1, () => ({ op: 'flist', slot })],
      [1, () => ({ op: 'linkfd', slot, path: at.path })],
      [
        1,
        () => ({
          op: 'copy',
          slot,
          to: values.below(SLOTS),
          offset: values.offset(),
          toOffset: values.offset(),
          length: values.length(),
        }),
      ],
      [
        1,
        () => ({
          op: 'mapwrite',
          slot,
          fill: values.fill(),
          length: values.length(),
          offset: values.offset(),
        }),
      ],
      [
        5,
        () => ({
          op: 'put',
          ...at,
          fill: values.fill(),
          length: values.length(),
          flags: values.weighted([2, O_WRONLY | O_CREAT | O_EXCL], [1, O_WRONLY | O_APPEND]),
        }),
      ],
      [
        6,
        () => ({
          op: values.weighted(
            [4, 'get' as const],
            [1, 'stat' as const],
            [1, 'lstat' as const],
            [2, 'list' as const],
            [1, 'readlink' as const],
            [1, 'listxattr' as const],
          ),
          ...at,
        }),
      ],
      [3, () => ({ op: 'unlink', ...at })],
      [4, () => ({ op: 'rmdir', ...at })],
      [1, () => ({ op: 'access', ...at, mode: values.below(8) })],
      [2, () => ({ op: 'truncate', ...at, size: values.size() })],
      [3, () => ({ op: 'mkdir', ...at, mode: values.dirMode() })],
      [
        2,
        () => ({
          op: 'chmod',
          ...at,
          mode: values.once(2) ? values.fileMode() : values.dirMode(),
        }),
      ],
      [2, () => ({ op: 'mknod', ...at, mode: S_IFCHR | 0o600, rdev: [0, 0] })],
      [2, () => ({ op: 'symlink', ...at, target: values.target() })],
      [
        8,
        () => ({
          op: 'rename',
          ...at,
          to: this.anything(),
          flags: values.weighted([6, 0], [2, RENAME_NOREPLACE], [3, RENAME_EXCHANGE]),
        }),
      ],
      [
        3,
        () => ({
          op: 'link',
          ...at,
          to: this.anything(),
          flags: values.once(4) ? AT_SYMLINK_FOLLOW : 0,
        }),
      ],
      [2, () => ({ op: 'lchown', ...at, uid: values.id(), gid: values.id() })],
      [2, () => ({ op: 'utimens', ...at, atime: values.time(), mtime: values.time() })],
      [
        2,
        () => {
          const [name, value] = values.xattr();
          return { op: 'setxattr', ...at, name, value, flags: values.below(3) };
        },
      ],
      [
        2,
        () => ({
          op: values.once(2) ? 'getxattr' : 'removexattr',
          ...at,
          name: values.xattr()[0],
        }),
      ],
    )();
  }

  /** A path of any kind: there, or not. */
  private anything(): string {
    const { values } = this;
    if (values.once(2)) return values.named();
    const { path } = values.pick(this.names.all()) ?? { path: '.' };
    if (path === '.' || !values.once(4)) return path;
    return values.once(2) ? `${path}/` : `${path}/${values.component()}`;
  }
}

/** `length`: the most operations in it. */
export function scenario(seed: number, length: number): Scenario {
  const values = new Values(seed);
  const set = { ...layers(values), ...(values.once(24) ? { program: true } : {}) };
  const play = new Play(values, set);
  const wanted = values.from(Math.ceil(length / 2), length);
  const operations: Operation[] = [];
  while (operations.length < wanted) operations.push(...play.next());
  return { ...set, operations: operations.slice(0, length) };
}
