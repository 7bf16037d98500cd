/** Delivering a directory's listing to the kernel. */
import type { ByteString } from '../base/bytes.js';
import { Errno } from '../base/errno.js';
import { StatField } from '../sys/syscalls.js';
import { DT_DIR } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { Attributes, AT_DIRECTORY, type DirectorySink } from '../vfs/filesystem.js';
import { fillAttributes } from './attributes.js';
import type { UnionContext } from './context.js';
import { adoptLink } from './copy-up.js';
import { dentryOf, FIRST_COOKIE, listingOf, packListing, positionAfter } from './listing.js';
import { nodeFromStat } from './merge.js';
import {
  type Dentry,
  type DirectoryNode,
  type Node,
  type PackedListing,
  statNode,
} from './node.js';
import { entryAt, mayStayPacked } from './packed-listing.js';
import { pathOf } from './path.js';
import { field, newStatBuffer } from '../overlay/stat-buffer.js';

/** Attributes are read for this many names in one native call. */
const BATCH = 32;

/**
 * Layers that are asked for the directories of one answer: some tens of milliseconds. The kernel
 * comes again for the rest.
 */
const MOST_ASKED = 4000;

const batchStat = newStatBuffer(BATCH);
const batchNames: ByteString[] = new Array<ByteString>(BATCH).fill('' as ByteString);
const attributes = new Attributes();
/** Of a packed listing: offset, number, bytes. */
const cursor = new Float64Array(3);
/** Layers asked so far for directories that had no node. */
let asked = 0;

export function readdir(
  context: UnionContext,
  directory: DirectoryNode,
  cookie: number,
  plus: boolean,
  sink: DirectorySink,
): void {
  if (directory.lastStat !== null) return;
  asked = 0;
  const packed = sink.packed === undefined ? null : packedFor(context, directory, cookie, plus);
  const listing = packed === null ? listingOf(context, directory) : [];
  if (cookie < 1 && !sink.entry('.' as ByteString, directory.ino, DT_DIR, 1)) return;
  if (
    cookie < 2 &&
    !sink.entry('..' as ByteString, (directory.dentry?.parent ?? directory).ino, DT_DIR, 2)
  )
    return;
  if (packed !== null) {
    deliverPacked(context, directory, packed, cookie, plus, sink);
    return;
  }
  const start = positionAfter(listing, Math.max(cookie, 2));
  if (plus) deliverWithNodes(context, listing, start, sink);
  else deliver(context, directory, listing, start, sink);
}

/**
 * The packed listing, when names are to be given without attributes and no dentries are there to
 * give. After the first part of a directory the kernel asks for attributes only if something of
 * that part was used.
 */
function packedFor(
  context: UnionContext,
  directory: DirectoryNode,
  cookie: number,
  plus: boolean,
): PackedListing | null {
  if (directory.complete) {
    if (plus && cookie === 0 && directory.entries.size > 0) context.habit.withAttributes(directory);
    return null;
  }
  if (directory.packed === null && mayStayPacked(directory)) packListing(context, directory);
  if (directory.packed === null || directory.packed.records.length === 0) return directory.packed;
  return plus && cookie === 0 && context.habit.withAttributes(directory) ? null : directory.packed;
}

/**
 * Directories with their nodes, which whoever goes through a tree needs next; the rest by native/.
 */
function deliverPacked(
  context: UnionContext,
  directory: DirectoryNode,
  packed: PackedListing,
  from: number,
  plus: boolean,
  sink: DirectorySink,
): void {
  const { records } = packed;
  const elsewhere = mayLeadElsewhere(directory);
  cursor[1] = Math.max(0, from - FIRST_COOKIE + 1);
  const { reached } = packed;
  if (cursor[1] === reached.number) cursor[0] = reached.offset;
  else cursor[0] = sys.skipEntries(records, cursor[1]);
  for (;;) {
    const stop = sink.packed?.(records, cursor, FIRST_COOKIE);
    // Whoever reads on begins here.
    reached.offset = cursor[0];
    reached.number = cursor[1];
    if (stop !== AT_DIRECTORY) return;
    const entry = entryAt(packed, cursor[0]);
    const cookie = FIRST_COOKIE + cursor[1];
    if (plus) {
      if (!sink.fits(entry.name.length)) return;
      if (asked > MOST_ASKED || !deliverNode(context, dentryOf(directory, entry), cookie, sink))
        return;
    } else {
      const known = directory.entries.get(entry.name);
      const ino =
        known?.node?.ino ??
        (elsewhere ? numberOf(context, known ?? dentryOf(directory, entry)) : entry.ino);
      if (!sink.entry(entry.name, ino, entry.type, cookie)) return;
    }
    cursor[0] = entry.end;
    cursor[1] = cursor[1] + 1;
  }
}

function deliver(
  context: UnionContext,
  directory: DirectoryNode,
  listing: readonly Dentry[],
  start: number,
  sink: DirectorySink,
): void {
  const elsewhere = mayLeadElsewhere(directory);
  for (let i = start; i >= 0; i--) {
    const dentry = listing[i] as Dentry;
    if (dentry.cookie < 0) continue;
    const ino = elsewhere ? numberOf(context, dentry) : (dentry.node?.ino ?? dentry.ino);
    if (!sink.entry(dentry.name, ino, dentry.type, dentry.cookie)) return;
  }
}

/**
 * Whether directories in it may lie on another device: such a one is listed with a number other
 * than its own (getdents(2)).
 */
function mayLeadElsewhere(directory: DirectoryNode): boolean {
  return directory.stack.some(({ layer }) => layer.devices !== null);
}

/** `d_ino` of a name in a directory that may lead elsewhere. */
function numberOf(context: UnionContext, dentry: Dentry): number {
  if (dentry.node !== null) return dentry.node.ino;
  if (dentry.type !== DT_DIR || dentry.holder.stat(dentry.name, context.stat, 0) < 0)
    return dentry.ino;
  try {
    const node = nodeFromStat(context, dentry, context.stat, 0);
    context.nodes.evictIfUnused(node);
    return node.ino;
  } catch (error) {
    // It has its name, whatever a lookup of it is answered.
    if (error instanceof Errno) return dentry.ino;
    throw error;
  }
}

function deliverWithNodes(
  context: UnionContext,
  listing: readonly Dentry[],
  start: number,
  sink: DirectorySink,
): void {
  let batchStart = start;
  let batchEnd = start;
  for (let i = start; i >= 0; i--) {
    const dentry = listing[i] as Dentry;
    if (dentry.cookie < 0) continue;
    if (asked > MOST_ASKED || !sink.fits(dentry.name.length)) return;
    if (dentry.node !== null) {
      if (!deliverNode(context, dentry, dentry.cookie, sink)) return;
      continue;
    }
    if (i <= batchEnd) {
      batchStart = i;
      batchEnd = readBatch(listing, i);
    }
    if (!deliverFromStat(context, dentry, batchStat, batchStart - i, dentry.cookie, sink)) return;
  }
}

/** One entry with its node, whose attributes are read now. False when it did not fit. */
function deliverNode(
  context: UnionContext,
  dentry: Dentry,
  cookie: number,
  sink: DirectorySink,
): boolean {
  const { node } = dentry;
  if (node === null) {
    context.stat[StatField.Result] = dentry.holder.stat(dentry.name, context.stat, 0);
    return deliverFromStat(context, dentry, context.stat, 0, cookie, sink);
  }
  if (statNode(node, context.stat) < 0)
    return sink.entry(dentry.name, node.ino, dentry.type, cookie);
  fillAttributes(context, node, context.stat, 0, attributes);
  return give(context, dentry, node, cookie, sink);
}

/** One entry that has no node yet. */
function deliverFromStat(
  context: UnionContext,
  dentry: Dentry,
  stat: Float64Array,
  index: number,
  cookie: number,
  sink: DirectorySink,
): boolean {
  if (field(stat, index, StatField.Result) < 0)
    return sink.entry(dentry.name, dentry.ino, dentry.type, cookie);
  let node: Node;
  try {
    node = nodeFromStat(context, dentry, stat, index);
  } catch (error) {
    // It has its name, whatever a lookup of it is answered.
    if (error instanceof Errno) return sink.entry(dentry.name, dentry.ino, dentry.type, cookie);
    throw error;
  }
  if (node.isDirectory()) asked += dentry.parent.stack.length;
  if (node.links !== null) adoptLink(context, dentry, node);
  if (node.links !== null && statNode(node, context.stat) >= 0)
    fillAttributes(context, node, context.stat, 0, attributes);
  else fillAttributes(context, node, stat, index, attributes);
  return give(context, dentry, node, cookie, sink);
}

function give(
  context: UnionContext,
  dentry: Dentry,
  node: Node,
  cookie: number,
  sink: DirectorySink,
): boolean {
  // The sink counts on the lookup that the kernel is about to have.
  node.lookups++;
  if (sink.entryPlus(dentry.name, node.id, attributes, dentry.type, cookie)) {
    if (context.events.active && node.lookups === 1) {
      context.events.publish({
        type: 'lookup',
        path: pathOf(node),
        layer: node.holder.layer.index,
      });
    }
    return true;
  }
  context.nodes.forget(node.id, 1);
  return false;
}

/**
 * Reads the attributes of the run of dentries from `start` on that lie in one layer's directory.
 * Returns where the run ends.
 */
function readBatch(listing: readonly Dentry[], start: number): number {
  const holder = (listing[start] as Dentry).holder;
  let count = 0;
  while (count < BATCH && start - count >= 0) {
    const dentry = listing[start - count] as Dentry;
    if (dentry.holder !== holder) break;
    batchNames[count++] = dentry.name;
  }
  holder.statMany(batchNames, count, batchStat);
  return start - count;
}
