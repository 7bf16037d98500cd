/** The ratios of a run as a picture: one bar a row and target, on a logarithmic scale around "as fast". */
import type { Group } from './results.js';
import { ratioOf } from './statistics.js';

const LEFT = 250;
const WIDTH = 520;
const BAR = 13;
const GAP = 12;
const colours = ['#1f6f8b', '#c8553d', '#7a9e4b', '#8c6bb1', '#999999'];
const ticks = [0.1, 0.25, 0.5, 1, 2, 4, 8];

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

/** A whole SVG document. Rows without a ratio are left out. */
export function chartOf({ targets, rows }: Group, machine: string, against: readonly string[]): string {
  const [ours = ''] = targets;
  const at = (ratio: number): number => {
    const clamped = Math.min(Math.max(ratio, ticks[0]!), ticks.at(-1)!);
    return LEFT + ((Math.log(clamped) - Math.log(ticks[0]!)) / (Math.log(ticks.at(-1)!) - Math.log(ticks[0]!))) * WIDTH;
  };
  const body: string[] = [];
  let y = 64;
  for (const row of rows) {
    const bars = against.flatMap((name, index) => {
      const ratio = ratioOf(row.samples[ours] ?? [], row.samples[name] ?? []);
      return ratio === undefined ? [] : [{ index, ratio: ratio.median }];
    });
    if (bars.length === 0) continue;
    body.push(`<text x="${LEFT - 8}" y="${y + (bars.length * BAR) / 2 + 4}" text-anchor="end">${escape(row.title)}</text>`);
    for (const { index, ratio } of bars) {
      const [from, to] = [Math.min(at(1), at(ratio)), Math.max(at(1), at(ratio))];
      body.push(
        `<rect x="${from.toFixed(1)}" y="${y}" width="${Math.max(to - from, 1).toFixed(1)}" height="${BAR - 2}" fill="${colours[index % colours.length]}"/>`,
        `<text x="${((ratio < 1 ? from : to) + (ratio < 1 ? -4 : 4)).toFixed(1)}" y="${y + BAR - 4}" class="n" text-anchor="${ratio < 1 ? 'end' : 'start'}">${ratio.toFixed(2)}</text>`,
      );
      y += BAR;
    }
    y += GAP;
  }
  const grid = ticks.map(
    (tick) =>
      `<line x1="${at(tick).toFixed(1)}" x2="${at(tick).toFixed(1)}" y1="56" y2="${y}" stroke="${tick === 1 ? '#333' : '#ddd'}"/>` +
      `<text x="${at(tick).toFixed(1)}" y="50" text-anchor="middle" class="n">${tick}×</text>`,
  );
  const legend = against.map(
    (name, index) =>
      `<rect x="${LEFT + index * 190}" y="14" width="11" height="11" fill="${colours[index % colours.length]}"/>` +
      `<text x="${LEFT + 16 + index * 190}" y="24">over ${escape(name)}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${LEFT + WIDTH + 60}" height="${y + 24}" font-family="sans-serif" font-size="12">`,
    `<style>text{fill:#222}.n{font-size:10px;fill:#555}</style><rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="8" y="24" font-weight="bold">time of ${escape(ours)}</text>`,
    ...legend,
    ...grid,
    ...body,
    `<text x="8" y="${y + 14}" class="n">smaller is better; ${escape(machine)}</text>`,
    '</svg>',
    '',
  ].join('\n');
}
