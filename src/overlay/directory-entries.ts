/** Listing a directory by descriptor, names as bytes. */
import type { ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { sys } from '../sys/index.js';

export interface DirectoryEntry {
  readonly name: ByteString;
  /** DT_* of dirent(5). */
  readonly type: number;
}

const buffer = Buffer.alloc(64 * 1024);

/**
 * All but `.` and `..`, in the directory's own order. `fd` stands at its beginning. Throws `Errno`.
 */
export function listDirectory(fd: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  let size: number;
  while ((size = check(sys.getdents64(fd, buffer), 'getdents')) > 0) {
    for (let offset = 0; offset < size; offset += buffer.readUInt16LE(offset + 16)) {
      const start = offset + 19;
      const name = buffer.toString('latin1', start, buffer.indexOf(0, start)) as ByteString;
      if (name !== '.' && name !== '..') entries.push({ name, type: buffer[offset + 18]! });
    }
  }
  return entries;
}
