/** What plyfs prints about itself. */
import { PROTOCOL_MAJOR, PROTOCOL_MINOR } from '../fuse/protocol.js';
import { packageVersion } from './version.js';

/** The release of fuse-overlayfs whose options and behaviour are offered under its name. */
const FUSE_OVERLAYFS_VERSION = '1.13';

export function versionText(asFuseOverlayfs: boolean): string {
  const lines = [
    `plyfs version ${packageVersion()}`,
    `using FUSE kernel interface version ${PROTOCOL_MAJOR}.${PROTOCOL_MINOR}`,
  ];
  // podman and buildah show what it prints; programs look for this line.
  if (asFuseOverlayfs) lines.unshift(`fuse-overlayfs: version ${FUSE_OVERLAYFS_VERSION}`);
  return `${lines.join('\n')}\n`;
}

export const helpText = `usage: plyfs [OPTIONS] [SOURCE] MOUNTPOINT

Mounts the union of the directories of -o lowerdir at MOUNTPOINT, and returns when it can be used. Changes go to
upperdir; without one the mount is read-only. To unmount: umount MOUNTPOINT, fusermount3 -u MOUNTPOINT, or ply umount.

  -o OPTION[,OPTION...]  mount options, below; may be given several times
  -f, --foreground       serve in the foreground; Ctrl-C unmounts
  -d, --debug            as -f, and show each request on stderr (also -o debug)
  -h, --help             print this
  -V, --version          print the version

Layers (in a path, \\: is a colon, \\, a comma and \\\\ a backslash):
  lowerdir=TOP:...:BOTTOM  the directories to join, the topmost first
  upperdir=DIR             where changes go
  workdir=DIR              an empty directory on the file system of upperdir
  whiteout=overlay|aufs    aufs: the lower directories say "deleted" by .wh.NAME files
  upper_whiteout=overlay|aufs  aufs: in upperdir, too, "deleted" is a .wh.NAME file, also where devices can be made
  index=on|off             on: hard links of lower files stay whole across mounts (default off)
  redirect_dir=on|off      on: directories of lower layers can be renamed (default off: EXDEV, mv copies)
  xino=auto|on|off         inode numbers over several file systems
  userxattr                marks of layers are user.overlay.*, as root too: opaque directories and whiteouts are believed, redirects are not
  override_stat            as root, believe owners, modes and devices that layers keep in xattrs, whoever set them

Ownership:
  uidmapping=ONDISK:SHOWN:LENGTH[:...], gidmapping=...
  squash_to_root, squash_to_uid=ID, squash_to_gid=ID
  permissions=on|off       off: whoever mounts may do everything, whatever owners and modes show; nobody else comes in
  xattr_permissions=0|1|2  2: keep owner and mode in user.containers.override_stat

Behaviour:
  ro, rw, suid, nosuid, dev, nodev, exec, noexec, noatime, relatime, allow_other, fsname=NAME
  remount,ro|rw|nosuid|…   changes a running mount (root)
  noacl, noxattrs, static_nlink
  fsync=0                  fsync does nothing
  volatile                 nothing is flushed; the upper directory is not trusted after a crash
  writeback                the kernel collects small writes
  passthrough              the kernel reads and writes files of upperdir itself (root, Linux 6.9); opening for writing copies up
  timeout=SECONDS          how long the kernel trusts what it knows (default: always)
  transport=native|fuse-native

Tracing (ply trace DIR follows a mount that was made without):
  trace=FILE|-             append to FILE a line for each lookup, copy-up, whiteout, opaque directory and refused
                           rename; -: to stdout, in the foreground. Layers count from 1, the topmost first
  trace_format=plain|json

Signals: TERM, INT and HUP unmount (lazily if it is busy) and end; USR1 prints counts and times of requests (with -f; -d prints them at the end as well).
`;
