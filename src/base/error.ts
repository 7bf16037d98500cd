import { reasonOf, systemFailureOf, systemFailureSentence } from './system-error.js';

/**
 * Errors with a permanent code, for everything that is not a file-system path.
 *
 * The message is one sentence that says what was wrong, where, and what to do.
 * Programs and tests match `code`; the sentence may improve from release to release.
 */
export class PlyfsError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PlyfsError';
    this.code = code;
  }
}

/** The caller's words were wrong (exit status 2). */
export class UsageError extends PlyfsError {
  constructor(message: string) {
    super('usage', message);
    this.name = 'UsageError';
  }
}

/**
 * Why something failed, for a sentence that says what failed: of a system call the reason in words,
 * else the message.
 */
export function messageOf(error: unknown): string {
  const failure = systemFailureOf(error);
  if (failure !== undefined) return reasonOf(failure.errno);
  return error instanceof Error ? error.message : String(error);
}

/** What was thrown, as a sentence of its own. */
export function sentenceOf(error: unknown): string {
  const failure = systemFailureOf(error);
  return failure === undefined ? messageOf(error) : systemFailureSentence(failure);
}

/** Whatever was thrown, as an Error. */
export function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
