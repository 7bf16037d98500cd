/**
 * What one process does to large directories, in a process of its own:
 * `node directory-worker.js JOB ARGUMENT...`. It prints what was wrong, a line each, and nothing
 * when all was as it must be; `lister` ends with a line of what it saw.
 *
 * Files are named PREFIX and a number of six digits; each holds its number.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  opendirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs';

const problems: string[] = [];
function wrong(what: string): void {
  if (problems.length < 20) problems.push(what);
}

function numbered(prefix: string, i: number): string {
  return `${prefix}${String(i).padStart(6, '0')}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** Names in the order in which they come, few at a time; undefined when the directory is gone. */
function listed(directory: string): string[] | undefined {
  const names: string[] = [];
  try {
    const open = opendirSync(directory, { bufferSize: 32 });
    try {
      for (let entry = open.readSync(); entry !== null; entry = open.readSync())
        names.push(entry.name);
    } finally {
      open.closeSync();
    }
    return names;
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') wrong(`${codeOf(error)} from listing ${directory}`);
    return undefined;
  }
}

function fill(directory: string, prefix: string, from: number, to: number): void {
  mkdirSync(directory, { recursive: true });
  for (let i = from; i < to; i++) writeFileSync(`${directory}/${numbered(prefix, i)}`, String(i));
}

/**
 * The directory holds every `step`-th number from `from` and below `to`, each once, and nothing
 * else.
 */
function expect(directory: string, prefix: string, from: number, to: number, step: number): void {
  const names = listed(directory) ?? [];
  const distinct = new Set(names);
  if (distinct.size !== names.length)
    wrong(`${names.length - distinct.size} names are listed twice`);
  const inodes = new Set<bigint>();
  let expected = 0;
  for (let i = from; i < to; i += step) {
    const name = numbered(prefix, i);
    expected++;
    if (!distinct.has(name)) wrong(`${name} is not listed`);
    try {
      const stat = lstatSync(`${directory}/${name}`, { bigint: true });
      inodes.add(stat.ino);
      if (Number(stat.size) !== String(i).length || !stat.isFile())
        wrong(`${name} has ${stat.size} bytes`);
    } catch (error) {
      wrong(`${codeOf(error)} from lstat of ${name}`);
    }
  }
  if (names.length !== expected) wrong(`${names.length} names are listed, not ${expected}`);
  if (inodes.size !== expected) wrong(`${inodes.size} inode numbers for ${expected} files`);
}

/** Makes `count` directories in each of `parents`, all there at once, and removes them. */
function churn(directory: string, parents: number, count: number): void {
  const paths: string[] = [];
  for (let p = 0; p < parents; p++) {
    const parent = `${directory}/${numbered('parent-', p)}`;
    if (!existsSync(parent)) mkdirSync(parent);
    for (let i = 0; i < count; i++) paths.push(`${parent}/${numbered('made-', i)}`);
  }
  for (const path of paths) mkdirSync(path);
  for (let p = 0; p < parents; p++) {
    const names = listed(`${directory}/${numbered('parent-', p)}`) ?? [];
    const made = names.filter((name) => name.startsWith('made-')).length;
    if (made !== count) wrong(`${made} directories are listed of ${count}`);
  }
  for (const path of paths) rmdirSync(path);
}

interface Seen {
  listings: number;
  /** Listings with some of the going names, but not all. */
  partial: number;
}

/**
 * Lists `tree` again and again until the file `stop` exists: `stay-` files are there every time,
 * `go` names until somebody removes them, and then for ever gone; `tree/go` and its `dir-`
 * directories hold known names only while they are there. Each time it says so by an empty line.
 */
function lister(
  tree: string,
  stop: string,
  stays: number,
  goes: number,
  subdirectories: number,
): Seen {
  const seen: Seen = { listings: 0, partial: 0 };
  const going = new Set(Array.from({ length: goes }, (_, i) => numbered('go-', i)).concat('go'));
  const all = going.size;
  for (let last = false; ; last = existsSync(stop)) {
    const names = listed(tree) ?? [];
    if (names.length === 0) wrong('the tree is empty');
    seen.listings++;
    const distinct = new Set(names);
    if (distinct.size !== names.length) wrong('a name is listed twice');
    let staying = 0;
    for (const name of distinct) {
      if (name.startsWith('stay-')) staying++;
      else if (!going.has(name))
        wrong(`${name} never existed, or was gone before this listing began`);
    }
    if (staying !== stays) wrong(`${staying} of ${stays} staying names are listed`);
    for (const name of going) if (!distinct.has(name)) going.delete(name);
    if (going.size > 0 && going.size < all) seen.partial++;

    const subdirectory = `${tree}/go/${numbered('dir-', seen.listings % subdirectories)}`;
    for (const [directory, known] of [
      [`${tree}/go`, /^(file|dir)-\d{6}$/],
      [subdirectory, /^file-\d{6}$/],
    ] as const) {
      const inside = listed(directory) ?? [];
      if (new Set(inside).size !== inside.length) wrong(`a name in ${directory} is listed twice`);
      for (const name of inside)
        if (!known.test(name)) wrong(`${name} in ${directory} never existed`);
    }
    for (let i = seen.listings % 50; i < goes; i += 50) {
      const name = numbered('go-', i);
      try {
        if (!lstatSync(`${tree}/${name}`).isFile()) wrong(`${name} is no file`);
        else if (!going.has(name)) wrong(`${name} is there again`);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') wrong(`${codeOf(error)} from lstat of ${name}`);
      }
    }
    const stay = seen.listings % stays;
    if (readFileSync(`${tree}/${numbered('stay-', stay)}`, 'latin1') !== String(stay))
      wrong(`stay ${stay} has another content`);
    if (last) {
      if (names.length !== stays) wrong(`${names.length} names are left, not ${stays}`);
      return seen;
    }
    writeSync(1, '\n');
  }
}

const [job = '', directory = '', ...rest] = process.argv.slice(2);
const number = (i: number): number => {
  const value = Number(rest[i]);
  if (!Number.isSafeInteger(value)) throw new Error(`argument ${i} of ${job} is no number`);
  return value;
};
let summary = '';
switch (job) {
  case 'fill':
    fill(directory, rest[0] ?? '', number(1), number(2));
    break;
  case 'expect':
    expect(directory, rest[0] ?? '', number(1), number(2), number(3));
    break;
  case 'churn':
    churn(directory, number(0), number(1));
    break;
  case 'lister':
    summary = JSON.stringify(lister(directory, rest[0] ?? '', number(1), number(2), number(3)));
    break;
  default:
    throw new Error(`there is no job "${job}"`);
}
process.stdout.write([...problems, summary].filter((line) => line !== '').join('\n'));
