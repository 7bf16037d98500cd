/**
 * What the owner of all files, no root, can do below directories and to files of any mode, in a
 * lower layer, a merged directory and the upper: as on a plain directory (the oracle), by errno,
 * and by modes, sizes and contents of what is left; the same after remounting, and as root sees it.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Errno, errnoName } from '../../src/base/errno.js';
import { succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { asNobody, copyProgram, isRoot, NOBODY, openFuseDevice } from '../support/users.js';
import { Actor, type Stat } from '../suites/actor.js';
import {
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  S_IFDIR,
  S_IFMT,
} from '../suites/constants.js';
import { plyfs, unavailable } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(120_000);

const OWNER = { uid: NOBODY, gid: NOBODY };
const places = ['lower', 'merged', 'upper'] as const;
const directoryModes = [0o755, 0o555, 0o300, 0o700, 0o500];
const fileModes = [0o644, 0o444, 0o200, 0o400, 0o000];
/**
 * Below the directory of the mode in question, and below one of its children that anybody may pass.
 */
const depths = ['', 'inside/'] as const;
/** Not to be changed; not to be listed. What is below their children may be had. */
const closed = [0o555, 0o300];

type Act = (actor: Actor, directory: string, below: string) => Promise<unknown>;

async function writing(
  actor: Actor,
  path: string,
  flags: number,
  use: (fd: number) => Promise<unknown>,
): Promise<void> {
  const fd = await actor.open(path, flags);
  try {
    await use(fd);
  } finally {
    await actor.close(fd);
  }
}

const fileOperations: Readonly<Record<string, Act>> = {
  write: (a, _d, b) => writing(a, `${b}file`, O_WRONLY, (fd) => a.write(fd, 'W', 0)),
  append: (a, _d, b) => writing(a, `${b}file`, O_WRONLY | O_APPEND, (fd) => a.write(fd, 'W')),
  'open to truncate': (a, _d, b) =>
    writing(a, `${b}file`, O_WRONLY | O_TRUNC, async () => undefined),
  truncate: (a, _d, b) => a.truncate(`${b}file`, 1),
  chmod: (a, _d, b) => a.chmod(`${b}file`, 0o440),
  'write after its mode is gone': (a, _d, b) =>
    writing(a, `${b}file`, O_WRONLY, async (fd) => {
      await a.fchmod(fd, 0);
      await a.write(fd, 'W', 0);
    }),
  'write after its names are gone': (a, d, b) =>
    writing(a, `${b}file`, O_RDWR, async (fd) => {
      await a.fchmod(fd, 0);
      await a.chmod(d, 0o700);
      await a.unlink(`${b}file`);
      await a.write(fd, 'W', 0);
      return a.read(fd, 8, 0);
    }),
  'write after its directory is closed': (a, d, b) =>
    writing(a, `${b}file`, O_WRONLY, async (fd) => {
      await a.chmod(d, 0);
      await a.write(fd, 'W', 0);
    }),
  'fchmod after its directory is closed': (a, d, b) =>
    writing(a, `${b}file`, O_WRONLY, async (fd) => {
      await a.chmod(d, 0);
      await a.fchmod(fd, 0o640);
      await a.futimens(fd, [1, 0], [1, 0]);
    }),
  'set an attribute': (a, _d, b) => a.setxattr(`${b}file`, 'user.new', 'x'),
  link: (a, _d, b) => a.link(`${b}file`, `${b}new`),
  unlink: (a, _d, b) => a.unlink(`${b}file`),
  'unlink after chmod': async (a, d, b) => {
    await a.chmod(d, 0o755);
    await a.unlink(`${b}file`);
    await a.chmod(d, 0o555);
  },
  rename: (a, _d, b) => a.rename(`${b}file`, `${b}new`),
  'rename to another directory': (a, d, b) => a.rename(`${b}file`, `${d}other/file`),
};

const directoryOperations: Readonly<Record<string, Act>> = {
  'chmod of the directory': (a, d) => a.chmod(d, 0o750),
  'an attribute of the directory': (a, d) => a.setxattr(d, 'user.new', 'x'),
  mkdir: (a, _d, b) => a.mkdir(`${b}new`, 0o555),
  'mkdir over a deletion': async (a, d, b) => {
    await a.chmod(d, 0o755);
    await a.chmod(`${b}full`, 0o755);
    await a.unlink(`${b}full/file`);
    await a.rmdir(`${b}full`);
    await a.mkdir(`${b}full`, 0o311);
  },
  create: (a, _d, b) =>
    writing(a, `${b}new`, O_WRONLY | O_CREAT | O_EXCL, (fd) => a.write(fd, 'N')),
  symlink: (a, _d, b) => a.symlink('target', `${b}new`),
  rmdir: (a, _d, b) => a.rmdir(`${b}empty`),
  'rmdir after making it empty': async (a, d, b) => {
    await a.chmod(d, 0o755);
    await a.chmod(`${b}full`, 0o755);
    await a.unlink(`${b}full/file`);
    await a.chmod(`${b}full`, 0o300);
    await a.rmdir(`${b}full`);
  },
  'rename of a new directory over an emptied one': async (a, d, b) => {
    await a.chmod(d, 0o755);
    await a.chmod(`${b}full`, 0o755);
    await a.unlink(`${b}full/file`);
    await a.chmod(`${b}full`, 0o555);
    await a.mkdir(`${b}new`, 0o555);
    await a.rename(`${b}new`, `${b}full`);
  },
  'write below what is not to be changed': async (a, _d, b) =>
    writing(a, `${b}full/file`, O_WRONLY | O_APPEND, (fd) => a.write(fd, 'W')),
};

interface Case {
  readonly place: (typeof places)[number];
  readonly directoryMode: number;
  /** Of the operation's file; undefined where it is about directories. */
  readonly fileMode: number | undefined;
  readonly depth: (typeof depths)[number];
  readonly operation: string;
  readonly act: Act;
}

function allCases(): Case[] {
  const cases: Case[] = [];
  for (const place of places) {
    for (const directoryMode of place === 'upper' ? closed : directoryModes) {
      for (const depth of depths) {
        if (depth !== '' && (place !== 'lower' || !closed.includes(directoryMode))) continue;
        const common = { place, directoryMode, depth };
        for (const [operation, act] of Object.entries(directoryOperations))
          cases.push({ ...common, fileMode: undefined, operation, act });
        for (const fileMode of fileModes) {
          for (const [operation, act] of Object.entries(fileOperations))
            cases.push({ ...common, fileMode, operation, act });
        }
      }
    }
  }
  return cases;
}

const octal = (mode: number) => mode.toString(8).padStart(4, '0');

/** One component: what a case is about, and its directory. */
function nameOf({ place, directoryMode, fileMode, depth, operation }: Case): string {
  const file = fileMode === undefined ? '' : `, file ${octal(fileMode)}`;
  return `${place} ${octal(directoryMode)}${depth === '' ? '' : ', one deeper'}${file}, ${operation}`;
}

interface Inherent {
  readonly reason: string;
  readonly applies: (c: Case) => boolean;
}

const readable = (mode: number) => (mode & 0o400) !== 0;

/** What an ordinary user cannot have, whatever is tried: EACCES. */
const inherent: readonly Inherent[] = [
  {
    reason:
      'a copy needs the data, and its owner may not read the lower file; to change its mode there would change the layer',
    applies: ({ place, fileMode, operation }) =>
      place !== 'upper' &&
      fileMode !== undefined &&
      !readable(fileMode) &&
      !/^unlink|^open to truncate/.test(operation),
  },
  {
    reason:
      'whether a lower directory is empty is seen by listing it, and its owner may not read it',
    applies: ({ place, directoryMode, fileMode, operation }) =>
      place !== 'upper' &&
      fileMode === undefined &&
      !readable(directoryMode) &&
      /^rmdir|^mkdir over|^rename of/.test(operation),
  },
];

/** What every case's directory holds, on the way to its final modes. */
function lay(directory: string, { directoryMode, fileMode, depth }: Case): void {
  const below = join(directory, depth);
  mkdirSync(below, { recursive: true });
  if (fileMode !== undefined) {
    mkdirSync(join(directory, 'other'));
    writeFileSync(join(below, 'file'), 'content', { mode: fileMode });
  } else {
    mkdirSync(join(below, 'empty'), { mode: directoryMode });
    mkdirSync(join(below, 'full'));
    writeFileSync(join(below, 'full/file'), 'content');
    chmodSync(join(below, 'full'), directoryMode);
  }
  chmodSync(directory, directoryMode);
}

const shown = ['', 'file', 'new', 'other', 'other/file', 'empty', 'full', 'full/file'];

async function outcomeOf(done: Promise<unknown>): Promise<string> {
  try {
    const value = await done;
    return typeof value === 'string' ? value : 'done';
  } catch (error) {
    if (error instanceof Errno) return errnoName(error.errno);
    throw error;
  }
}

/** What the owner sees of a case. */
async function look(actor: Actor, directory: string, depth: string): Promise<string> {
  const paths = [...new Set(['', depth])].flatMap((below) =>
    shown.map((name) => `${directory}${below}${name}`),
  );
  const seen = paths.map((path) => outcomeOf(actor.lstat(path).then(describe)));
  return (await Promise.all(seen)).join('|');
}

/** The size of a directory is the file system's own. */
function describe({ mode, size }: Stat): string {
  return (mode & S_IFMT) === S_IFDIR ? octal(mode) : `${octal(mode)} ${size}`;
}

/** All of a tree, as root sees it. */
function contents(directory: string): string[] {
  const found: string[] = [];
  const walk = (path: string) => {
    const stat = lstatSync(join(directory, path));
    const data = stat.isFile() ? ` ${readFileSync(join(directory, path), 'latin1')}` : '';
    found.push(`${path} ${octal(stat.mode)} ${stat.uid}${data}`);
    if (stat.isDirectory())
      for (const name of readdirSync(join(directory, path)).sort()) walk(join(path, name));
  };
  walk('');
  return found;
}

const skip = isRoot
  ? ((await unavailable(t, plyfs)) ?? false)
  : 'acting as another user needs root';

await t.test('modes that stand in the way of their owner', { skip }, async (t) => {
  openFuseDevice(t);
  const base = await workspace(t, 'plain', 'lower', 'upper', 'work', 'work-of-root', 'mnt');
  const cases = allCases();
  for (const c of cases) {
    const name = nameOf(c);
    lay(join(base, 'plain', name), c);
    lay(join(base, c.place === 'upper' ? 'upper' : 'lower', name), c);
    if (c.place !== 'merged') continue;
    mkdirSync(join(base, 'upper', name));
    chmodSync(join(base, 'upper', name), c.directoryMode);
  }
  await succeed(['chown', '-R', `${NOBODY}:${NOBODY}`, 'plain', 'lower', 'upper', 'work', 'mnt'], {
    cwd: base,
  });
  const before = contents(join(base, 'lower'));
  const program = `${copyProgram(base)}/bin/plyfs`;
  const layers = (work: string) =>
    `lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/${work},userxattr`;
  const mount = () => succeed([...asNobody, program, '-o', layers('work'), `${base}/mnt`]);
  const unmount = () => succeed([...asNobody, 'fusermount3', '-u', `${base}/mnt`]);

  const left = new Map<string, string>();
  const differences: string[] = [];
  const listed = new Set<string>();
  await mount();
  const owner = await Actor.start({ identity: OWNER });
  t.teardown(() => owner.end());
  for (const c of cases) {
    const name = nameOf(c);
    const [mounted, own] = [`${base}/mnt/${name}/`, `${base}/plain/${name}/`];
    const mayDiffer = inherent.some(({ applies }) => applies(c));
    const union = await outcomeOf(c.act(owner, mounted, mounted + c.depth));
    const seen = await look(owner, mounted, c.depth);
    left.set(name, seen);
    const plain = await outcomeOf(c.act(owner, own, own + c.depth));
    const expected = await look(owner, own, c.depth);
    if (union === plain && seen === expected) continue;
    if (!mayDiffer || union !== 'EACCES')
      differences.push(`${name}: ${union}, not ${plain}\n  ${seen}\n  ${expected}`);
    listed.add(name);
  }
  t.same(differences, [], 'errno, modes and sizes');
  for (const { reason, applies } of inherent)
    t.ok(
      cases.some((c) => applies(c) && listed.has(nameOf(c))),
      reason,
    );
  figure(t, cases.length, 'operations by an owner in the way of modes');
  figure(t, listed.size, 'of them that an owner without read permission cannot have');
  await unmount();

  await mount();
  const changed: string[] = [];
  for (const c of cases) {
    const seen = await look(owner, `${base}/mnt/${nameOf(c)}/`, c.depth);
    if (seen !== left.get(nameOf(c)))
      changed.push(`${nameOf(c)}\n  ${left.get(nameOf(c))}\n  ${seen}`);
  }
  t.same(changed, [], 'the same after remounting');
  await unmount();

  await succeed([program, '-o', layers('work-of-root'), `${base}/mnt`]);
  const byRoot = cases.flatMap((c) => {
    if (listed.has(nameOf(c))) return [];
    const [union, plain] = [
      contents(join(base, 'mnt', nameOf(c))),
      contents(join(base, 'plain', nameOf(c))),
    ];
    return union.join('\n') === plain.join('\n') ? [] : [{ case: nameOf(c), union, plain }];
  });
  t.same(byRoot, [], 'the same names, modes, owners and data as root sees them');
  await succeed(['umount', `${base}/mnt`]);
  t.same(contents(join(base, 'lower')), before, 'the lower layer is as it was');
});
