/**
 * `make bench`: plyfs beside the kernel's overlay and its peers, over the same layers in one run.
 *
 * Rounds are interleaved: each scenario is run for every target before the next, in an order that turns with the round, so that what
 * the machine does meanwhile falls on all alike; ratios are taken within a round.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../support/root.js';
import { makeArena, type Arena } from './arena.js';
import { chartOf } from './chart.js';
import { loaders, measureLoading } from './image-load.js';
import { makeStack, type StackSize } from './layers.js';
import { runScenario } from './measure.js';
import { comparisonOf, parseResults, tableOf, type Group, type Results, type Row } from './results.js';
import { scenarios } from './scenarios.js';
import { targets, type Target } from './targets.js';
import type { Scenario, Step } from './workload.js';

const usage = `usage: make bench [ARGS="OPTIONS"]

  --quick            smaller layers and one round: to see that it works
  --rounds N         how often each workload is run (default 5)
  --only WORD,...    rows or scenarios whose name contains a word
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
  readonly only: readonly string[];
  readonly size: StackSize;
  readonly targets: readonly Target[];
  readonly dir: string | undefined;
  readonly json: string;
  readonly svg: string;
  readonly compare: Results | undefined;
}

function positive(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${option} is '${text}': give a whole number of at least 1.`);
  return value;
}

function settingsOf(words: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...words],
    options: {
      help: { type: 'boolean', short: 'h' },
      quick: { type: 'boolean' },
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
  if (values.help === true) return undefined;
  const quick = values.quick === true;
  const chosen = values.targets?.split(',');
  const unknown = chosen?.find((word) => !targets.some(({ name }) => name === word));
  if (unknown !== undefined) throw new Error(`There is no target '${unknown}': ${targets.map(({ name }) => name).join(', ')} are.`);
  return {
    rounds: positive(values.rounds ?? (quick ? '1' : '5'), 'rounds'),
    only: values.only?.split(',') ?? [],
    size: {
      layers: positive(values.layers ?? '10', 'layers'),
      entries: positive(values.entries ?? (quick ? '5000' : '50000'), 'entries'),
      smallFiles: quick ? 800 : 8000,
    },
    targets: targets.filter(({ name }) => name === 'plyfs' || (chosen?.includes(name) ?? true)),
    dir: values.dir,
    json: values.json ?? join(root, 'dist/bench/results.json'),
    svg: values.svg ?? join(root, 'dist/bench/ratios.svg'),
    compare: values.compare === undefined ? undefined : parseResults(readFileSync(values.compare, 'utf8'), values.compare),
  };
}

function say(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
}

function print(cells: readonly (readonly string[])[]): void {
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  for (const row of cells) {
    process.stdout.write(
      `${row
        .map((cell, column) => cell + ' '.repeat(widths[column]! - cell.length))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
}

async function measureAll(settings: Settings, arena: Arena, present: readonly Target[]): Promise<Row[]> {
  const wanted = (scenario: Scenario) => (step: Step) =>
    settings.only.length === 0 || settings.only.some((word) => step.key.includes(word) || scenario.key.includes(word));
  const chosen = scenarios.filter((scenario) => scenario.steps.some(wanted(scenario)));
  if (chosen.length === 0) return [];
  say(`making layers: ${settings.size.entries} entries in ${settings.size.layers}`);
  const stack = makeStack(`${arena.directory}/stack`, settings.size);
  const deep = chosen.some((scenario) => scenario.stack === 'deep')
    ? makeStack(`${arena.directory}/deep`, { layers: 125, entries: 5000, smallFiles: 800 })
    : stack;
  const rows = new Map<string, Row>();
  for (const scenario of chosen) {
    for (const { key, title, unit, goal } of scenario.steps.filter(wanted(scenario))) {
      const samples = Object.fromEntries(present.map(({ name }) => [name, [] as (number | null)[]]));
      rows.set(key, { key, title, unit, samples, failures: [], ...(goal === undefined ? {} : { goal }) });
    }
  }
  const shared = `${arena.directory}/shared`;
  mkdirSync(shared);
  for (const scenario of chosen) await scenario.prepare?.(shared, stack);

  // A first round fills the caches of the host and is not counted.
  for (let round = -1; round < settings.rounds; round++) {
    for (const scenario of chosen) {
      const turn = (round + 1) % present.length;
      for (const target of [...present.slice(turn), ...present.slice(0, turn)]) {
        if (round < 0 && target.name !== 'kernel' && target.name !== 'plyfs') continue;
        say(`${round < 0 ? 'warming up' : `round ${round + 1}/${settings.rounds}`}: ${scenario.key} on ${target.name}`);
        const base = `${arena.directory}/run`;
        const figures = await runScenario(scenario, target, scenario.stack === 'deep' ? deep : stack, base, shared, wanted(scenario));
        if (round < 0) continue;
        for (const step of scenario.steps.filter(wanted(scenario))) {
          const row = rows.get(step.key)!;
          const figure = figures.get(step.key) ?? null;
          if (figure instanceof Error && row.failures.every((known) => !known.startsWith(target.name))) {
            row.failures.push(`${target.name}: ${figure.message}`);
          }
          row.samples[target.name]!.push(figure instanceof Error ? null : figure);
        }
      }
    }
  }
  return [...rows.values()];
}

/** What was asked for, the unions first. */
async function groupsOf(settings: Settings, arena: Arena, present: readonly Target[]): Promise<Group[]> {
  const rows = await measureAll(settings, arena, present);
  const groups: Group[] = rows.length === 0 ? [] : [{ targets: present.map(({ name }) => name), rows }];
  if (settings.only.length === 0 || settings.only.some((word) => 'load'.includes(word))) {
    const directory = `${arena.directory}/images`;
    mkdirSync(directory);
    groups.push({ targets: loaders, rows: await measureLoading(directory, settings.rounds, say) });
  }
  return groups;
}

async function main(): Promise<void> {
  const settings = settingsOf(process.argv.slice(2));
  if (settings === undefined) {
    process.stdout.write(usage);
    return;
  }
  const present: Target[] = [];
  for (const target of settings.targets) {
    const why = await target.unavailable();
    if (why === undefined) present.push(target);
    else say(`without ${target.name}: ${why}`);
  }
  // Ours is the first column.
  present.sort((a, b) => Number(b.name === 'plyfs') - Number(a.name === 'plyfs'));
  const arena = await makeArena(12, settings.dir);
  const interrupted = (): void => {
    void arena.remove().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    const results: Results = {
      version: 1,
      date: new Date().toISOString(),
      machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, Linux ${release()}, Node ${process.version}`,
      storage: arena.description,
      rounds: settings.rounds,
      groups: await groupsOf(settings, arena, present),
    };
    process.stdout.write(
      `\n${results.machine}; ${results.storage}; medians of ${results.rounds} rounds; ratios: median (lowest–highest)\n\n`,
    );
    for (const group of results.groups) {
      print(tableOf(group));
      process.stdout.write('\n');
      for (const { key, failures } of group.rows)
        for (const failure of failures) process.stdout.write(`${key}: no figure from ${failure}\n`);
    }
    if (settings.compare !== undefined) {
      print(comparisonOf(results, settings.compare));
    }
    for (const path of [settings.json, settings.svg]) mkdirSync(dirname(path), { recursive: true });
    writeFileSync(settings.json, `${JSON.stringify(results, undefined, 1)}\n`);
    process.stdout.write(`figures: ${settings.json}\n`);
    const [unions] = results.groups;
    const others = ['kernel', 'fuse-overlayfs'].filter((name) => unions?.targets.includes(name));
    if (unions !== undefined && others.length > 0) {
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
  process.exitCode = 1;
}
