/** Lines of JSON between the processes of a sandbox. */

/**
 * Calls `take` for each whole line of what comes; the rest of a line that never ends is dropped.
 */
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
