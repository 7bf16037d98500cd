/**
 * tar-split: what is needed, besides a layer's files on disk, to have its tar again byte for byte
 * (vbatts/tar-split, tar/storage, tar/asm).
 *
 * A gzip file of JSON lines in the order of the tar: segments of raw bytes (headers, padding, what
 * follows the end), and files, whose content is on disk and known by its CRC. A file without size
 * has no content of its own: a directory, a link, an empty file.
 *
 * The content of sparse files is written into segments, and such a file has no size here. Docker
 * records the file with its holes filled, from which the tar cannot be had again (its own
 * reassembly then fails); read by Docker, ours gives the right bytes.
 */
import { isUtf8 } from 'node:buffer';
import { closeSync, createReadStream, fchmodSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { createGunzip, createGzip, type Gzip } from 'node:zlib';
import type { Awaitable } from '../base/awaitable.js';
import { parseJson } from '../base/bounded-json.js';
import type { ByteSource } from '../base/byte-source.js';
import { textOf, type ByteString } from '../base/bytes.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { sys } from '../sys/index.js';
import { O_RDONLY } from '../sys/constants.js';
import { openStored, UnfitFile } from '../sys/stored-file.js';
import { cleanPath, hostile } from './entry-path.js';
import { LayerRoot } from '../overlay/layer-root.js';
import { NameSet } from './name-set.js';

/** Takes a tar apart. What a call is given is the sink's until its promise is settled. */
export interface TarSplitSink {
  segment(bytes: Uint8Array): Awaitable<void>;
  /** `crc`: 8 bytes, of a file with content. */
  file(name: ByteString, size: number, crc: Uint8Array | undefined): Awaitable<void>;
}

const FILE = 1;
const SEGMENT = 2;
/** Characters gathered before the compressor gets them. */
const BATCH = 64 * 1024;

/** Writes the file that Docker calls `tar-split.json.gz`. */
export class TarSplitWriter implements TarSplitSink {
  readonly #fd: number;
  readonly #gzip: Gzip;
  readonly #names = new NameSet();
  readonly #ended: Promise<void>;
  #lines = '';
  #position = 0;
  #failure: Error | undefined;
  #open = true;

  private constructor(fd: number) {
    this.#fd = fd;
    this.#gzip = createGzip({ chunkSize: BATCH });
    this.#gzip.on('data', (bytes: Buffer) => {
      try {
        for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      } catch (error) {
        this.#gzip.destroy(error as Error);
      }
    });
    this.#ended = new Promise((resolve) => {
      this.#gzip.once('close', resolve);
      this.#gzip.on('error', (error) => (this.#failure = error));
    });
  }

  /** Makes the file, which must not exist, mode 0644. */
  static create(path: string): TarSplitWriter {
    const fd = openSync(path, 'wx', 0o644);
    try {
      fchmodSync(fd, 0o644);
      return new TarSplitWriter(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  segment(bytes: Uint8Array): Awaitable<void> {
    const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
    return this.#add(`{"type":${SEGMENT},"payload":"${payload}","position":${this.#position++}}\n`);
  }

  /**
   * Throws `archive-hostile` for a name that was there already: Docker has no way back from such a
   * tar either, and refuses it.
   */
  file(name: ByteString, size: number, crc: Uint8Array | undefined): Awaitable<void> {
    const cleaned = cleanPath(name);
    if (!this.#names.add(cleaned)) throw hostile(`has the file ${textOf(name)} twice`);
    const raw = Buffer.from(name, 'latin1');
    const called =
      name === ''
        ? ''
        : isUtf8(raw)
          ? `"name":${jsonString(raw.toString('utf8'))},`
          : `"name_raw":"${raw.toString('base64')}",`;
    const sized = size === 0 ? '' : `"size":${size},`;
    const payload =
      size === 0 || crc === undefined ? 'null' : `"${Buffer.from(crc).toString('base64')}"`;
    return this.#add(
      `{"type":${FILE},${called}${sized}"payload":${payload},"position":${this.#position++}}\n`,
    );
  }

  #add(line: string): Awaitable<void> {
    this.#lines += line;
    if (this.#lines.length >= BATCH) return this.#write();
  }

  #write(): Promise<void> {
    return new Promise((resolve, reject) => {
      const lines = this.#lines;
      this.#lines = '';
      // Also called when the stream was destroyed, with the error.
      this.#gzip.write(lines, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  /** The file is whole and flushed to disk afterwards. */
  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    try {
      this.#gzip.end(this.#lines);
      await this.#ended;
      if (this.#failure !== undefined) throw this.#failure;
      fsyncSync(this.#fd);
    } finally {
      closeSync(this.#fd);
    }
  }

  /** Leaves the file as far as it got, for whoever made its directory to take away. */
  async abort(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#gzip.destroy();
    await this.#ended;
    closeSync(this.#fd);
  }
}

/** As Go's encoding/json: what HTML gives a meaning is escaped. */
function jsonString(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (character) => '\\u' + character.charCodeAt(0).toString(16).padStart(4, '0'),
  );
}

export interface TarSplitSegment {
  readonly kind: 'segment';
  readonly bytes: Buffer;
}

export interface TarSplitFile {
  readonly kind: 'file';
  /** As in the tar. */
  readonly name: ByteString;
  readonly size: number;
  readonly crc: Buffer | undefined;
}

/**
 * Bytes of one line, four times of which are in memory while it is read: Docker writes what follows
 * a tar's end as one segment.
 */
const MAX_LINE = 2 ** 26;

/** The entries in order. Throws `layer-damaged`. */
export async function* readTarSplit(path: string): AsyncGenerator<TarSplitSegment | TarSplitFile> {
  const damaged = (why: string, cause?: unknown): PlyfsError =>
    new PlyfsError(
      'layer-damaged',
      `The file ${path} is damaged (${why}): remove the images that use it, then load them again.`,
      {
        cause,
      },
    );
  let fd: number | undefined;
  try {
    fd = openStored(path);
  } catch (error) {
    throw error instanceof UnfitFile ? damaged(`it ${error.problem}`, error) : error;
  }
  if (fd === undefined) throw damaged('it is not there');
  const file = createReadStream('', { fd });
  const gunzip = createGunzip({ chunkSize: BATCH });
  file.on('error', (error) => gunzip.destroy(error));
  file.pipe(gunzip);
  const names = new NameSet();
  try {
    for await (const line of linesOf(gunzip as AsyncIterable<Buffer>)) {
      if (line === undefined) throw damaged('it has a line of more than 64 MiB');
      if (line.length === 0) continue;
      const entry = parseLine(line);
      if (entry === undefined) throw damaged(`it has the line ${line.subarray(0, 100).toString()}`);
      if (entry.kind === 'file') {
        const cleaned = cleanPath(entry.name);
        if (!names.add(cleaned)) throw damaged(`it has the file ${textOf(entry.name)} twice`);
      }
      yield entry;
    }
  } catch (error) {
    if (error instanceof PlyfsError && error.code === 'layer-damaged') throw error;
    throw damaged(messageOf(error), error);
  } finally {
    file.destroy();
    gunzip.destroy();
  }
}

/** Without their ends; undefined for a line that is too long. */
async function* linesOf(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer | undefined> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const piece of source) {
    let start = 0;
    for (let end: number; (end = piece.indexOf(0x0a, start)) >= 0; start = end + 1) {
      const last = piece.subarray(start, end);
      yield parts.length === 0 ? last : Buffer.concat([...parts, last]);
      parts = [];
      length = 0;
    }
    if (start < piece.length) {
      parts.push(piece.subarray(start));
      length += piece.length - start;
      if (length > MAX_LINE) yield undefined;
    }
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}

/** An object of six members. */
const LINE = { depth: 1, values: 16 };

function parseLine(line: Buffer): TarSplitSegment | TarSplitFile | undefined {
  let value: unknown;
  try {
    value = parseJson(line, LINE);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const {
    type,
    name = '',
    name_raw: raw = '',
    size = 0,
    payload = null,
  } = value as Readonly<Record<string, unknown>>;
  if (payload !== null && typeof payload !== 'string') return undefined;
  if (type === SEGMENT) return { kind: 'segment', bytes: Buffer.from(payload ?? '', 'base64') };
  if (type !== FILE || typeof name !== 'string' || typeof raw !== 'string') return undefined;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
  const crc = payload === null || payload === '' ? undefined : Buffer.from(payload, 'base64');
  if (crc !== undefined && crc.length !== 8) return undefined;
  const bytes = raw === '' ? Buffer.from(name, 'utf8') : Buffer.from(raw, 'base64');
  return { kind: 'file', name: bytes.toString('latin1') as ByteString, size, crc };
}

/** Where the content of a layer's files is. */
export interface FileSource {
  /**
   * A descriptor for reading, the caller's to close. `name` is as in the tar. Throws
   * `layer-damaged`.
   */
  open(name: ByteString): number;
}

/** Bytes of a piece. */
const PIECE = 256 * 1024;

/**
 * The layer's tar. Throws `layer-damaged` at the first file that is not what it was; that nothing
 * else is wrong, only the digest of the whole tells, which is the caller's to check. The pieces are
 * valid until the next one is asked for.
 */
export async function* assembleTar(tarSplitPath: string, files: FileSource): ByteSource {
  const buffer = Buffer.allocUnsafe(PIECE);
  let filled = 0;
  for await (const entry of readTarSplit(tarSplitPath)) {
    if (entry.kind === 'segment') {
      const { bytes } = entry;
      if (bytes.length > PIECE - filled) {
        if (filled > 0) yield buffer.subarray(0, filled);
        filled = 0;
      }
      if (bytes.length > PIECE) yield bytes;
      else filled += bytes.copy(buffer, filled);
      continue;
    }
    if (entry.size === 0) continue;
    const changed = (): PlyfsError =>
      new PlyfsError(
        'layer-damaged',
        `The layer's file ${textOf(entry.name)} is not what it was when the layer was made: remove the images that use it, then load them again.`,
      );
    const fd = files.open(entry.name);
    try {
      const crc = Buffer.alloc(8);
      for (let at = 0; at < entry.size;) {
        if (filled === PIECE) {
          yield buffer;
          filled = 0;
        }
        const part = buffer.subarray(filled, Math.min(PIECE, filled + entry.size - at));
        const got = sys.pread(fd, part, at);
        if (got < 0)
          throw new PlyfsError(
            'layer-damaged',
            `The layer's file ${textOf(entry.name)} cannot be read (${reasonOf(-got)}): look at the disk.`,
          );
        if (got === 0) throw changed();
        sys.crc64(crc, part.subarray(0, got));
        filled += got;
        at += got;
      }
      if (entry.crc !== undefined && !crc.equals(entry.crc)) throw changed();
    } finally {
      sys.close(fd);
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

/**
 * The files of a layer's directory: within it whatever its symbolic links say. Throws
 * `layer-missing`.
 */
export function directoryFiles(directory: string): FileSource & { close(): void } {
  const root = LayerRoot.open(directory);
  return {
    open(name) {
      const fd = root.openFile(cleanPath(name), O_RDONLY);
      if (fd >= 0) return fd;
      throw new PlyfsError(
        'layer-damaged',
        `The layer's file ${textOf(name)} cannot be opened (${reasonOf(-fd)}): remove the images that use it, then load them again.`,
      );
    },
    close: () => root.close(),
  };
}
