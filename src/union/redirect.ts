/**
 * `overlay.redirect`: the name that a directory, or a file without data of its own, has in the
 * layers below (overlayfs.rst, "redirect_dir"; fs/overlayfs/namei.c, `ovl_lookup_layer` and
 * `ovl_check_redirect`).
 *
 * A value is a sibling's name, or an absolute path from the root of each layer below. The
 * directories along such a path may have been moved too: what one of them carries rewrites the path
 * for the layers further down.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { requireFollowed } from '../overlay/belief.js';
import type { LayerDirectory } from '../overlay/layer.js';
import type { DirectoryNode } from './node.js';
import { readMarks } from '../overlay/marks.js';
import { fileType, newStatBuffer, S_IFDIR } from '../overlay/stat-buffer.js';
import { probe } from '../overlay/whiteout.js';

/** Bytes of a path component. */
const NAME_MAX = 255;

/**
 * Components that one search passes, in all layers together, before it is given up with ELOOP: some
 * tens of milliseconds. A layer's maker chooses how long its paths are; five hundred layers of
 * forty directories each are within it.
 */
export const MOST_COMPONENTS = 20_000;

/**
 * What to look for in the next layer: from its root, or in the parent's directory there. At least
 * one component.
 */
export interface Trail {
  readonly absolute: boolean;
  readonly path: readonly Name[];
}

const stat = newStatBuffer();

/** Undefined for a value that names nothing below the layer's root. */
export function parseRedirect(value: ByteString): Trail | undefined {
  const absolute = value.startsWith('/');
  const path = value.split('/').slice(absolute ? 1 : 0) as Name[];
  if (!absolute && path.length !== 1) return undefined;
  const sound = path.every(
    (component) =>
      component !== '' && component !== '.' && component !== '..' && component.length <= NAME_MAX,
  );
  return sound ? { absolute, path } : undefined;
}

/** The trail once the component that `after` others follow turned out to carry `redirect`. */
export function redirected(trail: Trail, after: number, redirect: Trail): Trail {
  const end = trail.path.length - after;
  const rest = trail.path.slice(end);
  if (redirect.absolute) return { absolute: true, path: [...redirect.path, ...rest] };
  return {
    absolute: trail.absolute,
    path: [...trail.path.slice(0, end - 1), ...redirect.path, ...rest],
  };
}

export interface Approach {
  /**
   * The directory in which this layer may have the last component; null when the way there does not
   * exist.
   */
  holder: LayerDirectory | null;
  /** Layers further down have no say. */
  stop: boolean;
  /** For the layers further down. */
  trail: Trail;
}

/**
 * Follows all but the last component of `trail` in one layer, from `base`. `asker`: whose name is
 * looked for. Throws `Errno`.
 */
export function approach(asker: DirectoryNode, base: LayerDirectory, trail: Trail): Approach {
  const found: Approach = { holder: base, stop: false, trail };
  let directory = base;
  for (let i = 0; i < trail.path.length - 1; i++) {
    const component = trail.path[i] as Name;
    const what = probe(asker, directory, component, stat);
    if (what !== 'present' || fileType(stat, 0) !== S_IFDIR)
      return { ...found, holder: null, stop: found.stop || what !== 'absent' };
    directory = directory.descend(component);
    const marks = readMarks(directory);
    if (marks.opaque) found.stop = true;
    else if (marks.redirect !== undefined) {
      requireFollowed(directory, '' as ByteString, 'redirect');
      turn(found, trail.path.length - 1 - i, marks.redirect);
    }
  }
  found.holder = directory;
  return found;
}

/**
 * Takes into account what the component that `after` others follow carries. An absolute redirect
 * leads out of an opaque directory.
 */
export function turn(found: Approach, after: number, value: ByteString): void {
  const redirect = parseRedirect(value);
  if (redirect === undefined) {
    found.stop = true;
    return;
  }
  if (redirect.absolute) found.stop = false;
  found.trail = redirected(found.trail, after, redirect);
}
