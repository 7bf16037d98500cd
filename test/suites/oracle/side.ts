/**
 * One of the two unions that a scenario is applied to: its mount, and the descriptors that
 * its actor keeps open there.
 */
import { mkdir } from 'node:fs/promises';
import { E, Errno, errnoName } from '../../../src/base/errno.js';
import { GIVEN, inOrder, type Actor, type Entry, type Stat } from '../actor.js';
import {
  AT_SYMLINK_FOLLOW,
  DT,
  MAP_SHARED,
  O_NONBLOCK,
  O_RDONLY,
  PROT_READ,
  PROT_WRITE,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../constants.js';
import type { UnionSpec } from '../mounters.js';
import { isStrayWhiteout } from './differences.js';
import { actors, type Call } from './scenario.js';
import { snapshot, type Snapshot } from './snapshot.js';

/** An answer that takes longer than this is a hang. */
const PATIENCE_MS = 60_000;
const PAGE = 4096;

export const pathBytes = (path: string): Buffer => Buffer.from(path, 'latin1');

/**
 * What a call came to, in one line that must be the same on both sides. `failed`: the errno's name.
 */
export interface Outcome {
  readonly text: string;
  readonly failed?: string;
  /** As the call gave them, for checks within one side. */
  readonly stat?: Stat;
  readonly entries?: readonly Entry[];
}

export async function patiently<T>(what: string, call: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer after ${PATIENCE_MS / 1000} s: ${what}`)),
      PATIENCE_MS,
    );
  });
  try {
    return await Promise.race([call, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The kernel says that an upper which was unmounted is in use, or a mount that nobody here uses any
 * more: a mount namespace that another program made meanwhile holds a copy of the mount, or another
 * program looks into every mount there is. Nothing is wrong with either side.
 */
export class Abandoned extends Error {}

interface Slot {
  readonly who: number;
  readonly fd: number;
}

export interface SideOptions {
  readonly name: 'plyfs' | 'kernel';
  /** Makes the calls, as whoever acts. */
  readonly actor: Actor;
  readonly mount: (spec: UnionSpec, dir: string) => Promise<unknown>;
  /** Settles when what was unmounted has ended. */
  readonly ended?: () => Promise<void>;
  readonly lowers: readonly string[];
  readonly mnt: string;
  readonly options: readonly string[];
  /** Times after this are "now": they differ between the sides. Nanoseconds. */
  readonly start: bigint;
}

export class Side {
  private readonly slots = new Map<number, Slot>();
  private mounted = false;
  private acting = 0;
  /** Off: link counts of files are not told (differences.ts). */
  countLinks = true;

  /** `storage` holds `upper` and `work`; another side's after an exchange. */
  constructor(
    readonly set: SideOptions,
    private storage: string,
  ) {}

  get name(): string {
    return this.set.name;
  }
  get actor(): Actor {
    return this.set.actor;
  }
  get mnt(): string {
    return this.set.mnt;
  }
  get upper(): string {
    return `${this.storage}/upper`;
  }
  get work(): string {
    return `${this.storage}/work`;
  }

  async mount(storage = this.storage): Promise<void> {
    this.storage = storage;
    await mkdir(this.work, { recursive: true });
    const { mount, lowers, options } = this.set;
    const spec = { lowers, upper: this.upper, work: this.work, options };
    await patiently(`mount by ${this.name}`, mount(spec, this.mnt)).catch((error: unknown) => {
      throw /already mounted|busy|EBUSY/.test(String(error)) ? new Abandoned(String(error)) : error;
    });
    this.mounted = true;
    await this.actor.chdir(this.mnt);
  }

  /** Closes every descriptor, and unmounts. */
  async unmount(): Promise<void> {
    const { actor, ended } = this.set;
    this.as(0);
    await Promise.all([...this.slots.values()].map(({ fd }) => actor.close(fd).catch(() => 0)));
    this.slots.clear();
    await actor.chdir('/');
    if (!this.mounted) return;
    this.mounted = false;
    await patiently(`unmount of ${this.name}`, actor.umount(this.mnt)).catch((error: unknown) => {
      throw error instanceof Errno && error.errno === E.EBUSY
        ? new Abandoned(String(error))
        : error;
    });
    if (ended !== undefined) await patiently('the end of the mount', ended());
  }

  private as(who: number): void {
    if (who === this.acting) return;
    this.acting = who;
    void this.actor.as(actors[who] ?? actors[0]);
  }

  /**
   * Applies an operation, and has root look at paths, and at what is open in `slot`, after it; all
   * in one piece.
   */
  async step(
    operation: Call,
    looks: readonly string[] = [],
    slot?: number,
  ): Promise<{ outcome: Outcome; looked: Outcome[] }> {
    const [outcome, ...looked] = await patiently(
      `${this.name}: ${JSON.stringify(operation)}`,
      this.actor.together(() => {
        const applied = this.outcome(this.run(operation));
        const seen = looks.map((path) => {
          this.as(0);
          return this.outcome(this.actor.lstat(pathBytes(path)).then((stat) => this.told(stat)));
        });
        const open = slot === undefined ? undefined : this.slots.get(slot);
        if (open !== undefined)
          seen.push(this.outcome(this.actor.fstat(open.fd).then((stat) => this.told(stat))));
        return Promise.all([applied, ...seen]);
      }),
    );
    return { outcome, looked };
  }

  /** Whether what is open in a slot has a capability. */
  hasCapability(slot: number): Promise<boolean> {
    const open = this.slots.get(slot);
    if (open === undefined) return Promise.resolve(false);
    this.as(0);
    return this.actor.fxattrSize(open.fd, 'security.capability').then(
      () => true,
      () => false,
    );
  }

  lstats(paths: readonly string[]): Promise<Stat[]> {
    this.as(0);
    return this.actor.together(() =>
      Promise.all(paths.map((path) => this.actor.lstat(pathBytes(path)))),
    );
  }

  /** All that root sees. */
  snapshot(): Promise<Snapshot> {
    this.as(0);
    return patiently(`${this.name}: its tree`, snapshot(this.actor, pathBytes('.')));
  }

  private outcome(call: Promise<Outcome>): Promise<Outcome> {
    return call.catch((error: unknown) => {
      if (!(error instanceof Errno)) throw error;
      return { text: errnoName(error.errno), failed: errnoName(error.errno) };
    });
  }

  private told(stat: Stat): Outcome {
    const type = stat.mode & S_IFMT;
    let text = `mode ${stat.mode.toString(8)} ${this.countLinks || type === S_IFDIR ? `nlink ${stat.nlink} ` : ''}owner ${stat.uid}:${stat.gid} mtime ${this.time(stat.mtime)}`;
    if (type !== S_IFDIR) text += ` size ${stat.size}`;
    if (type === S_IFREG) text += ` atime ${this.time(stat.atime)}`;
    if (type !== S_IFREG && type !== S_IFDIR && type !== S_IFLNK) text += ` rdev ${stat.rdev}`;
    return { text, stat };
  }

  private time(nanoseconds: bigint): string {
    return nanoseconds >= this.set.start ? 'now' : String(nanoseconds);
  }

  private listed(entries: readonly Entry[]): Outcome {
    const lines = entries.map(({ name, type }) => `${JSON.stringify(name)}:${type}`).sort();
    return { text: `[${lines.join(' ')}]`, entries };
  }

  /** A listing without whiteouts that hide nothing (differences.ts). */
  async withoutStrays(operation: Call, outcome: Outcome): Promise<Outcome> {
    const slot = 'slot' in operation ? this.slots.get(operation.slot) : undefined;
    const directory =
      'path' in operation ? operation.path : slot === undefined ? '.' : `/proc/self/fd/${slot.fd}`;
    this.as(0);
    const kept: Entry[] = [];
    for (const entry of outcome.entries ?? []) {
      const stray =
        (entry.type === DT.char || entry.type === DT.file) &&
        (await isStrayWhiteout(this.actor, pathBytes(directory), entry.name));
      if (!stray) kept.push(entry);
    }
    return this.listed(kept);
  }

  /** Everything is asked for before the first answer. */
  private async run(operation: Call): Promise<Outcome> {
    const done = async (call: Promise<number | string | readonly string[]>): Promise<Outcome> => {
      const value = await call;
      return { text: typeof value === 'object' ? JSON.stringify(value) : String(value) };
    };
    if ('slot' in operation && operation.op !== 'open') {
      const slot = this.slots.get(operation.slot);
      if (slot === undefined) return { text: 'no descriptor', failed: 'no descriptor' };
      return this.onDescriptor(operation, slot);
    }
    const { actor } = this;
    this.as(operation.who);
    const path = pathBytes(operation.path);
    switch (operation.op) {
      case 'open': {
        const old = this.slots.get(operation.slot);
        if (old !== undefined) {
          this.slots.delete(operation.slot);
          void actor.close(old.fd);
        }
        const fd = await actor.open(path, operation.flags | O_NONBLOCK, operation.mode);
        this.slots.set(operation.slot, { who: operation.who, fd });
        return { text: 'open' };
      }
      case 'put': {
        const byte = operation.fill.charCodeAt(0);
        const [, written] = await inOrder(
          actor.open(path, operation.flags | O_NONBLOCK, 0o666),
          actor.fill(GIVEN, byte, operation.length),
          actor.close(GIVEN),
        );
        return { text: String(written) };
      }
      case 'get': {
        const [, runs] = await inOrder(
          actor.open(path, O_RDONLY | O_NONBLOCK),
          actor.runs(GIVEN, 1 << 21),
          actor.close(GIVEN),
        );
        return { text: runsShown(runs) };
      }
      case 'stat':
        return this.told(await actor.stat(path));
      case 'lstat':
        return this.told(await actor.lstat(path));
      case 'list':
        return this.listed(await actor.list(path));
      case 'readlink':
        return done(actor.readlink(path));
      case 'unlink':
        return done(actor.unlink(path));
      case 'rmdir':
        return done(actor.rmdir(path));
      case 'access':
        return done(actor.access(path, operation.mode));
      case 'truncate':
        return done(actor.truncate(path, operation.size));
      case 'mkdir':
        return done(actor.mkdir(path, operation.mode));
      case 'chmod':
        return done(actor.chmod(path, operation.mode));
      case 'mknod':
        return done(actor.mknod(path, operation.mode, ...operation.rdev));
      case 'symlink':
        return done(actor.symlink(pathBytes(operation.target), path));
      case 'rename':
        return done(actor.rename(path, pathBytes(operation.to), operation.flags));
      case 'link':
        return done(actor.link(path, pathBytes(operation.to), operation.flags));
      case 'lchown':
        return done(actor.lchown(path, operation.uid, operation.gid));
      case 'utimens':
        return done(actor.utimens(path, operation.atime, operation.mtime));
      case 'setxattr':
        return done(
          actor.setxattr(path, operation.name, pathBytes(operation.value), operation.flags),
        );
      case 'getxattr':
        return done(actor.getxattr(path, operation.name).then((value) => JSON.stringify(value)));
      case 'removexattr':
        return done(actor.removexattr(path, operation.name));
      case 'listxattr':
        return done(actor.listxattr(path));
    }
  }

  /** Reads so many bytes, or writes some, through a mapping that lasts no longer. */
  private async mapped(fd: number, offset: number, what: number | string): Promise<string> {
    const { actor } = this;
    const length = typeof what === 'number' ? what : what.length;
    const inPage = offset % PAGE;
    const protection = typeof what === 'number' ? PROT_READ : PROT_READ | PROT_WRITE;
    const [, seen, , , read] = await inOrder(
      actor.mmap(fd, length === 0 ? 0 : inPage + length, protection, MAP_SHARED, offset - inPage),
      typeof what === 'string'
        ? actor.poke(GIVEN, inPage, what)
        : actor.peek(GIVEN, inPage, length),
      actor.msync(GIVEN),
      actor.munmap(GIVEN),
      ...(typeof what === 'number' ? [actor.runs(fd, length, offset)] : []),
    );
    if (typeof seen !== 'string') return 'written';
    // Here a mapping is never behind what reading shows.
    if (this.name === 'plyfs' && read !== undefined) {
      const total = read.reduce((sum, [, times]) => sum + times, 0);
      if (shortened(seen.slice(0, total)) !== runsShown(read))
        throw new Error(`a mapping shows ${shortened(seen)}, reading ${runsShown(read)}`);
    }
    return shortened(seen);
  }

  private async onDescriptor(
    operation: Extract<Call, { slot: number }>,
    { who, fd }: Slot,
  ): Promise<Outcome> {
    const { actor } = this;
    this.as(who);
    const done = async (call: Promise<number>): Promise<Outcome> => ({ text: String(await call) });
    switch (operation.op) {
      case 'open':
        throw new Error('not on a descriptor');
      case 'close':
        this.slots.delete(operation.slot);
        return done(actor.close(fd));
      case 'read':
        return { text: runsShown(await actor.runs(fd, operation.length, operation.offset)) };
      case 'write':
        return done(
          actor.fill(fd, operation.fill.charCodeAt(0), operation.length, operation.offset),
        );
      case 'ftruncate':
        return done(actor.ftruncate(fd, operation.size));
      case 'fallocate':
        return done(actor.fallocate(fd, operation.mode, operation.offset, operation.length));
      case 'fchmod':
        return done(actor.fchmod(fd, operation.mode));
      case 'fchown':
        return done(actor.fchown(fd, operation.uid, operation.gid));
      case 'futimens':
        return done(actor.futimens(fd, operation.atime, operation.mtime));
      case 'fsync':
        return done(actor.fsync(fd));
      case 'fstat':
        return this.told(await actor.fstat(fd));
      case 'flist':
        return this.listed(await actor.listfd(fd, 600));
      case 'linkfd':
        return done(
          actor.link(`/proc/self/fd/${fd}`, pathBytes(operation.path), AT_SYMLINK_FOLLOW),
        );
      case 'copy': {
        const to = this.slots.get(operation.to);
        if (to?.who !== who) return { text: 'no descriptor', failed: 'no descriptor' };
        return done(
          actor.copyFileRange(fd, operation.offset, to.fd, operation.toOffset, operation.length),
        );
      }
      case 'send': {
        const to = this.slots.get(operation.to);
        if (to?.who !== who) return { text: 'no descriptor', failed: 'no descriptor' };
        return done(actor.sendfile(to.fd, fd, operation.offset, operation.length));
      }
      case 'mapread':
        return { text: await this.mapped(fd, operation.offset, operation.length) };
      case 'mapwrite':
        return {
          text: await this.mapped(fd, operation.offset, operation.fill.repeat(operation.length)),
        };
    }
  }
}

/** Bytes as runs of one letter. */
function shortened(bytes: string): string {
  const runs: [number, number][] = [];
  for (let at = 0; at < bytes.length;) {
    const first = bytes.charCodeAt(at);
    let end = at;
    while (end < bytes.length && bytes.charCodeAt(end) === first) end++;
    runs.push([first, end - at]);
    at = end;
  }
  return runsShown(runs);
}

function runsShown(runs: readonly (readonly [byte: number, times: number])[]): string {
  const total = runs.reduce((sum, [, times]) => sum + times, 0);
  const shown = runs.map(
    ([byte, times]) => `${JSON.stringify(String.fromCharCode(byte))}*${times}`,
  );
  return `${total} bytes: ${shown.join(' ')}`;
}
