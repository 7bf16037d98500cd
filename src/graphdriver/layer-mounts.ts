/**
 * Where layers are mounted: the counted `get` and `put` of a driver.
 *
 * What this process mounted is counted here; what any process mounted is in the mount table, which
 * is asked rather than remembered: a mount may have been taken away by hand, or outlive who made
 * it.
 */
import { realpathSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { PlyfsError } from '../base/error.js';
import type { GetOptions, LayerMount } from './driver.js';
import type { MountedBy, MountTrust } from './mounter.js';
import { isRuntimeDirectory, newMountpoint } from '../host/runtime-directory.js';

export interface ShowOptions extends MountTrust {
  readonly readOnly: boolean;
}

/** What a driver does to show a layer. */
export interface Showing {
  /** Mounts at `target`, which is there and has no mount of ours. */
  show(id: string, target: string, as: ShowOptions): Promise<MountedBy['by']>;
  hide(target: string): Promise<void>;
  mounts(): LayerMount[];
}

interface Record {
  readonly id: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** Mounted by another process: looked at, not owned. */
  readonly borrowed: boolean;
  /** The caller named no target. */
  readonly chosen: boolean;
  count: number;
  /** It is in the mount table, unless somebody took it away. */
  isShown: boolean;
  /** Settles when it is mounted. */
  shown: Promise<MountedBy>;
}

export class LayerMounts {
  readonly #showing: Showing;
  readonly #records: Record[] = [];

  constructor(showing: Showing) {
    this.#showing = showing;
  }

  async get(
    id: string,
    readOnly: boolean,
    { target, suid = false, dev = false }: GetOptions,
  ): Promise<MountedBy> {
    const place = target === undefined ? undefined : realPath(target);
    this.#forgetGone();
    const known = this.#records.find(
      (record) =>
        record.id === id &&
        (place === undefined
          ? readOnly || !record.readOnly
          : record.target === place && record.readOnly === readOnly),
    );
    if (known !== undefined) {
      known.count++;
      return known.shown;
    }
    const others = this.#showing.mounts().filter((mount) => mount.id === id);
    const writable = others.find((mount) => !mount.readOnly);
    if (place === undefined && readOnly && writable !== undefined)
      return this.#add(
        id,
        writable.target,
        true,
        true,
        Promise.resolve({ path: writable.target, by: writable.by }),
        true,
      );
    if (
      writable !== undefined ||
      (!readOnly && (others.length > 0 || this.#records.some((record) => record.id === id)))
    ) {
      const where = writable ?? others[0];
      throw new PlyfsError(
        'layer-in-use',
        `layer ${id} is mounted at ${where?.target ?? 'another place'}: unmount it first.`,
      );
    }
    if (place !== undefined && this.#showing.mounts().some((mount) => mount.target === place)) {
      throw new PlyfsError(
        'mountpoint-in-use',
        `a layer is mounted at ${place} already: unmount it, or choose another directory.`,
      );
    }
    const at = place ?? newMountpoint();
    const mounting = this.#showing
      .show(id, at, { readOnly, suid, dev })
      .then((by) => ({ path: at, by }));
    return this.#add(id, at, readOnly, false, mounting, place === undefined);
  }

  async #add(
    id: string,
    target: string,
    readOnly: boolean,
    borrowed: boolean,
    shown: Promise<MountedBy>,
    chosen: boolean,
  ): Promise<MountedBy> {
    const record: Record = {
      id,
      target,
      readOnly,
      borrowed,
      chosen,
      count: 1,
      isShown: false,
      shown,
    };
    this.#records.push(record);
    try {
      const mounted = await shown;
      record.isShown = true;
      return mounted;
    } catch (error) {
      this.#forget(record);
      if (chosen) removeMountpoint(target);
      throw error;
    }
  }

  async put(id: string, target?: string): Promise<void> {
    const place = target === undefined ? undefined : realPath(target);
    const mine = this.#records.filter(
      (record) => record.id === id && (place === undefined || record.target === place),
    );
    const record = mine.find((one) => one.chosen) ?? mine[0];
    if (record === undefined) {
      await this.#putForeign(id, place);
      return;
    }
    if (--record.count > 0) return;
    this.#forget(record);
    if (record.borrowed) return;
    try {
      await this.#showing.hide(record.target);
    } catch (error) {
      record.count++;
      this.#records.push(record);
      throw error;
    }
    if (record.chosen) removeMountpoint(record.target);
  }

  /** Whether anything shows the layer now. */
  isMounted(id: string): boolean {
    this.#forgetGone();
    return (
      this.#records.some((record) => record.id === id) ||
      this.#showing.mounts().some((mount) => mount.id === id)
    );
  }

  async #putForeign(id: string, target: string | undefined): Promise<void> {
    const found = this.#showing
      .mounts()
      .filter((mount) => mount.id === id && (target === undefined || mount.target === target));
    const [one, another] = found;
    if (one === undefined)
      throw new PlyfsError(
        'not-mounted',
        `layer ${id} is not mounted${target === undefined ? '' : ` at ${target}`}.`,
      );
    if (another !== undefined) {
      throw new PlyfsError(
        'mount-ambiguous',
        `layer ${id} is mounted at ${found.map((mount) => mount.target).join(', ')}: say which to unmount.`,
      );
    }
    await this.#showing.hide(one.target);
    if (isRuntimeDirectory(dirname(one.target))) removeMountpoint(one.target);
  }

  /** What was unmounted by hand, or by another process. */
  #forgetGone(): void {
    if (!this.#records.some(({ isShown }) => isShown)) return;
    const shown = new Set(this.#showing.mounts().map(({ id, target }) => `${id} ${target}`));
    for (const record of [...this.#records])
      if (record.isShown && !shown.has(`${record.id} ${record.target}`)) this.#forget(record);
  }

  #forget(record: Record): void {
    const index = this.#records.indexOf(record);
    if (index >= 0) this.#records.splice(index, 1);
  }
}

function removeMountpoint(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Somebody else's files are in it, or it is gone.
  }
}

/** A mount whose server has died cannot be looked at: then the path as it was given. */
function realPath(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    return path;
  }
}
