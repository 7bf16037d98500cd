/** What a run came to: as rows to print, as JSON to keep, and beside an earlier run. */
import { median, ratioOf, type Ratio } from './statistics.js';
import type { Derived, Goal, Unit } from './workload.js';

export interface Row {
  readonly key: string;
  readonly title: string;
  readonly unit: Unit;
  /** Per target one figure a round; null where there is none. */
  readonly samples: Record<string, (number | null)[]>;
  readonly goal?: Goal;
  /** Steps that failed, as `target: why`. */
  readonly failures: string[];
  /** One sentence that says why it was not measured at all. */
  readonly absent?: string;
}

export interface Results {
  readonly version: 1;
  /** ISO 8601. */
  readonly date: string;
  readonly machine: string;
  /** Where the files lay. */
  readonly storage: string;
  readonly rounds: number;
  /** Sizes of a trial, not of a measurement. */
  readonly quick: boolean;
  /** Targets that were not there, as `target: why`. */
  readonly without: readonly string[];
  readonly groups: readonly Group[];
  /** All goals of all rows, the worst first. */
  readonly verdicts: readonly Verdict[];
}

/** Rows that compare the same programs. */
export interface Group {
  /** The first is ours. */
  readonly targets: readonly string[];
  readonly rows: readonly Row[];
}

export interface Verdict {
  readonly key: string;
  /** What is limited: the ratio over a target, or the row's own figure. */
  readonly of: string;
  readonly limit: number;
  /** Undefined when it was not measured. */
  readonly value?: number;
}

export const reached = ({ value, limit }: Verdict): boolean | undefined =>
  value === undefined ? undefined : value <= limit;

/**
 * A ratio for targets that are ways to run plyfs would say little: their figures stand beside its
 * own.
 */
const isOurs = (target: string): boolean => target.startsWith('plyfs');

function shown(value: number | undefined, unit: Unit): string {
  if (value === undefined) return '–';
  if (unit === '×') return value.toFixed(2);
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2);
}

function shownRatio({ median, lowest, highest }: Ratio): string {
  if (lowest === highest) return `${median.toFixed(2)}×`;
  return `${median.toFixed(2)}× (${lowest.toFixed(2)}–${highest.toFixed(2)})`;
}

/** Of one target's own figures. */
function shownSpread(samples: readonly number[], unit: Unit): string {
  const middle = shown(median(samples), unit);
  return samples.length < 2
    ? middle
    : `${middle} (${shown(Math.min(...samples), unit)}–${shown(Math.max(...samples), unit)})`;
}

const present = (samples: readonly (number | null)[] | undefined): number[] =>
  (samples ?? []).filter((value) => value !== null);

export function verdictsOf(row: Row, ours: string): Verdict[] {
  return Object.entries(row.goal ?? {}).map(([of, limit]) => {
    const value =
      of === 'figure'
        ? median(present(row.samples[ours]))
        : ratioOf(row.samples[ours] ?? [], row.samples[of] ?? [])?.median;
    return { key: row.key, of, limit, ...(value === undefined ? {} : { value }) };
  });
}

/** Those that were missed by most come first, those that were not measured last. */
export function allVerdicts(groups: readonly Group[]): Verdict[] {
  const over = ({ value, limit }: Verdict): number => (value === undefined ? -1 : value / limit);
  return groups
    .flatMap(({ targets: [ours = ''], rows }) => rows.flatMap((row) => verdictsOf(row, ours)))
    .sort((a, b) => over(b) - over(a));
}

function shownVerdict(verdict: Verdict, unit: Unit): string {
  const { of, limit, value } = verdict;
  const goal =
    of === 'figure' ? `≤ ${limit}${unit === '×' ? '×' : ` ${unit}`}` : `≤ ${limit}× ${of}`;
  if (value === undefined) return `${goal} not measured`;
  return value <= limit
    ? `${goal} reached`
    : `${goal} MISSED by ${((value / limit - 1) * 100).toFixed(0)} %`;
}

/**
 * Cells of the table: ours with its spread, medians of others and the ratio of ours over theirs
 * with its spread.
 */
export function tableOf({ targets, rows }: Group): string[][] {
  const [ours = '', ...others] = targets;
  const head = [
    'workload',
    ours,
    ...others.flatMap((name) => (isOurs(name) ? [name] : [name, `${ours} / it`])),
    'goal',
  ];
  return [
    head,
    ...rows.map((row) => [
      `${row.title} [${row.unit}]`,
      shownSpread(present(row.samples[ours]), row.unit),
      ...others.flatMap((name) => {
        const figure = shown(median(present(row.samples[name])), row.unit);
        if (isOurs(name)) return [figure];
        const ratio = ratioOf(row.samples[ours] ?? [], row.samples[name] ?? []);
        return [figure, ratio === undefined ? '–' : shownRatio(ratio)];
      }),
      verdictsOf(row, ours)
        .map((verdict) => shownVerdict(verdict, row.unit))
        .join(', '),
    ]),
  ];
}

/** A row of what one row is over another; undefined unless both were measured. */
export function derivedRow(
  { key, title, over: [dividend, divisor], goal }: Derived,
  rows: readonly Row[],
): Row | undefined {
  const [above, below] = [dividend, divisor].map((name) => rows.find((row) => row.key === name));
  if (above === undefined || below === undefined) return undefined;
  const samples: Row['samples'] = {};
  for (const [name, figures] of Object.entries(above.samples)) {
    samples[name] = figures.map((figure, round) => {
      const other = below.samples[name]?.[round] ?? null;
      return figure === null || other === null || other === 0 ? null : figure / other;
    });
  }
  const absent = above.absent ?? below.absent;
  return {
    key,
    title,
    unit: '×',
    samples,
    failures: [],
    ...(goal === undefined ? {} : { goal }),
    ...(absent === undefined ? {} : { absent }),
  };
}

/**
 * How this run stands beside an earlier one, each row as the ratio of its medians, ours and the
 * first other target's (which shows the machine's own change).
 */
export function comparisonOf(now: Results, before: Results): string[][] {
  const change = (row: Row, old: Row, name: string): string => {
    const [a, b] = [median(present(row.samples[name])), median(present(old.samples[name]))];
    return a === undefined || b === undefined || b === 0 ? '–' : `${(a / b).toFixed(2)}×`;
  };
  const olds = before.groups.flatMap(({ rows }) => rows);
  const rows = now.groups.flatMap(({ targets: [ours = '', reference = ''], rows }) =>
    rows.map((row) => {
      const old = olds.find(({ key }) => key === row.key);
      if (old === undefined) return [row.title, 'new', ''];
      // What a row does may have changed with its title: then its figures are not comparable.
      if (old.title !== row.title) return [row.title, `was: ${old.title}`, ''];
      return [
        row.title,
        change(row, old, ours),
        reference === '' ? '' : `${change(row, old, reference)} ${reference}`,
      ];
    }),
  );
  return [
    ['workload', `now over ${before.date.slice(0, 10)}`, 'and what it is compared with'],
    ...rows,
  ];
}

/** Throws when the text is not a run of this program's. */
export function parseResults(text: string, path: string): Results {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${path} is not JSON: name a file that \`make bench\` wrote.`);
  }
  if (
    typeof value !== 'object' ||
    value === null ||
    !('version' in value) ||
    value.version !== 1 ||
    !('groups' in value)
  ) {
    throw new Error(`${path} is not a result of \`make bench\`: name a file that it wrote.`);
  }
  return value as Results;
}
