/**
 * `overlay.origin`: which lower file an upper file was copied up from.
 *
 * Written at copy-up in the kernel's format (fs/overlayfs/overlayfs.h, `struct ovl_fb`), so that
 * inode numbers survive a remount here and there. Read when an upper file is looked up in a
 * directory marked impure: its inode number is the origin's.
 */
import type { ByteString } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { O_CLOEXEC, O_PATH } from '../sys/constants.js';
import { StatField } from '../sys/syscalls.js';
import type { Devices } from '../overlay/devices.js';
import { numberOn } from './inode-numbers.js';
import { onDisk } from '../overlay/disk-directory.js';
import { UPPER, type LayerDirectory, type Device } from '../overlay/layer.js';
import { field, fileType, newStatBuffer } from '../overlay/stat-buffer.js';

const MAGIC = 0xfb;
const FLAG_BIG_ENDIAN = 1;
const FLAG_ANY_ENDIAN = 2;
const FLAG_PATH_UPPER = 4;
/** version, magic, len, flags, type, uuid[16] */
const HEADER = 21;
const UUID_AT = 5;
/** struct file_handle: handle_bytes, handle_type */
const HANDLE_HEADER = 8;
/**
 * What a file system says that gives no handles, or none that would be of use
 * (name_to_handle_at(2)).
 */
const withoutHandle: readonly number[] = [
  -E.EOPNOTSUPP,
  -E.EOVERFLOW,
  -E.ENOSYS,
  -E.EINVAL,
  -E.EPERM,
];

/** A lower file, by its place. */
export interface Namesake {
  readonly directory: LayerDirectory;
  readonly name: ByteString;
}

export interface FoundOrigin {
  /** As the mount shows it. */
  readonly number: number;
  readonly names: number;
}

/** struct file_handle of what follows the header of the attribute's value. */
function handleIn(value: Buffer): Buffer {
  const id = value.subarray(HEADER);
  const handle = Buffer.alloc(HANDLE_HEADER + id.length);
  handle.writeUInt32LE(id.length, 0);
  handle.writeInt32LE(value[4] as number, 4);
  id.copy(handle, HANDLE_HEADER);
  return handle;
}

export class Origins {
  /** By the UUID of a lower layer's file system: any open descriptor on it. */
  readonly #lowers = new Map<string, number>();
  readonly #devices: Devices;
  readonly #handle = Buffer.alloc(256);
  readonly #stat = newStatBuffer();

  /** `lowers`: the layers' roots. */
  constructor(lowers: readonly { readonly fd: number }[], devices: Devices) {
    this.#devices = devices;
    for (const { fd } of lowers) {
      const uuid =
        sys.statx(fd, '' as ByteString, this.#stat, 0) < 0
          ? null
          : devices.ofOpen(fd, this.#stat).uuid;
      const key = uuid?.toString('hex');
      if (key !== undefined && !this.#lowers.has(key)) this.#lowers.set(key, fd);
    }
  }

  /**
   * The attribute's value for a file whose attributes are entry 0 of `stat`; empty when its file
   * system gives no handles, as the kernel writes it then. Throws `Errno`.
   */
  encode(directory: LayerDirectory, name: ByteString, stat: Float64Array): Buffer {
    const size = directory.handle(name, this.#handle);
    if (size < 0 && !withoutHandle.includes(size)) throw new Errno(-size, name);
    const { uuid } = this.#devices.of(directory, name, stat, 0);
    if (size < HANDLE_HEADER || uuid === null) return Buffer.alloc(0);
    const id = this.#handle.subarray(HANDLE_HEADER, size);
    const value = Buffer.alloc(HEADER + id.length);
    value[1] = MAGIC;
    value[2] = value.length;
    value[3] = directory.layer.index === UPPER ? FLAG_PATH_UPPER : 0;
    value[4] = this.#handle.readInt32LE(4) & 0xff;
    uuid.copy(value, UUID_AT);
    id.copy(value, HEADER);
    return value;
  }

  /**
   * Whether files of the directory's file system can be found again by what `encode` says of them.
   */
  canFind(directory: LayerDirectory): boolean {
    if (directory.stat('' as ByteString, this.#stat, 0) < 0) return false;
    const value = this.encode(directory, '' as ByteString, this.#stat);
    if (value.length === 0) return false;
    const fd = sys.open_by_handle_at(onDisk(directory).fd(), handleIn(value), O_PATH | O_CLOEXEC);
    if (fd >= 0) sys.close(fd);
    return fd >= 0;
  }

  /**
   * The lower file that `value` names, if it still is there and of the type `type` (S_IFMT bits):
   * its inode number, and how many links it has. `namesake`: the lower file of the same name, for
   * callers who may not open by handle: it is compared instead.
   */
  resolve(value: Buffer, type: number, namesake: Namesake | undefined): FoundOrigin | undefined {
    if (value.length <= HEADER || value[0] !== 0 || value[1] !== MAGIC || value[2] !== value.length)
      return undefined;
    const flags = value[3] as number;
    if ((flags & FLAG_BIG_ENDIAN) !== 0 && (flags & FLAG_ANY_ENDIAN) === 0) return undefined;
    const uuid = value.subarray(UUID_AT, HEADER);
    const handle = handleIn(value);
    const device =
      this.#find(handle, uuid) ??
      (namesake === undefined ? undefined : this.#compare(handle, uuid, namesake));
    if (device === undefined || fileType(this.#stat, 0) !== type) return undefined;
    const number = numberOn(
      device,
      field(this.#stat, 0, StatField.InoLow),
      field(this.#stat, 0, StatField.InoHigh),
    );
    return { number, names: field(this.#stat, 0, StatField.Nlink) };
  }

  /** Leaves the attributes of what the handle opens in `#stat`, and returns its device. */
  #find(handle: Buffer, uuid: Buffer): Device | undefined {
    const lower = this.#lowers.get(uuid.toString('hex'));
    const fd = lower === undefined ? -1 : sys.open_by_handle_at(lower, handle, O_PATH | O_CLOEXEC);
    if (fd < 0) return undefined;
    const device =
      sys.statx(fd, '' as ByteString, this.#stat, 0) < 0
        ? undefined
        : this.#devices.ofOpen(fd, this.#stat, lower);
    sys.close(fd);
    return device;
  }

  /** The same of the namesake, if it has the handle. */
  #compare(handle: Buffer, uuid: Buffer, { directory, name }: Namesake): Device | undefined {
    const size = directory.handle(name, this.#handle);
    if (size !== handle.length || !this.#handle.subarray(0, size).equals(handle)) return undefined;
    if (directory.stat(name, this.#stat, 0) < 0) return undefined;
    const device = this.#devices.of(directory, name, this.#stat, 0);
    return device.uuid?.equals(uuid) === true ? device : undefined;
  }
}
