/**
 * Lookup: which layers hold a name, which wins, and what merges (overlayfs.rst, "Directories").
 *
 * Layers are asked from the top. The first that has the name wins; a whiteout ends the search with
 * nothing; a directory goes on to collect the directories of that name below, until one is opaque
 * or something that is no directory is met. A directory that was listed answers from its listing
 * without asking any layer.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { StatField } from '../sys/syscalls.js';
import { requireFollowed } from '../overlay/belief.js';
import type { UnionContext } from './context.js';
import { identityOf, type Traps } from './layers-on-disk.js';
import { UPPER, type LayerDirectory, type Device } from '../overlay/layer.js';
import type { InodeIndex } from './inode-index.js';
import { completeSoon, dentryOf } from './listing.js';
import { Dentry, DirectoryNode, Node, LinkGroup, type PackedListing, statNode } from './node.js';
import { NO_MARKS, readMarks, type DirectoryMarks } from '../overlay/marks.js';
import {
  ABSENT,
  findDirectories,
  findPacked,
  packedFound,
  PERHAPS_MARKED,
} from './packed-listing.js';
import { protectionIn } from './protection.js';
import { approach, MOST_COMPONENTS, turn, type Approach } from './redirect.js';
import { direntType, field, fileType, newStatBuffer, S_IFDIR } from '../overlay/stat-buffer.js';
import { hidesBelow, probe } from '../overlay/whiteout.js';
import { inodeOf, originOf } from './inode-of-name.js';

/**
 * Names that are looked for in the packed listing of a directory before it is unpacked: a name
 * takes a microsecond or two in either.
 */
const PACKED_BUDGET = 256;
/** Lookups that ask every layer, times layers, before a directory is listed once instead. */
const PROBE_BUDGET = 64;

/**
 * The name's dentry, or null when the union shows no such name. Throws `Errno` (ENAMETOOLONG, EIO
 * …).
 */
export function findDentry(
  context: UnionContext,
  directory: DirectoryNode,
  name: Name,
): Dentry | null {
  const known = knownDentry(context, directory, name);
  return known === undefined ? askLayers(context, directory, name) : known;
}

/**
 * The name's node, its attributes in `context.stat` (entry 0); null when there is no such name.
 * Throws `Errno`.
 */
export function findNode(context: UnionContext, directory: DirectoryNode, name: Name): Node | null {
  const known = knownDentry(context, directory, name);
  if (known !== undefined) return known === null ? null : nodeOf(context, known);
  const dentry = askLayers(context, directory, name);
  return dentry === null ? null : nodeAsked(context, dentry);
}

/**
 * What the directory knows of the name without asking its layers, or knows once it was listed;
 * undefined when they must be asked.
 */
function knownDentry(
  context: UnionContext,
  directory: DirectoryNode,
  name: Name,
): Dentry | null | undefined {
  const known = directory.entries.get(name);
  if (known !== undefined) return known;
  if (directory.complete || directory.lastStat !== null) return null;
  if (directory.large) return undefined;
  const { packed } = directory;
  if (packed === null) {
    const layers = directory.stack.length;
    const often = layers > 1 && (directory.probes += layers) > PROBE_BUDGET + layers;
    if (!often) return undefined;
  } else if (++directory.probes <= PACKED_BUDGET) {
    const entry = findPacked(packed, name);
    return entry === undefined ? null : dentryOf(directory, entry);
  }
  return completeSoon(context, directory) ? (directory.entries.get(name) ?? null) : undefined;
}

/** Leaves the attributes of what it finds in `context.stat`. */
function askLayers(context: UnionContext, directory: DirectoryNode, name: Name): Dentry | null {
  for (const holder of directory.stack) {
    const found = probe(directory, holder, name, context.stat);
    if (found === 'absent') continue;
    if (found === 'whiteout') return null;
    const dentry = new Dentry(
      directory,
      name,
      direntType(field(context.stat, 0, StatField.Mode)),
      holder,
    );
    directory.entries.set(name, dentry);
    return dentry;
  }
  return null;
}

/**
 * The dentry's node, made if there is none. Leaves the attributes of its object in `context.stat`
 * (entry 0). Throws `Errno`.
 */
export function nodeOf(context: UnionContext, dentry: Dentry): Node {
  const failed =
    dentry.node === null
      ? dentry.holder.stat(dentry.name, context.stat, 0)
      : statNode(dentry.node, context.stat);
  if (failed < 0) throw new Errno(-failed, dentry.name);
  return dentry.node ?? nodeAsked(context, dentry);
}

/** The node of a dentry that has none, whose object's attributes are in `context.stat`. */
function nodeAsked(context: UnionContext, dentry: Dentry): Node {
  const node = nodeFromStat(context, dentry, context.stat, 0);
  // The file may have been copied up through another of its names.
  if (node.links !== null && statNode(node, context.stat) < 0) throw new Errno(E.EIO, dentry.name);
  return node;
}

/**
 * Makes the node of a dentry whose winning object's attributes are entry `index` of `stat`, or
 * finds it among those with several names (`links` is set): such a node's attributes may have to be
 * read again.
 */
export function nodeFromStat(
  context: UnionContext,
  dentry: Dentry,
  stat: Float64Array,
  index: number,
): Node {
  const type = fileType(stat, index);
  let node: Node;
  if (type === S_IFDIR) node = newDirectory(context, dentry, stat, index);
  else {
    if (field(stat, index, StatField.Nlink) > 1) return linkedNode(context, dentry, stat, index);
    node = new Node(inodeOf(context, dentry, stat, index), type, dentry.holder, dentry.name);
  }
  if (!node.inUpper) node.protection = protectionIn(stat, index);
  node.dentries.push(dentry);
  dentry.node = node;
  context.nodes.add(node);
  return node;
}

/** One node for all names of a file that has several in its layer. */
function linkedNode(
  context: UnionContext,
  dentry: Dentry,
  stat: Float64Array,
  index: number,
): Node {
  const { holder, name } = dentry;
  const entry = context.index?.entryOf(holder, name, stat, index) ?? null;
  const group =
    entry === null ? context.links.find(holder, name, stat, index) : context.links.ofEntry(entry);
  if (group !== undefined) {
    context.inodes.join(holder, name, stat, index, group.node.ino);
    context.nodes.attach(dentry, group.node);
    return group.node;
  }
  const node =
    (entry === null ? null : indexedNode(context, dentry, entry, stat, index)) ??
    ownNode(context, dentry, entry, stat, index);
  if (node.links !== null) context.links.add(node.links);
  if (!node.inUpper) node.protection = protectionIn(stat, index);
  node.dentries.push(dentry);
  dentry.node = node;
  context.nodes.add(node);
  return node;
}

/** The node of a file with several names that lies where the dentry says. */
function ownNode(
  context: UnionContext,
  dentry: Dentry,
  entry: Name | null,
  stat: Float64Array,
  index: number,
): Node {
  const { holder, name } = dentry;
  const node = new Node(inodeOf(context, dentry, stat, index), fileType(stat, index), holder, name);
  const lowerNames = holder.layer.index === UPPER ? 0 : field(stat, index, StatField.Nlink);
  node.links = new LinkGroup(node, holder, name, stat, index, lowerNames, entry);
  return node;
}

/**
 * The node of a copy that lies in the index, found by a name in a lower or in the upper; null when
 * the file was not copied up.
 */
function indexedNode(
  context: UnionContext,
  dentry: Dentry,
  entry: Name,
  stat: Float64Array,
  index: number,
): Node | null {
  const { holder, name } = dentry;
  const inode = context.index as InodeIndex;
  const type = fileType(stat, index);
  const origin = holder.layer.index === UPPER ? originOf(context, dentry, type) : undefined;
  const lowerNames =
    holder.layer.index === UPPER ? (origin?.names ?? 0) : field(stat, index, StatField.Nlink);
  const copy = inode.find(entry, type, lowerNames);
  if (copy === undefined) return null;
  const node = new Node(
    origin?.number ?? context.inodes.of(holder, name, stat, index),
    type,
    inode.directory,
    entry,
  );
  node.links = new LinkGroup(node, holder, name, stat, index, lowerNames, entry);
  node.links.indexed = true;
  // Unless it was recorded, the copy's links are all there is (ovl_get_nlink).
  node.links.remaining = Math.max(0, (copy.names ?? copy.links) - (copy.links - 1));
  return node;
}

/** Of what lies below, while `context.stat` has the winning object's. */
const lowerStat = newStatBuffer();

function newDirectory(
  context: UnionContext,
  dentry: Dentry,
  stat: Float64Array,
  index: number,
): DirectoryNode {
  const merged = mergeStack(
    context,
    dentry,
    context.devices.of(dentry.holder, dentry.name, stat, index),
  );
  if (context.traps !== null) refuseTrapped(context.traps, merged.stack);
  const first = merged.stack.find((directory) => directory.layer.index !== UPPER);
  // A directory that was copied up keeps the number of the topmost lower one.
  const copied =
    first !== undefined &&
    first !== merged.stack[0] &&
    first.stat('' as ByteString, lowerStat, 0) >= 0;
  const ino = copied
    ? context.inodes.of(first, '' as ByteString, lowerStat, 0)
    : context.inodes.of(dentry.holder, dentry.name, stat, index);
  const node = new DirectoryNode(ino, merged.stack);
  node.impure = merged.impure;
  node.xattrWhiteouts = merged.xattrWhiteouts;
  node.opaque = merged.opaque;
  node.packed = merged.packed;
  return node;
}

/** Throws ELOOP for a directory one of whose parts is what this union writes to. */
function refuseTrapped(traps: Traps, stack: readonly LayerDirectory[]): void {
  for (const directory of stack) {
    if (directory.stat('' as ByteString, lowerStat, 0) >= 0 && traps.has(identityOf(lowerStat)))
      throw new Errno(E.ELOOP, 'the upper or the workdir in a lower layer');
  }
}

interface Merged {
  stack: LayerDirectory[];
  impure: boolean;
  xattrWhiteouts: LayerDirectory[] | null;
  opaque: LayerDirectory | null;
  packed: PackedListing | null;
}

/**
 * The directories of all layers that make up the directory `dentry`, topmost first; the winning one
 * lies on `winning`.
 */
function mergeStack(context: UnionContext, dentry: Dentry, winning: Device): Merged {
  const { parent, holder } = dentry;
  const holders = [
    holder,
    ...(dentry.below ?? parent.stack.slice(parent.stack.indexOf(holder) + 1)),
  ];
  return mergePlain(context, dentry, holders) ?? mergeProbed(context, dentry, winning);
}

/**
 * By one native call for as long as nothing carries marks. It lists what it finds as well: that
 * comes next, and takes less than to ask all layers for a few names. Undefined where names may be
 * other than they look, so that each needs a closer look.
 */
function mergePlain(
  context: UnionContext,
  dentry: Dentry,
  holders: readonly LayerDirectory[],
): Merged | undefined {
  if (holders.length === 1 || dentry.parent.opaque !== null) return undefined;
  const merged = emptyStack();
  for (let rest = holders; rest.length > 0;) {
    const asked = findDirectories(context, rest, dentry.name, rest === holders);
    if (asked === undefined) return undefined;
    const marked = asked.found.indexOf(PERHAPS_MARKED);
    for (const [i, what] of asked.found.entries()) {
      if (what === ABSENT) continue;
      if (what === -E.ENOTDIR || what === -E.ELOOP) break;
      if (what < 0) return undefined;
      const parent = rest[i] as LayerDirectory;
      // One that lies elsewhere is not listed.
      const directory = parent.descend(dentry.name, asked.size >= 0 ? parent.device() : undefined);
      const marks = take(merged, directory, i === marked ? readMarks(directory) : NO_MARKS);
      if (marks.redirect !== undefined) followRedirect(context, dentry, merged, marks.redirect);
      if (marks.opaque || marks.redirect !== undefined) return merged;
    }
    if (rest === holders) merged.packed = packedFound(asked, merged.stack);
    rest = marked < 0 ? [] : rest.slice(marked + 1);
  }
  // The winning one is there, as a directory.
  return merged.stack[0]?.layer === dentry.holder.layer ? merged : undefined;
}

function mergeProbed(context: UnionContext, dentry: Dentry, winning: Device): Merged {
  const merged = emptyStack();
  const top = dentry.holder.descend(dentry.name, winning);
  let marks = take(merged, top, readMarks(top));
  if (marks.opaque) return merged;
  if (marks.redirect === undefined) {
    for (const holder of dentry.below ?? directoriesBelow(dentry)) {
      const directory = holder.descend(dentry.name);
      marks = take(merged, directory, readMarks(directory));
      if (marks.opaque) return merged;
      if (marks.redirect !== undefined) break;
    }
  }
  if (marks.redirect !== undefined) followRedirect(context, dentry, merged, marks.redirect);
  return merged;
}

function emptyStack(): Merged {
  return { stack: [], impure: false, xattrWhiteouts: null, opaque: null, packed: null };
}

function take(
  merged: Merged,
  directory: LayerDirectory,
  marks: Readonly<DirectoryMarks>,
): Readonly<DirectoryMarks> {
  if (marks.redirect !== undefined && !marks.opaque)
    requireFollowed(directory, '' as ByteString, 'redirect');
  merged.stack.push(directory);
  if (marks.impure && directory.layer.index === UPPER) merged.impure = true;
  if (marks.opaque) merged.opaque = directory;
  if (marks.xattrWhiteouts) (merged.xattrWhiteouts ??= []).push(directory);
  return marks;
}

/**
 * The parent's directories below the winning one that have a directory of the dentry's name, down
 * to where the search ends.
 */
function directoriesBelow(dentry: Dentry): LayerDirectory[] {
  const stack = dentry.parent.stack;
  const found: LayerDirectory[] = [];
  if (hidesBelow(dentry.holder, dentry.name)) return found;
  for (let i = stack.indexOf(dentry.holder) + 1; i < stack.length; i++) {
    const holder = stack[i] as LayerDirectory;
    const what = probe(dentry.parent, holder, dentry.name, lowerStat);
    if (what === 'absent') continue;
    if (what === 'whiteout' || fileType(lowerStat, 0) !== S_IFDIR) break;
    found.push(holder);
    if (hidesBelow(holder, dentry.name)) break;
  }
  return found;
}

/** Goes on below a directory that carries `overlay.redirect`. */
function followRedirect(
  context: UnionContext,
  dentry: Dentry,
  merged: Merged,
  firstRedirect: ByteString,
): void {
  const state: Approach = {
    holder: null,
    stop: false,
    trail: { absolute: false, path: [dentry.name] },
  };
  turn(state, 0, firstRedirect);
  let layer = (merged.stack.at(-1) as LayerDirectory).layer.index;
  for (let passed = 0; !state.stop; passed += state.trail.path.length) {
    if (passed > MOST_COMPONENTS) throw new Errno(E.ELOOP, dentry.name);
    const bases = state.trail.absolute ? context.roots : dentry.parent.stack;
    const base = bases.find(
      (directory) => directory !== undefined && directory.layer.index > layer,
    );
    if (base === undefined) return;
    layer = base.layer.index;
    Object.assign(state, approach(dentry.parent, base, state.trail));
    if (state.holder === null) continue;
    const name = state.trail.path.at(-1) as Name;
    const what = probe(dentry.parent, state.holder, name, lowerStat);
    if (what === 'absent') continue;
    if (what === 'whiteout' || fileType(lowerStat, 0) !== S_IFDIR) return;
    const directory = state.holder.descend(name);
    const marks = take(merged, directory, readMarks(directory));
    if (marks.opaque) return;
    if (marks.redirect !== undefined) turn(state, 0, marks.redirect);
  }
}

/**
 * Whether a layer below the upper shows the dentry's name, so that removing it from the upper would
 * bring that back. Remembered in the dentry: lower layers do not change.
 */
export function coversLower(directory: DirectoryNode, name: Name, dentry: Dentry | null): boolean {
  if (dentry?.covers !== undefined) return dentry.covers;
  let covers = false;
  for (const holder of directory.stack) {
    if (holder.layer.index === UPPER) continue;
    const found = probe(directory, holder, name, lowerStat);
    if (found === 'absent') continue;
    covers = found === 'present';
    break;
  }
  if (dentry !== null) dentry.covers = covers;
  return covers;
}

/** The dentry of `name`, or ENOENT. */
export function requireDentry(context: UnionContext, directory: DirectoryNode, name: Name): Dentry {
  const dentry = findDentry(context, directory, name);
  if (dentry === null) throw new Errno(E.ENOENT, name);
  return dentry;
}
