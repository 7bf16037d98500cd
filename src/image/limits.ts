/**
 * Bounds on what an archive, or a data root that another program wrote, may make this one read or
 * keep in memory.
 */
import { STORED_BYTES_MAX } from '../sys/stored-file.js';

/** An image's configuration: what imagedb may have. */
export const CONFIG_BYTES_MAX = STORED_BYTES_MAX.configuration;
/**
 * `manifest.json`, `repositories`, `index.json`, a manifest, a nested index. Registries refuse
 * manifests over 4 MiB.
 */
export const MANIFEST_BYTES_MAX = 16 << 20;
/** Entries of an outer archive; an image of 125 layers in the oldest form has about 500. */
export const ARCHIVE_ENTRIES_MAX = 100_000;
/**
 * Bytes of an outer archive once decompressed: beyond any image, and below what a decompression
 * bomb needs to do harm on most disks.
 */
export const ARCHIVE_BYTES_MAX = 2 ** 40;
/**
 * Bytes of all extended headers and long names of an outer archive; those of docker and skopeo have
 * a kilobyte a file at most.
 */
export const ARCHIVE_EXTENDED_MAX = 16 << 20;
/** Bytes of a name in an archive, and of a symbolic link's target (PATH_MAX of Linux). */
export const ARCHIVE_NAME_MAX = 4096;
/** Images in one archive. */
export const IMAGES_MAX = 4096;
/** Symbolic links followed for one name (as Linux's own MAXSYMLINKS). */
export const LINKS_MAX = 40;
/** Indexes within indexes. */
export const INDEX_DEPTH_MAX = 4;
