/**
 * Who a file belongs to, as the mount shows it and as the upper layer keeps it.
 *
 * The options are fuse-overlayfs's: `uidmapping`/`gidmapping` translate between ids on disk and ids
 * shown, `squash_to_*` shows every file as one user's, and `xattr_permissions` keeps owner, mode
 * and type in an extended attribute (override-stat.ts), for an upper whose files all belong to the
 * one who mounts.
 */
import type { ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { StatField } from '../sys/syscalls.js';
import type { Attributes, Caller } from '../vfs/filesystem.js';
import type { IdRange, OwnershipOptions } from './options.js';
import { byNameAsOwner } from '../overlay/owner-rights.js';
import { applyOverride, formatOverrideStat, readOverride } from '../overlay/override-stat.js';
import { field, newStatBuffer, S_IFDIR, S_IFLNK, S_IFMT } from '../overlay/stat-buffer.js';

/** What the kernel shows for an id that has no place in a mapping (/proc/sys/fs/overflowuid). */
const OVERFLOW_ID = 65534;

/**
 * `uid:gid` of a file whose owner is not shown (`emulated`): to read, and to write with -1 for what
 * stays.
 */
export const OWNER_XATTR = 'security.plyfs.owner' as ByteString;
const ownerPattern = /^(-1|\d{1,10}):(-1|\d{1,10})$/;

/** Throws EINVAL for anything else. */
export function parseOwner(value: Uint8Array): { uid: number; gid: number } {
  const match =
    value.length <= 24 ? ownerPattern.exec(Buffer.from(value).toString('latin1')) : null;
  const [uid, gid] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || uid > MAX_ID || gid > MAX_ID)
    throw new Errno(E.EINVAL, 'an owner is uid:gid');
  return { uid, gid };
}

const MAX_ID = 0xfffffffe;

function toShown(ranges: readonly IdRange[], id: number): number {
  for (const range of ranges) {
    if (id >= range.onDisk && id < range.onDisk + range.length)
      return range.shown + id - range.onDisk;
  }
  return ranges.length === 0 ? id : OVERFLOW_ID;
}

/** Undefined: without a place in the mapping. */
function toDisk(ranges: readonly IdRange[], id: number): number | undefined {
  if (ranges.length === 0) return id;
  for (const range of ranges) {
    if (id >= range.shown && id < range.shown + range.length)
      return range.onDisk + id - range.shown;
  }
  return undefined;
}

function placeOf(ranges: readonly IdRange[], id: number): number {
  const place = toDisk(ranges, id);
  if (place === undefined) throw new Errno(E.EINVAL, `id ${id} has no place in the mapping`);
  return place;
}

const ids = new Float64Array(2);

export class Ownership {
  readonly #options: OwnershipOptions;
  /**
   * The attribute in which the upper keeps owner, mode and type; undefined: on the files
   * themselves.
   */
  readonly override: ByteString | undefined;
  readonly #plain: boolean;
  readonly #stat = newStatBuffer();

  constructor(options: OwnershipOptions, override: ByteString | undefined) {
    this.#options = options;
    this.override = override;
    this.#plain =
      options.uidMapping.length === 0 &&
      options.gidMapping.length === 0 &&
      options.squashToUid === undefined &&
      options.squashToGid === undefined;
  }

  /** Turns the ids on disk in `attributes` into those shown. */
  show(attributes: Attributes): void {
    if (this.#plain) return;
    attributes.uid = this.uidShown(attributes.uid);
    attributes.gid = this.#options.squashToGid ?? toShown(this.#options.gidMapping, attributes.gid);
  }

  gidShown(gid: number): number {
    return this.#options.squashToGid ?? toShown(this.#options.gidMapping, gid);
  }

  uidShown(onDisk: number): number {
    return this.#options.squashToUid ?? toShown(this.#options.uidMapping, onDisk);
  }

  /**
   * Whom a new file belongs to, on disk. Who has no place in the mapping makes it nobody's, as
   * fuse-overlayfs has it (main.c, find_mapping): podman, whose own id is not among a container's,
   * puts files into its root.
   */
  maker(caller: Caller): { uid: number; gid: number } {
    if (this.#options.emulated !== true) {
      return {
        uid: toDisk(this.#options.uidMapping, caller.uid) ?? OVERFLOW_ID,
        gid: toDisk(this.#options.gidMapping, caller.gid) ?? OVERFLOW_ID,
      };
    }
    // One that has ended was root as likely as not.
    if (caller.pid === 0 || sys.emulatedIds(caller.pid, ids) < 0) return { uid: 0, gid: 0 };
    return { uid: ids[0] as number, gid: ids[1] as number };
  }

  get emulated(): boolean {
    return this.#options.emulated === true;
  }

  /** Throws EINVAL for an id without a place in the mapping. -1 stays -1. */
  uidToDisk(uid: number): number {
    return uid === -1 ? -1 : placeOf(this.#options.uidMapping, uid);
  }
  gidToDisk(gid: number): number {
    return gid === -1 ? -1 : placeOf(this.#options.gidMapping, gid);
  }

  /** ids are those on disk; -1 leaves one as it is. `name` relative to `dirfd`, or empty. */
  chown(dirfd: number, name: ByteString, uid: number, gid: number): void {
    if (this.override === undefined) {
      const chown = (): number => sys.fchownat(dirfd, name, uid >>> 0, gid >>> 0);
      check(byNameAsOwner(dirfd, chown), 'chown');
      return;
    }
    this.#rewrite(dirfd, name, (current) => {
      // As chown(2) does to the mode of a non-directory.
      const setGid = (current.mode & 0o10) !== 0 ? 0o2000 : 0;
      const mode = current.type === S_IFDIR ? current.mode : current.mode & ~(0o4000 | setGid);
      return { uid: uid === -1 ? current.uid : uid, gid: gid === -1 ? current.gid : gid, mode };
    });
  }

  chmod(dirfd: number, name: ByteString, mode: number): void {
    const chmod = (): number => sys.fchmodat(dirfd, name, mode & 0o7777);
    if (this.override === undefined) check(byNameAsOwner(dirfd, chmod), 'chmod');
    else this.#rewrite(dirfd, name, (current) => ({ ...current, mode: mode & 0o7777 }));
  }

  /**
   * Describes an object that the upper cannot hold as what it is. A symbolic link takes no `user.`
   * xattr: it stays ours.
   */
  describe(
    dirfd: number,
    name: ByteString,
    mode: number,
    uid: number,
    gid: number,
    major: number,
    minor: number,
  ): void {
    if (this.override === undefined || (mode & S_IFMT) === S_IFLNK) return;
    const value = formatOverrideStat({
      uid,
      gid,
      mode: mode & 0o7777,
      type: mode & S_IFMT,
      major,
      minor,
    });
    check(sys.setxattrat(dirfd, name, this.override, value, 0), 'setxattr');
  }

  #rewrite(
    dirfd: number,
    name: ByteString,
    change: (current: Owned) => Pick<Owned, 'uid' | 'gid' | 'mode'>,
  ): void {
    const stat = this.#stat;
    check(sys.statx(dirfd, name, stat, 0), 'stat');
    const override = readOverride(dirfd, name, this.override as ByteString);
    if (override !== undefined) applyOverride(stat, 0, override);
    const bits = field(stat, 0, StatField.Mode);
    const type = bits & S_IFMT;
    const next = change({
      uid: field(stat, 0, StatField.Uid),
      gid: field(stat, 0, StatField.Gid),
      mode: bits & 0o7777,
      type,
    });
    const { uid, gid, mode } = next;
    this.describe(
      dirfd,
      name,
      type | mode,
      uid,
      gid,
      field(stat, 0, StatField.RdevMajor),
      field(stat, 0, StatField.RdevMinor),
    );
  }
}

interface Owned {
  uid: number;
  gid: number;
  /** Permission bits. */
  mode: number;
  type: number;
}
