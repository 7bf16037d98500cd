/**
 * `overlay.origin`: which lower file an upper file was copied up from.
 *
 * Written at copy-up in the kernel's format (fs/overlayfs/overlayfs.h, `struct ovl_fb`), so that inode numbers survive a
 * remount here and there. Read when an upper file is looked up in a directory marked impure: its inode number is the origin's.
 */
import type { ByteString } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { O_CLOEXEC, O_PATH } from '../sys/constants.js';
import { StatField } from '../sys/syscalls.js';
import type { InodeNumbers } from './inode-numbers.js';
import type { LayerDirectory } from './layer.js';
import { field, fileType, newStatBuffer } from './stat-buffer.js';

const MAGIC = 0xfb;
const FLAG_BIG_ENDIAN = 1;
const FLAG_ANY_ENDIAN = 2;
/** version, magic, len, flags, type, uuid[16] */
const HEADER = 21;
const UUID_AT = 5;
/** struct file_handle: handle_bytes, handle_type */
const HANDLE_HEADER = 8;
/** What a file system says that gives no handles, or none that would be of use (name_to_handle_at(2)). */
const withoutHandle: readonly number[] = [-E.EOPNOTSUPP, -E.EOVERFLOW, -E.ENOSYS, -E.EINVAL, -E.EPERM];

/** A file system that holds lower layers. */
export interface LowerFileSystem {
  readonly index: number;
  /** Null when it has none: its origins cannot be told from another's. */
  readonly uuid: Buffer | null;
  /** Any open descriptor on it. */
  readonly fd: number;
}

export class Origins {
  readonly #lowers: readonly LowerFileSystem[];
  readonly #inodes: InodeNumbers;
  readonly #handle = Buffer.alloc(256);
  readonly #stat = newStatBuffer();

  constructor(lowers: readonly LowerFileSystem[], inodes: InodeNumbers) {
    this.#lowers = lowers;
    this.#inodes = inodes;
  }

  /** The attribute's value for a lower file; empty when its file system gives no handles, as the kernel writes it then. Throws `Errno`. */
  encode(directory: LayerDirectory, name: ByteString): Buffer {
    const size = directory.handle(name, this.#handle);
    if (size < 0 && !withoutHandle.includes(size)) throw new Errno(-size, name);
    const uuid = this.#lowers.find((lower) => lower.index === directory.layer.fileSystem)?.uuid;
    if (size < HANDLE_HEADER || uuid === undefined || uuid === null) return Buffer.alloc(0);
    const id = this.#handle.subarray(HANDLE_HEADER, size);
    const value = Buffer.alloc(HEADER + id.length);
    value[1] = MAGIC;
    value[2] = value.length;
    value[4] = this.#handle.readInt32LE(4) & 0xff;
    uuid.copy(value, UUID_AT);
    id.copy(value, HEADER);
    return value;
  }

  /**
   * The inode number of the lower file that `value` names, if it still is there and of the type `type` (S_IFMT bits).
   * `namesake`: the lower file of the same name, for callers who may not open by handle: it is compared instead.
   */
  resolve(value: Buffer, type: number, namesake: { directory: LayerDirectory; name: ByteString } | undefined): number | undefined {
    if (value.length <= HEADER || value[0] !== 0 || value[1] !== MAGIC || value[2] !== value.length) return undefined;
    const flags = value[3] as number;
    if ((flags & FLAG_BIG_ENDIAN) !== 0 && (flags & FLAG_ANY_ENDIAN) === 0) return undefined;
    const lower = this.#lowers.find((candidate) => candidate.uuid?.equals(value.subarray(UUID_AT, HEADER)) === true);
    if (lower === undefined) return undefined;
    const id = value.subarray(HEADER);
    const handle = Buffer.alloc(HANDLE_HEADER + id.length);
    handle.writeUInt32LE(id.length, 0);
    handle.writeInt32LE(value[4] as number, 4);
    id.copy(handle, HANDLE_HEADER);

    const fd = sys.open_by_handle_at(lower.fd, handle, O_PATH | O_CLOEXEC);
    if (fd >= 0) {
      const failed = sys.statx(fd, '' as ByteString, this.#stat, 0);
      sys.close(fd);
      if (failed < 0) return undefined;
    } else {
      if (namesake === undefined || namesake.directory.layer.fileSystem !== lower.index) return undefined;
      const size = namesake.directory.handle(namesake.name, this.#handle);
      if (size !== handle.length || !this.#handle.subarray(0, size).equals(handle)) return undefined;
      if (namesake.directory.stat(namesake.name, this.#stat, 0) < 0) return undefined;
    }
    if (fileType(this.#stat, 0) !== type) return undefined;
    return this.#inodes.number(lower.index, field(this.#stat, 0, StatField.InoLow), field(this.#stat, 0, StatField.InoHigh));
  }
}
