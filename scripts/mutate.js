// mutate [MODULE...]: changes the modules below in small ways, one at a time, runs their tests on
// each change, and prints the changes that no test fails on (survivors) and the share that one
// does.
//
// Stryker's instrumenter makes all changes at once and switches one on. Tests and modules are one
// bundle, run anew in this process for each change: a process for each, as Stryker's own runners
// have, takes seconds, most of which are tap's. Here `t` is what these tests use of it, compared by
// tap's own tcompare; the first failure ends a run.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Instrumenter } from '@stryker-mutator/instrumenter';
import { build } from 'esbuild';
import { match, same, strict } from 'tcompare';

/** Each module, by its name, and tests that say all about it without a mount. */
const subjects = {
  reference: ['reference'],
  'posix-acl': ['posix-acl'],
};

/** Milliseconds of one run of a module's tests. */
const PATIENCE = 10_000;
/** How often a change may be passed: more is a loop without an end. */
const HITS = 1_000_000;

class Failed extends Error {}

const quiet = { debug() {}, info() {}, warn() {}, isDebugEnabled: () => false };
const files = [
  ...readdirSync('src', { recursive: true, encoding: 'utf8' }).map((path) => `src/${path}`),
  ...readdirSync('test', { recursive: true, encoding: 'utf8' }).map((path) => `test/${path}`),
];
const find = (name) => files.find((path) => basename(path) === name);
const space = (globalThis.__stryker__ = { hitCount: 0, hitLimit: HITS });

let runs = 0;
const wanted = process.argv.slice(2);
const total = { killed: 0, all: 0 };
for (const [name, tests] of Object.entries(subjects)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const path = find(`${name}.ts`);
  const { bundle, mutants } = await instrumented(
    path,
    tests.map((test) => find(`${test}.test.ts`)),
  );
  const from = performance.now();
  space.activeMutant = undefined;
  const broken = await failureOf(bundle);
  if (broken !== undefined) throw new Error(`${path}: its tests fail as it is`, { cause: broken });
  let killed = 0;
  for (const mutant of mutants) {
    space.activeMutant = mutant.id;
    space.hitCount = 0;
    if ((await failureOf(bundle)) !== undefined) killed++;
    else report(path, mutant);
  }
  total.killed += killed;
  total.all += mutants.length;
  const took = ((performance.now() - from) / 1000).toFixed(0);
  console.log(
    `${path}: ${killed} of ${mutants.length}, ${share(killed, mutants.length)}, ${took} s`,
  );
}
console.log(
  `${total.killed} of ${total.all} changes were noticed: ${share(total.killed, total.all)}`,
);

function share(part, whole) {
  return `${((100 * part) / whole).toFixed(0)} %`;
}

function report(path, { location: { start }, mutatorName, replacement }) {
  const line = readFileSync(path, 'utf8').split('\n')[start.line].trim();
  console.log(`  ${path}:${start.line + 1}: ${mutatorName} survives: ${line}`);
  console.log(`      -> ${replacement.replace(/\s+/g, ' ').slice(0, 100)}`);
}

async function instrumented(path, tests) {
  const content = readFileSync(path, 'utf8');
  const options = { ignorers: [], excludedMutations: [], plugins: null };
  const result = await new Instrumenter(quiet).instrument(
    [{ name: resolve(path), mutate: true, content }],
    options,
  );
  const outfile = resolve('dist/cache/mutants', `${basename(path, '.ts')}-mutants.js`);
  await build({
    stdin: { contents: tests.map((test) => `import './${test}';`).join('\n'), resolveDir: '.' },
    bundle: true,
    outfile,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
    // As deep as a module, so that it finds the addon; and packages that are no ES modules.
    banner: {
      js: "import { createRequire as r } from 'node:module'; const require = r(import.meta.url);",
    },
    external: ['*.node'],
    plugins: [
      {
        name: 'mutate',
        setup(builder) {
          builder.onResolve({ filter: /^tap$/ }, () => ({ path: 'tap', namespace: 'mutate' }));
          builder.onLoad({ filter: /./, namespace: 'mutate' }, () => ({
            contents: 'export default globalThis.tapOfMutate',
          }));
          builder.onLoad({ filter: new RegExp(`/${basename(path)}$`) }, ({ path: loaded }) =>
            loaded === resolve(path)
              ? { contents: result.files[0].content, loader: 'ts' }
              : undefined,
          );
        },
      },
    ],
  });
  return { bundle: pathToFileURL(outfile).href, mutants: result.mutants };
}

/** What a run of the bundle's tests fails with. */
async function failureOf(bundle) {
  const t = testOf();
  globalThis.tapOfMutate = t;
  let timer;
  try {
    await Promise.race([
      // Anew for each address.
      import(`${bundle}?${runs++}`).then(() => t.over()),
      new Promise((_, reject) => (timer = setTimeout(() => reject(new Failed('late')), PATIENCE))),
    ]);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
    await t.clean().catch(() => undefined);
  }
}

/** As much of tap's test as these use. */
function testOf() {
  let last = Promise.resolve();
  const teardowns = [];
  const fail = (what) => {
    throw new Failed(what);
  };
  const holds = (good, what) => good || fail(what);
  const matches = (error, wanted) =>
    wanted === undefined || wanted instanceof Function || match(error, wanted).match;
  const rejection = async (what, wanted) => {
    const promise = typeof what === 'function' ? what() : what;
    const error = await promise.then(
      () => fail('resolved'),
      (error) => error,
    );
    if (error instanceof Failed) throw error;
    holds(matches(error, wanted), 'rejects with something else');
  };
  return {
    test(name, ...rest) {
      const run = rest.at(-1);
      if (rest.length > 1 && rest[0].skip) return Promise.resolve();
      last = last.then(async () => {
        const child = testOf();
        try {
          await run(child);
          await child.over();
        } finally {
          await child.clean();
        }
      });
      last.catch(() => undefined);
      return last;
    },
    over: () => last,
    clean: async () => {
      for (const end of teardowns.reverse()) await end();
    },
    teardown: (end) => void teardowns.push(end),
    setTimeout() {},
    comment() {},
    end() {},
    pass() {},
    plan() {},
    fail,
    equal: (found, wanted) => holds(Object.is(found, wanted), 'equal'),
    not: (found, wanted) => holds(!Object.is(found, wanted), 'not'),
    ok: (value) => holds(value, 'ok'),
    notOk: (value) => holds(!value, 'notOk'),
    same: (found, wanted) => holds(same(found, wanted).match, 'same'),
    notSame: (found, wanted) => holds(!same(found, wanted).match, 'notSame'),
    strictSame: (found, wanted) => holds(strict(found, wanted).match, 'strictSame'),
    match: (found, wanted) => holds(match(found, wanted).match, 'match'),
    notMatch: (found, wanted) => holds(!match(found, wanted).match, 'notMatch'),
    rejects: rejection,
    resolves: async (what) => void (await (typeof what === 'function' ? what() : what)),
    throws(run, wanted) {
      let error;
      try {
        run();
      } catch (thrown) {
        error = thrown;
      }
      if (error === undefined) fail('does not throw');
      holds(matches(error, wanted), 'throws something else');
    },
    doesNotThrow: (run) => void run(),
  };
}
