/**
 * One of the two unions that a scenario is applied to: its mount, the actors in it, and the
 * descriptors they keep open.
 */
import { mkdir } from 'node:fs/promises';
import { Errno, errnoName } from '../../../src/base/errno.js';
import { Actor, type Entry, type Stat } from '../actor.js';
import {
  AT_SYMLINK_FOLLOW,
  DT,
  MAP_SHARED,
  O_NONBLOCK,
  O_RDONLY,
  PROT_READ,
  PROT_WRITE,
  SEEK_SET,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../constants.js';
import { unmount, type Mounter } from '../mounters.js';
import { isStrayWhiteout } from './differences.js';
import { actors, type Call } from './scenario.js';

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
  readonly mounter: Mounter;
  readonly lowers: readonly string[];
  /** Holds `upper`, `work` and `mnt`, which exist. */
  readonly base: string;
  readonly options: readonly string[];
  /** Times after this are "now": they differ between the sides. Nanoseconds. */
  readonly start: bigint;
}

export class Side {
  private readonly inside = new Map<number, Promise<Actor>>();
  private readonly slots = new Map<number, Slot>();
  private mounted = false;
  /** Off: link counts of files are not told (differences.ts). */
  countLinks = true;

  /** `storage` holds `upper` and `work`; another side's after an exchange. */
  constructor(
    readonly set: SideOptions,
    private storage = set.base,
  ) {}

  get name(): string {
    return this.set.mounter.name;
  }
  get mnt(): string {
    return `${this.set.base}/mnt`;
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
    const { mounter, lowers, options } = this.set;
    const spec = { lowers, upper: this.upper, work: this.work, options };
    await patiently(`mount by ${this.name}`, mounter.mount(spec, this.mnt)).catch(
      (error: unknown) => {
        throw /already mounted|busy/.test(String(error)) ? new Abandoned(String(error)) : error;
      },
    );
    this.mounted = true;
  }

  /** Ends the actors, and with them every descriptor, and unmounts. */
  async unmount(): Promise<void> {
    this.slots.clear();
    for (const actor of this.took()) await (await actor).end();
    if (!this.mounted) return;
    this.mounted = false;
    await patiently(`unmount of ${this.name}`, unmount(this.mnt)).catch((error: unknown) => {
      throw String(error).includes('target is busy') ? new Abandoned(String(error)) : error;
    });
  }

  /** After a failure: actors may be stuck in a call. */
  async abandon(): Promise<void> {
    for (const actor of this.took()) await (await actor).kill();
  }

  actor(who: number): Promise<Actor> {
    let actor = this.inside.get(who);
    if (actor === undefined) {
      const identity = actors[who];
      actor = Actor.start({
        cwd: this.mnt,
        ...(who === 0 || identity === undefined ? {} : { identity }),
      });
      this.inside.set(who, actor);
    }
    return actor;
  }

  private took(): Promise<Actor>[] {
    const all = [...this.inside.values()];
    this.inside.clear();
    return all;
  }

  /** Root's view of a path. */
  async lstat(path: string): Promise<Outcome> {
    return this.outcome(async () => this.told(await (await this.actor(0)).lstat(pathBytes(path))));
  }

  async apply(operation: Call): Promise<Outcome> {
    return patiently(
      `${this.name}: ${JSON.stringify(operation)}`,
      this.outcome(() => this.run(operation)),
    );
  }

  private async outcome(call: () => Promise<Outcome>): Promise<Outcome> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      return { text: errnoName(error.errno), failed: errnoName(error.errno) };
    }
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

  /** `directory`: a path by which the actor reaches what it listed. */
  private async listed(actor: Actor, directory: Buffer, all: readonly Entry[]): Promise<Outcome> {
    const entries: Entry[] = [];
    for (const entry of all) {
      const stray =
        this.set.mounter.name === 'kernel' && (entry.type === DT.char || entry.type === DT.file);
      if (!stray || !(await isStrayWhiteout(actor, directory, entry.name))) entries.push(entry);
    }
    const lines = entries.map(({ name, type }) => `${JSON.stringify(name)}:${type}`).sort();
    return { text: `[${lines.join(' ')}]`, entries };
  }

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
    const actor = await this.actor(operation.who);
    const path = pathBytes(operation.path);
    switch (operation.op) {
      case 'open': {
        const old = this.slots.get(operation.slot);
        if (old !== undefined) {
          this.slots.delete(operation.slot);
          await (await this.actor(old.who)).close(old.fd);
        }
        const fd = await actor.open(path, operation.flags | O_NONBLOCK, operation.mode);
        this.slots.set(operation.slot, { who: operation.who, fd });
        return { text: 'open' };
      }
      case 'put': {
        const fd = await actor.open(path, operation.flags | O_NONBLOCK, 0o666);
        try {
          return await done(actor.write(fd, operation.fill.repeat(operation.length)));
        } finally {
          await actor.close(fd);
        }
      }
      case 'get': {
        const fd = await actor.open(path, O_RDONLY | O_NONBLOCK);
        try {
          return { text: shortened(await actor.read(fd, 1 << 21)) };
        } finally {
          await actor.close(fd);
        }
      }
      case 'stat':
        return this.told(await actor.stat(path));
      case 'lstat':
        return this.told(await actor.lstat(path));
      case 'list':
        return this.listed(await this.actor(0), path, await actor.list(path));
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
  private async mapped(
    actor: Actor,
    fd: number,
    offset: number,
    what: number | string,
  ): Promise<string> {
    const length = typeof what === 'number' ? what : what.length;
    const inPage = offset % PAGE;
    const protection = typeof what === 'number' ? PROT_READ : PROT_READ | PROT_WRITE;
    const map = await actor.mmap(
      fd,
      length === 0 ? 0 : inPage + length,
      protection,
      MAP_SHARED,
      offset - inPage,
    );
    try {
      if (typeof what === 'string') {
        await actor.poke(map, inPage, what);
        return what;
      }
      const seen = await actor.peek(map, inPage, length);
      // Here a mapping is never behind what reading shows.
      if (this.name === 'plyfs') {
        const read = await actor.read(fd, length, offset);
        if (seen.slice(0, read.length) !== read)
          throw new Error(`a mapping shows ${shortened(seen)}, reading ${shortened(read)}`);
      }
      return seen;
    } finally {
      await actor.msync(map);
      await actor.munmap(map);
    }
  }

  private async onDescriptor(
    operation: Extract<Call, { slot: number }>,
    { who, fd }: Slot,
  ): Promise<Outcome> {
    const actor = await this.actor(who);
    const done = async (call: Promise<number>): Promise<Outcome> => ({ text: String(await call) });
    switch (operation.op) {
      case 'open':
        throw new Error('not on a descriptor');
      case 'close':
        this.slots.delete(operation.slot);
        return done(actor.close(fd));
      case 'read':
        return { text: shortened(await actor.read(fd, operation.length, operation.offset)) };
      case 'write':
        return done(actor.write(fd, operation.fill.repeat(operation.length), operation.offset));
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
      case 'flist': {
        await actor.lseek(fd, 0, SEEK_SET);
        const entries: Entry[] = [];
        for (;;) {
          // A small buffer: the reader comes back several times.
          const some = await actor.getdents(fd, 600);
          if (some.length === 0)
            return this.listed(actor, pathBytes(`/proc/self/fd/${fd}`), entries);
          entries.push(...some);
        }
      }
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
        return {
          text: shortened(await this.mapped(actor, fd, operation.offset, operation.length)),
        };
      case 'mapwrite':
        await this.mapped(actor, fd, operation.offset, operation.fill.repeat(operation.length));
        return { text: 'written' };
    }
  }
}

/** Bytes as runs of one letter. */
function shortened(bytes: string): string {
  const runs: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at] ?? '';
    let end = at;
    while (end < bytes.length && bytes[end] === first) end++;
    runs.push(`${JSON.stringify(first)}*${end - at}`);
    at = end;
  }
  return `${bytes.length} bytes: ${runs.join(' ')}`;
}
