/**
 * The test's side of native/fault-plan.h: a file that a daemon maps, through which it is told which
 * of its system calls fails or kills it.
 */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { succeed } from '../support/command.js';
import { mountAt } from '../support/mounts.js';
import { plyfsThrough, type Mounter } from '../suites/mounters.js';

/** The layout of `struct FaultPlan`. */
const SIZE = 65536;
const CALLS_AT = 16;
const LOG_AT = 32;
const ENTRY = 32;
const LOG_ENTRIES = (SIZE - LOG_AT) / ENTRY;

const actions = ['off', 'count', 'kill before', 'kill after', 'fail'] as const;
export type Action = (typeof actions)[number];

/** Calls that may change a layer, and those that only look. */
export const CHANGES = 1;
export const LOOKS = 2;

export interface Plan {
  readonly action: Action;
  /** Which of the counted calls, from 1. */
  readonly at?: number;
  /** An errno. */
  readonly error?: number;
  /** Bits of CHANGES and LOOKS. */
  readonly kinds: number;
}

export interface CountedCall {
  readonly name: string;
  /** Of the file the call's descriptor refers to. */
  readonly inode: bigint;
  /** Undefined: it has not returned. */
  readonly result: bigint | undefined;
}

export class FaultPlan {
  private readonly fd: number;

  /** `path`: a file to be made, where no layer is. */
  constructor(readonly path: string) {
    this.fd = openSync(path, 'w+', 0o600);
    ftruncateSync(this.fd, SIZE);
  }

  /** plyfs, its daemon under this plan. */
  get mounter(): Mounter {
    return plyfsThrough(['env', `PLYFS_FAULT_PLAN=${this.path}`]);
  }

  /** Counts anew from here on. */
  arm({ action, at = 0, error = 0, kinds }: Plan): void {
    this.disarm();
    const fields = Buffer.alloc(CALLS_AT + 4);
    [0, at, error, kinds, 0].forEach((value, i) => fields.writeUInt32LE(value, i * 4));
    writeSync(this.fd, fields, 0, fields.length, 0);
    // Last: from here on it holds.
    fields.writeUInt32LE(actions.indexOf(action));
    writeSync(this.fd, fields, 0, 4, 0);
  }

  disarm(): void {
    writeSync(this.fd, Buffer.alloc(4), 0, 4, 0);
  }

  /** How many calls were counted since it was armed. */
  get calls(): number {
    const field = Buffer.alloc(4);
    readSync(this.fd, field, 0, 4, CALLS_AT);
    return field.readUInt32LE();
  }

  get log(): CountedCall[] {
    const bytes = Buffer.alloc(Math.min(this.calls, LOG_ENTRIES) * ENTRY);
    readSync(this.fd, bytes, 0, bytes.length, LOG_AT);
    return Array.from({ length: bytes.length / ENTRY }, (_, i) => {
      const name = bytes.toString('latin1', i * ENTRY, i * ENTRY + 16);
      const result = bytes.readBigInt64LE(i * ENTRY + 24);
      return {
        name: name.slice(0, name.indexOf('\0')),
        inode: bytes.readBigUInt64LE(i * ENTRY + 16),
        result: result === -(1n << 63n) ? undefined : result,
      };
    });
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Takes away a mount whose daemon was killed. */
export async function unmountDead(dir: string): Promise<void> {
  await succeed(['umount', dir]);
  if (mountAt(dir)) throw new Error(`${dir} is still mounted`);
}
