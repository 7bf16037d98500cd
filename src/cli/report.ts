/** How the programs say that something went wrong. */
import { UsageError, sentenceOf } from '../base/error.js';

/** One line: the program's name and the sentence, with its full stop. */
export function reportLine(program: string, error: unknown): string {
  const sentence = sentenceOf(error)
    .trim()
    .replace(/\s*\n\s*/g, ' ');
  return `${program}: ${sentence}${/[.!?…]$/.test(sentence) ? '' : '.'}\n`;
}

/**
 * 1: failed; 2: the words were wrong; for both `failure`, if there is one. What a container ended
 * with before it had begun says so itself.
 */
export function exitStatusOf(error: unknown, failure?: number): number {
  if (error instanceof Error && 'status' in error && typeof error.status === 'number')
    return error.status;
  return failure ?? (error instanceof UsageError ? 2 : 1);
}
