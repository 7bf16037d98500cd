/**
 * A blob on its way from a registry into a file, which is read while it comes.
 *
 * - What is there already, of this pull or of one that was cut off, is hashed and not asked for
 *   again; a connection that breaks is taken up where it broke.
 * - A reader gets bytes that are not verified yet, but the end only after the digest of all was
 *   found to be right. If it is not, and some of it was of an earlier attempt, all is fetched once
 *   more and the readers fail with `BlobRestarted`; otherwise it is the registry's and fatal.
 * - More bytes than the descriptor says are not taken.
 */
import { createHash, type Hash } from 'node:crypto';
import { read, readSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import { nextTurn } from '../base/pieces.js';
import type { Descriptor } from '../image/manifest.js';
import type { BlobPart } from '../layer/blob-part.js';
import type { OpenedBlob } from './registry-client.js';
import { retrying, type RetryOptions } from './retry.js';

const readAt = promisify(read);
const PIECE = 256 * 1024;
/** Progress after which attempts are counted anew. */
const PROGRESS = 1 << 20;
/** Bytes and milliseconds: what comes more slowly is a connection that is as good as broken. */
const SLOWEST = { bytes: 16 << 10, time: 30_000 };

/** What was read is not the blob: it is read again from the start. */
export class BlobRestarted extends Error {}

export interface BlobDownloadOptions {
  /** Opens it from a byte on: one attempt. */
  readonly open: (from: number) => Promise<OpenedBlob>;
  readonly retry: RetryOptions;
  readonly signal: AbortSignal;
  /** For messages. */
  readonly what: string;
  readonly onProgress: (received: number) => void;
}

export class BlobDownload {
  readonly #descriptor: Descriptor;
  readonly #part: BlobPart;
  readonly #options: BlobDownloadOptions;
  #hash: Hash = createHash('sha256');
  #received = 0;
  /** Bytes came from the network, not only from the file. */
  #fetched = 0;
  #generation = 0;
  #end: { readonly failure?: unknown } | undefined;
  #wake: (() => void)[] = [];

  constructor(descriptor: Descriptor, part: BlobPart, options: BlobDownloadOptions) {
    this.#descriptor = descriptor;
    this.#part = part;
    this.#options = options;
  }

  /** Bytes that came over the network. */
  get fetched(): number {
    return this.#fetched;
  }

  /**
   * Resolves when all is there and verified. Throws `blob-digest-mismatch`, `blob-size-mismatch`,
   * what opening throws, and the signal's reason.
   */
  async run(): Promise<void> {
    try {
      await this.#run();
      this.#finish({});
    } catch (failure) {
      this.#finish({ failure });
      throw failure;
    }
  }

  async #run(): Promise<void> {
    const { digest, size } = this.#descriptor;
    const { what, signal, retry } = this.#options;
    let former = await this.#takeUp();
    for (;;) {
      while (this.#received < size) await retrying(() => this.#attempt(), retry, signal);
      const found = `sha256:${this.#hash.digest('hex')}`;
      if (found === digest) {
        this.#part.share();
        return;
      }
      if (!this.#part.exclusive || !former)
        throw new PlyfsError(
          'blob-digest-mismatch',
          `${what} is not what its name says: expected ${digest}, got ${found}.`,
        );
      former = false;
      this.#restart();
    }
  }

  /** Hashes what is there. Whether there is something. */
  async #takeUp(): Promise<boolean> {
    const { size } = this.#descriptor;
    if (this.#part.exclusive && this.#part.size > size) this.#part.truncate();
    const there = Math.min(this.#part.size, size);
    const buffer = Buffer.allocUnsafe(PIECE);
    while (this.#received < there) {
      this.#options.signal.throwIfAborted();
      const got = readSync(this.#part.fd, buffer, 0, PIECE, this.#received);
      if (got === 0) break;
      this.#took(buffer.subarray(0, got));
      await nextTurn();
    }
    return this.#received > 0;
  }

  /** Returns when all is there, or enough for another attempt to be the first again. */
  async #attempt(): Promise<void> {
    const { size } = this.#descriptor;
    const { open, signal, what } = this.#options;
    const before = this.#received;
    try {
      const { body, start } = await open(this.#received);
      // Some servers begin at the beginning whatever they are asked for.
      let skip = this.#received - start;
      let watched = { since: Date.now(), bytes: 0 };
      for await (const piece of body) {
        signal.throwIfAborted();
        const bytes = piece.subarray(Math.min(skip, piece.length));
        skip -= piece.length - bytes.length;
        if (this.#received + bytes.length > size)
          throw new PlyfsError(
            'blob-size-mismatch',
            `More than the ${size} bytes come of ${what} that belong to it.`,
          );
        for (let at = 0; at < bytes.length;)
          at += writeSync(this.#part.fd, bytes, at, bytes.length - at, this.#received + at);
        this.#fetched += piece.length;
        if (bytes.length > 0) this.#took(bytes);
        watched.bytes += piece.length;
        const now = Date.now();
        if (now - watched.since < SLOWEST.time) continue;
        if (watched.bytes < SLOWEST.bytes) throw brokenOff(what, 'comes too slowly');
        watched = { since: now, bytes: 0 };
      }
      if (this.#received < size) throw brokenOff(what, 'ends too early');
    } catch (error) {
      signal.throwIfAborted();
      const broken = error instanceof PlyfsError && error.code === 'registry-unreachable';
      if (!broken || this.#received - before < PROGRESS) throw error;
    }
  }

  #took(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#received += bytes.length;
    this.#options.onProgress(this.#received);
    this.#wakeAll();
  }

  #restart(): void {
    this.#part.truncate();
    this.#hash = createHash('sha256');
    this.#received = 0;
    this.#generation++;
    this.#wakeAll();
  }

  #finish(end: { readonly failure?: unknown }): void {
    this.#end = end;
    this.#wakeAll();
  }

  #wakeAll(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  /** Any number of times. Throws `BlobRestarted`, and what `run` throws. */
  async *read(): ByteSource {
    const generation = this.#generation;
    const { size } = this.#descriptor;
    for (let at = 0; ;) {
      if (this.#generation !== generation) throw new BlobRestarted();
      if (this.#end !== undefined && 'failure' in this.#end) throw this.#end.failure;
      if (at < this.#received) {
        // A piece is the reader's until it asks for the next, and some keep it longer.
        const buffer = Buffer.allocUnsafe(Math.min(PIECE, this.#received - at));
        const { bytesRead } = await readAt(this.#part.fd, buffer, 0, buffer.length, at);
        if (this.#generation !== generation) throw new BlobRestarted();
        if (bytesRead === 0) throw brokenOff(this.#options.what, 'was cut off');
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      } else if (at === size && this.#end !== undefined) return;
      else await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }
}

function brokenOff(what: string, how: string): PlyfsError {
  return new PlyfsError('registry-unreachable', `${what} ${how}.`);
}
