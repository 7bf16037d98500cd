/**
 * An archive of images, opened: in place where that is possible, else from a copy.
 *
 * A file that is an uncompressed tar is read where it is. What is compressed, or comes as a stream,
 * is written to a file under `<root>/plyfs/tmp` first, for the list of images may stand at its end,
 * after layers that it says whether they are wanted at all. That file is removed as soon as it is
 * open, so that nothing of it stays, however the process ends.
 */
import {
  closeSync,
  createReadStream,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { decompress, detectCompression } from '../archive/compression.js';
import type { ByteSource } from '../base/byte-source.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { randomId } from '../base/ids.js';
import type { ArchiveFiles } from './archive-files.js';
import { DirectoryArchive } from './directory-archive.js';
import { fileRange } from './file-range.js';
import { ARCHIVE_BYTES_MAX } from './limits.js';
import type { OnProgress } from './progress.js';
import { TarArchive } from './tar-archive.js';

/**
 * A stream, or by its path a file or a directory, or an open descriptor (as that of stdin, which
 * may be a file).
 */
export type ArchiveSource =
  | ByteSource
  | { readonly path: string }
  | { readonly directory: string }
  | { readonly descriptor: number; readonly name: string };

export interface OpenArchiveOptions {
  /** Of the data root: copies are made in it. */
  readonly root: string;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/**
 * Throws `archive-unreadable`, `archive-damaged`, `archive-hostile`, `archive-too-large`,
 * `decompressor-missing`.
 */
export async function openArchive(
  source: ArchiveSource,
  options: OpenArchiveOptions,
): Promise<ArchiveFiles> {
  if (Symbol.asyncIterator in source) return spool(source, 'the archive', undefined, options);
  if ('directory' in source) return new DirectoryArchive(source.directory);
  if ('descriptor' in source) {
    const { descriptor, name } = source;
    if (fstatSync(descriptor).isFile())
      return openFile(openSync(`/proc/self/fd/${descriptor}`, 'r'), name, options);
    return spool(streamOf(descriptor), name, undefined, options);
  }
  const { path } = source;
  let fd: number;
  try {
    if (statSync(path).isDirectory()) return new DirectoryArchive(path);
    fd = openSync(path, 'r');
  } catch (error) {
    if (error instanceof PlyfsError) throw error;
    throw new PlyfsError(
      'archive-unreadable',
      `The archive ${path} cannot be read: ${messageOf(error)}.`,
      { cause: error },
    );
  }
  return openFile(fd, path, options);
}

/** `fd` is this function's to close. */
async function openFile(
  fd: number,
  name: string,
  options: OpenArchiveOptions,
): Promise<ArchiveFiles> {
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return await spool(streamOf(fd), name, undefined, options);
    const head = Buffer.alloc(512);
    const length = readSync(fd, head, 0, head.length, 0);
    if (detectCompression(head.subarray(0, length)) !== 'none')
      return await spool(fileRange(fd, 0, stat.size, name), name, stat.size, options);
    const own = fd;
    fd = -1;
    return await TarArchive.open(name, own, stat.size, options.signal);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** What a pipe or a terminal holds; reading it blocks no other work. */
async function* streamOf(descriptor: number): ByteSource {
  yield* createReadStream('', {
    fd: descriptor,
    autoClose: false,
    highWaterMark: 256 * 1024,
  }) as AsyncIterable<Buffer>;
}

async function spool(
  source: ByteSource,
  name: string,
  total: number | undefined,
  options: OpenArchiveOptions,
): Promise<ArchiveFiles> {
  const { root, onProgress, signal } = options;
  const directory = join(root, 'plyfs', 'tmp');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `load-${randomId()}`);
  let fd = openSync(path, 'wx+', 0o600);
  try {
    rmSync(path);
    let read = 0;
    const counted = async function* (): ByteSource {
      for await (const piece of source) {
        signal?.throwIfAborted();
        read += piece.length;
        onProgress?.({
          kind: 'spool',
          id: name,
          done: read,
          ...(total !== undefined && { total }),
        });
        yield piece;
      }
    };
    let size = 0;
    for await (const piece of decompress(counted(), { limit: ARCHIVE_BYTES_MAX, what: name })) {
      signal?.throwIfAborted();
      for (let at = 0; at < piece.length;)
        at += writeSync(fd, piece, at, piece.length - at, size + at);
      size += piece.length;
    }
    const own = fd;
    fd = -1;
    return await TarArchive.open(name, own, size, signal);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
