/**
 * A tar put into a directory that has files, as `docker cp` does: markers of layers are names like
 * any other, what is there is replaced, but no directory by a file and no file by a directory.
 * Nothing is written outside of the directory, whatever the tar says (layer-root.ts).
 */
import { textOf } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { S_IFDIR } from '../sys/constants.js';
import { hostile } from './entry-path.js';
import { EntryWriter, failed } from './entry-writer.js';
import { LayerReader, type LayerEntry } from './layer-reader.js';
import type { ByteSource } from '../base/byte-source.js';
import { LayerRoot, typeAt, splitPath } from '../overlay/layer-root.js';
import type { LostAttribute } from './lost-attributes.js';
import type { Ownership } from '../overlay/form.js';

export interface Extracted {
  readonly entries: number;
  /** Bytes of the files. */
  readonly size: number;
  /** What the file system or our rights did not let the files keep. */
  readonly lost: readonly LostAttribute[];
}

/**
 * `dirfd`: the directory, the caller's. `bounded`: nothing goes where something is mounted in it.
 * The tar may be compressed. Throws `copy-conflict`, `archive-…`, `apply-failed`; what was written
 * until then stays.
 */
export async function extractInto(
  dirfd: number,
  tar: ByteSource,
  options: { ownership: Ownership; bounded: boolean },
): Promise<Extracted> {
  const root = LayerRoot.at(dirfd, options.bounded);
  const reader = new LayerReader(tar, {});
  try {
    const writer = new EntryWriter(root, options.ownership, undefined);
    let entries = 0;
    let size = 0;
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
      // What the tar says of the directory itself is not asked for.
      if (entry.path === '') {
        if (entry.type !== 'directory') throw hostile('has a root that is no directory');
        continue;
      }
      refuseConflict(root, entry);
      await writer.write(entry);
      entries++;
      size += entry.size;
    }
    writer.setDirectoryTimes();
    await reader.finish();
    return { entries, size, lost: writer.lost.list() };
  } catch (error) {
    await reader.close();
    throw error;
  } finally {
    root.close();
  }
}

function refuseConflict(root: LayerRoot, { path, type }: LayerEntry): void {
  const { parent, name } = splitPath(path);
  const dirfd = root.directory(parent);
  const there = dirfd < 0 ? dirfd : typeAt(dirfd, name);
  // The writer says what else is wrong.
  if (
    there === -E.ENOENT ||
    there === -E.ENOTDIR ||
    there === -E.ELOOP ||
    there === -E.ENAMETOOLONG
  )
    return;
  if (there < 0) throw failed(there, 'read', path);
  if ((there === S_IFDIR) === (type === 'directory')) return;
  const [what, by] = there === S_IFDIR ? ['directory', 'something else'] : ['file', 'a directory'];
  throw new PlyfsError(
    'copy-conflict',
    `The ${what} ${textOf(path)} would be replaced by ${by}: remove it first, or copy to another place.`,
  );
}
