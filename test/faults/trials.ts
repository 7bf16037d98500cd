/**
 * A scenario of scenarios.ts in many directories of one union, `t0`, `t1`, …: each is a trial that
 * nothing has touched before.
 *
 * What a trial shows is compared between trials. Times before the test are exact, those of the test
 * itself are all `now`; inode numbers are told as the lower file they belong to, wherever that is
 * now, or as `own`.
 */
import { readdirSync } from 'node:fs';
import { ended, succeed } from '../support/command.js';
import { daemonsOf } from '../support/mounts.js';
import { Actor } from '../suites/actor.js';
import { unmount } from '../suites/mounters.js';
import { treeOf, type Tree } from '../suites/tree.js';
import { NOBODY } from '../support/users.js';
import type { FaultScenario } from './scenarios.js';

/** A time before any test, with nanoseconds. */
const PAST = '@1000000000.123456789';

/** Where a union's directories are. */
export interface Place {
  /** Holds `upper` and `work`. */
  readonly base: string;
  /** Default: `lower1` beside them. */
  readonly lower?: string;
  readonly mnt: string;
}

const lowerOf = ({ base, lower = `${base}/lower1` }: Place): string => lower;

/** Lays the trials `from` to `to - 1` into the layers, which must not be mounted. */
export async function layTrials(
  place: Place,
  scenario: FaultScenario,
  from: number,
  to: number,
): Promise<void> {
  const lower = lowerOf(place);
  const lay = async (layer: string, i: number, into: FaultScenario['lay']): Promise<void> => {
    const actor = await Actor.start({ cwd: layer });
    await actor.mkdir(`t${i}`);
    await actor.chdir(`t${i}`);
    await into(actor);
    await actor.end();
    await succeed(['find', `${layer}/t${i}`, '-exec', 'touch', '-h', '-d', PAST, '{}', '+']);
  };
  for (let i = from; i < to; i++) {
    await lay(lower, i, (actor) => scenario.lay(actor));
    if (scenario.layUpper !== undefined)
      await lay(`${place.base}/upper`, i, async (actor) => {
        await scenario.layUpper?.(actor);
      });
  }
  await succeed(['touch', '-d', PAST, lower]);
}

/** The mount as a trial sees it, and the acting user. */
export class Trial {
  private constructor(
    readonly place: Place,
    readonly scenario: FaultScenario,
    readonly name: string,
    private readonly root: Actor,
    private readonly user: Actor,
  ) {}

  /** The mount must answer. */
  static async start(place: Place, scenario: FaultScenario, index: number): Promise<Trial> {
    const cwd = `${place.mnt}/t${index}`;
    const root = await Actor.start({ cwd });
    const user =
      scenario.user === true
        ? await Actor.start({ cwd, identity: { uid: NOBODY, gid: NOBODY } })
        : root;
    return new Trial(place, scenario, `t${index}`, root, user);
  }

  async prepare(): Promise<void> {
    await this.scenario.prepare?.(this.root);
  }

  /** Undefined when the operation succeeded, else why not. */
  async act(): Promise<unknown> {
    try {
      await this.scenario.act(this.user);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  shown(since: bigint): Promise<Tree> {
    return shownOf(this.root, this.place, this.name, since, this.scenario);
  }

  async end(): Promise<void> {
    await this.root.end();
    if (this.user !== this.root) await this.user.end();
  }
}

/** What the mount shows of one trial; `since`: when the test began, in nanoseconds. */
export async function shownOf(
  actor: Actor,
  place: Place,
  name: string,
  since: bigint,
  { options = [] }: Pick<FaultScenario, 'options'>,
): Promise<Tree> {
  const lower = await treeOf(actor, `${lowerOf(place)}/${name}`, { ino: true });
  const known = new Map([...lower].map(([path, line]) => [/ ino (\d+)/.exec(line)?.[1], path]));
  // Without an index names of one file may part.
  const shown = await treeOf(actor, `${place.mnt}/${name}`, {
    ino: true,
    nlink: options.includes('index=on'),
  });
  const told = (line: string) =>
    line
      .replace(/ mtime (\d+)/, (all, time: string) => (BigInt(time) >= since ? ' mtime now' : all))
      .replace(
        / ino (\d+)/,
        (_all, ino: string) =>
          ` ino ${known.has(ino) ? `of the lower ${known.get(ino) ?? ''}` : 'own'}`,
      );
  return new Map([...shown].map(([path, line]) => [path, told(line)]));
}

/** Without the times of directories. */
export function withoutDirectoryTimes(tree: Tree): Tree {
  return new Map(
    [...tree].map(([path, line]) => [
      path,
      line.startsWith('dir ') ? line.replace(/ mtime \S+/, '') : line,
    ]),
  );
}

/** With inode numbers of their own for the paths that get one at the next mount. */
export function withNewNumber(tree: Tree, paths: readonly string[]): Tree {
  return new Map(
    [...tree].map(([path, line]) => [
      path,
      paths.includes(path) ? line.replace(/ ino of the lower \S+/, ' ino own') : line,
    ]),
  );
}

export function withoutNumbers(tree: Tree): Tree {
  return new Map(
    [...tree].map(([path, line]) => [path, line.replace(/ ino (own|of the lower \S+)/, '')]),
  );
}

/** Unmounts, and waits until the daemon has let go of the upper. */
export async function unmountWholly(mnt: string): Promise<void> {
  const daemons = daemonsOf(mnt);
  await unmount(mnt);
  for (const daemon of daemons) await ended(daemon);
}

/** What lies in the workdir that an unmounted or idle union leaves empty. */
export function leftovers(place: Place): string[] {
  return readdirSync(`${place.base}/work/work`);
}

/**
 * Nanoseconds since the epoch, a little before now: file systems tell the time of the last tick.
 */
export function startOfTest(): bigint {
  return (BigInt(Date.now()) - 1000n) * 1_000_000n;
}
