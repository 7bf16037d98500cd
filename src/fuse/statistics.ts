/**
 * Counts and times of requests that JavaScript handled, by opcode.
 */
import { OPCODES, opcodeName } from './protocol.js';

/** Bucket `n` holds times below 2^n microseconds; the last one everything longer. */
const BUCKETS = 24;

export class Statistics {
  readonly #counts = new Uint32Array(OPCODES);
  readonly #failures = new Uint32Array(OPCODES);
  readonly #micros = new Float64Array(OPCODES);
  readonly #buckets = new Uint32Array(OPCODES * BUCKETS);

  record(opcode: number, result: number, micros: number): void {
    if (opcode >= OPCODES) return;
    this.#counts[opcode] = (this.#counts[opcode] as number) + 1;
    if (result < 0) this.#failures[opcode] = (this.#failures[opcode] as number) + 1;
    this.#micros[opcode] = (this.#micros[opcode] as number) + micros;
    const bucket = micros < 1 ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log2(micros)) + 1);
    const at = opcode * BUCKETS + bucket;
    this.#buckets[at] = (this.#buckets[at] as number) + 1;
  }

  count(opcode: number): number {
    return this.#counts[opcode] ?? 0;
  }

  /**
   * A table, one line an opcode. `native`: requests that were served without JavaScript (`Session.counts`).
   * The quantiles are upper bounds, exact to a power of two.
   */
  report(native?: ReadonlyMap<number, readonly [native: number, script: number]>): string {
    const rows = [['operation', 'requests', 'native', 'failed', 'mean µs', 'p50 µs', 'p99 µs', 'max µs']];
    for (let opcode = 0; opcode < OPCODES; opcode++) {
      const count = this.count(opcode);
      const served = native?.get(opcode)?.[0] ?? 0;
      if (count + served === 0) continue;
      rows.push([
        opcodeName(opcode),
        String(count + served),
        String(served),
        String(this.#failures[opcode]),
        count === 0 ? '-' : ((this.#micros[opcode] as number) / count).toFixed(1),
        this.#quantile(opcode, 0.5),
        this.#quantile(opcode, 0.99),
        this.#quantile(opcode, 1),
      ]);
    }
    const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)), []);
    const line = (row: string[]): string =>
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ');
    return rows.map((row) => `${line(row)}\n`).join('');
  }

  #quantile(opcode: number, fraction: number): string {
    const count = this.count(opcode);
    if (count === 0) return '-';
    let left = Math.ceil(count * fraction);
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      left -= this.#buckets[opcode * BUCKETS + bucket] as number;
      if (left <= 0) return bucket === BUCKETS - 1 ? `>${2 ** (BUCKETS - 2)}` : `<${2 ** bucket}`;
    }
    return '-';
  }
}
