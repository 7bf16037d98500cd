/**
 * For messages, events and explanations: where in the union a node is, and where in its layer a
 * directory.
 */
import type { ByteString } from '../base/bytes.js';
import type { DiskDirectory } from './disk-directory.js';
import type { DirectoryNode, Node } from './node.js';

/** From the mount's root, with a leading slash; a node without a name is shown as such. */
export function pathOf(node: Node): ByteString {
  const components: string[] = [];
  let at: Node = node;
  for (;;) {
    const dentry = at.dentries[0];
    if (dentry === undefined) break;
    components.push(dentry.name);
    at = dentry.parent;
  }
  if (components.length === 0 && node.unlinked) return '(deleted)' as ByteString;
  return ('/' + components.reverse().join('/')) as ByteString;
}

/** The path of a name in a directory, whether or not there is such a name. */
export function pathIn(parent: DirectoryNode, name: string): ByteString {
  const path = pathOf(parent);
  return (path === '/' ? path + name : `${path}/${name}`) as ByteString;
}

/** A directory's path from its layer's root, with a leading slash; empty for the root itself. */
export function layerPath(directory: DiskDirectory): string {
  let path = '';
  for (let at = directory; at.parent !== null; at = at.parent) path = `/${at.name}${path}`;
  return path;
}
