/**
 * `make bench`: plyfs beside the kernel's overlay and its peers, over the same layers in one run.
 *
 * Rounds are interleaved: each scenario is run for every target before the next, in an order that
 * turns with the round, so that what the machine does meanwhile falls on all alike; ratios are
 * taken within a round.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../support/root.js';
import { makeArena, type Arena } from './arena.js';
import { chartOf } from './chart.js';
import { debianRoot, debianUnavailable } from './debian-root.js';
import { loaders, measureLoading } from './image-load.js';
import type { StackSize } from './layers.js';
import { interrupt, Interrupted, missing } from './program.js';
import {
  allVerdicts,
  comparisonOf,
  parseResults,
  reached,
  tableOf,
  type Group,
  type Results,
} from './results.js';
import { fullSizes, quickSizes, scenariosOf } from './scenarios.js';
import { targets, type Target } from './targets.js';
import { measureUnions, type Wanted } from './unions.js';
import type { Sizes } from './workload.js';

const usage = `usage: make bench [ARGS="OPTIONS"]

  --quick            smaller layers, one round, no slow targets unless named: to see that it works
  --rounds N         how often each workload is run (default 3)
  --only WORD,...    rows or scenarios whose name contains a word; =WORD: whose name it is
  --list             the rows and scenarios that there are
  --targets NAME,... of ${targets.map(({ name }) => name).join(', ')}
  --layers N         of the default stack (default 10)
  --entries N        names in it (default 50000)
  --dir DIRECTORY    where the files lie, instead of an ext4 image in memory
  --json FILE        where the figures go (default dist/bench/results.json)
  --svg FILE         where the picture goes (default dist/bench/ratios.svg)
  --compare FILE     also shows each row beside the figures of an earlier run
`;

interface Settings {
  readonly rounds: number;
  readonly quick: boolean;
  readonly wanted: Wanted;
  readonly size: StackSize;
  readonly sizes: Sizes;
  readonly targets: readonly Target[];
  readonly dir: string | undefined;
  readonly json: string;
  readonly svg: string;
  readonly compare: Results | undefined;
}

function positive(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`--${option} is '${text}': give a whole number of at least 1.`);
  return value;
}

function settingsOf(words: readonly string[]): Settings | string {
  const { values } = parseArgs({
    args: [...words],
    options: {
      help: { type: 'boolean', short: 'h' },
      quick: { type: 'boolean' },
      list: { type: 'boolean' },
      rounds: { type: 'string' },
      only: { type: 'string' },
      targets: { type: 'string' },
      layers: { type: 'string' },
      entries: { type: 'string' },
      dir: { type: 'string' },
      json: { type: 'string' },
      svg: { type: 'string' },
      compare: { type: 'string' },
    },
  });
  if (values.help === true) return usage;
  const quick = values.quick === true;
  const sizes = quick ? quickSizes : fullSizes;
  if (values.list === true) {
    return scenariosOf(sizes)
      .flatMap(({ key, steps }) =>
        steps.map((step) => `${key.padEnd(12)} ${step.key.padEnd(22)} ${step.title}\n`),
      )
      .join('');
  }
  const only = values.only?.split(',') ?? [];
  const chosen = values.targets?.split(',');
  const unknown = chosen?.find((word) => !targets.some(({ name }) => name === word));
  if (unknown !== undefined)
    throw new Error(
      `There is no target '${unknown}': ${targets.map(({ name }) => name).join(', ')} are.`,
    );
  return {
    rounds: positive(values.rounds ?? (quick ? '1' : '3'), 'rounds'),
    quick,
    wanted: (...names) =>
      only.length === 0 ||
      only.some((word) =>
        names.some((name) => (word.startsWith('=') ? name === word.slice(1) : name.includes(word))),
      ),
    size: {
      layers: positive(values.layers ?? '10', 'layers'),
      entries: positive(values.entries ?? (quick ? '5000' : '50000'), 'entries'),
      smallFiles: sizes.smallFiles,
    },
    sizes,
    targets: targets.filter(
      ({ name, slow }) => name === 'plyfs' || (chosen?.includes(name) ?? (!quick || slow !== true)),
    ),
    dir: values.dir,
    json: values.json ?? join(root, 'dist/bench/results.json'),
    svg: values.svg ?? join(root, 'dist/bench/ratios.svg'),
    compare:
      values.compare === undefined
        ? undefined
        : parseResults(readFileSync(values.compare, 'utf8'), values.compare),
  };
}

function say(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
}

function print(cells: readonly (readonly string[])[]): void {
  const widths = cells[0]!.map((_, column) =>
    Math.max(...cells.map((row) => (row[column] ?? '').length)),
  );
  for (const row of cells) {
    process.stdout.write(
      `${row
        .map((cell, column) => cell + ' '.repeat(widths[column]! - cell.length))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
}

/** What was asked for, the unions first. */
async function groupsOf(
  settings: Settings,
  arena: Arena,
  present: readonly Target[],
): Promise<Group[]> {
  const { wanted, rounds, sizes, size } = settings;
  const shared = `${arena.directory}/shared`;
  mkdirSync(shared);
  const groups = await measureUnions({
    rounds,
    warmUp: !settings.quick,
    wanted,
    sizes,
    size,
    present,
    base: arena.directory,
    shared,
    say,
  });
  if (wanted('load', 'load-memory')) {
    const why = (await debianUnavailable()) ?? (await missing('dockerd', 'podman'));
    if (why !== undefined) {
      say(`without loading of images: ${why}`);
      return groups;
    }
    const directory = `${arena.directory}/images`;
    mkdirSync(directory);
    const rows = await measureLoading(
      directory,
      () => debianRoot(shared, sizes.debianPackages),
      rounds,
      say,
    );
    groups.push({ targets: loaders, rows });
  }
  return groups;
}

function show(results: Results, settings: Settings): void {
  process.stdout.write(
    `\n${results.machine}; ${results.storage}; ${results.quick ? 'a trial with small sizes; ' : ''}${results.rounds === 1 ? 'one round' : `medians of ${results.rounds} rounds (lowest–highest)`}\n\n`,
  );
  for (const group of results.groups) {
    print(tableOf(group));
    process.stdout.write('\n');
    for (const { key, failures, absent } of group.rows) {
      if (absent !== undefined) process.stdout.write(`${key}: not measured: ${absent}\n`);
      for (const failure of failures) process.stdout.write(`${key}: no figure from ${failure}\n`);
    }
  }
  for (const sentence of results.without) process.stdout.write(`without ${sentence}\n`);
  const judged = results.verdicts.filter(({ value }) => value !== undefined);
  const missed = judged.filter((verdict) => reached(verdict) === false);
  process.stdout.write(`\n${judged.length - missed.length} of ${judged.length} goals reached\n`);
  if (settings.compare !== undefined) {
    process.stdout.write('\n');
    print(comparisonOf(results, settings.compare));
  }
}

async function main(): Promise<void> {
  const settings = settingsOf(process.argv.slice(2));
  if (typeof settings === 'string') {
    process.stdout.write(settings);
    return;
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
  const present: Target[] = [];
  const without: string[] = [];
  for (const target of settings.targets) {
    const why = await target.unavailable();
    if (why === undefined) present.push(target);
    else without.push(`${target.name}: ${why}`);
  }
  for (const sentence of without) say(`without ${sentence}`);
  // Ours is the first column.
  present.sort((a, b) => Number(b.name === 'plyfs') - Number(a.name === 'plyfs'));
  const arena = await makeArena(settings.quick ? 4 : 10, settings.dir);
  say(`in ${arena.directory}${arena.image === undefined ? '' : `, which is ${arena.image}`}`);
  try {
    const groups = await groupsOf(settings, arena, present);
    const results: Results = {
      version: 1,
      date: new Date().toISOString(),
      machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, Linux ${release()}, Node ${process.version}`,
      storage: arena.description,
      rounds: settings.rounds,
      quick: settings.quick,
      without,
      groups,
      verdicts: allVerdicts(groups),
    };
    show(results, settings);
    for (const path of [settings.json, settings.svg]) mkdirSync(dirname(path), { recursive: true });
    writeFileSync(settings.json, `${JSON.stringify(results, undefined, 1)}\n`);
    process.stdout.write(`figures: ${settings.json}\n`);
    const [unions] = results.groups;
    const others = ['kernel', 'fuse-overlayfs'].filter((name) => unions?.targets.includes(name));
    if (unions?.targets[0] === 'plyfs' && others.length > 0) {
      writeFileSync(settings.svg, chartOf(unions, results.machine, others));
      process.stdout.write(`picture: ${settings.svg}\n`);
    }
  } finally {
    await arena.remove();
  }
}

try {
  await main();
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = error instanceof Interrupted ? 130 : 1;
}
