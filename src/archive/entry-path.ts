/** Names of a tar's entries as paths within the layer. */
import { textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';

export const WHITEOUT_PREFIX = '.wh.';
/** In a directory: nothing of the layers below shows in it. */
export const OPAQUE_MARKER = '.wh..wh..opq';
/** At the layer's root: what AUFS keeps for itself. */
export const META_PREFIX = '.wh..wh.';
/** Files that several names of the layer are hard links to. */
export const LINK_DIRECTORY = '.wh..wh.plnk';

/**
 * Bytes of a file's name (NAME_MAX). A marker names a file, and is not bounded itself: on disk it
 * need not be one.
 */
export const MAX_NAME = 255;
/** A path must fit one system call, with its NUL (PATH_MAX). */
const MAX_PATH = 4095;

export function hostile(what: string, options?: ErrorOptions): PlyfsError {
  return new PlyfsError('archive-hostile', `The layer ${what}: do not use this layer.`, options);
}

/**
 * Relative, without empty and `.` components; `..` takes the component before it away, as written,
 * not as links lead (Go's filepath.Clean; moby, pkg/archive). Throws `archive-hostile` for a path
 * that leaves the layer, or that no file can have, and `path-too-long`.
 */
export function cleanPath(name: ByteString): ByteString {
  const components: string[] = [];
  for (const component of name.split('/')) {
    if (component === '' || component === '.') continue;
    if (component === '..') {
      if (components.pop() === undefined)
        throw hostile(`has a file ${JSON.stringify(textOf(name))} outside of its root`);
      continue;
    }
    const length = lengthOf(component);
    if (length > MAX_NAME)
      throw hostile(`has a file name of ${length} bytes, and ${MAX_NAME} is the most there are`);
    components.push(component);
  }
  const path = components.join('/');
  const last = components.at(-1) ?? '';
  if (path.length - last.length + lengthOf(last) > MAX_PATH)
    throw new PlyfsError(
      'path-too-long',
      `The layer has a path of ${path.length} bytes, and ${MAX_PATH} is the most that can be unpacked (PATH_MAX of Linux): its files must lie less deep.`,
    );
  if (path.includes('\0')) throw hostile('has a path with a NUL');
  return path as ByteString;
}

/** Bytes of the name, or of the one that it hides. */
function lengthOf(component: string): number {
  return component.startsWith(WHITEOUT_PREFIX)
    ? component.length - WHITEOUT_PREFIX.length
    : component.length;
}

/**
 * Whether the path has a component that is a marker: none of what the tar has there is on disk
 * under that name.
 */
export function isReserved(path: ByteString): boolean {
  return path.startsWith(WHITEOUT_PREFIX) || path.includes('/' + WHITEOUT_PREFIX);
}
