/** What many noisy measurements of the same thing come to. */

/** Undefined of nothing. */
export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export interface Ratio {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/**
 * `ours` over `theirs`, round by round: what disturbed a round disturbed both. Rounds that lack one
 * of them do not count; undefined when none is left.
 */
export function ratioOf(
  ours: readonly (number | null)[],
  theirs: readonly (number | null)[],
): Ratio | undefined {
  const ratios: number[] = [];
  for (const [round, value] of ours.entries()) {
    const other = theirs[round];
    if (value !== null && other !== null && other !== undefined && other > 0)
      ratios.push(value / other);
  }
  const middle = median(ratios);
  return middle === undefined
    ? undefined
    : { median: middle, lowest: Math.min(...ratios), highest: Math.max(...ratios) };
}
