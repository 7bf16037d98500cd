/** What a union is made of, after the words of a command line or a program have been understood. */
import type { ByteString } from '../base/bytes.js';
import type { OverrideBelief } from '../overlay/override-stat.js';
import type { MarkClass } from '../overlay/private-xattrs.js';
import type { WhiteoutForm } from '../overlay/form.js';

/** A layer of a union that is mounted. */
export interface LayerInUse {
  /** 0: the upper; the lowers from 1, topmost first. */
  readonly index: number;
  /** As it was named. */
  readonly path: ByteString;
  /** Open for as long as the union is. */
  readonly fd: number;
  readonly form: WhiteoutForm;
  /** Which marks are read in it. */
  readonly marks: MarkClass;
  /** How its files carry owner, mode and type. */
  readonly overrideStat?: OverrideBelief;
}

export interface LayerOptions {
  readonly path: ByteString;
  /**
   * Absent: `overlay`, unless the layer's root carries a marker of AUFS (`.wh..wh.aufs`,
   * `.wh..wh.plnk`, `.wh..wh.orph`, `.wh..wh..opq`), or the layer is one that containers/storage
   * made for a mount program.
   */
  readonly form?: WhiteoutForm;
}

/** `length` ids from `onDisk` are shown as the ids from `shown`. */
export interface IdRange {
  readonly onDisk: number;
  readonly shown: number;
  readonly length: number;
}

/** Ownership as fuse-overlayfs defines it. */
export interface OwnershipOptions {
  readonly uidMapping: readonly IdRange[];
  readonly gidMapping: readonly IdRange[];
  /** Shows every file as this user's (`squash_to_root` is 0, `squash_to_uid` N). */
  readonly squashToUid?: number;
  readonly squashToGid?: number;
  /**
   * Where owner, mode and type are kept when they cannot be given to the file itself: 0: on the
   * file; 1: `security.fuseoverlayfs.override_stat`; 2: `user.containers.override_stat`.
   */
  readonly xattrPermissions: 0 | 1 | 2;
  /**
   * For a user namespace with room for one id: every file is shown as whoever mounts, its owner is
   * read and changed as the attribute `security.plyfs.owner`, and new files belong to whom their
   * maker's marks say it is (native/root-emulation.h).
   */
  readonly emulated?: boolean;
}

export interface UnionOptions {
  /** Topmost first. */
  readonly lowers: readonly LayerOptions[];
  /**
   * Absent: the union is read-only. `form` is also that in which deletions are written; absent:
   * devices and xattrs where they can be made.
   */
  readonly upper?: {
    readonly path: ByteString;
    readonly work: ByteString;
    readonly form?: WhiteoutForm;
  };
  /**
   * Marks are `user.overlay.*`; absent: `trusted.overlay.*` where this process can read them, else
   * `user.overlay.*` (belief.ts).
   */
  readonly userXattr?: boolean;
  /** Believe owners kept in attributes, whoever set them. Absent: as belief.ts says. */
  readonly overrideStat?: boolean;
  /**
   * Rename directories of lower layers by `overlay.redirect`, instead of EXDEV. Not with marks that
   * any user can set.
   */
  readonly redirectDir: boolean;
  /** Keep hard links of lower files for good, in `workdir`/index. */
  readonly index: boolean;
  readonly ownership: OwnershipOptions;
  readonly acl: boolean;
  /** false: the mount shows and takes no extended attributes. */
  readonly xattrs: boolean;
  /** false: fsync(2) on the mount does nothing. */
  readonly fsync: boolean;
  /**
   * Nothing is flushed, and the workdir is marked so that the upper is not trusted after a crash.
   */
  readonly volatile: boolean;
  /** Directories always show nlink 1. */
  readonly staticNlink: boolean;
  /** Whether inode numbers of several file systems are told apart by their high bits. */
  readonly xino: 'off' | 'auto' | 'on';
  /**
   * Reading leaves access times alone. Without, those of files in the upper follow the rule of its
   * own mount; a lower's are never changed.
   */
  readonly noatime?: boolean;
  /**
   * Where it will be mounted, if known: refused inside the upper, or inside a lower that cannot be
   * cloned.
   */
  readonly mountpoint?: ByteString;
}

export const defaultOwnership: OwnershipOptions = {
  uidMapping: [],
  gidMapping: [],
  xattrPermissions: 0,
};

export const defaultUnionOptions = {
  redirectDir: false,
  index: false,
  ownership: defaultOwnership,
  acl: true,
  xattrs: true,
  fsync: true,
  volatile: false,
  staticNlink: false,
  xino: 'auto',
} as const satisfies Partial<UnionOptions>;
