/**
 * A session without a device: requests are put into a queue, answers are collected, and every
 * slot's fate is checked.
 */
import { closeSync } from 'node:fs';
import { Wake } from '../../src/sys/session.js';
import type { RequestTimes, Session } from '../../src/sys/session.js';

const SLOT = 1 << 16;
const REPLY = 1 << 15;
/** Bytes that no answer should leave unwritten where it counts. */
const DIRT = 0xa5;

export interface Answer {
  /** Bytes of body, -errno, or how the slot was given away. */
  readonly result: number | 'released' | 'served';
  readonly body: Buffer;
}

interface Waiting {
  readonly request: Buffer;
  readonly done: (answer: Answer) => void;
}

export class FakeSession implements Session {
  readonly fd = -1;
  readonly slots: ArrayBuffer[] = [];
  readonly replyOffset = REPLY;
  readonly replySize = SLOT - REPLY;
  readonly calls: string[] = [];
  closed = 0;
  /** Times a slot was given away twice, or one that was not taken. */
  wrong = 0;
  maxWrite = 0;
  #held = new Map<number, (answer: Answer) => void>();
  #queue: Waiting[] = [];
  #unmounted = false;
  /** Descriptors belong to the session once they are published. */
  readonly #published = new Map<number, number>();

  /** Queues a request; resolves when its slot is given away. */
  request(request: Buffer): Promise<Answer> {
    return new Promise((done) => this.#queue.push({ request, done }));
  }

  unmount(): void {
    this.#unmounted = true;
  }

  get held(): number {
    return this.#held.size;
  }

  next(slot: number, result: number): number {
    if (slot >= 0) this.answer(slot, result);
    const waiting = this.#queue.shift();
    if (waiting === undefined) return this.#unmounted ? Wake.Unmounted : Wake.EventLoop;
    let index = 0;
    while (this.#held.has(index)) index++;
    const memory = (this.slots[index] ??= new ArrayBuffer(SLOT));
    const bytes = Buffer.from(memory);
    bytes.fill(DIRT);
    waiting.request.copy(bytes);
    this.#held.set(index, waiting.done);
    return index;
  }

  resume(callback: () => void): void {
    setImmediate(callback);
  }

  answer(slot: number, result: number): void {
    const size = Math.max(0, result);
    if (result > this.replySize || result <= -512) this.wrong++;
    const body = Buffer.from(
      Buffer.from(this.slots[slot] ?? new ArrayBuffer(0)).subarray(REPLY, REPLY + size),
    );
    this.#give(slot, { result, body });
  }

  release(slot: number): void {
    this.#give(slot, { result: 'released', body: Buffer.alloc(0) });
  }

  serve(slot: number): void {
    this.#give(slot, { result: 'served', body: Buffer.alloc(0) });
  }

  #give(slot: number, answer: Answer): void {
    const done = this.#held.get(slot);
    if (done === undefined) {
      this.wrong++;
      return;
    }
    this.#held.delete(slot);
    done(answer);
  }

  publish(node: number, fd: number, writable: boolean): void {
    this.calls.push(`publish ${node} ${fd} ${writable}`);
    this.#close(node);
    this.#published.set(node, fd);
  }
  retire(node: number): void {
    this.calls.push(`retire ${node}`);
    this.#close(node);
  }

  #close(node: number): void {
    const fd = this.#published.get(node);
    if (fd === undefined) return;
    this.#published.delete(node);
    closeSync(fd);
  }
  usedSince(): boolean {
    return false;
  }
  answerAbsence(attribute: string): void {
    this.calls.push(`answerAbsence ${attribute}`);
  }
  setMaxWrite(bytes: number): void {
    this.maxWrite = bytes;
  }
  invalidateNode(node: number, offset: number, length: number): void {
    this.calls.push(`invalidateNode ${node} ${offset} ${length}`);
  }
  expireAttributes(node: number): void {
    this.calls.push(`expireAttributes ${node}`);
  }
  invalidateEntry(parent: number, name: string): void {
    this.calls.push(`invalidateEntry ${parent} ${name}`);
  }
  /** The id is the descriptor's number and 1000. */
  backingOpen(fd: number): number {
    this.calls.push(`backingOpen ${fd}`);
    return fd < 0 ? -1 : 1000 + fd;
  }
  backingClose(id: number): void {
    this.calls.push(`backingClose ${id - 1000}`);
  }
  counts(): Map<number, [number, number]> {
    return new Map();
  }
  times(): RequestTimes[] {
    return [];
  }
  close(): void {
    this.closed++;
    for (const node of [...this.#published.keys()]) this.#close(node);
  }
}

let unique = 2;

/** A request as the kernel would write it. `extensions` must be a multiple of 8 bytes. */
export function message(
  opcode: number,
  node: number,
  body: Buffer = Buffer.alloc(0),
  extensions: Buffer = Buffer.alloc(0),
): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length + extensions.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(BigInt(unique), 8);
  header.writeBigUInt64LE(BigInt(node), 16);
  header.writeUInt32LE(1000, 24);
  header.writeUInt32LE(100, 28);
  header.writeUInt32LE(4711, 32);
  header.writeUInt16LE(extensions.length / 8, 36);
  unique += 2;
  return Buffer.concat([header, body, extensions]);
}

export function u32(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => buffer.writeUInt32LE(value >>> 0, i * 4));
  return buffer;
}

export function u64(...values: (number | bigint)[]): Buffer {
  const buffer = Buffer.alloc(values.length * 8);
  values.forEach((value, i) => buffer.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), i * 8));
  return buffer;
}

export function strings(...texts: string[]): Buffer {
  return Buffer.from(texts.map((text) => `${text}\0`).join(''), 'latin1');
}

/** The body of an INIT request. */
export function initBody(flags: number, minor = 45, major = 7): Buffer {
  return Buffer.concat([u32(major, minor, 131072, flags, 0xffffffff), Buffer.alloc(44)]);
}

export interface ListedEntry {
  readonly name: string;
  /** 0 without READDIRPLUS, and for `.` and `..`. */
  readonly node: number;
  readonly cookie: number;
  readonly type: number;
}

/** The entries in an answer to READDIR or READDIRPLUS. */
export function dirents(body: Buffer, plus: boolean): ListedEntry[] {
  const found = [];
  for (let at = 0; at < body.length;) {
    const node = plus ? Number(body.readBigUInt64LE(at)) : 0;
    const record = at + (plus ? 128 : 0);
    const length = body.readUInt32LE(record + 16);
    found.push({
      name: body.toString('latin1', record + 24, record + 24 + length),
      node,
      cookie: Number(body.readBigUInt64LE(record + 8)),
      type: body.readUInt32LE(record + 20),
    });
    at = (record + 24 + length + 7) & ~7;
  }
  return found;
}
