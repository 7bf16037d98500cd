/**
 * A layer's tar, read once: its entries, and on the way its DiffID and its tar-split.
 *
 * What is an entry, and what is an error, is as in Go's archive/tar, which Docker reads layers
 * with: global extended headers say nothing of the entries after them, links and directories have
 * no data whatever their size says, an archive may end without its end marker between two entries
 * but nowhere else. Stricter in this: an extended header with no entry after it is damage, and
 * sizes past 2^53 are.
 *
 * Memory is that of one piece of the source and one entry's extended headers, which are bounded,
 * whatever the layer's size.
 */
import { createHash } from 'node:crypto';
import type { ByteSource } from '../base/byte-source.js';
import { textOf, type ByteString } from '../base/bytes.js';
import { digestOfHex, type DiffId } from '../base/digest.js';
import { errorOf, PlyfsError } from '../base/error.js';
import { sys } from '../sys/index.js';
import { ByteCursor } from './byte-cursor.js';
import { decompress } from './compression.js';
import { cleanPath, isReserved } from './entry-path.js';
import {
  parsePax,
  paxNumber,
  paxTime,
  paxXattrs,
  SPARSE_MAP,
  type PaxRecords,
  type EntryTime,
} from './pax.js';
import {
  checkExtents,
  oldGnuRealSize,
  parseSparseMap,
  readOldGnuExtents,
  SparseMapReader,
  type Extent,
} from './sparse.js';
import {
  BLOCK,
  damaged,
  isZeroBlock,
  parseHeader,
  textField,
  type TarHeader,
} from './tar-block.js';
import type { TarSplitSink } from './tar-split.js';

export type EntryType = 'file' | 'link' | 'symlink' | 'directory' | 'character' | 'block' | 'fifo';

export interface LayerEntry {
  /** As in the tar. */
  readonly name: ByteString;
  /** Cleaned: relative, without `.` components and trailing slash; empty for the layer's root. */
  readonly path: ByteString;
  readonly type: EntryType;
  /** Permission bits, set-id and sticky included. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a file: bytes, holes included. Of another: what its header claims, and no data follows. */
  readonly size: number;
  readonly mtime: EntryTime;
  readonly atime?: EntryTime;
  /** Target of a symbolic link, or the name of the file that a hard link shares. */
  readonly linkname: ByteString;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
  /** Of a sparse file: where `body` lies in it. The rest, up to `size`, is holes. */
  readonly extents?: readonly Extent[];
  /**
   * The file's data, without its holes. What is not read is passed over when the next entry is
   * asked for.
   */
  readonly body: ByteSource;
}

/** The most a layer may ask for. What exceeds one is `archive-too-large`. */
export interface LayerLimits {
  /** Bytes of the uncompressed tar. */
  readonly bytes?: number;
  readonly entries?: number;
  /**
   * Bytes of all extended headers and long names of one entry (1 MiB for each of them in Go's
   * archive/tar).
   */
  readonly header?: number;
}

export const DEFAULT_LIMITS: Readonly<Required<LayerLimits>> = {
  bytes: 2 ** 38,
  entries: 4_000_000,
  header: 2 ** 20,
};

/** Bytes of headers that are gathered before tar-split gets them. */
const SEGMENT = 64 * 1024;
const MAX_ID = 0xfffffffe;

interface Current {
  readonly entry: LayerEntry;
  /** Bytes of data in the tar, and how many were not taken. */
  readonly stored: number;
  left: number;
  readonly padding: number;
  /** The data goes into tar-split's segments: it is not on disk as it is in the tar. */
  readonly inSegments: boolean;
  readonly crc: Buffer;
}

export class LayerReader implements AsyncIterable<LayerEntry> {
  readonly #cursor: ByteCursor;
  readonly #hash = createHash('sha256');
  readonly #tarSplit: TarSplitSink | undefined;
  readonly #limits: Required<LayerLimits>;
  #raw: Buffer[] = [];
  #rawLength = 0;
  #current: Current | undefined;
  #entries = 0;
  /** Bytes of the extended headers and long names before the next entry. */
  #extended = 0;
  #bytes = 0;
  #ended = false;
  #failure: Error | undefined;
  #result: { diffId: DiffId; bytes: number; entries: number } | undefined;

  /** `source` may be compressed. Nothing is read before the first entry is asked for. */
  constructor(
    source: ByteSource,
    options: { tarSplit?: TarSplitSink | undefined; limits?: LayerLimits | undefined } = {},
  ) {
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#tarSplit = options.tarSplit;
    this.#cursor = new ByteCursor(decompress(source, { limit: this.#limits.bytes }), (piece) => {
      this.#hash.update(piece);
      this.#bytes += piece.length;
    });
  }

  /**
   * One pass: who iterates again goes on where the last one stopped. Stopping early closes nothing.
   */
  [Symbol.asyncIterator](): AsyncIterator<LayerEntry> {
    return {
      next: async () => {
        const entry = await this.next();
        return entry === undefined
          ? { done: true, value: undefined }
          : { done: false, value: entry };
      },
    };
  }

  /**
   * Undefined after the last one. Throws `archive-damaged`, `archive-hostile`, `archive-too-large`,
   * and what the source throws.
   */
  next(): Promise<LayerEntry | undefined> {
    return this.#guarded(async () => {
      await this.#finishEntry();
      return this.#readEntry();
    });
  }

  /**
   * Reads what is left, the bytes after the end marker included. `bytes`: of the uncompressed tar.
   */
  finish(): Promise<{ diffId: DiffId; bytes: number; entries: number }> {
    return this.#guarded(async () => {
      while (!this.#ended) {
        await this.#finishEntry();
        await this.#readEntry();
      }
      if (this.#result === undefined) {
        while (this.#cursor.available > 0 || (await this.#cursor.fill()))
          await this.#keep(this.#cursor.take(SEGMENT));
        await this.#flush();
        const diffId = digestOfHex(this.#hash.digest('hex')) as DiffId;
        this.#result = { diffId, bytes: this.#bytes, entries: this.#entries };
      }
      return this.#result;
    });
  }

  /** Lets the source go before its end. After `finish` there is nothing to close. */
  async close(): Promise<void> {
    this.#failure ??= new PlyfsError(
      'archive-closed',
      'The layer was closed before its end: nothing more can be read from it.',
    );
    this.#ended = true;
    await this.#cursor.close();
  }

  /** After a failure the source is closed, and every call fails the same way. */
  async #guarded<T>(action: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      return await action();
    } catch (error) {
      this.#failure ??= errorOf(error);
      await this.#cursor.close();
      throw error;
    }
  }

  /** Undefined at the end, and when it was reached before. */
  async #readEntry(): Promise<LayerEntry | undefined> {
    if (this.#ended) return undefined;
    let pax: PaxRecords | undefined;
    let longName: string | undefined;
    let longLink: string | undefined;
    this.#extended = 0;
    while (true) {
      const at = this.#cursor.position;
      const block = await this.#cursor.exactly(BLOCK);
      await this.#keep(block);
      if (block.length < BLOCK) {
        if (
          block.length > 0 ||
          pax !== undefined ||
          longName !== undefined ||
          longLink !== undefined
        )
          throw damaged(`it ends at byte ${at + block.length}, within a header`);
        this.#ended = true;
        return undefined;
      }
      if (isZeroBlock(block)) {
        if (pax !== undefined || longName !== undefined || longLink !== undefined)
          throw damaged(`it ends at byte ${at}, within a header`);
        await this.#readEndMarker();
        return undefined;
      }
      const header = parseHeader(block, at);
      switch (header.flag) {
        case 'x':
          pax = parsePax(await this.#readExtended(header, at), at);
          break;
        case 'g':
          parsePax(await this.#readExtended(header, at), at);
          break;
        case 'L':
        case 'K': {
          const data = await this.#readExtended(header, at);
          const text = textField(data, 0, data.length);
          if (header.flag === 'L') longName = text;
          else longLink = text;
          break;
        }
        default:
          return await this.#begin(block, header, at, pax, longName, longLink);
      }
    }
  }

  /** One zero block ends the archive for Go when nothing follows it; two do in any case. */
  async #readEndMarker(): Promise<void> {
    const at = this.#cursor.position;
    const block = await this.#cursor.exactly(BLOCK);
    await this.#keep(block);
    if (block.length > 0 && (block.length < BLOCK || !isZeroBlock(block)))
      throw damaged(`the end marker at byte ${at - BLOCK} is cut short`);
    this.#ended = true;
  }

  async #readExtended(header: TarHeader, at: number): Promise<Buffer> {
    const { size } = header;
    if (size < 0) throw damaged(`the extended header at byte ${at} has a negative size`);
    this.#extended += size;
    if (this.#extended > this.#limits.header)
      throw tooLarge(
        `extended headers of ${this.#extended} bytes for one file`,
        `${this.#limits.header} bytes`,
      );
    const data = await this.#cursor.exactly(size);
    if (data.length < size)
      throw damaged(`it ends at byte ${this.#cursor.position}, within a header`);
    // Kept for the entry itself: the source may take its piece back when the padding is read.
    const copy = Buffer.from(data);
    await this.#keep(copy);
    const padding = await this.#cursor.exactly(paddingOf(size));
    if (padding.length < paddingOf(size))
      throw damaged(`it ends at byte ${this.#cursor.position}, within a header`);
    await this.#keep(padding);
    return copy;
  }

  async #begin(
    block: Buffer,
    header: TarHeader,
    at: number,
    pax: PaxRecords | undefined,
    longName: string | undefined,
    longLink: string | undefined,
  ): Promise<LayerEntry> {
    if (++this.#entries > this.#limits.entries)
      throw tooLarge('more files than the bound', `${this.#limits.entries} files`);
    const records: PaxRecords = pax ?? new Map<string, string>();
    // An empty one says nothing.
    let name = longName || records.get('path') || header.name;
    const linkname = longLink || records.get('linkpath') || header.linkname;
    let size = paxNumber(records, 'size', at) ?? header.size;
    if (size < 0) throw damaged(`the file at byte ${at} has a negative size`);
    const type = typeOf(header, name, at);
    let stored = type === 'file' ? size : 0;

    let extents: Extent[] | undefined;
    if (header.flag === 'S') {
      // Before the extensions are read: the block may be the source's again then.
      size = oldGnuRealSize(block, at);
      extents = await this.#oldGnuExtents(block, at);
    } else if (type === 'file') {
      const version = sparseVersion(records);
      if (version !== undefined) {
        name = records.get('GNU.sparse.name') || name;
        size =
          paxNumber(records, 'GNU.sparse.size', at) ??
          paxNumber(records, 'GNU.sparse.realsize', at) ??
          size;
        if (version === '1.0') {
          const map = await this.#sparseMap(stored, at);
          extents = map.extents;
          stored -= map.length;
        } else extents = parseSparseMap(records.get(SPARSE_MAP) ?? '', at);
      }
    }
    if (extents !== undefined) {
      if (size < 0) throw damaged(`the file at byte ${at} has a negative size`);
      checkExtents(extents, size, stored, at);
    }

    const path = cleanPath(name as ByteString);
    const atime =
      paxTime(records, 'atime', at) ??
      (header.atime === undefined ? undefined : { sec: header.atime, nsec: 0 });
    const entry: LayerEntry = {
      name: name as ByteString,
      path,
      type,
      mode: header.mode,
      uid: idOf(paxNumber(records, 'uid', at) ?? header.uid, path),
      gid: idOf(paxNumber(records, 'gid', at) ?? header.gid, path),
      size,
      mtime: paxTime(records, 'mtime', at) ?? { sec: header.mtime, nsec: 0 },
      ...(atime === undefined ? {} : { atime }),
      linkname: linkname as ByteString,
      major: header.major,
      minor: header.minor,
      xattrs: pax === undefined ? noXattrs : paxXattrs(pax),
      ...(extents === undefined ? {} : { extents }),
      body: { [Symbol.asyncIterator]: () => this.#bodyOf(entry) },
    };
    this.#current = {
      entry,
      stored,
      left: stored,
      padding: paddingOf(stored),
      inSegments: extents !== undefined || isReserved(path),
      crc: Buffer.alloc(8),
    };
    return entry;
  }

  async #oldGnuExtents(header: Buffer, at: number): Promise<Extent[]> {
    const extents: Extent[] = [];
    let more = readOldGnuExtents(header, true, at, extents);
    while (more) {
      const position = this.#cursor.position;
      const block = await this.#cursor.exactly(BLOCK);
      if (block.length < BLOCK)
        throw damaged(`it ends at byte ${this.#cursor.position}, within a header`);
      await this.#keep(block);
      more = readOldGnuExtents(block, false, position, extents);
    }
    return extents;
  }

  /** Reads the map that format 1.0 keeps before the data; `length`: of its blocks. */
  async #sparseMap(stored: number, at: number): Promise<{ extents: Extent[]; length: number }> {
    const map = new SparseMapReader(at);
    for (let length = BLOCK; length <= stored; length += BLOCK) {
      const block = await this.#cursor.exactly(BLOCK);
      if (block.length < BLOCK) break;
      await this.#keep(block);
      if (map.add(block)) return { extents: map.extents, length };
    }
    throw damaged(`the map of the sparse file at byte ${at} is cut short`);
  }

  #bodyOf(entry: LayerEntry): AsyncIterator<Uint8Array> {
    return {
      next: () =>
        this.#guarded(async () => {
          const current = this.#current;
          // Another entry's turn, or nothing left.
          if (current?.entry !== entry || current.left === 0)
            return { done: true, value: undefined };
          return { done: false, value: await this.#takeData(current) };
        }),
    };
  }

  async #takeData(current: Current): Promise<Buffer> {
    if (this.#cursor.available === 0 && !(await this.#cursor.fill())) {
      throw damaged(
        `it ends at byte ${this.#cursor.position}, within the data of ${textOf(current.entry.name)}`,
      );
    }
    if (this.#tarSplit !== undefined && current.inSegments) {
      const data = this.#cursor.take(Math.min(current.left, SEGMENT));
      current.left -= data.length;
      await this.#keep(data);
      return data;
    }
    const data = this.#cursor.take(current.left);
    current.left -= data.length;
    if (this.#tarSplit !== undefined) sys.crc64(current.crc, data);
    return data;
  }

  /** Passes over what was not read of the current entry, and records it. */
  async #finishEntry(): Promise<void> {
    const current = this.#current;
    if (current === undefined) return;
    while (current.left > 0) await this.#takeData(current);
    if (this.#tarSplit !== undefined) {
      await this.#flush();
      const size = current.inSegments ? 0 : current.stored;
      await this.#tarSplit.file(current.entry.name, size, size > 0 ? current.crc : undefined);
    }
    this.#current = undefined;
    // The source may end here without the padding of the last file: the archive then has no end
    // marker either.
    if (current.padding > 0) {
      const padding = await this.#cursor.exactly(current.padding);
      await this.#keep(padding);
      if (padding.length < current.padding) this.#ended = true;
    }
  }

  /** For tar-split: bytes that are in no file on disk. */
  async #keep(bytes: Buffer): Promise<void> {
    if (this.#tarSplit === undefined || bytes.length === 0) return;
    this.#raw.push(Buffer.from(bytes));
    this.#rawLength += bytes.length;
    if (this.#rawLength >= SEGMENT) await this.#flush();
  }

  async #flush(): Promise<void> {
    if (this.#rawLength === 0) return;
    const bytes =
      this.#raw.length === 1 ? (this.#raw[0] as Buffer) : Buffer.concat(this.#raw, this.#rawLength);
    this.#raw = [];
    this.#rawLength = 0;
    await this.#tarSplit?.segment(bytes);
  }
}

const noXattrs: ReadonlyMap<ByteString, Uint8Array> = new Map();

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function typeOf(header: TarHeader, name: string, at: number): EntryType {
  switch (header.flag) {
    case '0':
      return header.ancient && name.endsWith('/') ? 'directory' : 'file';
    // Contiguous, and sparse in GNU's old way.
    case '7':
    case 'S':
      return 'file';
    case '1':
      return 'link';
    case '2':
      return 'symlink';
    case '3':
      return 'character';
    case '4':
      return 'block';
    case '5':
      return 'directory';
    case '6':
      return 'fifo';
    default:
      throw damaged(`the file at byte ${at} is of the unknown type ${JSON.stringify(header.flag)}`);
  }
}

/**
 * Which of the PAX sparse formats the records are in (Go, archive/tar, readGNUSparsePAXHeaders);
 * undefined for none that is known.
 */
function sparseVersion(records: PaxRecords): '0.0' | '1.0' | undefined {
  const [major, minor] = [records.get('GNU.sparse.major'), records.get('GNU.sparse.minor')];
  if (major === '1' && minor === '0') return '1.0';
  if (major === '0' && (minor === '0' || minor === '1')) return '0.0';
  if (major !== undefined || minor !== undefined) return undefined;
  return records.has(SPARSE_MAP) ? '0.0' : undefined;
}

function idOf(id: number, path: ByteString): number {
  if (id >= 0 && id <= MAX_ID) return id;
  throw new PlyfsError(
    'archive-hostile',
    `The layer's file ${textOf(path)} has the owner or group ${id}, which Linux does not have: do not use this layer.`,
  );
}

export function tooLarge(what: string, bound: string): PlyfsError {
  return new PlyfsError(
    'archive-too-large',
    `The layer has ${what}, and ${bound} is the most that one may have: do not use this layer.`,
  );
}
