/**
 * Operations that find in their middle that something must be there first which takes long: the
 * listing of a huge directory, the copies of a thousand parents.
 *
 * They throw `WouldWait` before they have changed anything that must not be changed twice, and are
 * done again from the start once it is there. So that the many steps of an operation need not be
 * able to wait for the few that may.
 */
import type { Awaitable } from '../base/awaitable.js';

export class WouldWait extends Error {
  /** What the operation needs is there, or the error with which it fails. */
  readonly until: Promise<void>;

  constructor(until: Promise<void>) {
    super('an operation must wait, and was not started by whenReady');
    this.until = until;
  }
}

/** The operation's result, once it did not have to wait. It looks everything up anew each time. */
export function whenReady<T>(operation: () => Awaitable<T>): Awaitable<T> {
  try {
    const result = operation();
    return result instanceof Promise
      ? result.catch((error: unknown) => again(error, operation))
      : result;
  } catch (error) {
    return again(error, operation);
  }
}

function again<T>(error: unknown, operation: () => Awaitable<T>): Promise<T> {
  if (!(error instanceof WouldWait)) throw error;
  return error.until.then(() => whenReady(operation));
}
