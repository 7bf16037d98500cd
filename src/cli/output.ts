/**
 * What ply writes to stdout and stderr. Whatever it is, a terminal gets no control characters but
 * ends of lines and tabs (terminal-text.ts); a pipe and a file get what there is. Each stream is
 * looked at by itself.
 */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { ByteSource } from '../base/byte-source.js';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { forTerminal, inLine } from './terminal-text.js';

/** Whoever read stdout has gone, as `head` does: no failure worth a sentence. */
export class OutputClosed extends Error {}

/**
 * Whether stdout has somebody who listens for errors. `print` gets them in its callback, but
 * without a listener they end the process as well.
 */
let guarded = false;

/** Resolves when it is written. Throws `OutputClosed`. */
export async function print(data: string | Uint8Array): Promise<void> {
  if (data.length === 0) return;
  const written = isatty(1)
    ? forTerminal(typeof data === 'string' ? data : Buffer.from(data).toString('utf8'))
    : data;
  if (!guarded) process.stdout.on('error', () => undefined);
  guarded = true;
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(written, (error) => {
      if (error === undefined || error === null) resolve();
      else reject('code' in error && error.code === 'EPIPE' ? new OutputClosed() : error);
    });
  });
}

/** A name, or other text of a stranger's, in a line on stdout. */
export function shown(text: string): string {
  return isatty(1) ? inLine(text) : text;
}

/** A name whose bytes need not be text, as `shown`. */
export function shownBytes(name: ByteString): ByteString {
  return isatty(1) ? bytesOf(inLine(textOf(name))) : name;
}

/** Lines about what is done, on stderr. */
export function say(lines: string): void {
  writeSync(2, isatty(2) ? forTerminal(lines) : lines);
}

export async function printAll(source: ByteSource): Promise<void> {
  for await (const piece of source) await print(piece);
}
