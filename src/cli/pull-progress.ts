/** How far a pull is: bars or lines on stderr, or a JSON object a line on stdout. */
import type { CommandContext } from './command.js';
import type { ProgressEvent } from './progress.js';

/** Milliseconds between two events of a layer in one state. */
const INTERVAL = 250;

/** The layers' progress, and that of all together. */
export async function pullProgress(
  { progress }: Pick<CommandContext, 'progress'>,
  quiet: boolean,
): Promise<(event: ProgressEvent) => void> {
  const { report } = await progress(quiet, 'Pulling');
  const layers = new Map<string, { done: number; total: number }>();
  return (event) => {
    report(event);
    const { id, kind, done, total = 0 } = event;
    if (kind === 'extract') return;
    layers.set(id, { done, total });
    if (kind !== 'download') return;
    const sum = { done: 0, total: 0 };
    for (const layer of layers.values()) {
      sum.done += layer.done;
      sum.total += layer.total;
    }
    report({ kind: 'download', id: 'total', ...sum });
  };
}

export interface PullEvents {
  readonly report: (event: ProgressEvent) => void;
  readonly pulled: (image: object) => void;
  /** Resolves when all of it is written, and rejects if it could not be. */
  readonly written: () => Promise<void>;
}

/** `{"event":"layer","id","state","done","total"}`, and `{"event":"image",…}` at the end. */
export function pullEvents(print: CommandContext['print']): PullEvents {
  const said = new Map<string, { state: string; at: number }>();
  let writing: Promise<void> = Promise.resolve();
  const write = (event: object): void => {
    writing = writing.then(() => print(`${JSON.stringify(event)}\n`));
    writing.catch(() => undefined);
  };
  return {
    report: ({ id, kind: state, done, total }) => {
      const last = said.get(id);
      const now = Date.now();
      if (last?.state === state && now - last.at < INTERVAL) return;
      said.set(id, { state, at: now });
      write({ event: 'layer', id, state, done, total });
    },
    pulled: (image) => write({ event: 'image', ...image }),
    written: () => writing,
  };
}
