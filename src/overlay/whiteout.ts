/**
 * What one layer's directory says of a name: that it has it, that it deletes it, or nothing.
 *
 * Three forms of a whiteout are read (overlayfs.rst, "whiteouts and opaque directories"; image-spec
 * layer.md): a character device 0:0; a zero-size file with `overlay.whiteout` in a directory marked
 * `overlay.opaque=x`; and, in a layer of the aufs form, a file `.wh.NAME`, which hides NAME in the
 * layers below its own but not in its own.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { StatField } from '../sys/syscalls.js';
import type { LayerDirectory } from './layer.js';
import { readOverlayXattr } from './marks.js';
import { field, fileType, isWhiteoutDevice, newStatBuffer, S_IFREG } from './stat-buffer.js';

export const WHITEOUT_PREFIX = '.wh.';
/** Opaque marker of the aufs form, inside the directory it speaks of. */
export const OPAQUE_MARKER = '.wh..wh..opq' as Name;

/** What the marks of a directory's layers say of the names in it. */
export interface MarkedStack {
  /** Those of its directories in which empty files can be whiteouts (`overlay.whiteout`). */
  readonly xattrWhiteouts: readonly LayerDirectory[] | null;
  /** The one that hides all below it by its attribute. */
  readonly opaque: LayerDirectory | null;
}

export type Found = 'absent' | 'present' | 'whiteout';

const markerStat = newStatBuffer();

/**
 * Asks one layer. For `present`, the attributes are entry 0 of `stat`. Throws `Errno` for anything
 * but absence.
 */
export function probe(
  directory: MarkedStack,
  holder: LayerDirectory,
  name: Name,
  stat: Float64Array,
): Found {
  const aufs = holder.layer.form === 'aufs';
  if (aufs && name.startsWith(WHITEOUT_PREFIX)) return 'absent';
  if (name === OPAQUE_MARKER && directory.opaque === holder) return 'absent';
  const result = holder.stat(name, stat, 0);
  if (result >= 0) {
    if (isWhiteoutDevice(stat, 0)) return 'whiteout';
    if (directory.xattrWhiteouts !== null && isXattrWhiteout(directory, holder, name, stat, 0))
      return 'whiteout';
    return 'present';
  }
  if (result !== -E.ENOENT) throw new Errno(-result, name);
  return hidesBelow(holder, name) ? 'whiteout' : 'absent';
}

/**
 * Whether a layer that has the name also hides the same name further down, which only the marker of
 * the aufs form can say.
 */
export function hidesBelow(holder: LayerDirectory, name: Name): boolean {
  return (
    holder.layer.form === 'aufs' &&
    holder.stat((WHITEOUT_PREFIX + name) as ByteString, markerStat, 0) >= 0
  );
}

/** Whether a present name is a whiteout by xattr; only directories so marked can hold one. */
export function isXattrWhiteout(
  directory: MarkedStack,
  holder: LayerDirectory,
  name: ByteString,
  stat: Float64Array,
  index: number,
): boolean {
  if (directory.xattrWhiteouts?.includes(holder) !== true) return false;
  if (fileType(stat, index) !== S_IFREG || field(stat, index, StatField.Size) !== 0) return false;
  return readOverlayXattr(holder, name, 'whiteout') !== undefined;
}
