/**
 * What a case of the union suite has: layers on disk, a mount over them, and an actor on either
 * side.
 */
import type { Test } from 'tap';
import { succeed } from '../../support/command.js';
import { Actor, type ActorOptions } from '../actor.js';
import { overlayPrefix, Union, type Mounter } from '../mounters.js';
import { fails, type ErrnoName } from '../posix-suite.js';
import { sameTree, treeOf, type Tree, type TreeOptions } from '../tree.js';

export class UnionScene {
  private made: Union | undefined;
  private inside: Actor | undefined;
  private readonly actors: Actor[] = [];

  constructor(
    readonly t: Test,
    readonly mounter: Mounter,
    /**
     * Acts on the layers, in the directory that holds `lower1` (topmost) to `lowerN`, `upper`,
     * `work` and `mnt`.
     */
    readonly disk: Actor,
    made: Union,
  ) {
    this.made = made;
  }

  static async create(
    t: Test,
    mounter: Mounter,
    layers: number,
    options: readonly string[],
  ): Promise<UnionScene> {
    const union = await Union.create(t, mounter, layers, options);
    return new UnionScene(t, mounter, await Actor.start({ cwd: union.base }), union);
  }

  get union(): Union {
    if (!this.made) throw new Error('the scene has ended');
    return this.made;
  }

  /** Acts through the mount, in its root. */
  get mnt(): Actor {
    if (!this.inside) throw new Error('nothing is mounted');
    return this.inside;
  }

  /** Another actor in the mount's root. */
  async start(options: ActorOptions = {}): Promise<Actor> {
    const actor = await Actor.start({ cwd: this.union.mnt, ...options });
    this.actors.push(actor);
    return actor;
  }

  async mount(by: Mounter = this.mounter): Promise<void> {
    await this.union.mount(by);
    this.inside = await this.start();
  }

  async mountReadOnly(): Promise<void> {
    await this.union.mountReadOnly();
    this.inside = await this.start();
  }

  async unmount(): Promise<void> {
    await this.leave();
    await this.union.unmount();
  }

  /**
   * Has the kernel drop every name of the mount that is not in use, so that the next look asks
   * again.
   */
  async forget(): Promise<void> {
    // Reconfiguring a superblock shrinks its dentry cache (fs/super.c, reconfigure_super); `-i`
    // keeps mount(8)'s helpers out of it.
    await succeed(['mount', '-i', '-o', 'remount,rw', this.union.mnt]);
  }

  async remount(by: Mounter = this.mounter): Promise<void> {
    await this.unmount();
    await this.mount(by);
  }

  private async leave(): Promise<void> {
    for (const actor of this.actors.splice(0)) await actor.end();
    this.inside = undefined;
  }

  async end(): Promise<void> {
    await this.leave();
    await this.disk.end();
  }

  async fails(expected: ErrnoName, call: Promise<unknown>, what?: string): Promise<void> {
    await fails(this.t, expected, call, what);
  }

  /** What the mount shows. */
  shown(options: TreeOptions = {}): Promise<Tree> {
    return treeOf(this.mnt, this.union.mnt, options);
  }

  /** What a layer holds, the union's own xattrs aside. */
  held(layer: string, options: TreeOptions = {}): Promise<Tree> {
    return treeOf(this.disk, `${this.union.base}/${layer}`, {
      ignoreXattr: (name) => name.startsWith(overlayPrefix),
      ...options,
    });
  }

  same(found: Tree, wanted: Tree, message: string): void {
    sameTree(this.t, found, wanted, message);
  }

  /** Paths of the entries in the upper directory, sorted. */
  async inUpper(): Promise<string[]> {
    return [...(await this.held('upper', { mtime: false })).keys()]
      .filter((path) => path !== '.')
      .sort();
  }

  async whiteout(path: string): Promise<void> {
    await this.disk.mknod(path, 0o020000, 0, 0);
  }

  async opaque(path: string): Promise<void> {
    await this.disk.setxattr(path, `${overlayPrefix}opaque`, 'y');
  }

  /** Asserts that a name of a layer is a character device 0:0. */
  async isWhiteout(path: string): Promise<void> {
    const st = await this.disk.lstat(path).catch(() => undefined);
    this.t.equal(
      st && `${(st.mode & 0o170000).toString(8)} ${st.rdev}`,
      '20000 0:0',
      `${path} is a whiteout`,
    );
  }

  async isOpaque(path: string, yes = true): Promise<void> {
    const value = await this.disk.getxattr(path, `${overlayPrefix}opaque`).catch(() => 'not set');
    this.t.equal(value === 'y', yes, `${path} is ${yes ? '' : 'not '}opaque`);
  }

  /**
   * Files by path (a path ending in `/` is a directory, `->` gives a symlink's target). Parents are
   * made.
   */
  async lay(layer: string, files: Readonly<Record<string, string>>): Promise<void> {
    await this.disk.mkdir(layer).catch(() => undefined);
    for (const [path, content] of Object.entries(files)) {
      const parts = path.split('/');
      for (let i = 1; i < parts.length; i++)
        await this.disk.mkdir(`${layer}/${parts.slice(0, i).join('/')}`).catch(() => undefined);
      if (path.endsWith('/')) continue;
      if (content.startsWith('->')) await this.disk.symlink(content.slice(2), `${layer}/${path}`);
      else await this.disk.put(`${layer}/${path}`, content);
    }
  }
}

export interface UnionCase {
  /** Lower layers. Default 1. */
  readonly layers?: number;
  /** Mount options. */
  readonly options?: readonly string[];
  readonly needsRoot?: boolean;
  /** The kernel mounts what the target wrote, or the reverse. */
  readonly needsKernel?: boolean;
  run(scene: UnionScene): Promise<void>;
}
/** By the case's name, which says what must hold. A function is a case over one lower layer. */
export type UnionCases = Readonly<Record<string, UnionCase | UnionCase['run']>>;
