/**
 * Compressed layers: what they are compressed with, and both directions.
 *
 * Recognised by their first bytes (moby, pkg/archive, DetectCompression), since neither file names
 * nor media types can be relied on. gzip is Node's own zlib; zstd, xz and bzip2 are the system's
 * programs, as moby has it for xz: libraries for them would be three more dependencies that parse
 * hostile input in this process.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Transform } from 'node:stream';
import { constants, createGunzip, createGzip } from 'node:zlib';
import type { ByteSource } from '../base/byte-source.js';
import { errorOf, messageOf, PlyfsError } from '../base/error.js';

export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** Bytes that `detectCompression` looks at. */
export const MAGIC_LENGTH = 6;

const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b, 0x08]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
];

/**
 * zstd's skippable frames (RFC 8878, 3.1.2), 0x184D2A50 to 0x184D2A5F little-endian, may stand
 * before the first.
 */
function isSkippableFrame(head: Uint8Array): boolean {
  return (
    head.length >= 4 &&
    (head[0]! & 0xf0) === 0x50 &&
    head[1] === 0x2a &&
    head[2] === 0x4d &&
    head[3] === 0x18
  );
}

/** By the first `MAGIC_LENGTH` bytes; with fewer, by what there is. */
export function detectCompression(head: Uint8Array): Compression {
  for (const [compression, magic] of magics) {
    if (magic.every((byte, index) => head[index] === byte)) return compression;
  }
  return isSkippableFrame(head) ? 'zstd' : 'none';
}

const programs = {
  // Frames with a window above 128 MiB need --long, which is memory that a stranger's layer is not
  // given.
  zstd: { argv: ['zstd', '-d', '-c', '-q', '-T1'], package: 'zstd' },
  xz: { argv: ['xz', '-d', '-c', '-q', '--memlimit-decompress=256MiB'], package: 'xz-utils' },
  bzip2: { argv: ['bzip2', '-d', '-c', '-q'], package: 'bzip2' },
} as const;

export interface DecompressOptions {
  /** The most bytes that may come out. */
  readonly limit?: number;
  /** What it is, for errors. Default: `the layer`. */
  readonly what?: string;
}

/** Bytes a decompressor hands on at once: large pieces cost fewer turns of the event loop. */
const PIECE = 256 * 1024;

/**
 * The bytes as they were before compression; what is not compressed passes through.
 * Throws `archive-damaged`, `archive-too-large` past the limit, `decompressor-missing`.
 */
export async function* decompress(source: ByteSource, options: DecompressOptions = {}): ByteSource {
  const { limit = Infinity, what = 'the layer' } = options;
  const { compression, bytes } = await sniff(source);
  let length = 0;
  for await (const piece of decompressed(bytes, compression, what)) {
    length += piece.length;
    if (length > limit) {
      throw new PlyfsError(
        'archive-too-large',
        `More than ${limit} bytes come out of ${what} uncompressed, and that is the most that is read: do not use it.`,
      );
    }
    yield piece;
  }
}

function decompressed(bytes: ByteSource, compression: Compression, what: string): ByteSource {
  switch (compression) {
    case 'none':
      return bytes;
    case 'gzip':
      return throughTransform(bytes, createGunzip({ chunkSize: PIECE }), compression, what);
    default:
      return throughProgram(
        bytes,
        programs[compression].argv,
        compression,
        programs[compression].package,
        what,
      );
  }
}

export function compress(source: ByteSource, compression: 'gzip' | 'zstd'): ByteSource {
  if (compression === 'gzip')
    return throughTransform(
      source,
      createGzip({ chunkSize: PIECE, level: constants.Z_DEFAULT_COMPRESSION }),
      'gzip',
      'the layer',
    );
  return throughProgram(source, ['zstd', '-c', '-q', '-3'], 'zstd', 'zstd', 'the layer');
}

/** Reads as far as the magic goes; `bytes` is the whole again. */
async function sniff(source: ByteSource): Promise<{ compression: Compression; bytes: ByteSource }> {
  const iterator = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  try {
    while (head.length < MAGIC_LENGTH) {
      const result = await iterator.next();
      if (result.done === true) break;
      head = Buffer.concat([head, result.value]);
    }
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
  return { compression: detectCompression(head), bytes: rejoined(head, iterator) };
}

function rejoined(head: Uint8Array, rest: AsyncIterator<Uint8Array>): ByteSource {
  let first = true;
  const iterator: AsyncIterableIterator<Uint8Array> = {
    next() {
      if (!first) return rest.next();
      first = false;
      return head.length > 0 ? Promise.resolve({ done: false, value: head }) : rest.next();
    },
    async return() {
      await rest.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => iterator,
  };
  return iterator;
}

/** Remembers why the source failed, so that its error is the one that the reader sees. */
interface Feeding {
  failure?: Error;
}

async function* throughTransform(
  source: ByteSource,
  transform: Transform,
  compression: Compression,
  what: string,
): ByteSource {
  const feeding: Feeding = {};
  const fed = feed(source, transform, feeding);
  try {
    for await (const piece of transform as AsyncIterable<Buffer>) yield piece;
  } catch (error) {
    throw feeding.failure ?? damaged(compression, what, zlibProblem(error), error);
  } finally {
    transform.destroy();
    await fed;
  }
  if (feeding.failure !== undefined) throw feeding.failure;
}

/** Writes the source into the stream, at the stream's pace, until either ends. Never rejects. */
async function feed(
  source: ByteSource,
  to: NodeJS.WritableStream & { destroyed: boolean; destroy(error?: Error): unknown },
  feeding: Feeding,
): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => {
    gone.abort();
  };
  to.once('close', leave);
  to.once('error', leave);
  try {
    for await (const piece of source) {
      if (to.destroyed || gone.signal.aborted) return;
      // The stream may keep the piece longer than until the next one is asked for: it gets a copy
      // of its own.
      if (!to.write(Buffer.from(piece))) await once(to, 'drain', { signal: gone.signal });
    }
    to.end();
  } catch (error) {
    if (gone.signal.aborted) return;
    feeding.failure = errorOf(error);
    to.destroy(feeding.failure);
  } finally {
    to.removeListener('close', leave);
  }
}

async function* throughProgram(
  source: ByteSource,
  argv: readonly string[],
  compression: Compression,
  debianPackage: string,
  what: string,
): ByteSource {
  const [program, ...words] = argv as [string, ...string[]];
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = endOf(child);
  let stderr = '';
  child.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (stderr = (stderr + text).slice(0, 1000)));
  const feeding: Feeding = {};
  const fed = feed(source, child.stdin, feeding);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const outcome = await ended;
    if (outcome.error !== undefined) {
      const missing = (outcome.error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new PlyfsError(
        'decompressor-missing',
        missing
          ? `The program ${program} is not installed, and ${what} is compressed with ${compression}: install the package ${debianPackage}.`
          : `The program ${program} cannot be started (${messageOf(outcome.error)}): see that the package ${debianPackage} works.`,
        { cause: outcome.error },
      );
    }
    if (feeding.failure !== undefined) throw feeding.failure;
    if (outcome.status !== 0)
      throw damaged(
        compression,
        what,
        `the program ${program} says: ${stderr.trim() || `status ${outcome.status ?? outcome.signal ?? ''}`}`,
      );
  } finally {
    // By the handle of the child: nothing happens when it has ended.
    child.kill('SIGKILL');
    child.stdin.destroy();
    child.stdout.destroy();
    await ended;
    await fed;
  }
}

interface End {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly error?: Error;
}

/** Resolves once: when the child has ended, or could not be started. */
function endOf(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) resolve({ status: null, signal: null, error });
    });
    child.once('exit', (status, signal) => resolve({ status, signal }));
    // A child that ends early closes its stdin under our hands: its exit status says why.
    child.stdin?.on('error', () => undefined);
  });
}

/** What zlib's error means. */
function zlibProblem(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'Z_BUF_ERROR') return 'it is cut short';
  return code === 'Z_DATA_ERROR' ? 'its bytes were changed' : messageOf(error);
}

function damaged(compression: Compression, what: string, why: string, cause?: unknown): PlyfsError {
  return new PlyfsError(
    'archive-damaged',
    `The ${compression} data of ${what} cannot be read (${why}): fetch or make the archive again.`,
    {
      cause,
    },
  );
}
