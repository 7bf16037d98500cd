/**
 * Whose word about a layer's files is taken: the kernel's rule for marks, and the same for owners
 * kept in attributes.
 *
 * What any user can set on a file of theirs, in a layer that they reach on disk, must not lead a
 * mount of root's to what that user could not read, nor make files set-id root or devices. So a
 * union of the class `trusted` believes `trusted.overlay.*` alone. One of the class `user` believes
 * `user.overlay.*`, and fuse-overlayfs's opaque mark, but follows no `redirect` and no `metacopy`
 * (fs/overlayfs/params.c, ovl_fs_params_verify; namei.c, ovl_lookup). override_stat is believed in
 * every layer by who acts for no more than a user; for the machine, on objects of root's in layers
 * whose root directory root marked, unless the option `override_stat` says more.
 */
import type { ByteString } from '../base/bytes.js';
import { textOf } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import type { OverrideBelief } from './override-stat.js';
import { actsForMachine } from '../sys/privilege.js';
import { ownMarks, overlayPrefix, PEER_OPAQUE, type MarkClass } from './private-xattrs.js';
import { onDisk, layerPath } from './disk-directory.js';
import { UPPER, type Disbelief, type LayerDirectory } from './layer.js';

export interface Belief {
  readonly marks: MarkClass;
  readonly overrides: OverrideBelief['objects'];
}

export function beliefOf(options: {
  readonly userXattr?: boolean;
  readonly overrideStat?: boolean;
}): Belief {
  return {
    marks: options.userXattr === true ? 'user' : ownMarks(),
    overrides: options.overrideStat === true || !actsForMachine() ? 'every' : 'of-root',
  };
}

type Kind = 'marks' | 'owners' | 'detours';

/** What was met in the layers and is not believed: said once a kind, with what would believe it. */
export class Unbelieved implements Disbelief {
  readonly #warn: (sentence: string) => void;
  readonly #said = new Set<Kind>();

  constructor(warn: (sentence: string) => void) {
    this.#warn = warn;
  }

  /**
   * An attribute of `name` in the directory, or of the directory itself. Anything but a mark of the
   * other class is passed over.
   */
  mark(directory: LayerDirectory, name: ByteString, attribute: string): void {
    if (directory.layer.marks === 'user' || this.#said.has('marks')) return;
    if (attribute !== PEER_OPAQUE && !misleading.has(attribute)) return;
    const where = placeOf(directory, name);
    this.#say(
      'marks',
      `${where} carries ${attribute}, which any user can set and root does not believe: mount with -o userxattr if such marks are meant.`,
    );
  }

  owners(where: string, attribute: ByteString): void {
    this.#say(
      'owners',
      `${where} keeps an owner in ${attribute} that others than root may have set, and is shown as it is on disk: mount with -o override_stat if its owners are meant.`,
    );
  }

  ownersOf(directory: LayerDirectory, name: ByteString, attribute: ByteString): void {
    if (!this.#said.has('owners')) this.owners(placeOf(directory, name), attribute);
  }

  detour(directory: LayerDirectory, name: ByteString, suffix: string): void {
    if (this.#said.has('detours')) return;
    const where = placeOf(directory, name);
    this.#say(
      'detours',
      `${where} carries user.overlay.${suffix}, which any user can set and which is not followed: it is answered EPERM.`,
    );
  }

  #say(kind: Kind, sentence: string): void {
    if (this.#said.has(kind)) return;
    this.#said.add(kind);
    this.#warn(sentence);
  }
}

const misleading: ReadonlySet<string> = new Set(
  ['opaque', 'whiteout', 'redirect', 'metacopy'].map((suffix) => overlayPrefix('user') + suffix),
);

function placeOf(directory: LayerDirectory, name: ByteString): string {
  const { index } = directory.layer;
  const path = layerPath(onDisk(directory));
  return `${index === UPPER ? 'the upper' : `layer ${index}`}'s ${textOf((name === '' ? path || '/' : `${path}/${name}`) as ByteString)}`;
}

/**
 * Throws EPERM for a `redirect` or `metacopy` that would lead to another file below, where that is
 * not to be followed.
 */
export function requireFollowed(
  directory: LayerDirectory,
  name: ByteString,
  suffix: 'redirect' | 'metacopy',
): void {
  if (directory.layer.marks === 'trusted' || directory.layer.bottom) return;
  directory.layer.unbelieved.detour(directory, name, suffix);
  throw new Errno(E.EPERM, `${overlayPrefix('user')}${suffix} is not followed`);
}
