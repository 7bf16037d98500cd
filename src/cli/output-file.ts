/** A file that a command was asked to write: whole, or as it was. */
import { createWriteStream } from 'node:fs';
import { chmod, rename, rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ByteSource } from '../base/byte-source.js';
import { textOf, type ByteString } from '../base/bytes.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { randomId } from '../base/ids.js';

/**
 * Written aside and renamed; what is no regular file (a pipe, /dev/null) is written to as it is.
 * Returns the bytes. Throws `output-failed`, and what the source throws.
 */
export async function writeOutputFile(
  path: ByteString,
  source: ByteSource,
  signal: AbortSignal,
): Promise<number> {
  const place = Buffer.from(path, 'latin1');
  const there = await stat(place).catch(() => undefined);
  const inPlace = there !== undefined && !there.isFile();
  const aside = inPlace ? place : Buffer.from(`${path}.${randomId().slice(0, 12)}.tmp`, 'latin1');
  const file = createWriteStream(aside, { flags: inPlace ? 'w' : 'wx', flush: !inPlace });
  let bytes = 0;
  try {
    const counted = async function* (): ByteSource {
      for await (const piece of source) {
        bytes += piece.length;
        yield piece;
      }
    };
    await pipeline(Readable.from(counted(), { objectMode: false }), file, { signal });
    if (!inPlace) {
      // A file that is replaced keeps its permissions.
      if (there !== undefined) await chmod(aside, there.mode & 0o7777);
      await rename(aside, place);
    }
    return bytes;
  } catch (error) {
    if (!inPlace) await rm(aside, { force: true });
    if (error instanceof PlyfsError || signal.aborted) throw error;
    throw new PlyfsError(
      'output-failed',
      `${textOf(path)} cannot be written: ${messageOf(error)}.`,
      { cause: error },
    );
  }
}
