/**
 * Where a regular file's data is (overlayfs.rst, "Metadata only copy up").
 *
 * A file with `overlay.metacopy` has owner, mode, times and xattrs of its own and its data in a
 * file below: of the same name, or of the name that its `overlay.redirect` gives. We write no such
 * files; layers and uppers of the kernel's may hold them. Where any user can set the mark it is not
 * followed, and the file's data is answered EPERM: the kernel refuses the lookup, which would take
 * a system call a file here.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { overlayPrefix } from '../overlay/private-xattrs.js';
import { requireFollowed } from '../overlay/belief.js';
import type { UnionContext } from './context.js';
import type { LayerDirectory } from '../overlay/layer.js';
import type { DirectoryNode, Node } from './node.js';
import { marksAmong, readOverlayXattr, requireUnmarked } from '../overlay/marks.js';
import { approach, MOST_COMPONENTS, turn, type Approach } from './redirect.js';
import { fileType, newStatBuffer, S_IFREG } from '../overlay/stat-buffer.js';
import { probe } from '../overlay/whiteout.js';

export interface Place {
  readonly holder: LayerDirectory;
  readonly name: Name;
}

const stat = newStatBuffer();

/**
 * The node itself, or the lower file that holds its data. Throws EIO when that cannot be found,
 * EPERM when it is not to be followed.
 */
export function dataOf(context: UnionContext, node: Node): Place {
  node.data ??= findData(context, node);
  return node.data ?? node;
}

function findData(context: UnionContext, node: Node): Place | null {
  const parent = node.dentries[0]?.parent;
  if (
    node.type !== S_IFREG ||
    node.orphanFd >= 0 ||
    node.holder.layer.bottom ||
    parent === undefined
  )
    return null;
  let place: Place = node;
  const state: Approach = {
    holder: null,
    stop: false,
    trail: { absolute: false, path: [node.name] },
  };
  while (isMetacopy(place)) {
    const redirect = readOverlayXattr(place.holder, place.name, 'redirect');
    if (redirect !== undefined) turn(state, 0, redirect.toString('latin1') as ByteString);
    place = below(context, parent, place.holder.layer.index, state) ?? missing(node);
  }
  return place === node ? null : place;
}

function missing(node: Node): never {
  throw new Errno(E.EIO, `${node.name}: the data of a metadata-only copy is missing`);
}

function isMetacopy(place: Place): boolean {
  if (place.holder.layer.bottom) return false;
  const names = marksAmong(place.holder, place.name);
  if (typeof names === 'number') {
    // Who takes it for whole reads zeros, and writes where the next mount does not look.
    requireUnmarked(names);
    return false;
  }
  const { marks, unbelieved } = place.holder.layer;
  const mark = `${overlayPrefix(marks)}metacopy`;
  let found = false;
  for (const name of names) {
    if (name === mark) found = true;
    else unbelieved.mark(place.holder, place.name, name);
  }
  if (found) requireFollowed(place.holder, place.name, 'metacopy');
  return found;
}

/** The regular file that the trail leads to in the first layer below `layer` that has it. */
function below(
  context: UnionContext,
  parent: DirectoryNode,
  layer: number,
  state: Approach,
): Place | null {
  for (let passed = 0; !state.stop; passed += state.trail.path.length) {
    if (passed > MOST_COMPONENTS) throw new Errno(E.ELOOP, state.trail.path.at(-1));
    const bases = state.trail.absolute ? context.roots : parent.stack;
    const base = bases.find(
      (directory) => directory !== undefined && directory.layer.index > layer,
    );
    if (base === undefined) return null;
    layer = base.layer.index;
    Object.assign(state, approach(parent, base, state.trail));
    if (state.holder === null) continue;
    const name = state.trail.path.at(-1) as Name;
    const found = probe(parent, state.holder, name, stat);
    if (found === 'absent') continue;
    return found === 'present' && fileType(stat, 0) === S_IFREG
      ? { holder: state.holder, name }
      : null;
  }
  return null;
}
