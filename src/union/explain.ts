/**
 * Why a union shows at a path what it shows: what each layer has there, and what hides it.
 *
 * The way down is the union's own (merge.ts): at each directory it says which layers go on. For a
 * layer that is left behind the reason is kept, and what it has further down is looked at in its
 * own tree, literally. Symbolic links on the way are followed within the union, as a process would
 * whose root it is; the last component is not.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { StatField } from '../sys/syscalls.js';
import type { UnionContext } from './context.js';
import { dataOf } from './data.js';
import { onDisk, layerPath } from '../overlay/disk-directory.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { findDentry, nodeOf } from './merge.js';
import type { DirectoryNode, Node } from './node.js';
import { readMarks } from '../overlay/marks.js';
import {
  field,
  fileType,
  isWhiteoutDevice,
  newStatBuffer,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
} from '../overlay/stat-buffer.js';
import {
  hidesBelow,
  OPAQUE_MARKER,
  probe,
  WHITEOUT_PREFIX,
  type Found,
} from '../overlay/whiteout.js';
import { ROOT_NODE } from '../vfs/filesystem.js';

/**
 * What ended a search: a layer's whiteout; an opaque directory; a file over anything; a directory
 * over a file; a directory that goes on elsewhere below.
 */
export type HidingReason = 'whiteout' | 'opaque' | 'file' | 'directory' | 'redirect';

export interface HiddenBy {
  readonly reason: HidingReason;
  readonly layer: number;
  /** The path itself, or one above it. */
  readonly path: ByteString;
}

export interface LayerAnswer {
  readonly layer: number;
  /**
   * `whiteout`: it has the path deleted. `merged`: part of a directory whose top is another
   * layer's.
   */
  readonly state: 'wins' | 'merged' | 'hidden' | 'whiteout' | 'absent';
  /** From the layer's root. */
  readonly path: ByteString;
  /** S_IFREG, S_IFDIR, … of what it has. */
  readonly type?: number;
  /** Bytes. */
  readonly size?: number;
  /** A directory that lets nothing show of those below it. */
  readonly opaque?: true;
  readonly hiddenBy?: HiddenBy;
}

export interface Explanation {
  /** From the union's root, symbolic links on the way followed. */
  readonly path: ByteString;
  readonly links: readonly { readonly path: ByteString; readonly target: ByteString }[];
  /** The part of the path that leads no further: there is nothing (no `type`), or no directory. */
  readonly endsAt?: { readonly path: ByteString; readonly type?: number };
  /** Absent: the union shows nothing there. */
  readonly type?: number;
  /** Bytes. */
  readonly size?: number;
  /** Of a symbolic link. */
  readonly target?: ByteString;
  /** Topmost first, each layer once. */
  readonly layers: readonly LayerAnswer[];
  /** What the first change of it does. Absent: there is nothing to change, or no upper. */
  readonly write?: {
    /** Of data, that are copied to the upper first. */
    readonly bytes: number;
    /** It lies in the upper already. */
    readonly inPlace: boolean;
    /** Directories above it that are copied up as well, without what is in them. */
    readonly directories: readonly ByteString[];
  };
}

const stat = newStatBuffer();
const linkBuffer = Buffer.alloc(4097);
/** As the kernel's (MAXSYMLINKS). */
const MAX_LINKS = 40;

/** A directory on the way, and the layers that were left behind above it. */
interface Step {
  readonly node: DirectoryNode;
  readonly name: Name;
  readonly lost: ReadonlyMap<number, HiddenBy>;
}

/** Throws `Errno`: ELOOP for a circle of links, what the layers' file systems say. */
export function explain(context: UnionContext, path: ByteString): Explanation {
  const links: { path: ByteString; target: ByteString }[] = [];
  const way: Step[] = [
    { node: context.nodes.directory(ROOT_NODE), name: '' as Name, lost: new Map() },
  ];
  const rest = componentsOf(path);
  for (;;) {
    const name = rest.shift();
    if (name === undefined) return explainRoot(context, way, links);
    if (name === '..') {
      if (way.length > 1) way.pop();
      continue;
    }
    const { node: parent, lost } = way.at(-1) as Step;
    const dentry = findDentry(context, parent, name);
    const node = dentry === null ? null : nodeOf(context, dentry);
    const onward = rest.length > 0;
    if (onward && node?.type === S_IFLNK) {
      if (links.length >= MAX_LINKS) throw new Errno(E.ELOOP, path);
      const target = targetOf(node);
      links.push({ path: pathTo(way, name), target });
      rest.unshift(...componentsOf(target));
      if (target.startsWith('/')) way.length = 1;
      continue;
    }
    if (onward && node?.isDirectory() === true) {
      const below = new Map(lost);
      for (const { holder, hiddenBy } of judge(parent, name, pathTo(way, name))) {
        const { index } = holder.layer;
        if (hiddenBy !== null && !node.stack.some((directory) => directory.layer.index === index))
          below.set(index, hiddenBy);
      }
      way.push({ node, name, lost: below });
      continue;
    }
    return explainName(context, way, name, rest, node, links);
  }
}

function componentsOf(path: ByteString): Name[] {
  return path.split('/').filter((component) => component !== '' && component !== '.') as Name[];
}

function pathTo(way: readonly Step[], name?: string): ByteString {
  const names = way.slice(1).map((step) => step.name as string);
  return `/${[...names, ...(name === undefined ? [] : [name])].join('/')}` as ByteString;
}

function targetOf(node: Node): ByteString {
  const size = node.holder.readlink(node.name, linkBuffer);
  if (size < 0) throw new Errno(-size, 'readlink');
  return linkBuffer.toString('latin1', 0, size) as ByteString;
}

interface Verdict {
  readonly holder: LayerDirectory;
  readonly found: Found;
  readonly type: number;
  readonly size: number;
  /** Present directories only. */
  readonly opaque: boolean;
  /**
   * Why what it has is not shown, or what lies below it in this layer; null: nothing above it
   * speaks against it.
   */
  readonly hiddenBy: HiddenBy | null;
}

/** What each layer that takes part in the directory has of a name, topmost first. */
function judge(directory: DirectoryNode, name: Name, path: ByteString): Verdict[] {
  const verdicts: Verdict[] = [];
  let hiddenBy: HiddenBy | null = null;
  let top: HiddenBy | null = null;
  for (const holder of directory.stack) {
    const layer = holder.layer.index;
    const found = probe(directory, holder, name, stat);
    const because = (reason: HidingReason): HiddenBy => ({ reason, layer, path });
    const own = { holder, found, hiddenBy, type: 0, size: 0, opaque: false };
    if (found !== 'present') {
      verdicts.push(own);
      if (found === 'whiteout') hiddenBy ??= because('whiteout');
      continue;
    }
    const type = fileType(stat, 0);
    const size = field(stat, 0, StatField.Size);
    if (type !== S_IFDIR) {
      // A file below a directory is hidden by it, and hides in its turn.
      verdicts.push({ ...own, type, size, hiddenBy: hiddenBy ?? top });
      hiddenBy ??= because('file');
    } else {
      const marks = readMarks(holder.descend(name));
      verdicts.push({ ...own, type, size, opaque: marks.opaque });
      top ??= because('directory');
      if (marks.opaque) hiddenBy ??= because('opaque');
      else if (marks.redirect !== undefined) hiddenBy ??= because('redirect');
    }
    if (hidesBelow(holder, name)) hiddenBy ??= because('whiteout');
  }
  return verdicts;
}

function explainRoot(
  context: UnionContext,
  way: readonly Step[],
  links: Explanation['links'],
): Explanation {
  const { node, name } = way.at(-1) as Step;
  if (way.length > 1) return explainName(context, way.slice(0, -1), name, [], node, links);
  const layers = context.roots.flatMap((root): LayerAnswer[] => {
    if (root === undefined) return [];
    const layer = root.layer.index;
    const at = node.stack.findIndex((directory) => directory.layer.index === layer);
    // Only an AUFS layer can close its root.
    const closing = node.stack.at(-1)?.layer.index as number;
    if (at < 0)
      return [
        {
          layer,
          state: 'hidden',
          path: '/' as ByteString,
          type: S_IFDIR,
          hiddenBy: { reason: 'opaque', layer: closing, path: '/' as ByteString },
        },
      ];
    return [{ layer, state: at === 0 ? 'wins' : 'merged', path: '/' as ByteString, type: S_IFDIR }];
  });
  const write =
    context.roots[UPPER] === undefined
      ? {}
      : { write: { bytes: 0, inPlace: true, directories: [] } };
  return { path: '/' as ByteString, links, type: S_IFDIR, layers, ...write };
}

/** `rest`: what the path goes on with where `name` leads no further. */
function explainName(
  context: UnionContext,
  way: readonly Step[],
  name: Name,
  rest: readonly Name[],
  node: Node | null,
  links: Explanation['links'],
): Explanation {
  const { node: parent, lost } = way.at(-1) as Step;
  const at = pathTo(way, name);
  const verdicts = new Map(
    judge(parent, name, at).map((verdict) => [verdict.holder.layer.index, verdict]),
  );
  const path = pathTo(way, [name, ...rest].join('/'));
  const components = componentsOf(path);
  const layers = context.roots.flatMap((root) => {
    if (root === undefined) return [];
    const layer = root.layer.index;
    const verdict = verdicts.get(layer);
    const merged =
      node?.isDirectory() === true
        ? node.stack.find((directory) => directory.layer.index === layer)
        : undefined;
    if (rest.length > 0)
      return [leftBehind(root, path, components, verdict?.hiddenBy ?? lost.get(layer))];
    if (
      merged !== undefined &&
      (verdict?.found !== 'present' || !isNamed(merged, verdict.holder, name))
    )
      return [mergedElsewhere(layer, merged)];
    if (verdict === undefined) return [leftBehind(root, path, components, lost.get(layer))];
    return [answerOf(verdict, name, node, merged !== undefined)];
  });
  const endsAt =
    rest.length > 0 ? { endsAt: { path: at, ...(node !== null && { type: node.type }) } } : {};
  return {
    path,
    links,
    ...endsAt,
    layers,
    ...(rest.length === 0 && node !== null && shownAt(context, way, node)),
  };
}

function answerOf(verdict: Verdict, name: Name, node: Node | null, isMerged: boolean): LayerAnswer {
  const { holder, found, type, size, opaque, hiddenBy } = verdict;
  const layer = holder.layer.index;
  const path = `${layerPath(onDisk(holder))}/${name}` as ByteString;
  if (found !== 'present')
    return { layer, state: found, path, ...(hiddenBy !== null && { hiddenBy }) };
  const wins =
    hiddenBy === null && node !== null && (isMerged ? isTop(node, layer) : !node.isDirectory());
  const state = wins ? 'wins' : isMerged ? 'merged' : 'hidden';
  return {
    layer,
    state,
    path,
    type,
    size,
    ...(opaque && { opaque }),
    ...(state === 'hidden' && hiddenBy !== null && { hiddenBy }),
  };
}

function isNamed(directory: LayerDirectory, holder: LayerDirectory, name: Name): boolean {
  return layerPath(onDisk(directory)) === `${layerPath(onDisk(holder))}/${name}`;
}

function isTop(node: Node, layer: number): boolean {
  return node.isDirectory() && node.stack[0]?.layer.index === layer;
}

/** A redirect brought it in from another path. */
function mergedElsewhere(layer: number, directory: LayerDirectory): LayerAnswer {
  return {
    layer,
    state: 'merged',
    path: layerPath(onDisk(directory)) as ByteString,
    type: S_IFDIR,
  };
}

/** What a layer has at the path that the union does not follow there. */
function leftBehind(
  root: LayerDirectory,
  path: ByteString,
  components: readonly Name[],
  hiddenBy: HiddenBy | undefined,
): LayerAnswer {
  const layer = root.layer.index;
  const absent: LayerAnswer = { layer, state: 'absent', path };
  let directory = root;
  for (const [i, component] of components.entries()) {
    const aufs = root.layer.form === 'aufs' && component.startsWith(WHITEOUT_PREFIX);
    if (
      aufs ||
      component === OPAQUE_MARKER ||
      directory.stat(component, stat, 0) < 0 ||
      isWhiteoutDevice(stat, 0)
    )
      return absent;
    if (i === components.length - 1) break;
    if (fileType(stat, 0) !== S_IFDIR) return absent;
    directory = directory.descend(component);
  }
  const shown = { layer, path, type: fileType(stat, 0), size: field(stat, 0, StatField.Size) };
  return { ...shown, state: 'hidden', ...(hiddenBy !== undefined && { hiddenBy }) };
}

function shownAt(
  context: UnionContext,
  way: readonly Step[],
  node: Node,
): Pick<Explanation, 'type' | 'size' | 'target' | 'write'> {
  const { type } = node;
  if (node.isDirectory()) return { type, ...writeOf(context, way, node, 0) };
  const failed = node.holder.stat(node.name, stat, 0);
  if (failed < 0) throw new Errno(-failed, node.name);
  const size = field(stat, 0, StatField.Size);
  const isFile = type === S_IFREG;
  // A file whose metadata alone is in the upper still has its data below.
  const copied = isFile && (!node.inUpper || dataOf(context, node) !== node) ? size : 0;
  return {
    type,
    ...(isFile && { size }),
    ...(type === S_IFLNK && { target: targetOf(node) }),
    ...writeOf(context, way, node, copied),
  };
}

function writeOf(
  context: UnionContext,
  way: readonly Step[],
  node: Node,
  bytes: number,
): Pick<Explanation, 'write'> {
  if (context.roots[UPPER] === undefined) return {};
  const directories = way.flatMap((step, i) =>
    i > 0 && !step.node.inUpper ? [pathTo(way.slice(0, i + 1))] : [],
  );
  return { write: { bytes, inPlace: node.inUpper && bytes === 0, directories } };
}
