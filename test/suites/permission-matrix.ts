/**
 * Who may do what: every operation by every identity on objects of every mode and owner, in a lower
 * layer, in a merged directory and in the upper. Each case has an object of its own; a case's
 * outcome is the errno, and then owner and mode of what it left.
 */
import { Errno, errnoName } from '../../src/base/errno.js';
import { Actor, type Identity, type Stat } from './actor.js';
import { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from './constants.js';

const OWNER = 1000;
const GROUP = 1000;
const OTHER = 1003;

export const identities: Readonly<Record<string, Identity>> = {
  owner: { uid: OWNER, gid: GROUP },
  'group member': { uid: 1001, gid: 1001, groups: [GROUP] },
  other: { uid: 1002, gid: 1002 },
  root: { uid: 0, gid: 0 },
  'root without capabilities': { uid: 0, gid: 0, capabilities: 'none' },
};

/** Where the object and its directory lie before the operation. */
export const places = ['lower', 'merged', 'upper'] as const;
export type Place = (typeof places)[number];

type Act = (actor: Actor, object: string, directory: string) => Promise<unknown>;

async function opened(
  actor: Actor,
  path: string,
  flags: number,
  use: (fd: number) => Promise<unknown> = async () => undefined,
): Promise<void> {
  const fd = await actor.open(path, flags);
  try {
    await use(fd);
  } finally {
    await actor.close(fd);
  }
}

const R_OK = 4;
const W_OK = 2;
const X_OK = 1;

/** On a file. */
const fileOperations: Readonly<Record<string, Act>> = {
  'open to read': (a, f) => opened(a, f, O_RDONLY),
  'open to write': (a, f) => opened(a, f, O_WRONLY),
  'open for both': (a, f) => opened(a, f, O_RDWR),
  'open to truncate': (a, f) => opened(a, f, O_WRONLY | O_TRUNC),
  write: (a, f) => opened(a, f, O_WRONLY, (fd) => a.write(fd, 'w', 0)),
  truncate: (a, f) => a.truncate(f, 1),
  access: async (a, f) => {
    const granted = await Promise.all(
      [R_OK, W_OK, X_OK].map((mode) =>
        a.access(f, mode).then(
          () => mode,
          () => 0,
        ),
      ),
    );
    return granted.join('');
  },
  chmod: (a, f) => a.chmod(f, 0o640),
  'chmod to set-id': (a, f) => a.chmod(f, 0o6755),
  'chown to oneself': (a, f) => a.chown(f, OWNER, -1),
  'chown to another': (a, f) => a.chown(f, OTHER, -1),
  'chgrp to the group': (a, f) => a.chown(f, -1, GROUP),
  'chgrp to another': (a, f) => a.chown(f, -1, OTHER),
  'set times': (a, f) => a.utimens(f, [1_000_000_000, 0], [1_000_000_000, 0]),
  'touch now': (a, f) => a.utimens(f, [0, UTIME_NOW], [0, UTIME_NOW]),
  'set an attribute': (a, f) => a.setxattr(f, 'user.new', 'x'),
  'read an attribute': (a, f) => a.getxattr(f, 'user.old'),
  'remove an attribute': (a, f) => a.removexattr(f, 'user.old'),
  'set a trusted attribute': (a, f) => a.setxattr(f, 'trusted.new', 'x'),
  link: (a, f) => a.link(f, `${f}.link`),
  unlink: (a, f) => a.unlink(f),
  rename: (a, f) => a.rename(f, `${f}.moved`),
};

const UTIME_NOW = 0x3fffffff;

/**
 * On a directory that has a file `file` and an empty directory `empty`, each of somebody else than
 * the directory's owner.
 */
const directoryOperations: Readonly<Record<string, Act>> = {
  list: (a, d) => a.names(d),
  stat: (a, d) => a.lstat(`${d}/file`),
  create: (a, d) => opened(a, `${d}/new`, O_CREAT | O_EXCL | O_WRONLY),
  mkdir: (a, d) => a.mkdir(`${d}/new`),
  symlink: (a, d) => a.symlink('target', `${d}/new`),
  mkfifo: (a, d) => a.mknod(`${d}/new`, 0o010644),
  'unlink in it': (a, d) => a.unlink(`${d}/file`),
  'rmdir in it': (a, d) => a.rmdir(`${d}/empty`),
  'rename in it': (a, d) => a.rename(`${d}/file`, `${d}/new`),
  'make again in it': async (a, d) => {
    await a.unlink(`${d}/file`);
    await opened(a, `${d}/file`, O_CREAT | O_EXCL | O_WRONLY);
  },
  'chmod it': (a, d) => a.chmod(d, 0o2750),
  'chown it': (a, d) => a.chown(d, -1, GROUP),
};

const fileModes = [0o000, 0o200, 0o460, 0o606, 0o644, 0o6775, 0o2766];
const directoryModes = [0o000, 0o300, 0o570, 0o755, 0o1777, 0o2775];
const owners = [
  { uid: OWNER, gid: GROUP },
  { uid: 0, gid: GROUP },
];

export interface Case {
  readonly name: string;
  readonly operation: string;
  readonly identity: string;
  readonly place: Place;
  readonly kind: 'file' | 'directory';
  readonly mode: number;
  readonly owner: { readonly uid: number; readonly gid: number };
  /** In the union. */
  readonly path: string;
  readonly act: Act;
}

export function matrix(): Case[] {
  const cases: Case[] = [];
  for (const [kind, operations, modes] of [
    ['file', fileOperations, fileModes],
    ['directory', directoryOperations, directoryModes],
  ] as const) {
    for (const [operation, act] of Object.entries(operations)) {
      for (const identity of Object.keys(identities)) {
        for (const place of places) {
          for (const [i, mode] of modes.entries()) {
            // The owners alternate: all of them with all modes would double the cases and tell no
            // more.
            const owner = owners[(i + operation.length + place.length) % owners.length]!;
            const name = `${identity}: ${operation}, ${kind} in ${place} of mode ${mode.toString(8)} and owner ${owner.uid}`;
            cases.push({
              name,
              operation,
              identity,
              place,
              kind,
              mode,
              owner,
              path: `${place}/${cases.length}`,
              act,
            });
          }
        }
      }
    }
  }
  return cases;
}

/**
 * The layers' directories, each with what the cases want of it. `make` runs as root where the
 * layers lie.
 */
export async function layMatrix(
  disk: Actor,
  cases: readonly Case[],
  layers: { readonly below: string; readonly above: string; readonly upper: string },
) {
  const parts: readonly (readonly [place: Place, layer: string])[] = [
    ['lower', layers.below],
    ['merged', layers.below],
    ['merged', layers.above],
    ['upper', layers.upper],
  ];
  for (const [place, layer] of parts) {
    await disk.mkdir(`${layer}/${place}`);
    await disk.chmod(`${layer}/${place}`, 0o777);
  }
  const pending: Promise<unknown>[] = [];
  for (const { place, path, kind, mode, owner } of cases) {
    const layer = place === 'upper' ? layers.upper : layers.below;
    const at = `${layer}/${path}`;
    if (kind === 'file') pending.push(disk.put(at, 'content'), disk.setxattr(at, 'user.old', 'x'));
    else {
      pending.push(
        disk.mkdir(at),
        disk.put(`${at}/file`, 'content'),
        disk.lchown(`${at}/file`, OTHER, OTHER),
        disk.mkdir(`${at}/empty`),
      );
      pending.push(disk.lchown(`${at}/empty`, OTHER, OTHER));
      if (place === 'merged') {
        const above = `${layers.above}/${path}`;
        pending.push(
          disk.mkdir(above),
          disk.put(`${above}/above`, 'x'),
          disk.lchown(above, owner.uid, owner.gid),
          disk.chmod(above, mode),
        );
      }
    }
    pending.push(disk.lchown(at, owner.uid, owner.gid), disk.chmod(at, mode));
    if (pending.length > 2000) await Promise.all(pending.splice(0));
  }
  await Promise.all(pending);
}

/** What each case comes to on the mount at `mnt`, by the case's name. */
export async function outcomesOn(
  mnt: string,
  cases: readonly Case[],
): Promise<Map<string, string>> {
  const outcomes = new Map<string, string>();
  await Promise.all(
    Object.entries(identities).map(async ([identity, who]) => {
      const [actor, looker] = await Promise.all([
        Actor.start({ cwd: mnt, identity: who }),
        Actor.start({ cwd: mnt }),
      ]);
      for (const one of cases) {
        if (one.identity === identity) outcomes.set(one.name, await outcomeOf(actor, looker, one));
      }
      await Promise.all([actor.end(), looker.end()]);
    }),
  );
  return outcomes;
}

async function outcomeOf(actor: Actor, looker: Actor, { act, kind, path }: Case): Promise<string> {
  const said = await act(actor, path, path).then(
    (value) => (typeof value === 'string' ? value : Array.isArray(value) ? value.join() : 'ok'),
    (error: unknown) => {
      if (error instanceof Errno) return errnoName(error.errno);
      throw error;
    },
  );
  const left = kind === 'file' ? ['', '.link', '.moved'] : ['', '/file', '/empty', '/new'];
  const stats = await Promise.all(
    left.map((name) => looker.lstat(path + name).then(described, () => '-')),
  );
  return [said, ...stats].join(' ');
}

function described({ mode, uid, gid, size }: Stat): string {
  return `${mode.toString(8)}:${uid}:${gid}${(mode & 0o170000) === 0o100000 ? `:${size}` : ''}`;
}
