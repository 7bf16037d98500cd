/** `ply explain`: why a union shows at a path what it shows. */
import { statSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../../base/bytes.js';
import { Errno } from '../../base/errno.js';
import { PlyfsError, UsageError } from '../../base/error.js';
import type { MountEntry } from '../../host/mount-table.js';
import type { UnionContext } from '../../union/context.js';
import {
  explain,
  type Explanation,
  type HidingReason,
  type LayerAnswer,
} from '../../union/explain.js';
import { lookingAt } from '../../union/layers-at-rest.js';
import type { LayerInUse } from '../../union/options.js';
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
} from '../../overlay/stat-buffer.js';
import { askStack } from '../../mount/control-client.js';
import type { DataRoot } from '../data-root.js';
import { placeInMount } from './find-mount.js';
import { findObject } from '../find-object.js';
import { knownBy, stackOfObject, type Stack, type StackLayer } from './layer-stack.js';
import { layerName } from '../../mount/layer-name.js';

export type FileKind =
  'file' | 'directory' | 'symlink' | 'pipe' | 'socket' | 'character device' | 'block device';

export interface ExplainedLayer {
  /** 0: the upper; the lowers from 1, topmost first. */
  readonly layer: number;
  /** `upper`, `layer 1`. */
  readonly name: string;
  readonly directory: string;
  readonly chainId?: string;
  readonly createdBy?: string;
  readonly state: 'wins' | 'merged' | 'hidden' | 'whiteout' | 'absent';
  /** In the layer. */
  readonly path: string;
  readonly kind?: FileKind;
  readonly size?: number;
  readonly opaque?: true;
  readonly hiddenBy?: {
    readonly reason: HidingReason;
    readonly layer: number;
    readonly name: string;
    readonly path: string;
  };
}

export interface ExplainedPath {
  /** From the union's root. */
  readonly path: string;
  readonly links: readonly { readonly path: string; readonly target: string }[];
  readonly endsAt?: { readonly path: string; readonly kind?: FileKind };
  /** Absent: the union shows nothing there. */
  readonly kind?: FileKind;
  readonly size?: number;
  readonly target?: string;
  readonly layers: readonly ExplainedLayer[];
  /** Absent: nothing there can be changed. */
  readonly write?: {
    readonly bytes: number;
    readonly inPlace: boolean;
    readonly directories: readonly string[];
  };
}

export interface Roots {
  /** For a name. */
  open(): Promise<DataRoot>;
  /** For what is mounted: undefined where it cannot be of a data root. */
  ifAny(): Promise<DataRoot | undefined>;
}

interface Asked {
  readonly stack: Stack;
  readonly paths: readonly ByteString[];
}

/**
 * `words`: paths below mounts; or a mount point and paths in it; or a read-write layer, an image or
 * a ChainID, and paths in it. Throws UsageError, `object-missing`, what `askStack` throws,
 * `path-unreadable`, and what opening layers throws.
 */
export async function explainPaths(
  words: readonly ByteString[],
  roots: Roots,
): Promise<ExplainedPath[]> {
  const explained: ExplainedPath[] = [];
  for (const { stack, paths } of await understand(words, roots)) {
    const layers = stack.complete ? stack.layers.slice(0, 1) : stack.layers;
    explained.push(
      ...lookingAt(layers, (context) =>
        paths.map((path) => described(explanationOf(context, path), layers)),
      ),
    );
  }
  return explained;
}

function explanationOf(context: UnionContext, path: ByteString): Explanation {
  try {
    return explain(context, path);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    throw new PlyfsError(
      'path-unreadable',
      `${textOf(path)} cannot be looked at in the layers (${error.message}): try it as root.`,
      {
        cause: error,
      },
    );
  }
}

async function understand(words: readonly ByteString[], roots: Roots): Promise<Asked[]> {
  const places = words.map(placeInMount);
  const asked: Asked[] = [];
  if (places.every((place) => place !== undefined)) {
    const mounts = new Map(places.map(({ mount }) => [mount.device, mount]));
    for (const mount of mounts.values()) {
      const paths = places
        .filter((place) => place.mount.device === mount.device)
        .map(({ path }) => path);
      asked.push({ stack: await stackOfMount(mount, roots), paths });
    }
    return asked;
  }
  const [first, ...paths] = words;
  const place = places[0];
  if (first === undefined || paths.length === 0) {
    throw new UsageError(
      `'${textOf(first ?? ('' as ByteString))}' lies in no mount of plyfs: name a container or an image, and then the path`,
    );
  }
  if (place !== undefined)
    return [
      {
        stack: await stackOfMount(place.mount, roots),
        paths: paths.map((path) => `${place.path}/${path}` as ByteString),
      },
    ];
  const opened = await roots.open();
  const stack = stackOfObject(
    opened,
    findObject(opened, textOf(first), ['mount', 'image', 'layer']),
  );
  if (stack.layers.length === 0)
    throw new PlyfsError(
      'image-without-layers',
      `${textOf(first)} has no layers: there is nothing to look at.`,
    );
  return [{ stack, paths }];
}

async function stackOfMount(mount: MountEntry, roots: Roots): Promise<Stack> {
  const { pid, layers } = await askStack(mount);
  const named = layers.map((layer): StackLayer => ({
    ...layer,
    path: pathOf(layer, pid, mount),
    directory: textOf(layer.path),
  }));
  const opened = await roots.ifAny();
  return { layers: opened === undefined ? named : knownBy(opened, named), complete: false };
}

/**
 * A layer over which something is mounted, the union itself maybe, or that was moved, is reached
 * through its mount's process.
 */
function pathOf({ path, fd }: LayerInUse, pid: number, mount: MountEntry): ByteString {
  try {
    const { dev } = statSync(Buffer.from(path, 'latin1'));
    if (`${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}` !== mount.device)
      return path;
  } catch {
    // It is not seen from here.
  }
  return bytesOf(`/proc/${pid}/fd/${fd}`);
}

const kinds = new Map<number, FileKind>([
  [S_IFREG, 'file'],
  [S_IFDIR, 'directory'],
  [S_IFLNK, 'symlink'],
  [S_IFIFO, 'pipe'],
  [S_IFSOCK, 'socket'],
  [S_IFCHR, 'character device'],
  [S_IFBLK, 'block device'],
]);

function kindOf(type: number | undefined): { kind?: FileKind } {
  const kind = type === undefined ? undefined : kinds.get(type);
  return kind === undefined ? {} : { kind };
}

function described(explanation: Explanation, layers: readonly StackLayer[]): ExplainedPath {
  const { path, links, endsAt, type, size, target, write } = explanation;
  return {
    path: textOf(path),
    links: links.map((link) => ({ path: textOf(link.path), target: textOf(link.target) })),
    ...(endsAt !== undefined && { endsAt: { path: textOf(endsAt.path), ...kindOf(endsAt.type) } }),
    ...kindOf(type),
    ...(size !== undefined && { size }),
    ...(target !== undefined && { target: textOf(target) }),
    layers: explanation.layers.map((answer) => layerOf(answer, layers)),
    ...(write !== undefined && { write: { ...write, directories: write.directories.map(textOf) } }),
  };
}

function layerOf(
  { layer, state, path, type, size, opaque, hiddenBy }: LayerAnswer,
  layers: readonly StackLayer[],
): ExplainedLayer {
  const { directory = '', chainId, createdBy } = layers.find(({ index }) => index === layer) ?? {};
  return {
    layer,
    name: layerName(layer),
    directory,
    ...(chainId !== undefined && { chainId }),
    ...(createdBy !== undefined && { createdBy }),
    state,
    path: textOf(path),
    ...kindOf(type),
    ...(size !== undefined && type === S_IFREG && { size }),
    ...(opaque === true && { opaque }),
    ...(hiddenBy !== undefined && {
      hiddenBy: { ...hiddenBy, name: layerName(hiddenBy.layer), path: textOf(hiddenBy.path) },
    }),
  };
}
