/** What a run came to: as rows to print, as JSON to keep, and beside an earlier run. */
import { median, ratioOf, type Ratio } from './statistics.js';

export interface Row {
  readonly key: string;
  readonly title: string;
  readonly unit: 'ms' | 'MB' | '×';
  /** Per target one figure a round; null where there is none. */
  readonly samples: Record<string, (number | null)[]>;
  /** Highest ratio of the first target over these that is aimed at; `figure`: its own highest. */
  readonly goal?: Readonly<Record<string, number>>;
  /** Steps that failed, as `target: why`. */
  readonly failures: string[];
}

export interface Results {
  readonly version: 1;
  /** ISO 8601. */
  readonly date: string;
  readonly machine: string;
  /** Where the files lay. */
  readonly storage: string;
  readonly rounds: number;
  readonly groups: readonly Group[];
}

/** Rows that compare the same programs. */
export interface Group {
  /** The first is ours. */
  readonly targets: readonly string[];
  readonly rows: readonly Row[];
}

function shown(value: number | undefined, unit: Row['unit']): string {
  if (value === undefined) return '–';
  if (unit === '×') return `${value.toFixed(2)}×`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function shownRatio({ median, lowest, highest }: Ratio): string {
  return `${median.toFixed(2)}× (${lowest.toFixed(2)}–${highest.toFixed(2)})`;
}

const present = (samples: readonly (number | null)[] | undefined): number[] => (samples ?? []).filter((value) => value !== null);

/** Whether a row's goals are met; undefined when it has none that could be judged here. */
export function met(row: Row, ours: string): boolean | undefined {
  const verdicts: boolean[] = [];
  for (const [name, limit] of Object.entries(row.goal ?? {})) {
    const value =
      name === 'figure' ? median(present(row.samples[ours])) : ratioOf(row.samples[ours] ?? [], row.samples[name] ?? [])?.median;
    if (value !== undefined) verdicts.push(value <= limit);
  }
  return verdicts.length === 0 ? undefined : verdicts.every(Boolean);
}

/** Cells of the table: medians, and in the columns of others the ratio of ours over theirs with its spread. */
export function tableOf({ targets, rows }: Group): string[][] {
  const [ours = '', ...others] = targets;
  const head = ['workload', ours, ...others.flatMap((name) => [name, `${ours} / it`]), 'goal'];
  return [
    head,
    ...rows.map((row) => {
      const verdict = met(row, ours);
      const goals = Object.entries(row.goal ?? {}).map(([name, limit]) =>
        name === 'figure' ? `≤ ${limit} ${row.unit}` : `≤ ${limit}× ${name}`,
      );
      return [
        `${row.title} [${row.unit}]`,
        shown(median(present(row.samples[ours])), row.unit),
        ...others.flatMap((name) => {
          const ratio = ratioOf(row.samples[ours] ?? [], row.samples[name] ?? []);
          return [shown(median(present(row.samples[name])), row.unit), ratio === undefined ? '–' : shownRatio(ratio)];
        }),
        `${verdict === undefined ? '' : verdict ? 'met: ' : 'MISSED: '}${goals.join(', ')}`,
      ];
    }),
  ];
}

/** How this run stands beside an earlier one, each row as the ratio of its medians, ours and the first other target's (which shows the machine's own change). */
export function comparisonOf(now: Results, before: Results): string[][] {
  const change = (row: Row, old: Row, name: string): string => {
    const [a, b] = [median(present(row.samples[name])), median(present(old.samples[name]))];
    return a === undefined || b === undefined || b === 0 ? '–' : `${(a / b).toFixed(2)}×`;
  };
  const olds = before.groups.flatMap(({ rows }) => rows);
  const rows = now.groups.flatMap(({ targets: [ours = '', reference = ''], rows }) =>
    rows.flatMap((row) => {
      const old = olds.find(({ key }) => key === row.key);
      return old === undefined ? [] : [[row.title, change(row, old, ours), `${change(row, old, reference)} ${reference}`]];
    }),
  );
  return [['workload', `now over ${before.date.slice(0, 10)}`, 'and what it is compared with'], ...rows];
}

/** Throws when the text is not a run of this program's. */
export function parseResults(text: string, path: string): Results {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${path} is not JSON: name a file that \`make bench\` wrote.`);
  }
  if (typeof value !== 'object' || value === null || !('version' in value) || value.version !== 1 || !('groups' in value)) {
    throw new Error(`${path} is not a result of \`make bench\`: name a file that it wrote.`);
  }
  return value as Results;
}
