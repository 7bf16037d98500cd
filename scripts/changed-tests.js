// changed-tests [--since COMMIT]: prints the compiled tests of what has changed since COMMIT (that
// where this branch left main), committed or not, the nearest first, as many as end within a
// budget; says on stderr what that leaves out.
//
// A test is one of a module's if it imports it, itself or by others, or starts a program that does.
// Near is where few imports lie between. They are read from dist/, where types are gone, and which
// `make build` made.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { sourceOf, timeOf } from './test-files.js';

/** Seconds of all chosen tests together, of which two run at once. */
const BUDGET = 60;

/** What every test rests on, by the beginning of its path. */
const FOUNDATIONS = [
  'native/',
  'binding.gyp',
  'package.json',
  'package-lock.json',
  'tsconfig.json',
];
/** The nearest to a foundation. */
const NEAREST = 'dist/src/sys/index.js';

const { values } = parseArgs({ options: { since: { type: 'string' } } });
const since = values.since ?? base();
const changed = new Set([
  ...git('diff', '--name-only', since),
  ...git('ls-files', '--others', '--exclude-standard'),
]);
const modules = new Map(
  readdirSync('dist', { recursive: true, encoding: 'utf8' })
    // The bundle holds what its modules hold.
    .filter((name) => name.endsWith('.js') && !name.startsWith('src/programs/'))
    // What a source was that is gone.
    .filter((name) => existsSync(sourceOf(name)))
    .map((name) => [join('dist', name), readFileSync(join('dist', name), 'utf8')]),
);
const importers = importersOf(modules);

const begin = new Set();
for (const path of changed) {
  if (FOUNDATIONS.some((foundation) => path.startsWith(foundation))) {
    console.error(`${path} has changed, and every test rests on it: \`make test\` runs them all.`);
    begin.add(NEAREST);
  } else if (/^(src|test)\/.*\.ts$/.test(path)) {
    begin.add(`dist/${path.replace(/\.ts$/, '.js')}`);
  } else if (!path.endsWith('.md')) {
    // A program in C that a suite compiles, a script that a test runs: whoever names it.
    const name = path.startsWith('test/') ? basename(path) : path;
    for (const [module, text] of modules)
      if (['"', "'", '`', '/'].some((before) => text.includes(before + name))) begin.add(module);
  }
}

const near = distancesFrom(begin);
const tests = [...near]
  .filter(([module]) => module.endsWith('.test.js'))
  .filter(([module]) => !/^dist\/test\/(integration|soak)\//.test(module))
  .map(([module, distance]) => ({ module, distance, time: timeOf(module) }))
  .sort((a, b) => a.distance - b.distance || a.time - b.time);
let left = BUDGET;
const chosen = tests.filter(({ time }) => time <= left && ((left -= time), true));

if (changed.size === 0) console.error(`Nothing has changed since ${since}.`);
if (chosen.length < tests.length)
  console.error(
    `${tests.length - chosen.length} more tests concern what has changed: \`make test\` runs them.`,
  );
for (const { module } of chosen) console.log(module);

function git(...words) {
  return execFileSync('git', words, { encoding: 'utf8' }).split('\n').filter(Boolean);
}

function base() {
  try {
    return git('merge-base', 'HEAD', 'main')[0];
  } catch {
    return 'HEAD';
  }
}

/** Each module's own path to those that import it or start it. */
function importersOf(modules) {
  const importers = new Map();
  for (const [module, text] of modules) {
    const named = [
      ...[...text.matchAll(/(?:\bfrom|\bimport|\bimport\(|\bURL\()\s*['"](\.{0,2}[^'"]*\.js)['"]/g)]
        .map(([, path]) => path)
        .map((path) => relative('.', join(dirname(module), path))),
      ...[...text.matchAll(/['"`]bin\/(plyfs|ply)\b/g)].map(
        ([, name]) => `dist/src/cli/${name}.js`,
      ),
      ...[...text.matchAll(/['"`/](dist\/(?:src|test)\/[\w/-]+\.js)/g)].map(([, path]) => path),
    ];
    for (const path of named) {
      if (!importers.has(path)) importers.set(path, new Set());
      importers.get(path).add(module);
    }
  }
  return importers;
}

/** How many imports lie between `begin` and each module that needs one of it. */
function distancesFrom(begin) {
  const distances = new Map([...begin].map((module) => [module, 0]));
  // A Map is walked in the order of insertion: breadth first.
  for (const [module, distance] of distances)
    for (const importer of importers.get(module) ?? [])
      if (!distances.has(importer)) distances.set(importer, distance + 1);
  return distances;
}
