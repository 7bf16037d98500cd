/**
 * Random scenarios.
 *
 * Few names, so that operations meet: what a layer has, what another deletes, and what a step
 * before has made.
 */
import fc from 'fast-check';
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
import type {
  Dialect,
  EntryKind,
  Layer,
  LayerEntry,
  Operation,
  Scenario,
  Time,
  Xattrs,
} from './scenario.js';

type Arb<T> = fc.Arbitrary<T>;

function weighted<T>(...choices: readonly (readonly [weight: number, value: T])[]): Arb<T> {
  return fc.oneof(...choices.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
}

const LONG = 'n'.repeat(255);
const component = weighted([50, 'a'], [50, 'b'], [10, 'c'], [5, 'd\xe9\xff'], [1, LONG]);
const path: Arb<string> = fc
  .tuple(weighted([7, 1], [10, 2], [2, 3]), component, component, component)
  .map(([depth, ...parts]) => parts.slice(0, depth).join('/'));
/** As an operation names one: now and then a name that is too long, or a trailing slash. */
const named: Arb<string> = fc.oneof(
  { weight: 60, arbitrary: path },
  { weight: 1, arbitrary: path.map((at) => `${at}/`) },
  { weight: 1, arbitrary: path.map((at) => `${at}/.wh.a`) },
  { weight: 1, arbitrary: fc.constant('n'.repeat(256)) },
  { weight: 1, arbitrary: fc.constant('.') },
);
const target = weighted(
  [4, 'a'],
  [3, 'b'],
  [3, 'a/b'],
  [1, 'b/a/c'],
  [1, './c'],
  [1, 'nowhere'],
  [1, 'c/'],
  [1, ''],
).map((to) => to || LONG);

const id = weighted([3, 0], [4, 1000], [2, 1001], [1, 65534]);
const fileMode = weighted(
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
const dirMode = weighted(
  [4, 0o755],
  [5, 0o777],
  [1, 0o700],
  [1, 0o1777],
  [2, 0o2777],
  [1, 0o3775],
  [1, 0o555],
  [1, 0o711],
);
const mode = fc.oneof(fileMode, dirMode);

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

const xattr: Arb<readonly [string, string]> = weighted(
  [4, ['user.note', 'of a user'] as const],
  [1, ['user.long', 'v'.repeat(300)] as const],
  [1, ['user.empty', ''] as const],
  [3, ['trusted.note', 'of root'] as const],
  [2, ['security.capability', CAPABILITY] as const],
  [2, ['system.posix_acl_access', WIDE_ACL] as const],
  [1, ['system.posix_acl_access', PLAIN_ACL] as const],
  [2, ['system.posix_acl_default', WIDE_ACL] as const],
  [1, ['trusted.overlay.note', 'of a union in a union'] as const],
);

const kind: Arb<EntryKind> = weighted(
  [9, 'file'],
  [8, 'dir'],
  [2, 'opaque'],
  [2, 'symlink'],
  [1, 'fifo'],
  [1, 'socket'],
  [1, 'char'],
  [1, 'block'],
  [4, 'whiteout'],
  [1, 'xwhiteout'],
  [2, 'link'],
);

const size = weighted([2, 0], [3, 1], [4, 10], [3, 5000], [1, 70_000], [1, 1_500_000]);

const entry: Arb<LayerEntry> = fc
  .record({
    path,
    kind,
    fileMode,
    dirMode,
    uid: id,
    gid: id,
    time: fc.integer({ min: 1_000_000_000, max: 1_000_000_999 }),
    xattrs: fc.array(xattr, { maxLength: 2 }),
    fill: fc.constantFrom('p', 'q', 'r', 's'),
    size,
    target,
    link: path,
  })
  .map((all): LayerEntry => {
    // Only what the kind has: a counterexample is read by people.
    const owned = { uid: all.uid, gid: all.gid, time: all.time };
    const xattrs: { xattrs?: Xattrs } =
      all.xattrs.length === 0 ? {} : { xattrs: Object.fromEntries(all.xattrs) };
    const at = { path: all.path, kind: all.kind };
    switch (all.kind) {
      case 'file':
        return { ...at, ...owned, mode: all.fileMode, ...xattrs, fill: all.fill, size: all.size };
      case 'dir':
      case 'opaque':
        return { ...at, ...owned, mode: all.dirMode, ...xattrs };
      case 'symlink':
        return { ...at, ...owned, ...xattrs, target: all.target };
      case 'fifo':
      case 'socket':
      case 'char':
      case 'block':
        return { ...at, ...owned, mode: all.fileMode, ...xattrs };
      case 'link':
        return { ...at, target: all.link };
      case 'whiteout':
      case 'xwhiteout':
        return at;
    }
  });

const dialect = weighted<Dialect | undefined>([11, undefined], [2, 'aufs']);

function layer(longest: number): Arb<Layer> {
  return fc
    .tuple(fc.array(entry, { minLength: 3, maxLength: longest, size: 'max' }), dialect)
    .map(([entries, dialect]) => {
      if (dialect === undefined) return { entries };
      // AUFS has one form of a whiteout.
      return { dialect, entries: entries.map(withDevice) };
    });
}

function withDevice(one: LayerEntry): LayerEntry {
  return one.kind === 'xwhiteout' ? { ...one, kind: 'whiteout' } : one;
}

/**
 * The kernel's copy of a layer has files of its own, so the names of one file that both know are
 * left out.
 */
function withoutLinksInDialects(lowers: readonly Layer[]): Layer[] {
  if (lowers.every(({ dialect }) => dialect === undefined)) return [...lowers];
  return lowers.map((one) => ({
    ...one,
    entries: one.entries.filter(({ kind }) => kind !== 'link'),
  }));
}

/** Overlayfs reads whiteouts by xattr in lower layers only. */
const upper: Arb<Layer> = layer(20).map(({ entries }) => ({ entries: entries.map(withDevice) }));

const who = weighted([7, 0], [3, 1], [1, 2]);
const slot = fc.integer({ min: 0, max: 2 });
const offset = weighted([4, 0], [2, 3], [2, 4096], [1, 70_000], [1, 1_400_000]);
const length = weighted([1, 0], [4, 1], [4, 10], [2, 5000], [1, 100_000]);
const fill = fc.constantFrom('A', 'B', 'C', 'D');
const seconds = fc.integer({ min: 1_100_000_000, max: 1_100_000_999 });
const time: Arb<Time> = fc.oneof(
  { weight: 4, arbitrary: seconds.map((s): Time => [s, (s * 31) % 1_000_000_000]) },
  { weight: 1, arbitrary: fc.constant<Time>([0, UTIME_NOW]) },
  { weight: 1, arbitrary: fc.constant<Time>([0, UTIME_OMIT]) },
);
const openFlags = weighted(
  [6, O_RDONLY],
  [4, O_RDWR],
  [3, O_WRONLY],
  [4, O_RDWR | O_CREAT],
  [3, O_RDWR | O_CREAT | O_EXCL],
  [2, O_WRONLY | O_TRUNC],
  [2, O_WRONLY | O_CREAT | O_TRUNC],
  [2, O_WRONLY | O_APPEND],
  [2, O_RDWR | O_NOFOLLOW],
  [4, O_RDONLY | O_DIRECTORY],
  [2, O_RDWR | O_TMPFILE],
  [1, O_RDWR | O_TMPFILE | O_EXCL],
);
const putFlags = weighted(
  [6, O_WRONLY | O_CREAT | O_TRUNC],
  [3, O_WRONLY | O_CREAT | O_EXCL],
  [3, O_WRONLY],
  [2, O_WRONLY | O_APPEND],
);
const specialType = weighted([3, S_IFIFO], [2, S_IFSOCK], [2, S_IFCHR], [1, S_IFBLK], [2, S_IFREG]);
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;

const at = { who, path: named };
const operation: Arb<Operation> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('open' as const),
      ...at,
      flags: openFlags,
      mode: fileMode,
      slot,
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('close' as const), slot }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('read' as const), slot, length, offset }) },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('write' as const),
      slot,
      fill,
      length,
      offset: fc.oneof(offset, fc.constant(-1)),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('ftruncate' as const), slot, size }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('fallocate' as const),
      slot,
      mode: weighted(
        [2, 0],
        [1, FALLOC_FL_KEEP_SIZE],
        [1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE],
        [1, FALLOC_FL_ZERO_RANGE],
      ),
      offset,
      length,
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('fchmod' as const), slot, mode }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('fchown' as const), slot, uid: id, gid: id }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('futimens' as const), slot, atime: time, mtime: time }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('fsync' as const), slot }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('fstat' as const), slot }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('flist' as const), slot }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('linkfd' as const), slot, path: named }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('copy' as const),
      slot,
      to: slot,
      offset,
      toOffset: offset,
      length,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('send' as const), slot, to: slot, offset, length }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('mapread' as const), slot, offset, length }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('mapwrite' as const), slot, fill, length, offset }),
  },
  {
    weight: 9,
    arbitrary: fc.record({ op: fc.constant('put' as const), ...at, fill, length, flags: putFlags }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      op: weighted(
        [4, 'get' as const],
        [2, 'stat' as const],
        [3, 'lstat' as const],
        [5, 'list' as const],
        [1, 'readlink' as const],
      ),
      ...at,
    }),
  },
  { weight: 10, arbitrary: fc.record({ op: fc.constant('unlink' as const), ...at }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant('rmdir' as const), ...at }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('access' as const),
      ...at,
      mode: fc.integer({ min: 0, max: 7 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('truncate' as const), ...at, size }) },
  { weight: 9, arbitrary: fc.record({ op: fc.constant('mkdir' as const), ...at, mode: dirMode }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('chmod' as const), ...at, mode }) },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('mknod' as const),
      ...at,
      mode: fc.tuple(specialType, fileMode).map(([type, bits]) => type | bits),
      rdev: weighted([4, [1, 3] as const], [1, [0, 0] as const], [1, [259, 70_000] as const]),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('symlink' as const), ...at, target }) },
  {
    weight: 18,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      ...at,
      to: named,
      flags: weighted([6, 0], [2, RENAME_NOREPLACE], [3, RENAME_EXCHANGE]),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('link' as const),
      ...at,
      to: named,
      flags: weighted([3, 0], [1, 0x400]),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('lchown' as const),
      ...at,
      uid: fc.oneof(id, fc.constant(-1)),
      gid: id,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('utimens' as const), ...at, atime: time, mtime: time }),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(
        fc.record({
          op: fc.constant('setxattr' as const),
          ...at,
          flags: weighted([4, 0], [1, 1], [1, 2]),
        }),
        xattr,
      )
      .map(([rest, [name, value]]) => ({ ...rest, name, value })),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.record({ op: fc.constantFrom('getxattr' as const, 'removexattr' as const), ...at }),
        xattr,
      )
      .map(([rest, [name]]) => ({ ...rest, name })),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('listxattr' as const), ...at }) },
  { weight: 2, arbitrary: fc.constant<Operation>({ op: 'compare' }) },
  { weight: 1, arbitrary: weighted<Operation>([2, { op: 'remount' }], [1, { op: 'exchange' }]) },
);

/** `length`: the most operations in one. */
export function scenario(length: number): Arb<Scenario> {
  return fc
    .record({
      lowers: fc.oneof(
        { weight: 7, arbitrary: fc.array(layer(20), { minLength: 1, maxLength: 4, size: 'max' }) },
        { weight: 1, arbitrary: fc.array(layer(6), { minLength: 5, maxLength: 12, size: 'max' }) },
      ),
      upper: fc.option(upper, { freq: 4 }),
      redirect: weighted([3, false], [1, true]),
      operations: fc.array(operation, {
        minLength: Math.ceil(length / 2),
        maxLength: length,
        size: 'max',
      }),
    })
    .map(({ upper, lowers, ...rest }) => ({
      ...rest,
      lowers: withoutLinksInDialects(lowers),
      ...(upper === null ? {} : { upper }),
    }));
}
