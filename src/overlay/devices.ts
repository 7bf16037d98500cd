/**
 * The devices (`st_dev`) on which objects of a union's layers lie.
 *
 * Those of the layers' roots are known from the start. A layer may show more: subvolumes of btrfs;
 * file systems mounted inside, to somebody who may not look at the layer through a private copy of
 * its mount; what a union that is itself a layer hands on. Two objects with one inode number are
 * two files when their devices differ, and each device has a range of its own among the numbers
 * that are shown.
 */
import { createHash } from 'node:crypto';
import type { ByteString } from '../base/bytes.js';
import { sys } from '../sys/index.js';
import { O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../sys/constants.js';
import { keepsNumbersApart } from './file-identity.js';
import { StatField } from '../sys/syscalls.js';
import { onDisk, type DiskDirectory } from './disk-directory.js';
import type { Device, DirectoryDevices, LayerDirectory } from './layer.js';
import { field, newStatBuffer } from './stat-buffer.js';
/**
 * Bits for a file's own number when several layers' devices share the space: 2^47 files each on 31
 * of them.
 */
const OWN_BITS = 47;
const MOST_OF_ROOTS = 31;
const SINGLE_LIMIT = 2 ** 52;
/** Above all others: 2^19 ranges of 2^32 numbers for devices that are met inside a layer. */
const MET_BASE = 2 ** 52;
const MET_BITS = 32;
const MET_RANGES = 2 ** 19;
/**
 * Type, bytes and root of a handle of btrfs (fs/btrfs/export.h, struct btrfs_fid; linux/exportfs.h,
 * FILEID_BTRFS_*).
 */
const BTRFS_HANDLES: readonly number[] = [0x4d, 0x4e, 0x4f];
const BTRFS_ROOT_AT = 8 + 8;

const found = newStatBuffer();
const around = newStatBuffer();
const handle = Buffer.alloc(136);

/** As native/ and the kernel (MKDEV) write it. */
export function deviceNumber(major: number, minor: number): number {
  return major * 2 ** 20 + minor;
}

export class Devices implements DirectoryDevices {
  readonly #known = new Map<number, Device>();
  readonly #rangesTaken = new Set<number>();

  /** `roots`: open descriptors of the layers' roots, the upper's first. */
  constructor(roots: readonly number[]) {
    const distinct = new Map<number, number>();
    for (const fd of roots) {
      sys.statx(fd, '' as ByteString, found, 0);
      const number = deviceNumber(
        field(found, 0, StatField.DevMajor),
        field(found, 0, StatField.DevMinor),
      );
      if (!distinct.has(number)) distinct.set(number, fd);
    }
    for (const [i, [number, fd]] of [...distinct].entries()) {
      if (i >= MOST_OF_ROOTS) break;
      // Without a UUID two file systems cannot be told apart; the upper's own needs none
      // (ovl_check_origin_fh).
      const range = {
        base: i * 2 ** OWN_BITS,
        limit: distinct.size > 1 ? 2 ** OWN_BITS : SINGLE_LIMIT,
      };
      this.#known.set(number, describe(number, fd, i === 0, range));
    }
  }

  /**
   * That of the object `name` in `holder` (the empty name: `holder` itself), whose attributes are
   * entry `index` of `stat`.
   */
  of(holder: LayerDirectory, name: ByteString, stat: Float64Array, index: number): Device {
    const major = field(stat, index, StatField.DevMajor);
    const minor = field(stat, index, StatField.DevMinor);
    const usual = holder.layer.device;
    if (usual.major === major && usual.minor === minor) return usual;
    const known = this.#known.get(deviceNumber(major, minor));
    if (known !== undefined) return known;
    const number = deviceNumber(major, minor);
    const directory = onDisk(holder);
    const fd = this.#inside(directory, number) ? directory.fd() : directory.openPath(name);
    const met = this.#meet(number, fd);
    if (fd >= 0 && fd !== directory.fd()) sys.close(fd);
    return met;
  }

  /**
   * That of the open file `fd`, whose attributes are entry 0 of `stat`. `sameFileSystem`: a
   * descriptor that can be asked for its file system's UUID, where `fd` is open for its path alone
   * and no directory.
   */
  ofOpen(fd: number, stat: Float64Array, sameFileSystem?: number): Device {
    const number = deviceNumber(
      field(stat, 0, StatField.DevMajor),
      field(stat, 0, StatField.DevMinor),
    );
    return this.#known.get(number) ?? this.#meet(number, fd, sameFileSystem);
  }

  /** That of a directory, which is asked. */
  ofDirectory(directory: LayerDirectory): Device {
    return directory.stat('' as ByteString, found, 0) < 0
      ? directory.layer.device
      : this.of(directory, '' as ByteString, found, 0);
  }

  #inside(directory: DiskDirectory, number: number): boolean {
    if (directory.stat('' as ByteString, around, 0) < 0) return false;
    return (
      deviceNumber(field(around, 0, StatField.DevMajor), field(around, 0, StatField.DevMinor)) ===
      number
    );
  }

  #meet(number: number, fd: number, sameFileSystem = fd): Device {
    // A UUID is told to descriptors that were opened for more than their path.
    const opened =
      fd < 0 ? fd : sys.openat(fd, '' as ByteString, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    const unplaced = { base: 0, limit: 2 ** MET_BITS };
    const described =
      opened >= 0
        ? describe(number, opened, false, unplaced)
        : describe(number, fd, false, unplaced, sameFileSystem);
    if (opened >= 0) sys.close(opened);
    // By name, so that the range is the same in the next mount, in whatever order devices are met.
    let range = hashOf(described.name) % MET_RANGES;
    while (this.#rangesTaken.has(range)) range = (range + 1) % MET_RANGES;
    this.#rangesTaken.add(range);
    const device = { ...described, base: MET_BASE + range * 2 ** MET_BITS };
    this.#known.set(number, device);
    return device;
  }
}

function describe(
  number: number,
  fd: number,
  own: boolean,
  range: Pick<Device, 'base' | 'limit'>,
  sameFileSystem = fd,
): Device {
  const uuid = Buffer.alloc(16);
  const usable = sys.fsuuid(sameFileSystem, uuid) >= 0 && (own || uuid.some((byte) => byte !== 0));
  const [major, minor] = [Math.floor(number / 2 ** 20), number % 2 ** 20];
  const name = usable ? `${uuid.toString('hex')}/${subvolumeOf(fd)}` : `${major}:${minor}`;
  return {
    major,
    minor,
    ...range,
    numbersApart: keepsNumbersApart(fd),
    uuid: usable ? uuid : null,
    name,
  };
}

/**
 * The root of a btrfs file's handle is its subvolume; other file systems have one device a UUID.
 */
function subvolumeOf(fd: number): string {
  const size = sys.name_to_handle_at(fd, '' as ByteString, handle, 0);
  const ofBtrfs = size >= BTRFS_ROOT_AT + 8 && BTRFS_HANDLES.includes(handle.readInt32LE(4));
  return ofBtrfs ? handle.readBigUInt64LE(BTRFS_ROOT_AT).toString() : '';
}

/** 51 bits. */
export function hashOf(text: string): number {
  const digest = createHash('sha256').update(text, 'latin1').digest();
  return (digest.readUInt32LE(0) & 0x7ffff) * 2 ** 32 + digest.readUInt32LE(4);
}
