/**
 * A blob's way into a repository (distribution-spec 1.1, "Pushing blobs"): a session, its bytes,
 * and the digest at the end.
 *
 * A small blob goes with the request that ends the session. A larger one is sent as one stream;
 * when that breaks off, the registry is asked how much has arrived, and the rest is sent. Where a
 * registry takes no body of that size it is sent in chunks. A session that the registry has
 * forgotten begins anew.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { readAll, type ByteSource } from '../base/byte-source.js';
import type { Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { defaultRetry, mayRetry, TryLater, type RetryOptions } from './retry.js';
import type { RegistryClient, Upload } from './registry-client.js';

export interface Blob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** From a byte on to the end. A piece is the reader's for ever. */
  read(from: number): ByteSource;
}

export interface UploadOptions {
  /** A session that is open already, as one that a mount was refused with. */
  readonly session?: Upload | undefined;
  /** Bytes that have been sent and not been lost. */
  readonly onProgress?: (done: number) => void;
  /** Bytes of a chunk. */
  readonly chunk?: number;
  /** Attempts are those without a byte more having arrived. */
  readonly retry?: RetryOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes up to which a blob is sent with one request. */
const SMALL = 1 << 20;
/** Bytes of a chunk, where a stream is too large for the registry or what stands before it. */
const CHUNK = 32 << 20;
/** Failures of one blob at most: a registry that takes a byte at a time is given up. */
const TRIES_MAX = 50;
/** Milliseconds between two tries at most. */
const PAUSE_MAX = 30_000;

/** Codes of failures after which the same request may succeed. */
const passing = new Set(['registry-unreachable', 'registry-failed', 'registry-rate-limited']);

/**
 * Throws what the client throws, and `registry-invalid` when the registry does not have the blob
 * afterwards.
 */
export async function uploadBlob(
  client: RegistryClient,
  blob: Blob,
  options: UploadOptions = {},
): Promise<void> {
  await new BlobUpload(client, blob, options).run();
  const size = await client.blobSize(blob.digest);
  if (size !== blob.size)
    throw new PlyfsError(
      'registry-invalid',
      size === undefined
        ? `${client.name} took the blob ${blob.digest} and does not have it.`
        : `${client.name} took the blob ${blob.digest} of ${blob.size} bytes, and says that it has ${size}.`,
    );
}

class BlobUpload {
  readonly #client: RegistryClient;
  readonly #blob: Blob;
  readonly #options: UploadOptions;
  #session: Upload | undefined;
  /** Bytes of one request; undefined while all may go with one. */
  #chunk: number | undefined;

  constructor(client: RegistryClient, blob: Blob, options: UploadOptions) {
    this.#client = client;
    this.#blob = blob;
    this.#options = options;
    this.#session = options.session;
  }

  get #retry(): RetryOptions {
    return this.#options.retry ?? defaultRetry;
  }

  /** Bytes that the registry has. */
  get #received(): number {
    return this.#session?.received ?? 0;
  }

  async run(): Promise<void> {
    const { attempts } = this.#retry;
    let best = 0;
    for (let tries = 1, failures = 1; ; tries++, failures++) {
      this.#options.signal?.throwIfAborted();
      try {
        await this.#try();
        return;
      } catch (error) {
        if (!this.#mayGoOn(error) || failures >= attempts || tries >= TRIES_MAX) throw error;
        await this.#pause(failures, error);
        await this.#askForState();
        // The last answer may be all that was lost.
        if (this.#session === undefined && (await this.#isThere())) return;
        if (this.#received > best) failures = 0;
        best = Math.max(best, this.#received);
      }
    }
  }

  async #isThere(): Promise<boolean> {
    const { digest, size } = this.#blob;
    return (await this.#client.blobSize(digest)) === size;
  }

  async #try(): Promise<void> {
    const { digest, size } = this.#blob;
    if (this.#session === undefined) {
      const started = await this.#client.startUpload();
      if (started === 'mounted') return;
      this.#session = started;
    }
    if (size <= SMALL && this.#received === 0) {
      const body = await bytesOf(this.#blob.read(0), size);
      await this.#client.finishUpload(this.#session, digest, body);
      this.#options.onProgress?.(size);
      return;
    }
    while (this.#received < size) await this.#send(this.#session);
    await this.#client.finishUpload(this.#session, digest);
  }

  /** The rest, or the next chunk of it. */
  async #send(session: Upload): Promise<void> {
    const { size } = this.#blob;
    const { received: start, chunkMin } = session;
    const chunk = this.#chunk === undefined ? size : Math.max(this.#chunk, chunkMin);
    const length = Math.min(size - start, chunk);
    const body = (): ByteSource => this.#told(start, length);
    this.#session = await this.#client.sendChunk(session, body, length);
    this.#options.onProgress?.(this.#received);
  }

  async *#told(start: number, length: number): ByteSource {
    let done = 0;
    for await (const piece of this.#blob.read(start)) {
      const part = piece.subarray(0, length - done);
      yield part;
      done += part.length;
      this.#options.onProgress?.(start + done);
      if (done >= length) return;
    }
  }

  /** Whether another try makes sense; what stands in its way is put away. */
  #mayGoOn(error: unknown): boolean {
    if (!(error instanceof PlyfsError)) return false;
    if (passing.has(error.code)) return mayRetry(error);
    if (error.code === 'registry-missing' && this.#session !== undefined) {
      this.#session = undefined;
      return true;
    }
    if (error.code === 'registry-body-too-large' && this.#chunk === undefined) {
      this.#chunk = this.#options.chunk ?? CHUNK;
      return true;
    }
    return false;
  }

  /** How much of the blob has arrived, where the session is still there. */
  async #askForState(): Promise<void> {
    if (this.#session === undefined) return;
    try {
      const session = await this.#client.uploadStatus(this.#session);
      // More than there is was somebody else's.
      this.#session = session.received > this.#blob.size ? undefined : session;
    } catch (error) {
      if (!(error instanceof PlyfsError)) throw error;
      // Whatever it says: another session has none of it.
      if (!passing.has(error.code)) this.#session = undefined;
    }
  }

  /** As long as the registry wishes, if that is not too long, else as long as makes sense. */
  async #pause(failures: number, error: unknown): Promise<void> {
    const own =
      Math.min(this.#retry.delay * 2 ** (failures - 1), PAUSE_MAX) * (0.5 + Math.random() / 2);
    const wished = error instanceof TryLater ? (error.at ?? 0) - Date.now() : 0;
    await delay(Math.max(own, wished), undefined, {
      ...(this.#options.signal && { signal: this.#options.signal }),
    });
  }
}

async function bytesOf(source: ByteSource, size: number): Promise<Buffer> {
  return (await readAll(source, size)) ?? Buffer.alloc(0);
}
