/**
 * The names under which a layer keeps the attributes that a mount shows: the union's own hidden,
 * others escaped, `security.*` aside where owners are.
 */
import type { ByteString } from '../base/bytes.js';
import { xattrAside, xattrFromAside } from '../overlay/override-stat.js';
import {
  isPrivateXattr,
  xattrFromDisk,
  xattrToDisk,
  type MarkClass,
} from '../overlay/private-xattrs.js';

/**
 * `override`: the attribute that keeps the owner of the file, if one does
 * (`LayerDirectory.overrideOf`).
 */
export function nameOnDisk(
  shown: ByteString,
  marks: MarkClass,
  override: ByteString | undefined,
): ByteString {
  const escaped = xattrToDisk(shown, marks);
  return xattrAside(escaped, override) ?? escaped;
}

/** Undefined for what the mount does not show. */
export function nameShown(
  onDisk: ByteString,
  marks: MarkClass,
  override: ByteString | undefined,
): ByteString | undefined {
  const name = xattrFromAside(onDisk, override) ?? onDisk;
  return isPrivateXattr(name, marks) ? undefined : xattrFromDisk(name, marks);
}
