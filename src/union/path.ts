/** For messages and events: where in the union a node is. */
import type { ByteString } from '../base/bytes.js';
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
