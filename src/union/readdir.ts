/** Delivering a directory's listing to the kernel. */
import type { ByteString } from '../base/bytes.js';
import { StatField } from '../sys/syscalls.js';
import { Attributes, type DirectorySink } from '../vfs/filesystem.js';
import { fillAttributes } from './attributes.js';
import type { UnionContext } from './context.js';
import { listingOf, positionAfter } from './listing.js';
import { nodeFromStat, statNode } from './merge.js';
import type { Dentry, DirectoryNode, Node } from './node.js';
import { pathOf } from './path.js';
import { field, newStatBuffer } from './stat-buffer.js';

const DT_DIR = 4;
/** Attributes are read for this many names in one native call. */
const BATCH = 32;

const batchStat = newStatBuffer(BATCH);
const batchNames: ByteString[] = new Array<ByteString>(BATCH).fill('' as ByteString);
const attributes = new Attributes();

export function readdir(context: UnionContext, directory: DirectoryNode, cookie: number, plus: boolean, sink: DirectorySink): void {
  if (directory.lastStat !== null) return;
  const listing = listingOf(context, directory);
  if (cookie < 1 && !sink.entry('.' as ByteString, directory.ino, DT_DIR, 1)) return;
  if (cookie < 2 && !sink.entry('..' as ByteString, (directory.dentry?.parent ?? directory).ino, DT_DIR, 2)) return;
  const start = positionAfter(listing, Math.max(cookie, 2));
  if (plus) deliverWithNodes(context, listing, start, sink);
  else deliver(listing, start, sink);
}

function deliver(listing: readonly Dentry[], start: number, sink: DirectorySink): void {
  for (let i = start; i >= 0; i--) {
    const dentry = listing[i] as Dentry;
    if (dentry.cookie > 0 && !sink.entry(dentry.name, dentry.node?.ino ?? dentry.ino, dentry.type, dentry.cookie)) return;
  }
}

function deliverWithNodes(context: UnionContext, listing: readonly Dentry[], start: number, sink: DirectorySink): void {
  const { events } = context;
  const traced = events.active;
  let batchStart = start;
  let batchEnd = start;
  for (let i = start; i >= 0; i--) {
    const dentry = listing[i] as Dentry;
    if (dentry.cookie < 0) continue;
    if (!sink.fits(dentry.name.length)) return;
    let node: Node;
    if (dentry.node !== null) {
      node = dentry.node;
      if (statNode(node, context.stat) < 0) {
        if (!sink.entry(dentry.name, node.ino, dentry.type, dentry.cookie)) return;
        continue;
      }
      fillAttributes(context, node, context.stat, 0, attributes);
    } else {
      if (i <= batchEnd) {
        batchStart = i;
        batchEnd = readBatch(listing, i);
      }
      const index = batchStart - i;
      if (field(batchStat, index, StatField.Result) < 0) {
        if (!sink.entry(dentry.name, dentry.ino, dentry.type, dentry.cookie)) return;
        continue;
      }
      node = nodeFromStat(context, dentry, batchStat, index);
      if (node.links !== null && statNode(node, context.stat) >= 0) fillAttributes(context, node, context.stat, 0, attributes);
      else fillAttributes(context, node, batchStat, index, attributes);
    }
    // The sink counts on the lookup that the kernel is about to have.
    node.lookups++;
    if (!sink.entryPlus(dentry.name, node.id, attributes, dentry.type, dentry.cookie)) {
      context.nodes.forget(node.id, 1);
      return;
    }
    if (traced && node.lookups === 1) events.publish({ type: 'lookup', path: pathOf(node), layer: node.holder.layer.index });
  }
}

/** Reads the attributes of the run of dentries from `start` on that lie in one layer's directory. Returns where the run ends. */
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
