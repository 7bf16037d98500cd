/**
 * The inode number that a name shows: of an object that was copied up the one that it had below, as
 * `overlay.origin` says.
 */
import type { ByteString } from '../base/bytes.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { readOverlayXattr } from '../overlay/marks.js';
import { newStatBuffer, fileType } from '../overlay/stat-buffer.js';
import { probe } from '../overlay/whiteout.js';
import type { UnionContext } from './context.js';
import type { Dentry } from './node.js';
import type { FoundOrigin } from './origin.js';

const namesakeStat = newStatBuffer();

export function inodeOf(
  context: UnionContext,
  dentry: Dentry,
  stat: Float64Array,
  index: number,
): number {
  if (dentry.holder.layer.index === UPPER && dentry.parent.impure) {
    const origin = originOf(context, dentry, fileType(stat, index));
    if (origin?.names === 1) return origin.number;
  }
  return context.inodes.of(dentry.holder, dentry.name, stat, index);
}

/**
 * The inode number that an upper non-directory brought with it from below. Of a file with several
 * names only when the index says that this is its copy: several may have been made (ovl_getattr).
 */
export function originInode(
  context: UnionContext,
  dentry: Dentry,
  type: number,
): number | undefined {
  const origin = originOf(context, dentry, type);
  if (origin === undefined || origin.names === 1) return origin?.number;
  if (context.index === null || dentry.holder.stat(dentry.name, namesakeStat, 0) < 0)
    return undefined;
  return context.index.entryOf(dentry.holder, dentry.name, namesakeStat, 0) === undefined
    ? undefined
    : origin.number;
}

export function originOf(
  context: UnionContext,
  dentry: Dentry,
  type: number,
): FoundOrigin | undefined {
  const value = readOverlayXattr(dentry.holder, dentry.name, 'origin');
  if (value === undefined || value.length === 0) return undefined;
  return context.origins.resolve(value, type, lowerNamesake(dentry));
}

function lowerNamesake(
  dentry: Dentry,
): { directory: LayerDirectory; name: ByteString } | undefined {
  for (const holder of dentry.parent.stack) {
    if (holder.layer.index === UPPER) continue;
    const found = probe(dentry.parent, holder, dentry.name, namesakeStat);
    if (found === 'present') return { directory: holder, name: dentry.name };
    if (found === 'whiteout') return undefined;
  }
  return undefined;
}
