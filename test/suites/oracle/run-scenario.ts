/**
 * Applies one scenario to plyfs and to the kernel's overlay, side by side, and throws at the first
 * difference.
 */
import { mkdir } from 'node:fs/promises';
import { Actor } from '../actor.js';
import { RENAME_EXCHANGE, S_IFLNK, S_IFMT } from '../constants.js';
import { kernel, plyfs } from '../mounters.js';
import { differences, treeOf, type Tree } from '../tree.js';
import { explained, type Divergence, withoutStrayWhiteouts } from './differences.js';
import { InodeWatch } from './inode-watch.js';
import { layInAufs, layLayer } from './layers.js';
import { parentOf, pathsOf, type Time, type Call, type Scenario } from './scenario.js';
import { pathBytes, Side, type Outcome } from './side.js';
import { upperFaults } from './upper-faults.js';

/** What a run has done, for its report. */
export interface Figures {
  scenarios: number;
  operations: number;
  /** Of them: those that succeeded. */
  succeeded: number;
  mounts: number;
  /** Whole trees that were compared. */
  trees: number;
  /** Scenarios broken off because the machine would not mount again. */
  abandoned: number;
  /** Chosen differences that were met, by name. */
  readonly divergences: Map<string, number>;
}

export function newFigures(): Figures {
  return {
    scenarios: 0,
    operations: 0,
    succeeded: 0,
    mounts: 0,
    trees: 0,
    abandoned: 0,
    divergences: new Map(),
  };
}

/** plyfs and the kernel were not the same, or one was not the same as before. */
export class Difference extends Error {
  constructor(
    message: string,
    /** Operations applied until then, the one that showed it included. */
    readonly applied: number,
  ) {
    super(message);
  }
}

/** Operations that change nothing: what they say is all there is to compare. */
const readers = new Set([
  'read',
  'mapread',
  'fstat',
  'flist',
  'get',
  'stat',
  'lstat',
  'list',
  'readlink',
  'access',
  'getxattr',
  'listxattr',
  'fsync',
  'close',
]);

/** A time given to both sides where a chosen difference would last. */
const LEVEL: Time = [1_200_000_000, 7];

class Run {
  private readonly done: string[] = [];
  private swapped = false;
  private applied = 0;
  private ended = false;
  private readonly inodes: InodeWatch;

  constructor(
    readonly scenario: Scenario,
    readonly ours: Side,
    readonly kernels: Side,
    readonly disk: Actor,
    readonly figures: Figures,
    readonly start: bigint,
    readonly shared: ReadonlySet<bigint>,
  ) {
    this.inodes = new InodeWatch(shared);
  }

  private fail(why: string): never {
    throw new Difference(
      `${why}\n  after:\n    ${this.done.slice(-25).join('\n    ')}`,
      this.applied,
    );
  }

  private both<T>(what: (side: Side) => Promise<T>): Promise<[ours: T, kernels: T]> {
    return Promise.all([what(this.ours), what(this.kernels)]);
  }

  async all(): Promise<void> {
    await this.mount();
    if (this.scenario.upper !== undefined) await this.withoutStrays();
    await this.compare('mounted');
    for (const operation of this.scenario.operations) {
      this.applied++;
      if (operation.op === 'compare') await this.compare('compare');
      else if (operation.op === 'remount') await this.remount();
      else if (operation.op === 'exchange')
        await (hasHardLinks(this.scenario) ? this.remount() : this.exchange());
      else await this.step(operation);
      if (this.ended) break;
    }
    if (!this.ended) await this.exchange();
    await this.both((side) => side.unmount());
  }

  private async mount(): Promise<void> {
    const [one, other] = this.swapped ? [this.kernels, this.ours] : [this.ours, this.kernels];
    await Promise.all([this.ours.mount(one.set.base), this.kernels.mount(other.set.base)]);
    this.figures.mounts += 2;
  }

  /**
   * Takes whiteouts that hide nothing out of the first upper: no overlay leaves them, and the
   * kernel stumbles over them.
   */
  private async withoutStrays(): Promise<void> {
    for (;;) {
      const tree = await treeOf(await this.kernels.actor(0), this.kernels.mnt);
      const strays = [...tree.keys()].filter((path) =>
        tree.get(path)?.startsWith('unreadable: ENOENT:'),
      );
      const removed = await Promise.all(
        strays.flatMap((path) =>
          [this.ours, this.kernels].map((side) =>
            this.disk
              .unlink(Buffer.concat([Buffer.from(`${side.upper}/`), pathBytes(path)]))
              .catch(() => undefined),
          ),
        ),
      );
      if (!removed.includes(0)) return;
      await this.both((side) => side.unmount());
      for (const side of [this.ours, this.kernels])
        await this.disk.utimens(side.upper, [800_000_000, 1], [800_000_001, 2]);
      await this.mount();
    }
  }

  private async step(operation: Call): Promise<void> {
    const [ours, kernels] = await this.both((side) => side.apply(operation));
    if (ours.failed === 'no descriptor' && kernels.failed === ours.failed) return;
    this.figures.operations++;
    if (ours.failed === undefined) this.figures.succeeded++;
    this.done.push(`${JSON.stringify(operation)} = ${ours.text.slice(0, 200)}`);
    if (this.same(operation, JSON.stringify(operation), ours, kernels)?.ends === true) {
      this.ended = true;
      return;
    }
    if (operation.op === 'list' && ours.entries !== undefined)
      await this.checkEntries(operation.path, ours);
    const succeeded = ours.failed === undefined;
    if (succeeded)
      this.inodes.after(
        operation,
        operation.op === 'rename' && (operation.flags & RENAME_EXCHANGE) !== 0,
      );
    if (readers.has(operation.op)) return;
    // What a call left behind, whether it failed or not.
    const paths = pathsOf(operation).filter((path) => path !== '.');
    for (const path of new Set(['.', ...paths.map(parentOf), ...paths])) {
      const [one, two] = await this.both((side) => side.lstat(path));
      const divergence = this.same(
        operation,
        `lstat of ${JSON.stringify(path)} after ${JSON.stringify(operation)}`,
        one,
        two,
        ours.failed,
      );
      if (divergence?.lasts === true && one.stat !== undefined)
        await this.level(path, one.stat.mode);
      if (one.stat !== undefined) {
        const moved = this.inodes.seen(path, one.stat);
        if (moved !== undefined) this.fail(moved);
      }
    }
  }

  private async level(path: string, mode: number): Promise<void> {
    if ((mode & S_IFMT) !== S_IFLNK)
      await this.both((side) => side.apply({ op: 'chmod', who: 0, path, mode: mode & 0o7777 }));
    await this.both((side) =>
      side.apply({ op: 'utimens', who: 0, path, atime: LEVEL, mtime: LEVEL }),
    );
  }

  private same(
    operation: Call,
    what: string,
    ours: Outcome,
    kernels: Outcome,
    failed?: string,
  ): Divergence | undefined {
    if (ours.text === kernels.text) return undefined;
    const divergence = explained(this.scenario, operation, ours, kernels, failed);
    if (divergence === undefined)
      this.fail(`${what}\n  plyfs:  ${ours.text}\n  kernel: ${kernels.text}`);
    this.figures.divergences.set(
      divergence.what,
      (this.figures.divergences.get(divergence.what) ?? 0) + 1,
    );
    return divergence;
  }

  private async checkEntries(directory: string, outcome: Outcome): Promise<void> {
    const actor = await this.ours.actor(0);
    const seen = new Set<string>();
    for (const entry of outcome.entries ?? []) {
      if (seen.has(entry.name))
        this.fail(`${JSON.stringify(entry.name)} is listed twice in ${directory}`);
      seen.add(entry.name);
      // `..` of the root is the mount point's own parent.
      if (entry.name === '..') continue;
      const path = `${directory}/${entry.name}`;
      const wrong = InodeWatch.entry(entry, await actor.lstat(pathBytes(path)));
      if (wrong !== undefined) this.fail(`${wrong}, in ${directory}`);
    }
  }

  private async tree(side: Side): Promise<Tree> {
    this.figures.trees++;
    const tree = await treeOf(await side.actor(0), side.mnt, { nlink: side.countLinks });
    return side.name === 'kernel' ? withoutStrayWhiteouts(tree) : tree;
  }

  /** All that the two show, now. Returns the trees with their exact times. */
  private async compare(when: string): Promise<[ours: Tree, kernels: Tree]> {
    const trees = await this.both((side) => this.tree(side));
    const [ours, kernels] = trees.map((tree) => this.withoutNow(tree)) as [Tree, Tree];
    this.sameTree(ours, kernels, `${when}: + plyfs, - kernel`);
    return trees;
  }

  private sameTree(found: Tree, wanted: Tree, what: string): void {
    const lines = differences(found, wanted);
    if (lines.length > 0) this.fail(`${what}\n  ${lines.slice(0, 12).join('\n  ')}`);
  }

  private withoutNow(tree: Tree): Tree {
    const shown = new Map<string, string>();
    for (const [path, line] of tree) {
      shown.set(
        path,
        line.replace(/ mtime (\d+)/, (all, time: string) =>
          BigInt(time) >= this.start ? ' mtime now' : all,
        ),
      );
    }
    return shown;
  }

  private async remount(): Promise<void> {
    // Every name has been looked at before: hard links that are to stay together are found.
    const [ours, kernels] = await this.compare('before remounting');
    this.done.push('remount');
    await this.leave();
    await this.mount();
    this.forgetLinks();
    const [again, kernelsAgain] = await this.compare('after remounting');
    this.sameTree(
      withoutLinks(kernelsAgain),
      withoutLinks(kernels),
      'the kernel, + mounted again, - before',
    );
    this.sameTree(withoutLinks(again), withoutLinks(ours), 'plyfs, + mounted again, - before');
  }

  private async exchange(): Promise<void> {
    const [ours, kernels] = await this.compare('before the exchange');
    const indexed = await this.indexed();
    this.done.push('exchange');
    await this.leave();
    this.swapped = !this.swapped;
    this.inodes.clear();
    await this.mount();
    this.forgetLinks();
    const [oursNow, kernelsNow] = await this.both((side) => this.tree(side));
    this.sameTree(
      withoutLinks(kernelsNow),
      withoutLinks(ours),
      "the kernel on plyfs's upper, + now, - as plyfs showed it",
    );
    const known = (tree: Tree) =>
      withoutLinks(new Map([...tree].filter(([path]) => !indexed.has(path))));
    this.sameTree(
      known(oursNow),
      known(kernels),
      "plyfs on the kernel's upper, + now, - as the kernel showed it",
    );
  }

  /**
   * Where a lower layer has hard links, plyfs knows after a remount no more how many of the names
   * were removed (hard-links.ts).
   */
  private forgetLinks(): void {
    if (hasHardLinks(this.scenario)) this.ours.countLinks = this.kernels.countLinks = false;
  }

  /**
   * The names of hard-linked lower files as the kernel shows them: what it wrote through one of
   * them it finds by its index alone.
   */
  private async indexed(): Promise<ReadonlySet<string>> {
    if (!hasHardLinks(this.scenario)) return new Set();
    const tree = await treeOf(await this.kernels.actor(0), this.kernels.mnt, { ino: true });
    return new Set(
      [...tree].flatMap(([path, line]) =>
        this.shared.has(BigInt(/ ino (\d+)/.exec(line)?.[1] ?? 0)) ? [path] : [],
      ),
    );
  }

  private async leave(): Promise<void> {
    await this.both((side) => side.unmount());
    const faults = await upperFaults(this.disk, this.ours, this.scenario, this.swapped);
    if (faults.length > 0) this.fail(`the upper of plyfs: ${faults.join('; ')}`);
  }
}

/** Hard links of a lower layer are kept by the index, which only its writer has. */
function withoutLinks(tree: Tree): Tree {
  return new Map([...tree].map(([path, line]) => [path, line.replace(/ nlink \d+/, '')]));
}

function hasHardLinks(scenario: Scenario): boolean {
  return scenario.lowers.some((layer) => layer.entries.some((entry) => entry.kind === 'link'));
}

/**
 * `base`: an empty directory; what is mounted in it is unmounted again, also after a failure when
 * actors let go.
 */
export async function runScenario(
  scenario: Scenario,
  base: string,
  figures: Figures,
): Promise<void> {
  const disk = await Actor.start();
  const lowers = scenario.lowers.map((_, i) => `${base}/lower${i + 1}`);
  // A layer in another dialect is translated for the kernel.
  const ourLowers = scenario.lowers.map(
    ({ dialect }, i) => `${base}/${dialect === undefined ? '' : `${dialect}-`}lower${i + 1}`,
  );
  const everyLower = [...new Set([...lowers, ...ourLowers])];
  for (const lower of everyLower) await mkdir(lower);
  for (const side of ['ours', 'kernels'])
    for (const name of ['upper', 'work', 'mnt'])
      await mkdir(`${base}/${side}/${name}`, { recursive: true });
  for (const [i, layer] of [...scenario.lowers.entries()].reverse()) {
    const laid = await layLayer(disk, layer, lowers[i] ?? '', lowers.slice(i + 1));
    if (layer.dialect !== undefined) await layInAufs(disk, laid, ourLowers[i] ?? '');
  }
  for (const side of ['ours', 'kernels'])
    await layLayer(disk, scenario.upper ?? { entries: [] }, `${base}/${side}/upper`);
  const held = await lowersHeld(disk, everyLower);

  const options = [
    `redirect_dir=${scenario.redirect ? 'on' : 'off'}`,
    `index=${hasHardLinks(scenario) ? 'on' : 'off'}`,
    'metacopy=off',
    'noatime',
  ];
  // Coarse clocks of file systems lag behind; layers' times are years older.
  const start = BigInt(Date.now() - 3_600_000) * 1_000_000n;
  const ours = new Side({
    mounter: plyfs,
    lowers: ourLowers,
    base: `${base}/ours`,
    options,
    start,
  });
  const kernels = new Side({ mounter: kernel, lowers, base: `${base}/kernels`, options, start });
  try {
    await new Run(scenario, ours, kernels, disk, figures, start, held.shared).all();
    const after = await lowersHeld(disk, everyLower);
    const changed = differences(after.tree, held.tree);
    if (changed.length > 0)
      throw new Difference(
        `a lower layer was changed\n  ${changed.join('\n  ')}`,
        scenario.operations.length,
      );
    figures.scenarios++;
  } finally {
    await Promise.all([ours.abandon(), kernels.abandon()]);
    await Promise.allSettled([ours.unmount(), kernels.unmount()]);
    await disk.end();
  }
}

/** All lower layers as one tree, and the inode numbers of their hard-linked files. */
async function lowersHeld(
  disk: Actor,
  lowers: readonly string[],
): Promise<{ tree: Tree; shared: ReadonlySet<bigint> }> {
  const tree = new Map<string, string>();
  const shared = new Set<bigint>();
  for (const lower of lowers) {
    for (const [path, line] of await treeOf(disk, lower, { nlink: true, ino: true })) {
      tree.set(`${lower}/${path}`, line);
      const [, nlink, ino] = / nlink (\d+) ino (\d+)/.exec(line) ?? [];
      if (nlink !== undefined && nlink !== '1' && ino !== undefined) shared.add(BigInt(ino));
    }
  }
  return { tree, shared };
}
