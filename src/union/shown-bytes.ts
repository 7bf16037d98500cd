/** How much of each layer a union still shows. */
import type { ByteString } from '../base/bytes.js';
import { DT_DIR } from '../sys/constants.js';
import { CountedFiles } from '../overlay/file-identity.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { ROOT_NODE } from '../vfs/filesystem.js';
import type { UnionContext } from './context.js';
import { onDisk } from '../overlay/disk-directory.js';
import type { LayerDirectory } from '../overlay/layer.js';
import { completeListing } from './listing.js';
import { nodeOf } from './merge.js';
import type { Dentry } from './node.js';
import { field } from '../overlay/stat-buffer.js';

/**
 * By layer index: bytes of all that is no directory, each inode once, as far as the union shows it
 * under any name. Throws `Errno`.
 */
export function shownBytes(context: UnionContext): number[] {
  const bytes = context.roots.map(() => 0);
  const counted = new CountedFiles();
  const waiting = [context.nodes.directory(ROOT_NODE)];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    completeListing(context, directory);
    const files = new Map<LayerDirectory, Dentry[]>();
    for (const dentry of directory.entries.values()) {
      if (dentry.type === DT_DIR) {
        const node = nodeOf(context, dentry);
        if (node.isDirectory()) waiting.push(node);
      } else
        (files.get(dentry.holder) ?? files.set(dentry.holder, []).get(dentry.holder)!).push(dentry);
    }
    for (const [holder, dentries] of files)
      bytes[holder.layer.index]! += sizeOf(holder, dentries, counted);
    for (const each of directory.stack)
      if (each !== context.roots[each.layer.index]) each.release();
    context.nodes.evictIfUnused(directory);
  }
  return bytes;
}

/** Those that were not counted yet. */
function sizeOf(
  holder: LayerDirectory,
  dentries: readonly Dentry[],
  counted: CountedFiles,
): number {
  const stat = new Float64Array(dentries.length * STAT_FIELDS);
  const names: ByteString[] = dentries.map(({ name }) => name);
  holder.statMany(names, names.length, stat);
  let size = 0;
  for (const index of names.keys()) {
    if (field(stat, index, StatField.Result) < 0) continue;
    const first = counted.isFirst(
      onDisk(holder).fd(),
      names[index] as ByteString,
      stat,
      index,
      String(holder.layer.index),
    );
    if (first) size += field(stat, index, StatField.Size);
  }
  return size;
}
