/**
 * The requests of a session as a table for people: how many, and how long they took from being read
 * to being answered.
 */
import type { RequestTimes } from '../sys/session.js';
import { opcodeName } from './protocol.js';

/**
 * One line an operation, the one that took most time together first. `counts`: which of them were
 * served without JavaScript (`Session.counts`).
 */
export function requestTable(
  times: readonly RequestTimes[],
  counts: ReadonlyMap<number, readonly [native: number, script: number]>,
): string {
  const rows = [
    [
      'operation',
      'requests',
      'native',
      'failed',
      'total ms',
      'mean µs',
      'p50 µs',
      'p99 µs',
      'max µs',
    ],
  ];
  for (const { opcode, requests, failed, total, p50, p99, max } of [...times].sort(
    (a, b) => b.total - a.total,
  )) {
    rows.push([
      opcodeName(opcode),
      String(requests),
      String(counts.get(opcode)?.[0] ?? 0),
      String(failed),
      (total / 1000).toFixed(1),
      ...[total / requests, p50, p99, max].map((micros) => micros.toFixed(micros < 100 ? 1 : 0)),
    ]);
  }
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)),
    [],
  );
  const line = (row: string[]): string =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ');
  return rows.map((row) => `${line(row)}\n`).join('');
}
