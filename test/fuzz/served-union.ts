/**
 * A union of directories on disk, served to requests that a test writes: no mount, no kernel, and
 * no process of its own, so that thousands can be tried in seconds.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readdirSync } from 'node:fs';
import { bytesOf, type ByteString } from '../../src/base/bytes.js';
import { defaultServeOptions } from '../../src/fuse/connection.js';
import { serve, type UnexpectedError } from '../../src/fuse/dispatcher.js';
import { Opcode } from '../../src/fuse/protocol.js';
import { defaultUnionOptions, type UnionOptions } from '../../src/union/options.js';
import { openUnion } from '../../src/union/union.js';
import { FakeSession, initBody, message, type Answer } from '../fuse/fake-session.js';

/** An answer that takes longer is a hang. */
const PATIENCE_MS = 20_000;

const NO_ANSWER: ReadonlySet<number> = new Set([
  Opcode.FORGET,
  Opcode.BATCH_FORGET,
  Opcode.INTERRUPT,
  Opcode.NOTIFY_REPLY,
]);
const ON_DATA: ReadonlySet<number> = new Set([Opcode.READ, Opcode.WRITE]);

/** `form`: of the lower layers. */
export type ServedOptions = Partial<UnionOptions> & { readonly form?: 'aufs' };

export class ServedUnion {
  readonly session = new FakeSession();
  readonly #done: Promise<void>;
  readonly #unexpected: string[] = [];
  readonly #listener = (report: unknown): void => {
    const { operation, node, error } = report as UnexpectedError;
    this.#unexpected.push(
      `${operation} ${node}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  };

  /** Throws PlyfsError for layers that cannot be united. `base` holds `upper` and `work`. */
  constructor(base: string, lowers: readonly string[], { form, ...options }: ServedOptions = {}) {
    const path = (name: string): ByteString => bytesOf(name);
    const fs = openUnion(
      {
        ...defaultUnionOptions,
        // Nothing is to survive a crash here, and flushing costs what other tests need.
        fsync: false,
        lowers: lowers.map((lower) => ({
          path: path(lower),
          ...(form === undefined ? {} : { form }),
        })),
        upper: { path: path(`${base}/upper`), work: path(`${base}/work`) },
        ...options,
      },
      () => undefined,
    );
    this.#done = serve(this.session, fs, defaultServeOptions);
    subscribe('plyfs:fuse:error', this.#listener);
  }

  /** The handshake; `flags`: what the kernel offers. */
  async begin(flags = 0x7fff_ffff): Promise<void> {
    await this.request(message(Opcode.INIT, 0, initBody(flags)));
  }

  ask(opcode: number, node: number, body?: Buffer): Promise<Answer> {
    return this.request(message(opcode, node, body));
  }

  /** Throws when it is not answered as its kind must be. */
  async request(request: Buffer): Promise<Answer> {
    const opcode = request.readUInt32LE(4);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`no answer to ${request.toString('hex').slice(0, 400)}`));
      }, PATIENCE_MS);
    });
    try {
      const answer = await Promise.race([this.session.request(request), late]);
      const { result } = answer;
      const right =
        result === 'released'
          ? NO_ANSWER.has(opcode)
          : result === 'served'
            ? ON_DATA.has(opcode)
            : !NO_ANSWER.has(opcode) && result > -512;
      if (!right) throw new Error(`opcode ${opcode} was answered ${result}`);
      return answer;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Unmounts. Throws for whatever went wrong on the way, were it answered or not. */
  async end(): Promise<void> {
    try {
      this.session.unmount();
      await this.#done;
    } finally {
      unsubscribe('plyfs:fuse:error', this.#listener);
    }
    const { wrong, held, closed } = this.session;
    if (wrong > 0 || held > 0 || closed !== 1)
      throw new Error(`${wrong} slots given away wrongly, ${held} never, closed ${closed} times`);
    if (this.#unexpected.length > 0)
      throw new Error(`not an errno:\n${this.#unexpected.slice(0, 3).join('\n')}`);
  }
}

/** Open descriptors of this process. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
