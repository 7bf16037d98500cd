/**
 * The layout of Docker's overlay2 and fuse-overlayfs drivers (moby,
 * daemon/graphdriver/overlay2/overlay.go).
 *
 *     HOME/ID/diff        the layer's files
 *     HOME/ID/link        its short name, 26 characters of base32
 *     HOME/ID/lower with a parent: `l/SHORT` of each layer below, topmost first, joined by colons
 *     HOME/ID/work        with a parent: the workdir
 *     HOME/ID/committed   not to be written to any more: it has children, or `create` made it
 *     HOME/l/SHORT        symbolic link to `../ID/diff`
 *
 * A layer is there when `link` is: it is written last, and goes with the directory, which `remove`
 * renames first. Everything read from it is checked, and leads to directories of the home only.
 */
import { readdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { PlyfsError } from '../base/error.js';
import { writeFileDurably, syncDirectory } from '../base/durable-file.js';
import { parseCacheId } from '../base/ids.js';
import { assertDirectories, MAX_LOWERS } from '../sys/stored-file.js';
import type { LayerDirectories } from './driver.js';
import {
  alreadyThere,
  checkId,
  codeOf,
  damaged,
  exists,
  idsIn,
  isDirectory,
  makeDirectory,
  makeDirectoryIfMissing,
  makeLayerRoot,
  missing,
  readLink,
  readSmallFile,
  removingName,
} from './home.js';
import type { Layout } from './layout.js';
import { removeTree } from '../overlay/remove-tree.js';
import type { LayerForm } from '../overlay/form.js';

const LINKS = 'l';
const SHORT_LENGTH = 26;
const shortPattern = /^[A-Z2-7]{26}$/;
const targetPattern = /^\.\.\/([^/]+)\/diff$/;

export class OverlayLayout implements Layout {
  readonly home: string;
  readonly #form: LayerForm;
  readonly #workMode: number;

  /** Throws `root-damaged` when there is no directory in its place. */
  constructor(home: string, form: LayerForm, workMode: number) {
    this.home = home;
    this.#form = form;
    this.#workMode = workMode;
    assertDirectories([home, join(home, LINKS)]);
  }

  prepare(): void {
    makeDirectoryIfMissing(this.home, 0o710);
    makeDirectoryIfMissing(join(this.home, LINKS), 0o700);
  }

  exists(id: string): boolean {
    checkId(id, [LINKS]);
    return this.#shortName(id) !== undefined && isDirectory(this.#own(id));
  }

  ids(): string[] {
    return idsIn(this.home, [LINKS]);
  }

  create(
    id: string,
    parent: string | undefined,
    access: 'read-only' | 'read-write',
    prepare?: (directory: string) => void,
  ): void {
    if (this.exists(id)) throw alreadyThere(id, this.home);
    // What a killed `create` left.
    this.remove(id);
    const directory = this.directoryOf(id);
    const lowers = parent === undefined ? [] : this.#lowersOver(parent);
    const short = newShortName();
    try {
      makeDirectory(directory, 0o710);
      prepare?.(directory);
      makeLayerRoot(this.#own(id));
      if (lowers.length > 0) {
        makeDirectory(join(directory, 'work'), this.#workMode);
        writeFileDurably(
          join(directory, 'lower'),
          lowers.map((lower) => `${LINKS}/${lower}`).join(':'),
          0o644,
        );
      }
      if (access === 'read-only') this.#commit(id);
      if (parent !== undefined) this.#commit(parent);
      symlinkSync(join('..', id, 'diff'), join(this.home, LINKS, short));
      syncDirectory(join(this.home, LINKS));
      syncDirectory(this.home);
      writeFileDurably(join(directory, 'link'), short, 0o644);
    } catch (error) {
      this.remove(id);
      throw error;
    }
  }

  remove(id: string): void {
    checkId(id, [LINKS]);
    const aside = join(this.home, removingName(id));
    if (exists(aside)) {
      // What a killed `remove` left.
      this.#unlink(this.#shortNamesOf(id));
      removeTree(aside);
    }
    const directory = this.directoryOf(id);
    if (!exists(directory)) return;
    const short = this.#shortName(id);
    const own = short !== undefined && readLink(this.#linkPath(short)) === join('..', id, 'diff');
    const names = own ? [short] : this.#shortNamesOf(id);
    renameSync(directory, aside);
    this.#unlink(names);
    removeTree(aside);
    syncDirectory(this.home);
  }

  written(id: string): string[] {
    return [this.#own(id), join(this.directoryOf(id), 'work')];
  }

  directories(id: string): LayerDirectories {
    const own = this.#checkedOwn(id);
    const seen = new Set([own]);
    const below = this.lowersOf(id).map((short) => {
      const directory = this.#resolve(id, short);
      if (seen.has(directory)) throw damaged(id, `its file lower names ${directory} twice`);
      seen.add(directory);
      return directory;
    });
    const work = join(this.directoryOf(id), 'work');
    return { own, below, ...(isDirectory(work) ? { work } : {}), form: this.#form };
  }

  parentOf(id: string): string | undefined {
    const [nearest] = this.lowersOf(id);
    return nearest === undefined ? undefined : basename(dirname(this.#resolve(id, nearest)));
  }

  isCommitted(id: string): boolean {
    return exists(join(this.directoryOf(id), 'committed'));
  }

  directoryOf(id: string): string {
    return join(this.home, id);
  }

  idOf(directory: string): string | undefined {
    return dirname(directory) === this.home ? basename(directory) : undefined;
  }

  /** As `docker inspect` shows a layer. */
  metadata(id: string): Readonly<Record<string, string>> {
    const { own, below } = this.directories(id);
    const directory = this.directoryOf(id);
    return {
      ...(below.length === 0 ? {} : { LowerDir: below.join(':') }),
      MergedDir: join(directory, 'merged'),
      UpperDir: own,
      WorkDir: join(directory, 'work'),
    };
  }

  /** The short names of the layers below, topmost first. Throws `layer-damaged`. */
  lowersOf(id: string): string[] {
    const path = join(this.directoryOf(id), 'lower');
    const text = readSmallFile(path, 'lower');
    if (text === undefined) return [];
    if (typeof text !== 'string') throw damaged(id, `${path} ${text.problem}`);
    const lowers = text.split(':').map((word) => {
      const short = word.slice(LINKS.length + 1);
      if (!word.startsWith(`${LINKS}/`) || !shortPattern.test(short))
        throw damaged(id, 'its file lower holds something else than l/SHORT names');
      return short;
    });
    if (lowers.length > MAX_LOWERS)
      throw damaged(
        id,
        `its file lower names ${lowers.length} layers, and ${MAX_LOWERS} are the most`,
      );
    return lowers;
  }

  #own(id: string): string {
    return join(this.directoryOf(id), 'diff');
  }

  #linkPath(short: string): string {
    return join(this.home, LINKS, short);
  }

  #shortName(id: string): string | undefined {
    const text = isDirectory(this.directoryOf(id))
      ? readSmallFile(join(this.directoryOf(id), 'link'), 'link')
      : undefined;
    return typeof text === 'string' && shortPattern.test(text) ? text : undefined;
  }

  /** The short names that lead to a layer which does not say its own. */
  #shortNamesOf(id: string): string[] {
    const target = join('..', id, 'diff');
    return readdirSync(join(this.home, LINKS)).filter(
      (name) => shortPattern.test(name) && readLink(this.#linkPath(name)) === target,
    );
  }

  #unlink(shortNames: readonly string[]): void {
    for (const name of shortNames) unlinkSync(this.#linkPath(name));
  }

  #checkedOwn(id: string): string {
    if (this.exists(id)) return this.#own(id);
    if (!isDirectory(this.directoryOf(id))) throw missing(id, this.home);
    throw damaged(
      id,
      `${this.directoryOf(id)} has no directory diff, or no short name in its file link`,
    );
  }

  /**
   * The directory a short name leads to, which says the same of itself. `id`: the layer to blame.
   */
  #resolve(id: string, short: string): string {
    const target = readLink(this.#linkPath(short));
    if (target === undefined)
      throw damaged(id, `${this.#linkPath(short)} is not there, or no symbolic link`);
    const other = parseCacheId(targetPattern.exec(target)?.[1] ?? '');
    if (other === undefined || other === LINKS)
      throw damaged(id, `${this.#linkPath(short)} leads elsewhere than to ../ID/diff`);
    if (this.#shortName(other) !== short)
      throw damaged(
        id,
        `${this.#linkPath(short)} leads to layer ${other}, which is not there or has another short name`,
      );
    const directory = this.#own(other);
    if (!isDirectory(directory)) throw damaged(id, `${directory} is not there, or no directory`);
    return directory;
  }

  #lowersOver(parent: string): string[] {
    this.#checkedOwn(parent);
    const lowers = [this.#shortName(parent)!, ...this.lowersOf(parent)];
    if (lowers.length <= MAX_LOWERS) return lowers;
    throw new PlyfsError(
      'too-many-layers',
      `a layer on ${parent} would have ${lowers.length} layers below it: ${MAX_LOWERS} are the most.`,
    );
  }

  #commit(id: string): void {
    try {
      writeFileSync(join(this.directoryOf(id), 'committed'), '', { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
  }
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** 26 characters of base32, 130 random bits. */
function newShortName(): string {
  return Array.from(randomBytes(SHORT_LENGTH), (byte) => alphabet[byte % alphabet.length]).join('');
}
