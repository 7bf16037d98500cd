/** What the processes of a mixed load find in the layers: files of which each knows the content. */
import { mkdirSync, writeFileSync } from 'node:fs';

/** Below a process's own directory. */
export const laidNames: readonly string[] = [
  ...Array.from({ length: 30 }, (_, i) => `n${i}`),
  ...Array.from({ length: 10 }, (_, i) => `d0/n${i}`),
  ...Array.from({ length: 10 }, (_, i) => `d1/n${i}`),
];

export function laidContent(process: number, name: string): Buffer {
  // One file is larger than a copy-up does at once (1 MiB).
  const length =
    name === 'n7'
      ? 2_500_000
      : (name.length * 977 + process * 131 + name.charCodeAt(name.length - 1) * 53) % 9000;
  return Buffer.alloc(length, `${process} ${name} `);
}

/**
 * Into two layers: every third file into the one above, where a different content hides one below.
 */
export function lay(top: string, bottom: string, processes: number, rounds: number): void {
  for (let process = 0; process < processes; process++) {
    for (const layer of [top, bottom])
      for (const directory of ['d0', 'd1'])
        mkdirSync(`${layer}/own-${process}/${directory}`, { recursive: true });
    for (const [i, name] of laidNames.entries()) {
      const content = laidContent(process, name);
      writeFileSync(`${i % 3 === 0 ? top : bottom}/own-${process}/${name}`, content);
      if (i % 6 === 0) writeFileSync(`${bottom}/own-${process}/${name}`, 'hidden');
    }
  }
  mkdirSync(`${bottom}/shared`);
  for (let i = 0; i < rounds; i++) writeFileSync(`${bottom}/shared/token-${i}`, String(i));
  writeFileSync(`${bottom}/shared/log`, '');
}
