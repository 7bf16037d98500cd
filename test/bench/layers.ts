/**
 * Layers to measure with: a stack as an image has it, made from a fixed seed, so that every run and
 * every machine has the same.
 *
 * `tree/` is spread over all layers: the bottom has half of it, each layer above adds directories,
 * adds files to directories that are there, replaces some and deletes a few. `merged/`, where it is
 * asked for, is in every layer. `small/` is 8,000 files of the sizes that source code has, in the
 * bottom layer. `copied/` is a tree to copy.
 */
import { mkdirSync, mknodCharacter, writeFileSync } from './layer-files.js';

export interface Stack {
  /** Topmost first. */
  readonly lowers: readonly string[];
  readonly entries: number;
}

export interface StackSize {
  readonly layers: number;
  /** Names in all layers together, whiteouts included. */
  readonly entries: number;
  readonly smallFiles: number;
  /**
   * Names that only the bottom has, in the `merged/dN` of which every layer has one. Default: no
   * such directories.
   */
  readonly mergedNames?: number;
}

/** How many `merged/dN` there are. */
export const DEEP_DIRECTORIES = 20;

/** mulberry32: the same numbers from the same seed, wherever. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Most are a few hundred bytes, a few some dozens of KiB: about 4 KiB in the mean. */
function sizeOf(random: () => number): number {
  return Math.min(64 * 1024, Math.floor(200 * Math.exp(random() * 4.5)));
}

const content = Buffer.from(
  'All that a file of a benchmark needs is to be of a certain length, and not compressible to nothing. '.repeat(
    700,
  ),
);

/** Makes the layers below `base`, which is empty. */
export function makeStack(base: string, size: StackSize): Stack {
  const random = randomFrom(20_240_229);
  const lowers = Array.from(
    { length: size.layers },
    (_, i) => `${base}/layer${String(size.layers - i).padStart(3, '0')}`,
  );
  for (const lower of lowers) mkdirSync(`${lower}/tree`);
  const bottomFirst = [...lowers].reverse();
  let entries = 0;
  const file = (path: string): void => {
    writeFileSync(path, content.subarray(0, sizeOf(random)));
    entries++;
  };
  const directory = (path: string): void => {
    mkdirSync(path);
    entries++;
  };

  const small = bottomFirst[0]!;
  for (let i = 0; i < size.smallFiles; i++) {
    if (i % 40 === 0) directory(`${small}/small/d${Math.floor(i / 40)}`);
    file(`${small}/small/d${Math.floor(i / 40)}/f${i}.c`);
  }
  for (let i = 0; i < size.smallFiles / 4; i++) {
    if (i % 25 === 0) directory(`${small}/copied/d${Math.floor(i / 25)}`);
    file(`${small}/copied/d${Math.floor(i / 25)}/f${i}.h`);
  }

  if (size.mergedNames !== undefined) {
    for (const [index, layer] of bottomFirst.entries()) {
      for (let i = 0; i < DEEP_DIRECTORIES; i++) {
        directory(`${layer}/merged/d${i}`);
        file(`${layer}/merged/d${i}/own${index}`);
      }
    }
    for (let i = 0; i < size.mergedNames; i++)
      file(`${small}/merged/d${i % DEEP_DIRECTORIES}/bottom${i}`);
  }

  const rest = size.entries - entries;
  const known: { path: string; files: string[] }[] = [];
  for (const [index, layer] of bottomFirst.entries()) {
    const share = size.layers === 1 ? rest : index === 0 ? rest / 2 : rest / 2 / (size.layers - 1);
    const made = new Set<string>();
    const end = entries + share;
    const into = (path: string): void => {
      if (made.has(path)) return;
      made.add(path);
      directory(`${layer}/${path}`);
    };
    while (entries < end) {
      const old =
        index > 0 && random() < 0.5 ? known[Math.floor(random() * known.length)] : undefined;
      if (old === undefined) {
        const path = `tree/p${Math.floor(random() * 40)}/l${index}-${known.length}`;
        const fresh = { path, files: [] as string[] };
        into(path);
        for (let i = 0, count = 5 + Math.floor(random() * 40); i < count; i++) {
          fresh.files.push(`f${i}`);
          file(`${layer}/${path}/f${i}`);
        }
        known.push(fresh);
      } else {
        into(old.path);
        const name = old.files[Math.floor(random() * old.files.length)];
        if (random() < 0.2 && name !== undefined && process.getuid?.() === 0) {
          old.files.splice(old.files.indexOf(name), 1);
          mknodCharacter(`${layer}/${old.path}/${name}`);
          entries++;
        } else {
          const added = random() < 0.5 && name !== undefined ? name : `g${index}-${entries}`;
          if (added !== name) old.files.push(added);
          file(`${layer}/${old.path}/${added}`);
        }
      }
    }
  }
  return { lowers, entries };
}
