/**
 * Applies one scenario to plyfs and to the kernel's overlay, side by side, and throws at the first
 * difference.
 */
import { chmod, mkdir, mkdtemp } from 'node:fs/promises';
import { E } from '../../../src/base/errno.js';
import { succeed } from '../../support/command.js';
import { unmountAll } from '../../support/mounts.js';
import { Actor } from '../actor.js';
import { RENAME_EXCHANGE, S_IFDIR, S_IFLNK, S_IFMT } from '../constants.js';
import { optionsOf, plyfs } from '../mounters.js';
import { differences, type Tree } from '../tree.js';
import { explained, type Divergence, withoutStraysIn } from './differences.js';
import { InodeWatch } from './inode-watch.js';
import { layInDialect, layLayer } from './layers.js';
import type { Places } from './places.js';
import {
  parentOf,
  pathsOf,
  places,
  type Call,
  type Operation,
  type Place,
  type Scenario,
  type Time,
} from './scenario.js';
import { Server } from './server.js';
import { pathBytes, Side, type Outcome } from './side.js';
import { linesOf, snapshot, type Snapshot } from './snapshot.js';
import { upperFaults } from './upper-faults.js';

/** What a run has done, for its report. */
export interface Figures {
  scenarios: number;
  /** By operation: how often it succeeded on both sides, and how often it failed alike. */
  readonly operations: Record<string, { succeeded: number; failed: number }>;
  mounts: number;
  /** Whole trees that were compared. */
  trees: number;
  /** Chosen differences that were met, by name. */
  readonly divergences: Record<string, number>;
}

export function newFigures(): Figures {
  return { scenarios: 0, operations: {}, mounts: 0, trees: 0, divergences: {} };
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
  private readonly done: (() => string)[] = [];
  private swapped = false;
  private applied = 0;
  private ended = false;
  private readonly inodes: InodeWatch;

  constructor(
    readonly scenario: Scenario,
    readonly ours: Side,
    readonly kernels: Side,
    readonly storages: readonly [ours: string, kernels: string],
    readonly disk: Actor,
    readonly figures: Figures,
    readonly start: bigint,
    readonly shared: ReadonlySet<bigint>,
  ) {
    this.inodes = new InodeWatch(shared);
  }

  private fail(why: string): never {
    throw new Difference(
      `${why}\n  after:\n    ${this.done
        .slice(-25)
        .map((line) => line())
        .join('\n    ')}`,
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
    const [mine, theirs] = this.storages;
    const [one, other] = this.swapped ? [theirs, mine] : [mine, theirs];
    await Promise.all([this.ours.mount(one), this.kernels.mount(other)]);
    this.figures.mounts += 2;
  }

  /**
   * Takes whiteouts that hide nothing out of the first upper: no overlay leaves them, and the
   * kernel stumbles over them.
   */
  private async withoutStrays(): Promise<void> {
    for (;;) {
      const strays = [...(await this.kernels.snapshot()).values()].flatMap(({ path, error }) =>
        error === E.ENOENT ? [path] : [],
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
    // A write through a mapping takes it away here (differences.ts).
    if (operation.op === 'mapwrite' && (await this.kernels.hasCapability(operation.slot))) return;
    const reads = readers.has(operation.op);
    // What a call left behind, whether it failed or not.
    const paths = reads ? [] : pathsOf(operation).filter((path) => path !== '.');
    const looks = reads ? [] : [...new Set(['.', ...paths.map(parentOf), ...paths])];
    // What an open of now has made is looked at by its path.
    const slot =
      reads || !('slot' in operation) || operation.op === 'open'
        ? undefined
        : 'to' in operation
          ? operation.to
          : operation.slot;
    const [{ outcome: ours, looked: oursLooked }, { outcome: kernels, looked: kernelsLooked }] =
      await this.both((side) => side.step(operation, looks, slot));
    if (ours.failed === 'no descriptor' && kernels.failed === ours.failed) return;
    const succeeded = ours.failed === undefined;
    this.count(operation, succeeded);
    this.done.push(() => `${JSON.stringify(operation)} = ${ours.text.slice(0, 200)}`);
    const shown =
      kernels.entries !== undefined && kernels.text !== ours.text
        ? await this.kernels.withoutStrays(operation, kernels)
        : kernels;
    const parted = this.same(operation, () => JSON.stringify(operation), ours, shown);
    if (parted?.ends === true) {
      this.ended = true;
      return;
    }
    if (parted?.closes === true && slot !== undefined)
      await this.both((side) => side.step({ op: 'close', slot }));
    if (operation.op === 'list' && ours.entries !== undefined)
      await this.checkEntries(operation.path, ours);
    if (succeeded)
      this.inodes.after(
        operation,
        operation.op === 'rename' && (operation.flags & RENAME_EXCHANGE) !== 0,
      );
    const [mine, theirs] = [oursLooked[looks.length], kernelsLooked[looks.length]];
    if (
      slot !== undefined &&
      parted?.closes !== true &&
      mine !== undefined &&
      theirs !== undefined
    ) {
      const look: Call = { op: 'fstat', slot };
      this.same(look, () => `fstat after ${JSON.stringify(operation)}`, mine, theirs);
    }
    for (const [i, path] of looks.entries()) {
      const [one, two] = [oursLooked[i], kernelsLooked[i]];
      if (one === undefined || two === undefined) continue;
      const divergence = this.same(
        operation,
        () => `lstat of ${JSON.stringify(path)} after ${JSON.stringify(operation)}`,
        one,
        two,
        ours.failed,
      );
      if (divergence?.ends === true) {
        this.ended = true;
        return;
      }
      if (divergence?.lasts === true && one.stat !== undefined)
        await this.level(path, one.stat.mode);
      if (one.stat !== undefined) {
        const moved = this.inodes.seen(path, one.stat);
        if (moved !== undefined) this.fail(moved);
      }
    }
  }

  private count({ op }: Operation, succeeded: boolean): void {
    const { operations } = this.figures;
    const counted = (operations[op] ??= { succeeded: 0, failed: 0 });
    if (succeeded) counted.succeeded++;
    else counted.failed++;
  }

  private async level(path: string, mode: number): Promise<void> {
    if ((mode & S_IFMT) !== S_IFLNK)
      await this.both((side) => side.step({ op: 'chmod', who: 0, path, mode: mode & 0o7777 }));
    await this.both((side) =>
      side.step({ op: 'utimens', who: 0, path, atime: LEVEL, mtime: LEVEL }),
    );
  }

  private same(
    operation: Call,
    what: () => string,
    ours: Outcome,
    kernels: Outcome,
    failed?: string,
  ): Divergence | undefined {
    if (ours.text === kernels.text) return undefined;
    const divergence = explained(this.scenario, operation, ours, kernels, failed);
    if (divergence === undefined)
      this.fail(`${what()}\n  plyfs:  ${ours.text}\n  kernel: ${kernels.text}`);
    const { divergences } = this.figures;
    divergences[divergence.what] = (divergences[divergence.what] ?? 0) + 1;
    return divergence;
  }

  private async checkEntries(directory: string, outcome: Outcome): Promise<void> {
    const entries = outcome.entries ?? [];
    const seen = new Set<string>();
    for (const { name } of entries) {
      if (seen.has(name)) this.fail(`${JSON.stringify(name)} is listed twice in ${directory}`);
      seen.add(name);
    }
    // `..` of the root is the mount point's own parent.
    const asked = entries.filter(({ name }) => name !== '..');
    const stats = await this.ours.lstats(asked.map(({ name }) => `${directory}/${name}`));
    for (const [i, entry] of asked.entries()) {
      const stat = stats[i];
      const wrong = stat === undefined ? undefined : InodeWatch.entry(entry, stat);
      if (wrong !== undefined) this.fail(`${wrong}, in ${directory}`);
    }
  }

  /** What both show now, as lines, with exact times. */
  private async trees(): Promise<[ours: Snapshot, kernels: Snapshot]> {
    const [ours, kernels] = await this.both((side) => side.snapshot());
    this.figures.trees += 2;
    for (const [path, { stat, told }] of ours) {
      if (stat === undefined) continue;
      const seen = { ino: BigInt(stat.ino), mode: stat.mode };
      const wrong =
        path === '.'
          ? undefined
          : InodeWatch.entry({ name: path, ino: BigInt(told.ino), type: told.type }, seen);
      const moved = wrong ?? this.inodes.seen(path, seen);
      if (moved !== undefined) this.fail(moved);
    }
    return [ours, withoutStraysIn(kernels)];
  }

  /** All that the two show, now. Returns it. */
  private async compare(when: string): Promise<[ours: Snapshot, kernels: Snapshot]> {
    const trees = await this.trees();
    const [ours, kernels] = trees;
    this.sameTree(
      linesOf(ours, { nlink: this.ours.countLinks, start: this.start }),
      linesOf(kernels, { nlink: this.kernels.countLinks, start: this.start }),
      `${when}: + plyfs, - kernel`,
    );
    return trees;
  }

  private sameTree(found: Tree, wanted: Tree, what: string): void {
    const lines = differences(found, wanted);
    if (lines.length > 0) this.fail(`${what}\n  ${lines.slice(0, 12).join('\n  ')}`);
  }

  private async remount(): Promise<void> {
    // Every name has been looked at before: hard links that are to stay together are found.
    const [ours, kernels] = await this.compare('before remounting');
    this.done.push(() => 'remount');
    await this.leave();
    // Where a file came from is not believed of `user.` attributes (belief.ts).
    if (this.scenario.userxattr === true) this.inodes.clear();
    await this.mount();
    this.forgetLinks();
    const [again, kernelsAgain] = await this.compare('after remounting');
    this.sameTree(linesOf(kernelsAgain), linesOf(kernels), 'the kernel, + mounted again, - before');
    this.sameTree(linesOf(again), linesOf(ours), 'plyfs, + mounted again, - before');
  }

  private async exchange(): Promise<void> {
    const [ours, kernels] = await this.compare('before the exchange');
    const indexed = this.indexed(kernels);
    this.done.push(() => 'exchange');
    await this.leave();
    this.swapped = !this.swapped;
    this.inodes.clear();
    await this.mount();
    this.forgetLinks();
    const [oursNow, kernelsNow] = await this.trees();
    this.sameTree(
      linesOf(kernelsNow),
      linesOf(ours),
      "the kernel on plyfs's upper, + now, - as plyfs showed it",
    );
    const known = (taken: Snapshot) =>
      linesOf(new Map([...taken].filter(([path]) => !indexed.has(path))));
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
  private indexed(kernels: Snapshot): ReadonlySet<string> {
    if (!hasHardLinks(this.scenario)) return new Set();
    return new Set(
      [...kernels].flatMap(([path, { stat }]) =>
        stat !== undefined && this.shared.has(BigInt(stat.ino)) ? [path] : [],
      ),
    );
  }

  private async leave(): Promise<void> {
    await this.both((side) => side.unmount());
    const faults = await upperFaults(this.disk, this.ours, this.scenario, this.swapped);
    if (faults.length > 0) this.fail(`the upper of plyfs: ${faults.join('; ')}`);
  }
}

function hasHardLinks(scenario: Scenario): boolean {
  return scenario.lowers.some((layer) => layer.entries.some((entry) => entry.kind === 'link'));
}

/** Processes that one scenario after another is run by. */
export class Bench {
  private constructor(
    readonly places: Places,
    readonly ours: Actor,
    readonly kernels: Actor,
    readonly disk: Actor,
    readonly server: Server,
  ) {}

  static async start(places: Places): Promise<Bench> {
    const [ours, kernels, disk] = [await Actor.start(), await Actor.start(), await Actor.start()];
    return new Bench(places, ours, kernels, disk, new Server());
  }

  /** Actors may be stuck in a call, which the server's end ends. */
  async end(): Promise<void> {
    await this.server.end();
    await Promise.all([this.ours, this.kernels, this.disk].map((actor) => actor.kill()));
  }
}

/** Directories of one scenario. */
export class Grounds {
  private constructor(
    private readonly places: Places,
    private readonly name: string,
  ) {}

  /** `name`: of a directory that is made on each file system. */
  static async make(places: Places): Promise<Grounds> {
    const name = (await mkdtemp(`${places.disk}/s-`)).slice(places.disk.length + 1);
    const grounds = new Grounds(places, name);
    for (const directory of grounds.everywhere()) await mkdir(directory, { recursive: true });
    // mkdtemp(3) lets its owner in alone.
    await chmod(grounds.at('disk'), 0o755);
    return grounds;
  }

  at(place: Place): string {
    return `${this.places[place]}/${this.name}`;
  }

  private everywhere(): string[] {
    return [...new Set(places.map((place) => this.at(place)))];
  }

  async leave(disk: Actor): Promise<void> {
    for (const directory of this.everywhere()) await disk.removeTree(directory);
  }

  /** After a failure, when the bench has ended: what is mounted is unmounted. */
  async abandon(): Promise<void> {
    await unmountAll(this.at('disk'));
    await succeed(['rm', '-rf', ...this.everywhere()]);
  }
}

/** Nothing stays mounted. After a failure the bench is to be ended. */
export async function runScenario(
  scenario: Scenario,
  bench: Bench,
  grounds: Grounds,
  figures: Figures,
): Promise<void> {
  const { disk } = bench;
  const at = (place?: Place) => grounds.at(place ?? scenario.place ?? 'ext4');
  const lowers = scenario.lowers.map(({ place }, i) => `${at(place)}/lower${i + 1}`);
  // A layer in another dialect is translated for the kernel.
  const ourLowers = scenario.lowers.map(({ dialect, place }, i) =>
    dialect === undefined ? (lowers[i] ?? '') : `${at(place)}/${dialect}-lower${i + 1}`,
  );
  const everyLower = [...new Set([...lowers, ...ourLowers])];
  const storages = [`${at()}/ours`, `${at()}/kernels`] as const;
  const mounts = [`${at('disk')}/mnt-ours`, `${at('disk')}/mnt-kernels`] as const;
  for (const directory of [...everyLower, ...storages, ...mounts]) await mkdir(directory);
  for (const storage of storages)
    for (const name of ['upper', 'work']) await mkdir(`${storage}/${name}`);
  const prefix = scenario.userxattr === true ? 'user.overlay.' : 'trusted.overlay.';
  for (const [i, layer] of [...scenario.lowers.entries()].reverse()) {
    const laid = await layLayer(disk, layer, lowers[i] ?? '', prefix, lowers.slice(i + 1));
    if (layer.dialect !== undefined)
      await layInDialect(disk, laid, ourLowers[i] ?? '', layer.dialect);
  }
  for (const storage of storages)
    await layLayer(disk, scenario.upper ?? { entries: [] }, `${storage}/upper`, prefix);
  const held = await lowersHeld(disk, everyLower);

  const options = [
    ...(scenario.userxattr === true
      ? ['userxattr']
      : [`redirect_dir=${scenario.redirect ? 'on' : 'off'}`, 'metacopy=off']),
    `index=${hasHardLinks(scenario) ? 'on' : 'off'}`,
  ];
  // Coarse clocks of file systems lag behind; layers' times are years older.
  const start = BigInt(Date.now() - 3_600_000) * 1_000_000n;
  const { server } = bench;
  const ours = new Side(
    {
      name: 'plyfs',
      actor: bench.ours,
      mount: (spec, dir) => (scenario.program === true ? plyfs : server).mount(spec, dir),
      ended: () => server.ended(),
      lowers: ourLowers,
      mnt: mounts[0],
      options: [...options, 'noatime'],
      start,
    },
    storages[0],
  );
  const kernels = new Side(
    {
      name: 'kernel',
      actor: bench.kernels,
      mount: (spec, dir) => bench.kernels.mount('overlay', dir, optionsOf(spec)),
      lowers,
      mnt: mounts[1],
      options,
      start,
    },
    storages[1],
  );
  const run = new Run(scenario, ours, kernels, storages, disk, figures, start, held.shared);
  await run.all();
  const after = await lowersHeld(disk, everyLower);
  const changed = differences(after.tree, held.tree);
  if (changed.length > 0)
    throw new Difference(
      `a lower layer was changed\n  ${changed.join('\n  ')}`,
      scenario.operations.length,
    );
  figures.scenarios++;
}

/** All lower layers as one tree, and the inode numbers of their hard-linked files. */
async function lowersHeld(
  disk: Actor,
  lowers: readonly string[],
): Promise<{ tree: Tree; shared: ReadonlySet<bigint> }> {
  const tree = new Map<string, string>();
  const shared = new Set<bigint>();
  for (const lower of lowers) {
    const taken = await snapshot(disk, Buffer.from(lower));
    for (const [path, line] of linesOf(taken, { nlink: true, ino: true }))
      tree.set(`${lower}/${path}`, line);
    for (const { stat } of taken.values()) {
      if (stat !== undefined && stat.nlink > 1 && (stat.mode & S_IFMT) !== S_IFDIR)
        shared.add(BigInt(stat.ino));
    }
  }
  return { tree, shared };
}
