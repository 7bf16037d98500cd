/**
 * The merged listing of a directory (overlayfs.rst, "readdir").
 *
 * It is read once, from every layer of the stack, and kept with the node: lower layers do not
 * change, and what changes in the upper goes through this union. Each name has a cookie that it
 * keeps for life, so a reader who comes back finds its place whatever was added or removed
 * meanwhile. Removed names are skipped and later squeezed out. New ones go to the front: at the
 * end, somebody who renames what he reads would read for ever (xfstests generic/736).
 */
import type { Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { inPieces, type Pieces } from '../base/pieces.js';
import { DT_UNKNOWN, DT_CHR, DT_DIR, DT_REG } from '../sys/constants.js';
import type { UnionContext } from './context.js';
import { numberOn } from './inode-numbers.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { Dentry, type DirectoryNode, type PackedListing } from './node.js';
import {
  entryAt,
  ENTRIES_AT_ONCE,
  readPacked,
  readPackedAside,
  type PackedEntry,
} from './packed-listing.js';
import { isWhiteoutDevice, newStatBuffer } from '../overlay/stat-buffer.js';
import { isXattrWhiteout, OPAQUE_MARKER, WHITEOUT_PREFIX } from '../overlay/whiteout.js';
import { WouldWait } from './would-wait.js';
import { originInode } from './inode-of-name.js';

const NOTHING_BELOW: readonly LayerDirectory[] = [];

const stat = newStatBuffer();

/** What the layers above have said of a name, while the layers below are read. */
interface Seen {
  dentry: Dentry | null;
  /** A layer has ended the search: nothing further down counts. */
  closed: boolean;
  /**
   * The topmost lower layer that speaks of the name was heard: it settles what the upper's entry
   * covers.
   */
  covered: boolean;
}

/** Entries of one piece of work: some milliseconds, or ten where each takes a closer look. */
const PIECE = 1024;
/** Pieces that are done at once before a listing is waited for. */
const AT_ONCE = ENTRIES_AT_ONCE / PIECE;

/**
 * Reads the whole directory, so that every later question about its names is answered without a
 * system call. Throws `Errno`; `WouldWait` where that takes long.
 */
export function completeListing(context: UnionContext, directory: DirectoryNode): void {
  if (!directory.complete && directory.lastStat === null) prepare(context, directory, completing);
}

/**
 * The same for a question that the layers can answer as well: false where it takes long, or what is
 * begun then goes on.
 */
export function completeSoon(context: UnionContext, directory: DirectoryNode): boolean {
  if (directory.complete || directory.lastStat !== null) return true;
  if (directory.large) return false;
  try {
    completeListing(context, directory);
    return true;
  } catch (error) {
    if (!(error instanceof WouldWait)) throw error;
    return false;
  }
}

/** Reads the packed listing, if there can be one. Throws as `completeListing` does. */
export function packListing(context: UnionContext, directory: DirectoryNode): void {
  if (directory.packed === null && !directory.unpackable) prepare(context, directory, packing);
}

/**
 * Before a name comes or goes: dentries are made of a packed listing, and what is being read is
 * waited for. Throws as `completeListing` does, when nothing has been changed yet.
 */
export function readyForChange(context: UnionContext, directory: DirectoryNode): void {
  if (directory.preparing !== null) throw new WouldWait(directory.preparing);
  if (directory.packed !== null) completeListing(context, directory);
}

/** One listing of a directory is under way at a time; whoever needs it waits. */
function prepare(
  context: UnionContext,
  directory: DirectoryNode,
  work: (context: UnionContext, directory: DirectoryNode) => Pieces,
): void {
  if (directory.preparing !== null) throw new WouldWait(directory.preparing);
  const waited = inPieces(work(context, directory), context.serving ? AT_ONCE : Infinity);
  if (waited === undefined) return;
  directory.large = true;
  directory.preparing = waited.finally(() => {
    directory.preparing = null;
  });
  // Perhaps nobody waits for it.
  directory.preparing.catch(() => undefined);
  throw new WouldWait(directory.preparing);
}

function* packing(context: UnionContext, directory: DirectoryNode): Pieces {
  const most = context.serving ? ENTRIES_AT_ONCE : Number.MAX_SAFE_INTEGER;
  let read = directory.large && context.serving ? null : readPacked(context, directory, most);
  if (read === null) {
    let failed: unknown;
    const aside = readPackedAside(context, directory);
    yield aside.then(
      (listing) => void (read = listing),
      (error: unknown) => void (failed = error),
    );
    if (failed !== undefined) throw failed as Error;
  }
  if (read === undefined || read === null) directory.unpackable = true;
  else directory.packed = read;
}

function* completing(context: UnionContext, directory: DirectoryNode): Pieces {
  if (directory.packed === null && !directory.unpackable) yield* packing(context, directory);
  if (directory.packed !== null) yield* unpacking(directory, directory.packed);
  else {
    try {
      if (directory.stack.length === 1)
        yield* listOne(context, directory, directory.stack[0] as LayerDirectory);
      else yield* listMerged(context, directory);
    } catch (error) {
      // What was concluded from some of the layers does not hold for all of them.
      for (const dentry of directory.entries.values()) {
        dentry.covers = undefined;
        dentry.below = null;
        dentry.ino = dentry.node?.ino ?? 0;
      }
      throw error;
    }
  }
  directory.complete = true;
}

/** Makes the dentries of a packed listing, and the listing of them. */
function* unpacking(directory: DirectoryNode, packed: PackedListing): Pieces {
  const listing: Dentry[] = [];
  for (let at = 0; at < packed.records.length;) {
    const entry = entryAt(packed, at);
    const dentry = dentryOf(directory, entry);
    dentry.cookie = FIRST_COOKIE + listing.length;
    listing.push(dentry);
    at = entry.end;
    if (listing.length % PIECE === 0) yield;
  }
  directory.listing = listing.reverse();
  directory.nextCookie = FIRST_COOKIE - 1;
  directory.packed = null;
}

/** The dentry that a packed listing stands for. */
export function dentryOf(
  directory: DirectoryNode,
  { name, type, ino, holder, below, covers }: PackedEntry,
): Dentry {
  const known = directory.entries.get(name);
  const dentry = known ?? newDentry(directory, name, type, holder);
  if (dentry.holder === holder) {
    dentry.covers ??= covers;
    dentry.below ??= below.length === 0 ? NOTHING_BELOW : below;
    dentry.ino = dentry.node?.ino ?? ino;
  } else if (dentry.ino === 0) dentry.ino = dentry.node?.ino ?? ino;
  return dentry;
}

function* listOne(context: UnionContext, directory: DirectoryNode, holder: LayerDirectory): Pieces {
  yield* visitShown(directory, holder, (name, type, low, high, whiteout) => {
    if (whiteout) return;
    const dentry = directory.entries.get(name) ?? newDentry(directory, name, type, holder);
    dentry.covers = holder.layer.index !== UPPER;
    dentry.below ??= NOTHING_BELOW;
    dentry.ino = listedInode(context, dentry, low, high);
  });
}

/** `d_ino` of a name whose winning object is listed with this number. */
function listedInode(context: UnionContext, dentry: Dentry, low: number, high: number): number {
  if (dentry.node !== null) return dentry.node.ino;
  const { parent, holder, type } = dentry;
  const origin =
    parent.impure && holder.layer.index === UPPER && type !== DT_DIR
      ? originInode(context, dentry, type << 12)
      : undefined;
  return origin ?? numberOn(holder.device(), low, high);
}

function* listMerged(context: UnionContext, directory: DirectoryNode): Pieces {
  const seen = new Map<Name, Seen>();
  // The directory may be copied up meanwhile: what comes into the upper then has dentries.
  for (const holder of [...directory.stack]) {
    const upper = holder.layer.index === UPPER;
    // A marker hides its name in the layers below only, so it counts after what its own layer has
    // of that name.
    const hidden: Name[] = [];
    yield* visitShown(directory, holder, (name, type, low, high, whiteout) => {
      if (whiteout) {
        hidden.push(name);
        return;
      }
      const before = seen.get(name);
      if (before === undefined) {
        const dentry = directory.entries.get(name) ?? newDentry(directory, name, type, holder);
        if (dentry.holder === holder) {
          dentry.ino = listedInode(context, dentry, low, high);
          dentry.covers = !upper;
          dentry.below ??= NOTHING_BELOW;
        } else if (dentry.ino === 0) dentry.ino = listedInode(context, dentry, low, high);
        seen.set(name, { dentry, closed: type !== DT_DIR, covered: !upper });
        return;
      }
      settle(before, upper, true);
      if (before.closed) return;
      if (type !== DT_DIR) {
        before.closed = true;
        return;
      }
      const { dentry } = before;
      if (dentry === null) return;
      if (dentry.below === NOTHING_BELOW || dentry.below === null) {
        dentry.below = [holder];
        if (dentry.holder.layer.index === UPPER) dentry.ino = numberOn(holder.device(), low, high);
      } else (dentry.below as LayerDirectory[]).push(holder);
    });
    for (const name of hidden) {
      const before = seen.get(name);
      if (before === undefined) seen.set(name, { dentry: null, closed: true, covered: true });
      else {
        settle(before, upper, false);
        before.closed = true;
      }
    }
  }
}

/**
 * Takes into account that a layer has the name (`shows`), or hides it: the topmost lower one that
 * speaks of it decides what an upper name covers.
 */
function settle(seen: Seen, upper: boolean, shows: boolean): void {
  if (seen.covered || upper) return;
  seen.covered = true;
  if (seen.dentry !== null) seen.dentry.covers = shows;
}

function newDentry(
  directory: DirectoryNode,
  name: Name,
  type: number,
  holder: LayerDirectory,
): Dentry {
  const dentry = new Dentry(directory, name, type, holder);
  directory.entries.set(name, dentry);
  return dentry;
}

/**
 * Each entry of one layer's directory, as the union understands it: whiteouts named by what they
 * hide, markers left out.
 */
function* visitShown(
  directory: DirectoryNode,
  holder: LayerDirectory,
  visit: (name: Name, type: number, low: number, high: number, whiteout: boolean) => void,
): Pieces {
  const aufs = holder.layer.form === 'aufs';
  // A regular file may stand for a deleted name or, by override_stat, for a file of another type.
  const mayBeOther =
    directory.xattrWhiteouts?.includes(holder) === true || holder.layer.overrideStat !== undefined;
  const marked = directory.opaque === holder;
  const pieces = holder.listing((name, reported, low, high) => {
    if (marked && name === OPAQUE_MARKER) return;
    if (aufs && name.startsWith(WHITEOUT_PREFIX)) {
      if (!name.startsWith(WHITEOUT_PREFIX, WHITEOUT_PREFIX.length)) {
        const hidden = name.slice(WHITEOUT_PREFIX.length);
        if (hidden !== '') visit(hidden as Name, DT_UNKNOWN, 0, 0, true);
      }
      return;
    }
    let type = reported;
    if (type === DT_CHR || type === DT_UNKNOWN || (mayBeOther && type === DT_REG)) {
      const result = holder.stat(name, stat, 0);
      // A whiteout that is passed over would bring back what it hides.
      if (result < 0 && result !== -E.ENOENT) throw new Errno(-result, name);
      if (result < 0) return;
      type = ((stat[1] as number) & 0o170000) >> 12;
      if (isWhiteoutDevice(stat, 0) || isXattrWhiteout(directory, holder, name, stat, 0)) {
        visit(name, type, low, high, true);
        return;
      }
    }
    visit(name, type, low, high, false);
  });
  for (let step = pieces.next(), since = 0; ; step = pieces.next()) {
    if (step.done === true) {
      if (step.value < 0) throw new Errno(-step.value, 'readdir');
      return;
    }
    since += step.value;
    for (; since >= PIECE; since -= PIECE) yield;
  }
}

/**
 * The listing in descending order of cookies: a reader goes through it from the end. Throws as
 * `completeListing` does.
 */
export function listingOf(context: UnionContext, directory: DirectoryNode): readonly Dentry[] {
  completeListing(context, directory);
  if (directory.listing === null) prepare(context, directory, numbering);
  return directory.listing ?? [];
}

function* numbering(_context: UnionContext, directory: DirectoryNode): Pieces {
  const listing: Dentry[] = [];
  for (const dentry of directory.entries.values()) {
    dentry.cookie = FIRST_COOKIE + listing.length;
    listing.push(dentry);
    if (listing.length % PIECE === 0) yield;
  }
  directory.listing = listing.reverse();
  directory.nextCookie = FIRST_COOKIE - 1;
}

/**
 * Cookies 1 and 2 follow `.` and `..`; those of names that came after the first reading count down
 * from here.
 */
export const FIRST_COOKIE = 2 ** 40;

/**
 * Where in the listing the first dentry after `cookie` stands: the reader goes on from there
 * towards index 0.
 */
export function positionAfter(listing: readonly Dentry[], cookie: number): number {
  let low = 0;
  let high = listing.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (Math.abs((listing[middle] as Dentry).cookie) > cookie) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * A name has come (`readyForChange` was before): it goes to the front, where a reader who is under
 * way has passed.
 */
export function addToDirectory(directory: DirectoryNode, dentry: Dentry): void {
  directory.entries.set(dentry.name, dentry);
  if (directory.listing === null) return;
  dentry.cookie = directory.nextCookie--;
  directory.listing.push(dentry);
}

/**
 * A name has gone (`readyForChange` was before). Its cookie is not used again: turned negative, it
 * still keeps the listing in order.
 */
export function removeFromDirectory(directory: DirectoryNode, dentry: Dentry): void {
  if (directory.entries.get(dentry.name) === dentry) directory.entries.delete(dentry.name);
  if (directory.listing === null || dentry.cookie === 0) return;
  dentry.cookie = -dentry.cookie;
  if (
    ++directory.removedFromListing > 1024 &&
    directory.removedFromListing > directory.entries.size
  )
    compact(directory);
}

/** Squeezes removed dentries out; the cookies of the others stay. */
function compact(directory: DirectoryNode): void {
  directory.listing = (directory.listing as Dentry[]).filter((dentry) => dentry.cookie > 0);
  directory.removedFromListing = 0;
}
