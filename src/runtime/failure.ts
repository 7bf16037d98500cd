/** What stands in the way of a sandbox, carried from the processes inside to who started it. */
import { PlyfsError, sentenceOf } from '../base/error.js';
import type { Failure } from './plan.js';

/** A container that did not come to run its program. */
export class SandboxError extends PlyfsError {
  /** As docker run ends. */
  readonly status: Failure['status'];

  constructor({ status, code, sentence }: Failure) {
    super(code, sentence);
    this.status = status;
  }
}

export function failureOf(error: unknown): Failure {
  return {
    status: error instanceof SandboxError ? error.status : 125,
    code: error instanceof PlyfsError ? error.code : 'sandbox-failed',
    sentence: sentenceOf(error),
  };
}
