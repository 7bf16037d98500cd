/**
 * What a Linux file system must do, as a function of a mount point.
 *
 * Every case gets a fresh directory below `mountpoint`, prepares names in it, calls `settle()` and
 * then acts and asserts. All cases prepare first; then the target may move what they prepared into
 * lower layers, or lay other things underneath, and mount again, once; then the cases go on one
 * after the other. New names are called `new` or `new2` (`newNames`), so that a target can put
 * whiteouts where they will be made. The suite runs on a plain directory too, so that its
 * expectations are checked themselves.
 */
import type { Test } from 'tap';
import { E, Errno, errnoName } from '../../src/base/errno.js';
import { figure } from '../support/figures.js';
import { Actor, type ActorOptions, type Identity } from './actor.js';
import { accessCases } from './posix/access.js';
import { aclCases } from './posix/acl.js';
import { contentCases } from './posix/content.js';
import { descriptorCases } from './posix/descriptors.js';
import { directoryCases } from './posix/directories.js';
import { linkCases } from './posix/links.js';
import { lockCases } from './posix/locks.js';
import { mappingCases } from './posix/mappings.js';
import { metadataCases } from './posix/metadata.js';
import { nameCases } from './posix/names.js';
import { openCases } from './posix/open.js';
import { pathCases } from './posix/paths.js';
import { rangeCases } from './posix/ranges.js';
import { readdirCases } from './posix/readdir.js';
import { raceCases } from './posix/races.js';
import { renameCases } from './posix/rename.js';
import { timeCases } from './posix/times.js';
import { xattrCases } from './posix/xattrs.js';

export type ErrnoName = keyof typeof E;

/** Names that cases create after `settle()`. */
export const newNames = ['new', 'new2'] as const;

export const nobody: Identity = { uid: 65534, gid: 65534 };

export class Scene {
  private test: Test | undefined;
  private current: Actor | undefined;
  private readonly actors: Actor[] = [];
  private reached: () => void = () => undefined;
  private go: () => void = () => undefined;
  /** Resolved when the case has prepared its directory. */
  readonly prepared = new Promise<void>((resolve) => (this.reached = resolve));
  private readonly resumed = new Promise<void>((resolve) => (this.go = resolve));

  /** `dir`: the case's directory, absolute. */
  constructor(readonly dir: string) {}

  /** For assertions, after `settle()`. */
  get t(): Test {
    if (!this.test) throw new Error('a case asserts before settle()');
    return this.test;
  }

  /** Acts as the test's own user, in the case's directory. */
  get actor(): Actor {
    if (!this.current) throw new Error('the scene has not begun');
    return this.current;
  }

  async begin(): Promise<void> {
    this.current = await this.start();
  }

  /** Another actor in the case's directory; ended with the scene. */
  async start(options: ActorOptions = {}): Promise<Actor> {
    const actor = await Actor.start({ cwd: this.dir, ...options });
    this.actors.push(actor);
    return actor;
  }

  /** What was prepared becomes what the target makes of it; descriptors opened so far are gone. */
  async settle(): Promise<void> {
    await this.end();
    this.reached();
    await this.resumed;
    await this.begin();
  }

  resume(t: Test): void {
    this.test = t;
    this.go();
  }

  async end(): Promise<void> {
    for (const actor of this.actors.splice(0)) await actor.end();
    this.current = undefined;
  }

  /** Asserts that a call fails with this errno. */
  async fails(expected: ErrnoName, call: Promise<unknown>, what?: string): Promise<void> {
    await fails(this.t, expected, call, what);
  }
}

export async function fails(
  t: Test,
  expected: ErrnoName,
  call: Promise<unknown>,
  what?: string,
): Promise<void> {
  let got = 'success';
  let detail = '';
  try {
    await call;
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    got = errnoName(error.errno);
    detail = error.message;
    if (error.errno === E[expected]) got = expected;
  }
  t.equal(got, expected, what ?? `${expected} ${detail}`);
}

export type PosixCase = (scene: Scene) => Promise<void>;
/** By the case's name, which says what must hold. */
export type PosixCases = Readonly<Record<string, PosixCase | { readonly asRoot: PosixCase }>>;

/** A case that only root can play. */
export function asRoot(run: PosixCase): { readonly asRoot: PosixCase } {
  return { asRoot: run };
}

export interface PosixOptions {
  /** Where the cases are counted at the end of the run, e.g. `a plain directory`. */
  readonly target: string;
  /** Cases this target cannot pass, by name, each with its reason. */
  readonly exclude?: Readonly<Record<string, string>>;
  /**
   * Called once, when all cases have prepared their directories (absolute) and no process uses the
   * mount. Default: nothing.
   */
  readonly settle?: (dirs: readonly string[]) => Promise<void>;
}

const groups: Readonly<Record<string, PosixCases>> = {
  paths: pathCases,
  open: openCases,
  descriptors: descriptorCases,
  directories: directoryCases,
  links: linkCases,
  rename: renameCases,
  metadata: metadataCases,
  times: timeCases,
  content: contentCases,
  ranges: rangeCases,
  mappings: mappingCases,
  locks: lockCases,
  xattrs: xattrCases,
  acl: aclCases,
  access: accessCases,
  names: nameCases,
  readdir: readdirCases,
  races: raceCases,
};

/** Runs every case as a subtest of `t`. */
export async function posixSuite(
  t: Test,
  mountpoint: string,
  options: PosixOptions,
): Promise<void> {
  const root = process.getuid?.() === 0;
  const exclude = options.exclude ?? {};
  const names = new Set(Object.values(groups).flatMap((cases) => Object.keys(cases)));
  for (const name of Object.keys(exclude))
    if (!names.has(name)) t.fail(`the exclusion "${name}" names no case`);

  interface Planned {
    readonly group: string;
    readonly name: string;
    readonly skip: string | false;
    readonly scene: Scene;
    readonly outcome: Promise<Error | undefined>;
  }
  const planned: Planned[] = [];
  const maker = await Actor.start({ cwd: mountpoint });
  const make = async (dir: string) => {
    try {
      await maker.mkdir(dir, 0o755);
    } catch (error) {
      await maker.end();
      throw error;
    }
  };
  for (const [group, cases] of Object.entries(groups)) {
    for (const [name, entry] of Object.entries(cases)) {
      if (exclude[name] !== undefined) {
        t.comment(`not for this target: ${name}: ${exclude[name]}`);
        continue;
      }
      const run = typeof entry === 'function' ? entry : entry.asRoot;
      const skip = typeof entry !== 'function' && !root ? 'needs root' : false;
      const scene = new Scene(`${mountpoint}/case${planned.length + 1}`);
      let outcome: Promise<Error | undefined> = Promise.resolve(undefined);
      if (skip === false) {
        await make(scene.dir);
        await scene.begin();
        outcome = run(scene).then(
          () => undefined,
          (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
        );
        await Promise.race([scene.prepared, outcome]);
      }
      planned.push({ group, name, skip, scene, outcome });
    }
  }
  await maker.end();
  // A case that failed in its preparation must not keep the mount busy.
  for (const { scene } of planned) await scene.end();
  await options.settle?.(
    planned.filter(({ skip }) => skip === false).map(({ scene }) => scene.dir),
  );

  const counted = { cases: 0, assertions: 0 };
  for (const group of new Set(planned.map((one) => one.group))) {
    await t.test(group, async (t) => {
      for (const { name, skip, scene, outcome } of planned.filter((one) => one.group === group)) {
        await t.test(name, { skip }, async (t) => {
          scene.resume(t);
          const error = await outcome;
          await scene.end();
          if (error) throw error;
          counted.cases++;
          counted.assertions += t.counts.pass;
        });
      }
    });
  }
  figure(t, counted.cases, `posix cases on ${options.target}`);
  figure(t, counted.assertions, `posix assertions on ${options.target}`);
}
