/** Questions to the person at the terminal. What is typed after `askSecret` is not shown. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { say } from './output.js';

export function ask(question: string, signal: AbortSignal): Promise<string> {
  return answerTo(question, signal, true);
}

export function askSecret(question: string, signal: AbortSignal): Promise<string> {
  return answerTo(question, signal, false);
}

/**
 * The terminal is as it was afterwards, however it ends: readline puts it into raw mode, shows each
 * character itself, and gives SIGINT as an event. Rejects with the signal's reason, and when
 * nothing more can be typed.
 */
async function answerTo(question: string, signal: AbortSignal, shown: boolean): Promise<string> {
  signal.throwIfAborted();
  say(question);
  const silent = new Writable({ write: (_piece, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: shown ? process.stderr : silent,
    terminal: true,
    historySize: 0,
  });
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve);
      lines.once('close', () => reject(new Error('nothing was typed')));
      lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
  } finally {
    lines.close();
    if (!shown) say('\n');
  }
}
