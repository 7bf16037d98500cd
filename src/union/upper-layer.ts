/**
 * The upper layer: what can be written there, and in which form.
 *
 * `work` is a directory of the upper's file system, `workdir`/work as the kernel has it. Whatever
 * takes several steps is made there under a temporary name and renamed into its place last; what a
 * crash leaves there is swept at the next mount.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import {
  AT_REMOVEDIR,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
} from '../sys/constants.js';
import { overlayPrefix } from '../overlay/private-xattrs.js';
import { CopyFlush } from './copy-flush.js';
import type { DiskDirectory } from '../overlay/disk-directory.js';
import type { Layer } from '../overlay/layer.js';
import { renameAsOwner, setXattrAsOwner } from '../overlay/owner-rights.js';
import { newStatBuffer, S_IFCHR } from '../overlay/stat-buffer.js';
import { sweep } from './workdir.js';
import { OPAQUE_MARKER, WHITEOUT_PREFIX } from '../overlay/whiteout.js';

export interface UpperFeatures {
  /** The union's own attributes can be set. */
  readonly marks: boolean;
  /** Whiteouts are character devices 0:0; false: files `.wh.NAME`. */
  readonly whiteoutDevices: boolean;
  /** Opaque directories are marked by a file `.wh..wh..opq`, not by an attribute. */
  readonly opaqueMarkers: boolean;
  /** O_TMPFILE works. */
  readonly tmpfile: boolean;
  /** Data written out before a name is given is there whenever the name is (copy-flush.ts). */
  readonly namesAfterData: boolean;
}

const yes = Buffer.from('y');
const trial = newStatBuffer();
/** As in a layer's tar: whoever packs the layer reads them. */
const MARKER_MODE = 0o600;

export class UpperLayer {
  readonly layer: Layer;
  readonly root: DiskDirectory;
  readonly work: DiskDirectory;
  readonly features: UpperFeatures;
  readonly copies: CopyFlush;
  #temporaries = 0;
  /** O_PATH, of the whiteout that further ones are links of; -1 when there is none. */
  #whiteout = -1;

  constructor(layer: Layer, root: DiskDirectory, work: DiskDirectory, features: UpperFeatures) {
    this.layer = layer;
    this.root = root;
    this.work = work;
    this.features = features;
    this.copies = new CopyFlush(features.namesAfterData);
  }

  /** A name in `work` that nobody has. */
  temporaryName(): Name {
    return `#${(++this.#temporaries).toString(16)}` as Name;
  }

  attribute(suffix: string): ByteString {
    return (overlayPrefix(this.layer.marks) + suffix) as ByteString;
  }

  /** Whether `.wh.` names in the upper are markers and cannot be files. */
  get reservesMarkers(): boolean {
    return this.layer.form === 'aufs';
  }

  /**
   * Before `name` is made, copied up, changed or deleted in the upper. Throws EPERM for a marker's
   * name: as a file it would delete another name, and no marker can delete it.
   */
  refuseMarker(name: Name): void {
    if (this.reservesMarkers && name.startsWith(WHITEOUT_PREFIX))
      throw new Errno(E.EPERM, 'names that start with .wh. are whiteouts here');
  }

  /** Makes `name`, which must not exist in the upper, deleted. Throws EEXIST when it does. */
  makeWhiteout(directory: DiskDirectory, name: Name): void {
    if (this.features.whiteoutDevices) check(this.#device(directory, name), name);
    else this.#touch(directory, (WHITEOUT_PREFIX + name) as Name);
  }

  /**
   * Replaces a file or directory of the upper by a whiteout, in one step. A directory may hold
   * whiteouts only.
   */
  replaceByWhiteout(directory: DiskDirectory, name: Name, isDirectory: boolean): void {
    if (!this.features.whiteoutDevices) {
      this.#touch(directory, (WHITEOUT_PREFIX + name) as Name);
      this.remove(directory, name, isDirectory);
      return;
    }
    const temporary = this.temporaryName();
    if (!isDirectory) {
      check(this.#device(this.work, temporary), 'whiteout');
      this.#publish(temporary, directory, name, 0);
      return;
    }
    const renamed = renameAsOwner(directory.fd(), name, this.work.fd(), temporary, RENAME_WHITEOUT);
    if (renamed < 0) {
      if (renamed !== -E.EINVAL) check(renamed, name);
      check(this.#device(this.work, temporary), 'whiteout');
      this.#publish(temporary, directory, name, RENAME_EXCHANGE);
    }
    sweep(this.work, temporary);
  }

  /**
   * Removes an object of the upper that covers nothing. A directory that still holds whiteouts goes
   * with them.
   */
  remove(directory: DiskDirectory, name: Name, isDirectory: boolean): void {
    const result = sys.unlinkat(directory.fd(), name, isDirectory ? AT_REMOVEDIR : 0);
    if (result >= 0) return;
    if (!isDirectory || (result !== -E.ENOTEMPTY && result !== -E.EEXIST)) check(result, name);
    const temporary = this.temporaryName();
    check(renameAsOwner(directory.fd(), name, this.work.fd(), temporary, 0), name);
    sweep(this.work, temporary);
  }

  /** Forgets a whiteout of the marker form: a name has been put in its place. */
  clearMarker(directory: DiskDirectory, name: Name): void {
    if (this.reservesMarkers) sys.unlinkat(directory.fd(), (WHITEOUT_PREFIX + name) as Name, 0);
  }

  /** Nothing from below shows in the directory. `name` may be empty for `directory` itself. */
  setOpaque(directory: DiskDirectory, name: ByteString): void {
    if (!this.features.opaqueMarkers) {
      check(setXattrAsOwner(directory.fd(), name, this.attribute('opaque'), yes, 0), 'opaque');
      return;
    }
    this.#touch(name === '' ? directory : directory.descend(name as Name), OPAQUE_MARKER);
  }

  /** Removes an unfinished object from `work`. */
  discard(temporary: Name): void {
    sweep(this.work, temporary);
  }

  /** Moves a finished object from `work` to its place; on failure the temporary is removed. */
  publish(temporary: Name, directory: DiskDirectory, name: Name): void {
    this.#publish(temporary, directory, name, 0);
  }

  /** The same where nothing may be replaced. True when the name is taken. */
  publishUnlessTaken(temporary: Name, directory: DiskDirectory, name: Name): boolean {
    let result = renameAsOwner(this.work.fd(), temporary, directory.fd(), name, RENAME_NOREPLACE);
    if (result === -E.EINVAL) {
      // The file system does not know the flag. Nobody else changes the upper meanwhile.
      const found = directory.stat(name, trial, 0);
      result =
        found >= 0
          ? -E.EEXIST
          : found !== -E.ENOENT
            ? found
            : renameAsOwner(this.work.fd(), temporary, directory.fd(), name, 0);
    }
    if (result < 0) sweep(this.work, temporary);
    if (result !== -E.EEXIST) check(result, name);
    return result < 0;
  }

  /**
   * The same where a directory takes the place of a whiteout: a device, which an ordinary rename
   * refuses, or a marker beside the name.
   */
  publishOverWhiteout(temporary: Name, directory: DiskDirectory, name: Name): void {
    const result = renameAsOwner(this.work.fd(), temporary, directory.fd(), name, RENAME_EXCHANGE);
    if (result === -E.ENOENT) this.#publish(temporary, directory, name, 0);
    else {
      sweep(this.work, temporary);
      check(result, name);
    }
  }

  #publish(temporary: Name, directory: DiskDirectory, name: Name, flags: number): void {
    const result = renameAsOwner(this.work.fd(), temporary, directory.fd(), name, flags);
    if (result >= 0) return;
    sweep(this.work, temporary);
    check(result, name);
  }

  /**
   * A whiteout device at a name that is free, or -errno. One device has many names, as the kernel
   * does it (fs/overlayfs/dir.c, ovl_whiteout): a name costs a tenth of a device, and no inode.
   * rename(2) does nothing between two names of one object, so a whiteout is never renamed over
   * another.
   */
  #device(directory: DiskDirectory, name: Name): number {
    if (this.#whiteout >= 0) {
      const linked = sys.linkat(this.#whiteout, '' as ByteString, directory.fd(), name);
      if (linked >= 0 || linked === -E.EEXIST) return linked;
      // It has as many names as it can, or none any more.
      this.close();
    }
    const made = sys.mknodat(directory.fd(), name, S_IFCHR, 0, 0);
    if (made >= 0) this.#whiteout = directory.openPath(name);
    return made;
  }

  /** Nothing is made here from now on. */
  close(): void {
    if (this.#whiteout >= 0) sys.close(this.#whiteout);
    this.#whiteout = -1;
  }

  #touch(directory: DiskDirectory, name: Name): void {
    const fd = sys.openat(
      directory.fd(),
      name,
      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
      MARKER_MODE,
    );
    if (fd === -E.EEXIST) return;
    sys.close(check(fd, name));
  }
}
