/**
 * `st_ino` of the union.
 *
 * All objects on one device: the numbers are the files' own. On several, a number carries its
 * device's range in high bits, so that it is unique under the mount's one `st_dev` and the same
 * after remounting. Numbers are kept below 2^53. One that does not fit (a file system that hashes
 * into 64 bits) is hashed into 51 bits at the top: of a million such files two coincide with a
 * chance of one in 4500.
 *
 * Where a device has one number for several files (src/overlay/file-identity.ts), the file that is
 * met first keeps it while the union lives. Another gets one made of its place in its layer.
 */
import type { ByteString } from '../base/bytes.js';
import { StatField } from '../sys/syscalls.js';
import { hashOf, type Devices } from '../overlay/devices.js';
import { onDisk, layerPath } from '../overlay/disk-directory.js';
import type { LayerDirectory, Device } from '../overlay/layer.js';
import { field } from '../overlay/stat-buffer.js';

/** Where hashed numbers start: above all others. */
const HASHED = 2 ** 52 + 2 ** 51;

/** The number of a file of a device, unless the device has it for several. */
export function numberOn(device: Device, low: number, high: number): number {
  const own = high * 2 ** 32 + low;
  return own < device.limit ? device.base + own : HASHED + hashOf(`${device.name}:${high}:${low}`);
}

export class InodeNumbers {
  readonly #devices: Devices;
  /**
   * Numbers of devices that have one for several files, and who was met with it first: the number
   * made of its place.
   */
  readonly #claimed = new Map<number, number>();
  /** Further names of files that were met under another, by the number made of their place. */
  readonly #joined = new Map<number, number>();

  constructor(devices: Devices) {
    this.#devices = devices;
  }

  /**
   * The number of the object `name` in `holder` (the empty name: `holder` itself), whose attributes
   * are entry `index` of `stat`.
   */
  of(holder: LayerDirectory, name: ByteString, stat: Float64Array, index: number): number {
    const device = this.#devices.of(holder, name, stat, index);
    const number = numberOn(
      device,
      field(stat, index, StatField.InoLow),
      field(stat, index, StatField.InoHigh),
    );
    return device.numbersApart ? number : this.#claim(number, placeNumber(holder, name));
  }

  /**
   * The object `name` in `holder`, whose attributes are entry `index` of `stat`, was proved to be
   * the file that has the number `number`.
   */
  join(
    holder: LayerDirectory,
    name: ByteString,
    stat: Float64Array,
    index: number,
    number: number,
  ): void {
    if (!this.#devices.of(holder, name, stat, index).numbersApart)
      this.#joined.set(placeNumber(holder, name), number);
  }

  #claim(number: number, place: number): number {
    const joined = this.#joined.get(place);
    if (joined !== undefined) return joined;
    const first = this.#claimed.get(number);
    if (first === undefined) this.#claimed.set(number, place);
    return first === undefined || first === place ? number : place;
  }
}

function placeNumber(holder: LayerDirectory, name: ByteString): number {
  return (
    HASHED +
    hashOf(`${holder.layer.index}:${layerPath(onDisk(holder))}${name === '' ? '' : '/'}${name}`)
  );
}
