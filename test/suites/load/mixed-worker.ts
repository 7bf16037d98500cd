/**
 * One of several processes that work on one mount at once: `node mixed-worker.js ROOT ME ROUNDS`.
 *
 * Each has a directory of its own, `ROOT/own-ME`, partly in the lower layers (mixed-layers.ts), and
 * knows what must be in it: after each change it looks at what it changed, at the end at all. In
 * `ROOT/shared` the processes meet: of those who want the same thing one gets it. It says `ready`;
 * what it waits for is a byte on its standard input. Then it works, and prints what was wrong, a
 * line each, and a line of JSON: what it got. After another byte it looks at all of its own again,
 * prints what was wrong, and ends.
 */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { randomNumbers } from '../../support/random-numbers.js';
import { laidContent, laidNames } from './mixed-layers.js';

const MODES = [0o644, 0o600, 0o755, 0o640] as const;

/** Names of one hard-linked file share one of these. */
interface FileState {
  readonly kind: 'file';
  content: Buffer;
  mode: number;
  links: number;
}
type State =
  | FileState
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'directory' };

const [root = '', ...rest] = process.argv.slice(2);
const [me = 0, rounds = 0] = rest.map(Number);
const own = `${root}/own-${me}`;
const random = randomNumbers(me + 1);
const problems: string[] = [];
/** By path below `own`. */
const model = new Map<string, State>();

function wrong(what: string): void {
  if (problems.length < 20) problems.push(`process ${me}: ${what}`);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

function begin(): void {
  for (const name of laidNames) {
    const slash = name.indexOf('/');
    if (slash > 0) model.set(name.slice(0, slash), { kind: 'directory' });
    model.set(name, { kind: 'file', content: laidContent(me, name), mode: 0o644, links: 1 });
  }
}

function bytes(length: number): Buffer {
  const block = Buffer.alloc(length, random(256));
  for (let i = 0; i < length; i += 509) block[i] = random(256);
  return block;
}

/** Mostly small; sometimes more than a copy-up does at once (1 MiB). */
function someLength(): number {
  return random(40) === 0
    ? (1 << 20) + random(1 << 20)
    : random(8) === 0
      ? random(200_000)
      : random(5000);
}

function looked(path: string): void {
  const at = `${own}/${path}`;
  const state = model.get(path);
  try {
    const stat = lstatSync(at);
    if (state === undefined) wrong(`${path} is there`);
    else if (state.kind === 'directory') {
      if (!stat.isDirectory()) wrong(`${path} is no directory`);
    } else if (state.kind === 'symlink') {
      if (readlinkSync(at) !== state.target) wrong(`${path} leads elsewhere`);
    } else {
      if (stat.size !== state.content.length)
        wrong(`${path} has ${stat.size} bytes, not ${state.content.length}`);
      if ((stat.mode & 0o7777) !== state.mode)
        wrong(`${path} has mode ${stat.mode.toString(8)}, not ${state.mode.toString(8)}`);
      if (stat.nlink !== state.links) wrong(`${path} has ${stat.nlink} links, not ${state.links}`);
      if (!readFileSync(at).equals(state.content)) wrong(`${path} has another content`);
    }
  } catch (error) {
    if (state !== undefined || codeOf(error) !== 'ENOENT') wrong(`${codeOf(error)} from ${path}`);
  }
}

function listedAs(directory: string): void {
  const found = readdirSync(directory === '' ? own : `${own}/${directory}`).sort();
  const prefix = directory === '' ? '' : `${directory}/`;
  const wanted = [...model.keys()].filter(
    (path) => path.startsWith(prefix) && !path.slice(prefix.length).includes('/'),
  );
  const names = wanted.map((path) => path.slice(prefix.length)).sort();
  if (found.join('\n') !== names.join('\n'))
    wrong(`${directory || 'the top'} lists ${found.length} names, not ${names.length}`);
}

function directories(): string[] {
  return [
    '',
    ...[...model].filter(([, state]) => state.kind === 'directory').map(([path]) => path),
  ];
}

function pick<T>(from: readonly T[]): T | undefined {
  return from[random(Math.max(1, from.length))];
}

function newPath(): string {
  const directory = pick(directories()) ?? '';
  return `${directory === '' ? '' : `${directory}/`}n${random(60)}`;
}

function someFile(): [string, FileState] | undefined {
  return pick([...model].filter((entry): entry is [string, FileState] => entry[1].kind === 'file'));
}

function forget(path: string): void {
  const state = model.get(path);
  if (state?.kind === 'file') state.links--;
  model.delete(path);
}

/** One change, and a look at it. */
function step(): void {
  const target = newPath();
  const at = `${own}/${target}`;
  const there = model.get(target);
  const file = someFile();
  switch (random(12)) {
    case 0:
    case 1: {
      // A new file, or a new content.
      if (there !== undefined && there.kind !== 'file') break;
      const content = bytes(someLength());
      const fd = openSync(at, 'w', 0o644);
      for (let done = 0; done < content.length;)
        done += writeSync(fd, content, done, Math.min(content.length - done, 1 + random(70_000)));
      if (random(20) === 0) fsyncSync(fd);
      closeSync(fd);
      if (there === undefined) model.set(target, { kind: 'file', content, mode: 0o644, links: 1 });
      else there.content = content;
      looked(target);
      break;
    }
    case 2:
    case 3: {
      // A write in the middle: of a lower file, its copy-up.
      if (file === undefined) break;
      const [path, state] = file;
      const offset = random(state.content.length + 100);
      const data = bytes(1 + random(3000));
      const fd = openSync(`${own}/${path}`, 'r+');
      writeSync(fd, data, 0, data.length, offset);
      closeSync(fd);
      const after = Buffer.alloc(Math.max(state.content.length, offset + data.length));
      state.content.copy(after);
      data.copy(after, offset);
      state.content = after;
      looked(path);
      break;
    }
    case 4: {
      if (file === undefined) break;
      const [path, state] = file;
      const size = random(state.content.length + 1000);
      const fd = openSync(`${own}/${path}`, 'r+');
      ftruncateSync(fd, size);
      closeSync(fd);
      const after = Buffer.alloc(size);
      state.content.copy(after, 0, 0, Math.min(size, state.content.length));
      state.content = after;
      looked(path);
      break;
    }
    case 5: {
      if (file === undefined) break;
      const [path, state] = file;
      const data = bytes(random(2000));
      appendFileSync(`${own}/${path}`, data);
      state.content = Buffer.concat([state.content, data]);
      looked(path);
      break;
    }
    case 6: {
      if (file === undefined || target === file[0] || there?.kind === 'directory') break;
      // Two names of one file: rename(2) does nothing then.
      if (there === file[1]) break;
      renameSync(`${own}/${file[0]}`, at);
      forget(target);
      model.delete(file[0]);
      model.set(target, file[1]);
      looked(target);
      looked(file[0]);
      break;
    }
    case 7: {
      if (file === undefined) break;
      unlinkSync(`${own}/${file[0]}`);
      forget(file[0]);
      looked(file[0]);
      break;
    }
    case 8: {
      if (there !== undefined) break;
      mkdirSync(at);
      model.set(target, { kind: 'directory' });
      looked(target);
      break;
    }
    case 9: {
      const directory = pick(directories().slice(1));
      if (directory === undefined) break;
      const empty = ![...model.keys()].some((path) => path.startsWith(`${directory}/`));
      try {
        rmdirSync(`${own}/${directory}`);
        if (!empty) wrong(`${directory} was removed with what is in it`);
        model.delete(directory);
      } catch (error) {
        if (empty || codeOf(error) !== 'ENOTEMPTY')
          wrong(`${codeOf(error)} from rmdir of ${directory}`);
      }
      looked(directory);
      break;
    }
    case 10: {
      if (there !== undefined) break;
      if (file !== undefined && random(2) === 0) {
        linkSync(`${own}/${file[0]}`, at);
        file[1].links++;
        model.set(target, file[1]);
        looked(file[0]);
      } else {
        const to = `to-${random(1000)}`;
        symlinkSync(to, at);
        model.set(target, { kind: 'symlink', target: to });
      }
      looked(target);
      break;
    }
    default: {
      if (file === undefined) break;
      const mode = pick(MODES) ?? 0o644;
      chmodSync(`${own}/${file[0]}`, mode);
      file[1].mode = mode;
      looked(file[0]);
      listedAs(pick(directories()) ?? '');
    }
  }
}

interface Got {
  made: number[];
  taken: number[];
}

/**
 * Whether `act` succeeds; otherwise it must have failed with `code`, because another process was
 * first.
 */
function first(code: string, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (codeOf(error) !== code) wrong(`${codeOf(error)} where ${code} was possible`);
    return false;
  }
}

/** Round `i` in the shared directory. */
function meet(i: number, got: Got): void {
  const shared = `${root}/shared`;
  // A record in one write; all who append find its end (open(2), O_APPEND).
  const log = openSync(`${shared}/log`, constants.O_WRONLY | constants.O_APPEND);
  writeSync(log, `${String(me).padStart(3)} ${String(i).padStart(11)}\n`);
  closeSync(log);
  if (first('EEXIST', () => mkdirSync(`${shared}/lock-${i}`))) got.made.push(i);
  // The lower layers hold the tokens: who takes one takes it from all.
  if (first('ENOENT', () => renameSync(`${shared}/token-${i}`, `${shared}/taken-${i}-by-${me}`)))
    got.taken.push(i);
  // Others' files come and go; what is read of one is whole, because it is renamed into place.
  const text = `${me} ${i} `.padEnd(300 + random(300), `${me}`);
  appendFileSync(`${shared}/.new-${me}`, text);
  renameSync(`${shared}/.new-${me}`, `${shared}/board-${i % 5}`);
  const board = `${shared}/board-${random(5)}`;
  if (existsSync(board) && !/^\d+ \d+ (\d)\1*$/.test(readFileSync(board, 'latin1')))
    wrong(`${board} is not whole`);
}

function lookAtAll(): void {
  for (const path of model.keys()) looked(path);
  for (const directory of directories()) listedAs(directory);
}

function say(last: string): void {
  writeSync(1, `${[...problems.splice(0), last].join('\n')}\n`);
}

begin();
say('ready');
readSync(0, Buffer.alloc(1));
const got: Got = { made: [], taken: [] };
for (let i = 0; i < rounds; i++) {
  for (let change = 0; change < 4; change++) step();
  meet(i, got);
}
lookAtAll();
say(JSON.stringify(got));
// A mount that others take away and make again meanwhile keeps no name of it here.
readSync(0, Buffer.alloc(1));
lookAtAll();
say('looked');
