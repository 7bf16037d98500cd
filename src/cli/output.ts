/** What the programs write to stdout. */
import type { ByteSource } from '../base/byte-source.js';

/** Whoever read stdout has gone, as `head` does: no failure worth a sentence. */
export class OutputClosed extends Error {}

/** Whether stdout has somebody who listens for errors. `print` gets them in its callback, but without a listener they end the process as well. */
let guarded = false;

/** Resolves when it is written. Throws `OutputClosed`. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (data.length === 0) return;
  if (!guarded) process.stdout.on('error', () => undefined);
  guarded = true;
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(data, (error) => {
      if (error === undefined || error === null) resolve();
      else reject('code' in error && error.code === 'EPIPE' ? new OutputClosed() : error);
    });
  });
}

export async function printAll(source: ByteSource): Promise<void> {
  for await (const piece of source) await print(piece);
}
