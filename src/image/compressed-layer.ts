/**
 * A layer's tar, compressed for a registry: into a file without a name, so that its digest and size
 * are known before anything is sent, and it can be sent again from any byte. The same layer gives
 * the same bytes.
 */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync, write } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { compress } from '../archive/compression.js';
import type { ByteSource } from '../base/byte-source.js';
import type { ChainId, Digest } from '../base/digest.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { randomId } from '../base/ids.js';
import { systemFailureOf } from '../base/system-error.js';
import type { LayerStore } from '../layer/layer-store.js';
import { fileRange } from './file-range.js';

export interface CompressedLayer {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** A piece is the reader's for ever. */
  read(from: number): ByteSource;
  /** The file goes. */
  close(): void;
}

export interface CompressLayerOptions {
  /** Where the file is made. */
  readonly directory: string;
  /** `done`: bytes of the tar so far. */
  readonly onProgress?: (done: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * The layer stays the caller's to hold. Throws `layer-damaged`, and `push-no-space` when the file
 * cannot be written.
 */
export async function compressLayer(
  layers: LayerStore,
  chainId: ChainId,
  { directory, onProgress, signal }: CompressLayerOptions,
): Promise<CompressedLayer> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `push-${randomId()}`);
  const fd = openSync(path, 'wx+', 0o600);
  try {
    rmSync(path);
    const hash = createHash('sha256');
    let size = 0;
    for await (const piece of compress(counted(layers.tar(chainId), onProgress, signal), 'gzip')) {
      hash.update(piece);
      await writeAll(fd, piece, size);
      size += piece.length;
    }
    const digest = `sha256:${hash.digest('hex')}` as Digest;
    return {
      digest,
      size,
      read: (from) => copied(fileRange(fd, from, size - from, `The layer ${digest}`)),
      close: () => closeSync(fd),
    };
  } catch (error) {
    closeSync(fd);
    if (systemFailureOf(error) === undefined) throw error;
    throw new PlyfsError(
      'push-no-space',
      `The layer ${chainId} cannot be compressed into ${directory} (${messageOf(error)}): make room there.`,
      { cause: error },
    );
  }
}

async function* counted(
  source: ByteSource,
  onProgress: ((done: number) => void) | undefined,
  signal: AbortSignal | undefined,
): ByteSource {
  let done = 0;
  for await (const piece of source) {
    signal?.throwIfAborted();
    done += piece.length;
    onProgress?.(done);
    yield piece;
  }
}

/** A socket may hold a piece longer than until the next one is asked for. */
async function* copied(source: ByteSource): ByteSource {
  for await (const piece of source) yield Buffer.from(piece);
}

const writeAsync = promisify(write);

async function writeAll(fd: number, piece: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < piece.length;)
    at += (await writeAsync(fd, piece, at, piece.length - at, position + at)).bytesWritten;
}
