/**
 * Where a regular file's data is (overlayfs.rst, "Metadata only copy up").
 *
 * A file with `overlay.metacopy` has owner, mode, times and xattrs of its own and its data in a file below: of the same name, or
 * of the name that its `overlay.redirect` gives. We write no such files; layers and uppers of the kernel's may hold them.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import type { UnionContext } from './context.js';
import type { LayerDirectory } from './layer.js';
import type { DirectoryNode, Node } from './node.js';
import { listXattrs, readOverlayXattr } from './overlay-xattrs.js';
import { fileType, newStatBuffer, S_IFDIR, S_IFREG } from './stat-buffer.js';
import { probe } from './whiteout.js';

export interface Place {
  readonly holder: LayerDirectory;
  readonly name: Name;
}

const stat = newStatBuffer();

/** The node itself, or the lower file that holds its data. Throws EIO when that cannot be found. */
export function dataOf(context: UnionContext, node: Node): Place {
  node.data ??= findData(context, node);
  return node.data ?? node;
}

function findData(context: UnionContext, node: Node): Place | null {
  const parent = node.dentries[0]?.parent;
  if (node.type !== S_IFREG || node.orphanFd >= 0 || node.holder.layer.bottom || parent === undefined) return null;
  let place: Place = node;
  let redirect: Redirect | null = null;
  while (isMetacopy(place)) {
    redirect = readRedirect(place, redirect);
    const next = below(context, parent, place, redirect);
    if (next === null) throw new Errno(E.EIO, `${node.name}: the data of a metadata-only copy is missing`);
    place = next;
  }
  return place === node ? null : place;
}

function isMetacopy(place: Place): boolean {
  if (place.holder.layer.bottom) return false;
  const names = listXattrs(place.holder, place.name);
  return typeof names !== 'number' && names.some((name) => name === 'trusted.overlay.metacopy' || name === 'user.overlay.metacopy');
}

/** The name of the data's file in the layers below: absolute, from their root, or a sibling's. */
interface Redirect {
  absolute: boolean;
  path: readonly Name[];
}

function readRedirect(place: Place, inherited: Redirect | null): Redirect {
  const value = readOverlayXattr(place.holder, place.name, 'redirect')?.toString('latin1');
  if (value === undefined) return inherited ?? { absolute: false, path: [place.name] };
  const path = value.split('/').filter((component) => component !== '') as Name[];
  if (path.length === 0 || path.includes('..' as Name) || path.includes('.' as Name)) throw new Errno(E.EIO, 'overlay.redirect');
  if (!value.startsWith('/') && path.length !== 1) throw new Errno(E.EIO, 'overlay.redirect');
  return { absolute: value.startsWith('/'), path };
}

function below(context: UnionContext, parent: DirectoryNode, place: Place, redirect: Redirect): Place | null {
  const bases: readonly (LayerDirectory | undefined)[] = redirect.absolute ? context.roots : parent.stack;
  const name = redirect.path.at(-1) as Name;
  for (const base of bases) {
    if (base === undefined || base.layer.index <= place.holder.layer.index) continue;
    const holder = descendTo(parent, base, redirect.path.slice(0, -1));
    if (holder === null) continue;
    const found = probe(parent, holder, name, stat);
    if (found === 'absent') continue;
    return found === 'present' && fileType(stat, 0) === S_IFREG ? { holder, name } : null;
  }
  return null;
}

function descendTo(asker: DirectoryNode, base: LayerDirectory, path: readonly ByteString[]): LayerDirectory | null {
  let directory = base;
  for (const component of path) {
    if (probe(asker, directory, component as Name, stat) !== 'present' || fileType(stat, 0) !== S_IFDIR) return null;
    directory = directory.descend(component as Name);
  }
  return directory;
}
