/**
 * The ratios of a run as a picture: one bar a row and target, on a logarithmic scale around "as
 * fast".
 */
import type { Group } from './results.js';
import { ratioOf } from './statistics.js';

const LEFT = 330;
const WIDTH = 420;
const RIGHT = 50;
const BAR = 9;
const GAP = 7;
const TOP = 46;
const ticks = [0.1, 0.25, 0.5, 1, 2, 4, 8, 16];

/**
 * Readable on white and on black: a picture in a page does not know what is behind it, only what
 * its reader prefers.
 */
const style =
  'text{fill:#24292f}.n{font-size:9px;fill:#57606a}line{stroke:#d0d7de}.one{stroke:#57606a}.b0{fill:#0969da}.b1{fill:#bc4c00}' +
  '@media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#9198a1}line{stroke:#30363d}.one{stroke:#9198a1}.b0{fill:#4493f8}.b1{fill:#f0883e}}';

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

function at(ratio: number): number {
  const [lowest, highest] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  return (
    LEFT +
    ((Math.min(Math.max(Math.log(ratio), lowest), highest) - lowest) / (highest - lowest)) * WIDTH
  );
}

/**
 * A whole SVG document: times only, `against` two targets at most. Rows without a ratio are left
 * out.
 */
export function chartOf(
  { targets, rows }: Group,
  machine: string,
  against: readonly string[],
): string {
  const [ours = ''] = targets;
  const body: string[] = [];
  let y = TOP + 8;
  for (const row of rows.filter(({ unit }) => unit === 'ms')) {
    const bars = against.flatMap((name, index) => {
      const ratio = ratioOf(row.samples[ours] ?? [], row.samples[name] ?? []);
      return ratio === undefined ? [] : [{ index, ratio: ratio.median }];
    });
    if (bars.length === 0) continue;
    body.push(
      `<text x="${LEFT - 8}" y="${y + (bars.length * BAR) / 2 + 4}" text-anchor="end">${escape(row.title)}</text>`,
    );
    for (const { index, ratio } of bars) {
      const [from, to] = [Math.min(at(1), at(ratio)), Math.max(at(1), at(ratio))];
      const beside =
        ratio < 1 ? `x="${(from - 4).toFixed(1)}" text-anchor="end"` : `x="${(to + 4).toFixed(1)}"`;
      body.push(
        `<rect class="b${index}" x="${from.toFixed(1)}" y="${y}" width="${Math.max(to - from, 1).toFixed(1)}" height="${BAR - 1}"/>`,
        `<text ${beside} y="${y + BAR - 2}" class="n">${ratio.toFixed(2)}</text>`,
      );
      y += BAR;
    }
    y += GAP;
  }
  const grid = ticks.map((tick) => {
    const x = at(tick).toFixed(1);
    return (
      `<line${tick === 1 ? ' class="one"' : ''} x1="${x}" x2="${x}" y1="${TOP}" y2="${y}"/>` +
      `<text x="${x}" y="${TOP - 4}" text-anchor="middle" class="n">${tick}×</text>`
    );
  });
  const legend = against.map(
    (name, index) =>
      `<rect class="b${index}" x="${LEFT + index * 190}" y="10" width="11" height="11"/>` +
      `<text x="${LEFT + 16 + index * 190}" y="20">over ${escape(name)}</text>`,
  );
  const [width, height] = [LEFT + WIDTH + RIGHT, y + 22];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<style>${style}</style>`,
    `<text x="8" y="20" font-weight="bold">time of ${escape(ours)}</text>`,
    ...legend,
    ...grid,
    ...body,
    `<text x="8" y="${y + 14}" class="n">smaller is better; ${escape(machine)}</text>`,
    '</svg>',
    '',
  ].join('\n');
}
