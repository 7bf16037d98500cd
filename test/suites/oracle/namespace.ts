/**
 * What a union should hold, roughly: so that most operations that are tried can succeed. Wrong
 * where it is wrong: it decides what is tried, never what is right.
 */
import { actors, type Layer, type LayerEntry, type Scenario } from './scenario.js';

export interface Node {
  kind: 'file' | 'dir' | 'symlink' | 'special';
  mode: number;
  uid: number;
  gid: number;
  /** Of a directory. */
  readonly children: Map<string, Node>;
  readonly xattrs: Set<string>;
  /** Something of it lies in a lower layer: a directory cannot be renamed. */
  lower: boolean;
}

/** A node with its name: the root's is '.'. */
export interface Place {
  readonly path: string;
  readonly node: Node;
  readonly parent: Node | undefined;
}

/** Hides what is below, in a layer. */
interface LayerNode extends Node {
  whiteout?: boolean;
  opaque?: boolean;
}

export function newNode(
  kind: Node['kind'],
  mode: number,
  owner: { uid: number; gid: number },
): Node {
  return { kind, mode, ...owner, children: new Map(), xattrs: new Set(), lower: false };
}

const ROOT = { uid: 0, gid: 0 };

function ofEntry(entry: LayerEntry): LayerNode {
  const owner = { uid: entry.uid ?? 0, gid: entry.gid ?? 0 };
  const mode = entry.mode ?? 0o755;
  const kinds = { file: 'file', symlink: 'symlink', dir: 'dir', opaque: 'dir', subvolume: 'dir' };
  const kind = (kinds as Record<string, Node['kind']>)[entry.kind] ?? 'special';
  const node: LayerNode = newNode(kind, mode, owner);
  for (const name of Object.keys(entry.xattrs ?? {})) node.xattrs.add(name);
  if (entry.kind === 'opaque') node.opaque = true;
  if (entry.kind === 'whiteout' || entry.kind === 'xwhiteout') node.whiteout = true;
  return node;
}

/** As `layLayer` lays it, roughly. */
function treeOfLayer(layer: Layer): LayerNode {
  const root: LayerNode = newNode('dir', 0o755, ROOT);
  for (const entry of layer.entries) {
    const parts = entry.path.split('/');
    const name = parts.pop() ?? '';
    let at: Node | undefined = root;
    for (const part of parts) {
      if (at === undefined) break;
      let next: Node | undefined = at.children.get(part);
      if (next === undefined) at.children.set(part, (next = newNode('dir', 0o777, ROOT)));
      at = next.kind === 'dir' ? next : undefined;
    }
    if (at === undefined || at.children.has(name)) continue;
    const target = entry.kind === 'link' ? lookup(root, entry.target ?? 'a') : undefined;
    if (target?.kind === 'dir' || (entry.kind === 'link' && target === undefined)) continue;
    at.children.set(name, target ?? ofEntry(entry));
  }
  return root;
}

/** `upper` over `lower`: what is shown; `lower` is used up. */
function merged(upper: LayerNode, lower: Node | undefined, isLower: boolean): Node | undefined {
  if (upper.whiteout === true) return undefined;
  const below = upper.kind === 'dir' && lower?.kind === 'dir' && !upper.opaque ? lower : undefined;
  const node = newNode(upper.kind, upper.mode, upper);
  for (const name of upper.xattrs) node.xattrs.add(name);
  node.lower = isLower || below !== undefined;
  for (const [name, child] of below?.children ?? []) node.children.set(name, child);
  for (const [name, child] of upper.children) {
    const shown = merged(child, below?.children.get(name), isLower);
    if (shown === undefined) node.children.delete(name);
    else node.children.set(name, shown);
  }
  return node;
}

function lookup(root: Node, path: string): Node | undefined {
  let at: Node | undefined = root;
  for (const part of path.split('/')) at = at?.children.get(part);
  return at;
}

export class Namespace {
  readonly root: Node;

  constructor(scenario: Pick<Scenario, 'lowers' | 'upper'>) {
    let root: Node = newNode('dir', 0o755, ROOT);
    for (const layer of [...scenario.lowers].reverse())
      root = merged(treeOfLayer(layer), root, true) ?? root;
    if (scenario.upper !== undefined)
      root = merged(treeOfLayer(scenario.upper), root, false) ?? root;
    this.root = root;
  }

  /** Every name, the root first. */
  all(): Place[] {
    const found: Place[] = [{ path: '.', node: this.root, parent: undefined }];
    for (let i = 0; i < found.length; i++) {
      const { path, node } = found[i] as Place;
      for (const [name, child] of node.children)
        found.push({
          path: path === '.' ? name : `${path}/${name}`,
          node: child,
          parent: node,
        });
    }
    return found;
  }

  /** Whether somebody may do what the bits (4, 2, 1) say. */
  may(who: number, node: Node, bits: number): boolean {
    if (who === 0) return true;
    const identity: { uid: number; gid: number; groups?: readonly number[] } =
      actors[who] ?? actors[0];
    const shift =
      identity.uid === node.uid
        ? 6
        : identity.gid === node.gid || identity.groups?.includes(node.gid) === true
          ? 3
          : 0;
    return ((node.mode >> shift) & bits) === bits;
  }

  /** Whether somebody can reach a path. */
  reaches(who: number, path: string): boolean {
    if (who === 0) return true;
    let at: Node | undefined = this.root;
    for (const part of path.split('/').slice(0, -1)) {
      if (at === undefined || !this.may(who, at, 1)) return false;
      at = at.children.get(part);
    }
    return at !== undefined && this.may(who, at, 1);
  }

  owns(who: number, node: Node): boolean {
    return who === 0 || node.uid === actors[who]?.uid;
  }

  /** Whether somebody may remove a name of `parent`. */
  mayRemove(who: number, { node, parent }: Place): boolean {
    if (parent === undefined || !this.may(who, parent, 3)) return false;
    return (parent.mode & 0o1000) === 0 || this.owns(who, node) || this.owns(who, parent);
  }

  add(directory: Node, name: string, node: Node): void {
    directory.children.set(name, node);
  }

  remove(path: string): Node | undefined {
    const parent = this.at(path.split('/').slice(0, -1).join('/') || '.');
    const name = path.slice(path.lastIndexOf('/') + 1);
    const node = parent?.children.get(name);
    parent?.children.delete(name);
    return node;
  }

  at(path: string): Node | undefined {
    return path === '.' ? this.root : lookup(this.root, path);
  }
}
