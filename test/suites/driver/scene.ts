/**
 * What a case of the driver suite has: a home of its own, a driver opened on it, and layers made
 * from tars.
 */
import { readdirSync } from 'node:fs';
import type { Test } from 'tap';
import { LayerReader } from '../../../src/archive/layer-reader.js';
import type { Change } from '../../../src/archive/changes.js';
import type {
  DriverDefinition,
  DriverOptions,
  GraphDriver,
} from '../../../src/graphdriver/driver.js';
import { PlyfsError } from '../../../src/base/error.js';
import { onePiece, tarOf, type TarEntry } from '../../support/layer-tar.js';
import { Actor } from '../actor.js';
import { treeOf, type Tree } from '../tree.js';
import { workspace } from '../workspace.js';

export interface DriverTarget {
  readonly definition: DriverDefinition;
  readonly mounter: DriverOptions['mounter'];
}

/** An id for each number: 64 hexadecimal digits. */
export function id(number: number): string {
  return number.toString(16).padStart(64, '0');
}

export class DriverScene {
  driver!: GraphDriver;
  readonly #actors: Actor[] = [];

  private constructor(
    readonly t: Test,
    readonly target: DriverTarget,
    /** Holds `root/NAME`, the home, and whatever a case puts beside `root`. */
    readonly base: string,
  ) {}

  static async create(t: Test, target: DriverTarget): Promise<DriverScene> {
    const scene = new DriverScene(t, target, await workspace(t, 'root'));
    scene.driver = await scene.open();
    return scene;
  }

  get home(): string {
    return `${this.base}/root/${this.target.definition.name}`;
  }

  /** Where a layer's own files lie. */
  own(layer: string): string {
    return this.driver.directories(layer).own;
  }

  /** Every name in the home, sorted; short names, which are random, all as one. */
  names(): string[] {
    const names: string[] = [];
    const walk = (path: string): void => {
      for (const entry of readdirSync(path, { withFileTypes: true })) {
        names.push(
          `${path.slice(this.home.length)}/${entry.name}`.replace(
            /^\/l\/[A-Z2-7]{26}$/,
            '/l/SHORT',
          ),
        );
        if (entry.isDirectory()) walk(`${path}/${entry.name}`);
      }
    };
    walk(this.home);
    return names.sort();
  }

  /** Another driver on the same home: what another process would have. */
  open(options: Partial<DriverOptions> = {}): Promise<GraphDriver> {
    return this.target.definition.open({
      home: this.home,
      readOnly: false,
      probe: true,
      options: [],
      mounter: this.target.mounter,
      ...options,
    });
  }

  /** A read-only layer of these entries; returns its size. */
  async add(
    layer: string,
    parent: string | undefined,
    entries: readonly TarEntry[],
  ): Promise<number> {
    return this.apply(layer, parent, await tarOf(entries));
  }

  async apply(layer: string, parent: string | undefined, tar: Uint8Array): Promise<number> {
    await this.driver.create(layer, parent);
    const reader = new LayerReader(onePiece(tar));
    const { size } = await this.driver.applyDiff(layer, parent, reader);
    await reader.finish();
    return size;
  }

  /** The tar of a layer's difference, in one piece. */
  async diff(layer: string, parent: string | undefined): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.driver.diff(layer, parent)) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  }

  /** One line a change, as `docker diff` prints them. */
  async changes(layer: string, parent: string | undefined): Promise<string[]> {
    return (await this.driver.changes(layer, parent)).map(
      ({ kind, path }: Change) => `${kind} ${path}`,
    );
  }

  async actor(cwd: string): Promise<Actor> {
    const actor = await Actor.start({ cwd });
    this.#actors.push(actor);
    return actor;
  }

  /** Looks at a layer as one sees it mounted. */
  async shown(layer: string): Promise<Tree> {
    return this.with(layer, true, (path, actor) => treeOf(actor, path, { mtime: false }));
  }

  /** Paths that a layer shows, directories with a slash, sorted. */
  async paths(layer: string): Promise<string[]> {
    const tree = await this.shown(layer);
    return [...tree]
      .filter(([path]) => path !== '.')
      .map(([path, text]) => (text.startsWith('dir ') ? `${path}/` : path))
      .sort();
  }

  /** Mounts, acts, unmounts. */
  async with<T>(
    layer: string,
    readOnly: boolean,
    act: (path: string, actor: Actor) => Promise<T>,
  ): Promise<T> {
    const { path } = await this.driver.get(layer, { readOnly });
    const actor = await Actor.start({ cwd: path });
    try {
      return await act(path, actor);
    } finally {
      await actor.end();
      await this.driver.put(layer);
    }
  }

  async fails(code: string, call: Promise<unknown> | (() => unknown), what: string): Promise<void> {
    let error: unknown;
    try {
      await (typeof call === 'function' ? call() : call);
    } catch (thrown) {
      error = thrown;
    }
    this.t.equal(error instanceof PlyfsError ? error.code : String(error), code, what);
  }

  async end(): Promise<void> {
    for (const actor of this.#actors.splice(0)) await actor.end();
    for (const { target } of this.driver.mounts())
      this.t.fail(`the case leaves a mount at ${target}`);
  }
}

export type DriverCases = Readonly<Record<string, (scene: DriverScene) => Promise<void>>>;
