/**
 * The listing of a directory of which little but its names was asked: records in one buffer, no
 * object a name.
 *
 * A name that is looked up gets a dentry from it. Once a name comes or goes, or many were looked
 * up, dentries are made of all (listing.ts, `unpack`) and it is dropped. An entry's cookie is
 * FIRST_COOKIE and its number, packed or not, so a reader under way does not notice.
 *
 * A record, little-endian: 0 u64 inode number; 8 u16 which directory of the stack shows the name;
 * 10 u16 how many directories below merge; 12 u8 DT_*; 13 u8 length of the name; 14 u8 whether a
 * lower layer shows the name; 15 unused; 16 the name; then the directories below, u16 each. The
 * layout is native/sys-listing.cc's too.
 */
import type { Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { DT_DIR } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import type { UnionContext } from './context.js';
import { deviceNumber } from '../overlay/devices.js';
import { DiskDirectory } from '../overlay/disk-directory.js';
import { MAX_LAYERS, UPPER, type LayerDirectory } from '../overlay/layer.js';
import type { DirectoryNode, PackedListing } from './node.js';

const HEADER = 16;
/** Where most listings fit; one that does not is read again into a larger buffer of its own. */
const usual = Buffer.allocUnsafeSlow(64 * 1024);
/** Three numbers a directory (`findDirectories` of src/sys/syscalls.ts). */
const sources = new Float64Array(3 * MAX_LAYERS);
const foundNow = new Float64Array(MAX_LAYERS);

/**
 * Whether a packed listing may stand for the directory: no name of it is known but those of
 * directories.
 */
export function mayStayPacked(directory: DirectoryNode): boolean {
  for (const dentry of directory.entries.values()) if (dentry.type !== DT_DIR) return false;
  return true;
}

/** Entries, of all layers together, that are read at once: for some milliseconds. */
export const ENTRIES_AT_ONCE = 8192;

/**
 * Reads the directory from all its layers, when they have no more than `most` entries; null
 * otherwise. Undefined where a name may be other than it looks (markers, whiteouts by xattr,
 * override_stat, numbers that come from `overlay.origin`, a file system without types): such a
 * directory is listed entry by entry. Throws `Errno`.
 */
export function readPacked(
  context: UnionContext,
  directory: DirectoryNode,
  most: number,
): PackedListing | null | undefined {
  const { stack } = directory;
  const limit = mayBePacked(context, directory);
  if (limit === undefined) return undefined;
  for (let buffer = usual; ;) {
    const size = sys.listDirectories(sources, stack.length, isUpper(stack[0]), limit, buffer, most);
    if (size === -E.EOPNOTSUPP) return undefined;
    if (size === -E.E2BIG) return null;
    if (size < 0) throw new Errno(-size, 'readdir');
    if (size <= buffer.length) return packed(buffer, size, stack);
    buffer = Buffer.allocUnsafeSlow(2 * size);
  }
}

/** The same on another thread, however many entries there are. */
export async function readPackedAside(
  context: UnionContext,
  directory: DirectoryNode,
): Promise<PackedListing | undefined> {
  const stack = [...directory.stack];
  const limit = mayBePacked(context, directory);
  if (limit === undefined) return undefined;
  const records = await sys.listDirectoriesAsync(sources, stack.length, isUpper(stack[0]), limit);
  if (records === -E.EOPNOTSUPP) return undefined;
  if (typeof records === 'number') throw new Errno(-records, 'readdir');
  return {
    records: Buffer.from(records.buffer, records.byteOffset, records.length),
    stack,
    reached: { offset: 0, number: 0 },
  };
}

/** As `openAll`, of all that the directory is made of. */
function mayBePacked(context: UnionContext, directory: DirectoryNode): number | undefined {
  if (directory.impure || directory.xattrWhiteouts !== null || directory.opaque !== null)
    return undefined;
  return openAll(context, directory.stack);
}

/**
 * Describes the directories in `sources`. Returns from which inode number on one of their names
 * needs a closer look; undefined where a listing of records cannot be had of them.
 */
function openAll(
  context: UnionContext,
  directories: readonly LayerDirectory[],
): number | undefined {
  if (
    !directories.every(isPlain) ||
    directories.length > Math.min(MAX_LAYERS, context.directories.max / 2)
  )
    return undefined;
  let limit = Infinity;
  for (const [i, directory] of directories.entries()) {
    const device = directory.device();
    sources[3 * i] = directory.fd();
    sources[3 * i + 1] = device.base;
    sources[3 * i + 2] =
      directory.layer.devices === null ? -1 : deviceNumber(device.major, device.minor);
    limit = Math.min(limit, device.limit);
  }
  return limit;
}

function isUpper(directory: LayerDirectory | undefined): boolean {
  return directory?.layer.index === UPPER;
}

function packed(buffer: Buffer, size: number, stack: readonly LayerDirectory[]): PackedListing {
  return {
    records: Buffer.from(buffer.subarray(0, size)),
    stack: [...stack],
    reached: { offset: 0, number: 0 },
  };
}

/**
 * What the search says of a directory, beside `-errno` and 1 for one without marks
 * (`findDirectories` of src/sys/syscalls.ts).
 */
export const ABSENT = 0;
export const PERHAPS_MARKED = 2;

export interface FoundDirectories {
  /** For each directory asked; valid until the next search. */
  readonly found: Float64Array;
  /** Bytes of records of the names of all that were found, or `-errno`. */
  readonly size: number;
}

/**
 * Looks for the directory `name` in each, and lists what is found if `list`. Undefined where a name
 * may be other than it looks. Throws `Errno`.
 */
export function findDirectories(
  context: UnionContext,
  directories: readonly LayerDirectory[],
  name: Name,
  list: boolean,
): FoundDirectories | undefined {
  const limit = openAll(context, directories);
  if (limit === undefined) return undefined;
  const found = foundNow.subarray(0, directories.length);
  const size = sys.findDirectories(
    sources,
    directories.length,
    name,
    isUpper(directories[0]),
    limit,
    found,
    list ? usual : null,
  );
  if (size < 0 && size !== -E.EOPNOTSUPP) throw new Errno(-size, name);
  return { found, size };
}

/** The listing that a search has made of the directories it found, if it has. */
export function packedFound(
  { size }: FoundDirectories,
  stack: readonly LayerDirectory[],
): PackedListing | null {
  return size >= 0 && size <= usual.length ? packed(usual, size, stack) : null;
}

/** The name's entry in the listing. */
export function findPacked(listing: PackedListing, name: Name): PackedEntry | undefined {
  const at = sys.findEntry(listing.records, name);
  return at < 0 ? undefined : entryAt(listing, at);
}

/** Whether a name in it is what it looks like. */
export function isPlain(directory: LayerDirectory): directory is DiskDirectory {
  return (
    directory instanceof DiskDirectory &&
    directory.layer.form === 'overlay' &&
    directory.layer.overrideStat === undefined
  );
}

export interface PackedEntry {
  readonly name: Name;
  readonly type: number;
  readonly ino: number;
  readonly holder: LayerDirectory;
  readonly below: readonly LayerDirectory[];
  readonly covers: boolean;
  /** Where the next record starts. */
  readonly end: number;
}

export function entryAt(
  { records, stack }: Omit<PackedListing, 'reached'>,
  at: number,
): PackedEntry {
  const nameEnd = at + HEADER + (records[at + 13] as number);
  const count = records.readUInt16LE(at + 10);
  const below: LayerDirectory[] = [];
  for (let i = 0; i < count; i++)
    below.push(stack[records.readUInt16LE(nameEnd + 2 * i)] as LayerDirectory);
  return {
    name: records.toString('latin1', at + HEADER, nameEnd) as Name,
    type: records[at + 12] as number,
    ino: records.readUInt32LE(at + 4) * 2 ** 32 + records.readUInt32LE(at),
    holder: stack[records.readUInt16LE(at + 8)] as LayerDirectory,
    below,
    covers: records[at + 14] === 1,
    end: nameEnd + 2 * count,
  };
}
