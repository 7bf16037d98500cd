/** Small files of a layer's or a mount's directory, beneath the directory's descriptor. */
import { readdirSync } from 'node:fs';
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { readStored, UnfitFile, type StoredKind } from '../sys/stored-file.js';

/**
 * Why a file or directory cannot be what it should be: the rest of a sentence, `is …` or `has …`.
 */
export class Unusable extends Error {}

/**
 * A directory that is one itself. Undefined when there is nothing of that name; throws `Unusable`.
 * The caller closes.
 */
export function openDirectory(dirfd: number, name: string): number | undefined {
  const fd = sys.openat(
    dirfd,
    name as ByteString,
    c.O_RDONLY | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC,
    0,
  );
  if (fd >= 0) return fd;
  if (fd === -E.ENOENT) return undefined;
  if (fd === -E.ENOTDIR || fd === -E.ELOOP) throw new Unusable('is not a directory');
  throw new Unusable(`cannot be opened (${reasonOf(-fd)})`);
}

/** Whole, or undefined when there is none. Throws `Unusable`. */
export function readRegularFile(dirfd: number, name: string, kind: StoredKind): Buffer | undefined {
  try {
    return readStored(name, kind, dirfd);
  } catch (error) {
    if (error instanceof UnfitFile)
      throw new Unusable(`has a ${name} that ${error.problem}`, { cause: error });
    throw error;
  }
}

/** An id's file: ASCII, white space around it ignored as Docker does. */
export function readId<T>(
  dirfd: number,
  name: string,
  parse: (text: string) => T | undefined,
): T | undefined {
  const text = readRegularFile(dirfd, name, 'id')?.toString('latin1').trim();
  if (text === undefined) return undefined;
  const id = parse(text);
  if (id === undefined) throw new Unusable(`has a ${name} that is no such id`);
  return id;
}

export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Unusable(`has no ${name}`);
  return value;
}

/**
 * Docker reads it without trimming: what is not a plain number keeps it from loading the layer, and
 * so it does here.
 */
export function readSize(dirfd: number): number | undefined {
  const text = readRegularFile(dirfd, 'size', 'id')?.toString('latin1');
  if (text === undefined) return undefined;
  const size = Number(text);
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(size))
    throw new Unusable('has a size that is not a decimal number');
  return size;
}

/** In no order, one character a byte. None where there is no directory. */
export function namesIn(path: string): string[] {
  try {
    return readdirSync(path, 'latin1');
  } catch (error) {
    if (
      error instanceof Error &&
      'code' in error &&
      (error.code === 'ENOENT' || error.code === 'ENOTDIR')
    )
      return [];
    throw error;
  }
}
