/** Lines of JSON between the processes of a sandbox. */
import { readSync, writeSync } from 'node:fs';

/** Calls `take` for each whole line of what comes; the rest of a line that never ends is dropped. */
export function eachMessage(stream: NodeJS.ReadableStream, take: (message: unknown) => void): void {
  let held = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (held + text).split('\n');
    held = lines.pop() ?? '';
    for (const line of lines) take(JSON.parse(line) as unknown);
  });
}

export function lineOf(message: object): string {
  return `${JSON.stringify(message)}\n`;
}

/** The next line of a blocking descriptor. */
export function readMessage(fd: number): unknown {
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(64 * 1024);
  for (;;) {
    const size = readSync(fd, buffer, 0, buffer.length, null);
    if (size === 0) throw new Error('the other side has ended');
    pieces.push(Buffer.from(buffer.subarray(0, size)));
    if (buffer[size - 1] === 0x0a) return JSON.parse(Buffer.concat(pieces).toString()) as unknown;
  }
}

export function writeMessage(fd: number, message: object): void {
  const bytes = Buffer.from(lineOf(message));
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}
