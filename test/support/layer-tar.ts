/** Layers' tars made in memory. */
import { pack } from 'tar-stream';

export interface TarEntry {
  /** A directory's may end in a slash. */
  readonly name: string;
  /** Default: a file. */
  readonly type?: 'link' | 'symlink' | 'directory' | 'fifo' | 'character-device' | 'block-device';
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly linkname?: string;
  readonly devmajor?: number;
  readonly devminor?: number;
  readonly pax?: Record<string, string>;
  /** Of a file. */
  readonly content?: string;
}

/** With the end blocks. Every entry is of 2020-09-13 12:26:40 UTC. */
export async function tarOf(entries: readonly TarEntry[]): Promise<Buffer> {
  const stream = pack();
  const pieces: Uint8Array[] = [];
  const done = (async () => {
    for await (const piece of stream) pieces.push(piece as Uint8Array);
  })();
  for (const { content = '', ...header } of entries)
    stream.entry({ ...header, mtime: new Date(1_600_000_000_000) }, content);
  stream.finalize();
  await done;
  return Buffer.concat(pieces);
}

export async function* onePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
