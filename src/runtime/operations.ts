/**
 * The plan of a container as its first process reads it (native/container/): operations, one after
 * the other, each with all that it takes. The supervisor decides what they are; the first process
 * carries each out as it comes.
 *
 * An operation is a record, in the machine's byte order (native/container/operation.h):
 *
 *   u32 bytes of what follows; u32 flags; text name; then its fields, in the order in which they
 *     stand here
 *
 * A number or truth value is a u64; a text a u32 length, bytes, a NUL; a list a u32 count and its
 * items. The first process answers with an `Outcome` (u32 number of the operation, counted from 0;
 * u32 errno) when it comes to a `report`, before it sends what hears of the calls (`emulate`), and
 * when an operation fails; then it ends.
 */
import type { ByteString } from '../base/bytes.js';

export type Operation =
  /** Tells that all before it was done. */
  | { readonly do: 'report' }
  /** CLONE_NEW*. */
  | { readonly do: 'unshare'; readonly flags: number }
  /**
   * The root file system, a directory on the host: paths of those below are looked up within it.
   */
  | { readonly do: 'enter-root'; readonly path: ByteString }
  | {
      readonly do: 'mount';
      /** In the root. Made if it is not there. */
      readonly target: ByteString;
      readonly directory: boolean;
      /** On the host. */
      readonly source: ByteString;
      /** Empty: none. */
      readonly type: ByteString;
      readonly flags: number;
      readonly data: ByteString;
      /** MOUNT_ATTR_*, which take something away. */
      readonly attributes: number;
      /** For the mounts below as well. */
      readonly recursive: boolean;
    }
  /** Hides a directory behind an empty one, anything else behind `file`, which lies on the host. */
  | { readonly do: 'mask'; readonly path: ByteString; readonly file: ByteString }
  /** Takes `attributes` away from the tree at `path`, if there is one. */
  | { readonly do: 'confine'; readonly path: ByteString; readonly attributes: number }
  | { readonly do: 'make-directory'; readonly path: ByteString }
  | {
      readonly do: 'link';
      readonly target: ByteString;
      readonly directory: ByteString;
      readonly name: ByteString;
    }
  /**
   * Makes the program's terminal, in the root's /dev/pts; the other end is sent over `socket`. A
   * size of 0 is left.
   */
  | {
      readonly do: 'terminal';
      readonly socket: number;
      readonly rows: number;
      readonly columns: number;
    }
  | { readonly do: 'restrict-root'; readonly attributes: number }
  /** The root is `/` from here on, and the host's tree is gone. */
  | { readonly do: 'pivot' }
  | { readonly do: 'loopback-up' }
  | { readonly do: 'hostname'; readonly name: ByteString }
  /** A session keyring of its own. */
  | { readonly do: 'join-keyring' }
  | { readonly do: 'enter-directory'; readonly path: ByteString }
  /**
   * A session, with the terminal that was made as standard streams; only these are handed on. umask
   * 022, signals as they are by default.
   */
  | { readonly do: 'begin-session' }
  /** Standard input is the container's own /dev/null. */
  | { readonly do: 'empty-input' }
  | { readonly do: 'limit-open-files'; readonly soft: number }
  /** A bit a capability. */
  | { readonly do: 'bound-capabilities'; readonly kept: bigint }
  | { readonly do: 'keep-capabilities'; readonly kept: bigint }
  /** A filter for seccomp(2), two words an instruction. */
  | { readonly do: 'filter-calls'; readonly filter: readonly number[] }
  | {
      readonly do: 'ids';
      readonly uid: number;
      readonly gid: number;
      readonly groups: readonly number[];
    }
  /**
   * In place of `ids`: the supervisor answers for these. What hears of the calls is sent over
   * `socket`, after the outcome.
   */
  | { readonly do: 'emulate'; readonly socket: number; readonly uid: number; readonly gid: number }
  /** Becomes the first of `paths` that can be run. */
  | {
      readonly do: 'execute';
      readonly paths: readonly ByteString[];
      readonly args: readonly ByteString[];
      readonly env: readonly ByteString[];
    };

export interface Outcome {
  /** Of the operation. */
  readonly index: number;
  /** 0: done. */
  readonly errno: number;
}

export interface OperationFlags {
  /** Its failure is passed over. */
  readonly tolerated?: boolean;
  /** Carried out only when the operation before it was, and failed. */
  readonly otherwise?: boolean;
}

/** Operation::kMaxBytes */
const LARGEST = 8 << 20;
const OUTCOME_BYTES = 8;

/** The record, or undefined for one that is too long. */
export function recordOf(
  operation: Operation,
  { tolerated = false, otherwise = false }: OperationFlags,
): Buffer | undefined {
  const record = Buffer.concat([
    word(0),
    word((tolerated ? 1 : 0) | (otherwise ? 2 : 0)),
    text(operation.do),
    ...fieldsOf(operation).map((field) =>
      Array.isArray(field) ? list(field as readonly Item[]) : item(field as Item),
    ),
  ]);
  if (record.length - 4 > LARGEST) return undefined;
  new Uint32Array(record.buffer, record.byteOffset, 1)[0] = record.length - 4;
  return record;
}

/** Calls `take` for each outcome of what comes. */
export function eachOutcome(stream: NodeJS.ReadableStream, take: (outcome: Outcome) => void): void {
  let held: Buffer = Buffer.alloc(0);
  stream.on('data', (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    for (; held.length >= OUTCOME_BYTES; held = held.subarray(OUTCOME_BYTES)) {
      const [index = 0, errno = 0] = new Uint32Array(
        Uint8Array.from(held.subarray(0, OUTCOME_BYTES)).buffer,
      );
      take({ index, errno });
    }
  });
}

type Item = string | number | bigint | boolean;
type Field = Item | readonly Item[];

function fieldsOf(operation: Operation): readonly Field[] {
  switch (operation.do) {
    case 'report':
    case 'pivot':
    case 'loopback-up':
    case 'join-keyring':
    case 'begin-session':
    case 'empty-input':
      return [];
    case 'unshare':
      return [operation.flags];
    case 'enter-root':
    case 'make-directory':
    case 'enter-directory':
      return [operation.path];
    case 'mount': {
      const { target, directory, source, type, flags, data, attributes, recursive } = operation;
      return [target, directory, source, type, flags, data, attributes, recursive];
    }
    case 'mask':
      return [operation.path, operation.file];
    case 'confine':
      return [operation.path, operation.attributes];
    case 'link':
      return [operation.target, operation.directory, operation.name];
    case 'terminal':
      return [operation.socket, operation.rows, operation.columns];
    case 'restrict-root':
      return [operation.attributes];
    case 'hostname':
      return [operation.name];
    case 'limit-open-files':
      return [operation.soft];
    case 'bound-capabilities':
    case 'keep-capabilities':
      return [operation.kept];
    case 'filter-calls':
      return [operation.filter];
    case 'ids':
      return [operation.uid, operation.gid, operation.groups];
    case 'emulate':
      return [operation.socket, operation.uid, operation.gid];
    case 'execute':
      return [operation.paths, operation.args, operation.env];
  }
}

function list(items: readonly Item[]): Buffer {
  return Buffer.concat([word(items.length), ...items.map(item)]);
}

function item(value: Item): Buffer {
  return typeof value === 'string'
    ? text(value)
    : Buffer.from(new BigUint64Array([BigInt(value)]).buffer);
}

function text(value: string): Buffer {
  return Buffer.concat([word(value.length), Buffer.from(value, 'latin1'), Buffer.alloc(1)]);
}

function word(value: number): Buffer {
  return Buffer.from(new Uint32Array([value]).buffer);
}
