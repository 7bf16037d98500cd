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

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whatever was thrown, as an Error. */
export function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Why Node.js could not do something with a file: its words for the errno, without the call and the path, which the sentence has already. */
export function reasonOf(error: unknown): string {
  return messageOf(error).replace(/^([A-Z][A-Z0-9]*): ([^,]+), .*$/s, '$2 ($1)');
}
