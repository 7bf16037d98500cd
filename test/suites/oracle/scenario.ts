/**
 * What the oracle tries: layers on disk, and operations on the union of them.
 *
 * A scenario is plain data, so that fast-check can shrink it, a failure can be printed as JSON, and
 * what was once found can be kept as a regression. Paths are relative to the mount, one character a
 * byte.
 */

/** An xattr's value, one character a byte. */
export type Xattrs = Readonly<Record<string, string>>;

export type EntryKind =
  | 'file'
  | 'dir'
  | 'opaque'
  /** A directory; where the place of the layer has them, a subvolume: a device of its own. */
  | 'subvolume'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'char'
  | 'block'
  | 'whiteout'
  | 'xwhiteout'
  | 'link';

/**
 * One object of a layer. An entry whose path is taken, or lies below something that is no
 * directory, is left out.
 */
export interface LayerEntry {
  readonly path: string;
  readonly kind: EntryKind;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since the epoch, of both times; the nanoseconds come from it. */
  readonly time?: number;
  readonly xattrs?: Xattrs;
  /** Bytes of a file: one letter, so many times. */
  readonly fill?: string;
  readonly size?: number;
  /** Of a symlink, or the other name of a hard link in the same layer. */
  readonly target?: string;
}

/**
 * How a layer says what it hides, where that is not overlayfs's own way: by AUFS markers, or by
 * fuse-overlayfs's mark of opaque directories, which is read with userxattr. The kernel gets a copy
 * of the layer in its own way.
 */
export type Dialect = 'aufs' | 'fuse-overlayfs';

/** File systems on which layers lie: `disk` is where temporary files are. */
export const places = ['tmpfs', 'second tmpfs', 'ext4', 'btrfs', 'disk'] as const;
export type Place = (typeof places)[number];

export interface Layer {
  readonly dialect?: Dialect;
  /** Default: the scenario's. */
  readonly place?: Place;
  readonly entries: readonly LayerEntry[];
}

/** Who acts: root, an ordinary user, and another who shares a group with the first. */
export const actors = [
  { uid: 0, gid: 0 },
  { uid: 1000, gid: 1000 },
  { uid: 1001, gid: 1001, groups: [1000] },
] as const;

/** `[seconds, nanoseconds]`, or UTIME_NOW and UTIME_OMIT as nanoseconds. */
export type Time = readonly [number, number];

/** A system call by somebody, or on a descriptor that an `open` left in a slot. */
export type Call =
  | {
      readonly op: 'open';
      readonly who: number;
      readonly path: string;
      readonly flags: number;
      readonly mode: number;
      readonly slot: number;
    }
  | { readonly op: 'close'; readonly slot: number }
  | { readonly op: 'read'; readonly slot: number; readonly length: number; readonly offset: number }
  | {
      readonly op: 'write';
      readonly slot: number;
      readonly fill: string;
      readonly length: number;
      readonly offset: number;
    }
  | { readonly op: 'ftruncate'; readonly slot: number; readonly size: number }
  | {
      readonly op: 'fallocate';
      readonly slot: number;
      readonly mode: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly op: 'fchmod'; readonly slot: number; readonly mode: number }
  | { readonly op: 'fchown'; readonly slot: number; readonly uid: number; readonly gid: number }
  | { readonly op: 'futimens'; readonly slot: number; readonly atime: Time; readonly mtime: Time }
  | { readonly op: 'fsync'; readonly slot: number }
  | { readonly op: 'fstat'; readonly slot: number }
  | { readonly op: 'flist'; readonly slot: number }
  | { readonly op: 'linkfd'; readonly slot: number; readonly path: string }
  | {
      readonly op: 'copy';
      readonly slot: number;
      readonly to: number;
      readonly offset: number;
      readonly toOffset: number;
      readonly length: number;
    }
  | {
      readonly op: 'send';
      readonly slot: number;
      readonly to: number;
      readonly offset: number;
      readonly length: number;
    }
  /** Through a shared mapping made for it. */
  | {
      readonly op: 'mapread';
      readonly slot: number;
      readonly length: number;
      readonly offset: number;
    }
  | {
      readonly op: 'mapwrite';
      readonly slot: number;
      readonly fill: string;
      readonly length: number;
      readonly offset: number;
    }
  | {
      readonly op: 'put';
      readonly who: number;
      readonly path: string;
      readonly fill: string;
      readonly length: number;
      readonly flags: number;
    }
  | {
      readonly op:
        'get' | 'stat' | 'lstat' | 'list' | 'readlink' | 'rmdir' | 'unlink' | 'listxattr';
      readonly who: number;
      readonly path: string;
    }
  | { readonly op: 'access'; readonly who: number; readonly path: string; readonly mode: number }
  | { readonly op: 'truncate'; readonly who: number; readonly path: string; readonly size: number }
  | {
      readonly op: 'mkdir' | 'chmod';
      readonly who: number;
      readonly path: string;
      readonly mode: number;
    }
  | {
      readonly op: 'mknod';
      readonly who: number;
      readonly path: string;
      readonly mode: number;
      readonly rdev: readonly [number, number];
    }
  | { readonly op: 'symlink'; readonly who: number; readonly path: string; readonly target: string }
  | {
      readonly op: 'rename' | 'link';
      readonly who: number;
      readonly path: string;
      readonly to: string;
      readonly flags: number;
    }
  | {
      readonly op: 'lchown';
      readonly who: number;
      readonly path: string;
      readonly uid: number;
      readonly gid: number;
    }
  | {
      readonly op: 'utimens';
      readonly who: number;
      readonly path: string;
      readonly atime: Time;
      readonly mtime: Time;
    }
  | {
      readonly op: 'setxattr';
      readonly who: number;
      readonly path: string;
      readonly name: string;
      readonly value: string;
      readonly flags: number;
    }
  | {
      readonly op: 'getxattr' | 'removexattr';
      readonly who: number;
      readonly path: string;
      readonly name: string;
    };

/**
 * `compare`: all that both unions show. `remount`: each with its own upper again; `exchange`: each
 * with the other's.
 */
export type Pause =
  { readonly op: 'compare' } | { readonly op: 'remount' } | { readonly op: 'exchange' };

export type Operation = Call | Pause;

export interface Scenario {
  /** Topmost first. */
  readonly lowers: readonly Layer[];
  /** What the upper holds already, as if something else had written it. */
  readonly upper?: Layer;
  readonly redirect: boolean;
  /** Marks are `user.overlay.` attributes. */
  readonly userxattr?: boolean;
  /** Where the uppers lie. Default: ext4. */
  readonly place?: Place;
  /**
   * plyfs is mounted by its program, and not by a process that serves one scenario after another.
   */
  readonly program?: boolean;
  readonly operations: readonly Operation[];
}

/** Every path that an operation names. */
export function pathsOf(operation: Call): string[] {
  const paths: string[] = [];
  if ('path' in operation) paths.push(operation.path);
  if ('to' in operation && typeof operation.to === 'string') paths.push(operation.to);
  return paths;
}

/** The directory a path lies in. */
export function parentOf(path: string): string {
  const at = path.replace(/\/+$/, '').lastIndexOf('/');
  return at < 0 ? '.' : path.slice(0, at);
}
