/**
 * What may succeed when it is tried again: connections that break, and answers that say so (408,
 * 429, 5xx). What was refused, or is not there, is not asked for twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import { PlyfsError } from '../base/error.js';

export interface RetryOptions {
  /** How often it is tried at most. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; twice as much before each that follows, and jitter. */
  readonly delay: number;
}

export const defaultRetry: RetryOptions = { attempts: 5, delay: 500 };

/** Milliseconds that a registry's wish to be left alone is waited for. */
const PATIENCE = 60_000;

/** An answer that says that another try may go better. */
export class TryLater extends PlyfsError {
  /** Milliseconds, as Date.now(); undefined where the registry does not say. */
  readonly at: number | undefined;

  constructor(code: string, message: string, at: number | undefined) {
    super(code, message);
    this.at = at;
  }
}

/** What `Retry-After` says: seconds, or a date (RFC 9110, 10.2.3). Milliseconds, as Date.now(). */
export function retryTime(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,12}$/.test(header)) return now + Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : date;
}

/** Whether the same may succeed before long. */
export function mayRetry(error: unknown): boolean {
  if (error instanceof TryLater) return error.at === undefined || error.at - Date.now() <= PATIENCE;
  return error instanceof PlyfsError && error.code === 'registry-unreachable';
}

/** Throws the last failure, or the signal's reason. */
export function retrying<T>(
  work: () => Promise<T>,
  options: RetryOptions,
  signal?: AbortSignal,
): Promise<T> {
  return pRetry(
    () => {
      signal?.throwIfAborted();
      return work();
    },
    {
      retries: options.attempts - 1,
      minTimeout: options.delay,
      factor: 2,
      randomize: true,
      shouldRetry: (error) => signal?.aborted !== true && mayRetry(error),
      onFailedAttempt: async (error) => {
        if (!mayRetry(error) || error.retriesLeft === 0) return;
        const at = (error as unknown as { at?: number }).at ?? 0;
        if (at > Date.now()) await sleep(at - Date.now(), undefined, signal && { signal });
      },
      ...(signal && { signal }),
    },
  );
}
