/**
 * Where plyfs differs from the kernel's overlay on purpose (ARCHITECTURE.md, "Where we differ"),
 * and how narrowly each is let pass.
 *
 * Not listed because a scenario cannot show it: opening for writing copies nothing up here. The
 * names of one lower file stay one file: so the kernel is mounted with index=on where a layer has
 * hard links, and keeps them together as well.
 *
 * Not tried: S_ISGID without group execution, which has no meaning on a file. Since Linux 6.2 a
 * write by somebody outside the group clears it (setattr_should_drop_sgid); a FUSE server is not
 * told in which groups the writer is, and leaves it. A write through a shared mapping of a file
 * that has a capability: what is written comes as any write does, and takes it away; on ext4 it
 * stays.
 */
import type { Call, EntryKind, Scenario } from './scenario.js';
import { Errno, E } from '../../../src/base/errno.js';
import type { Actor } from '../actor.js';
import type { Tree } from '../tree.js';
import type { Outcome } from './side.js';
import type { Snapshot } from './snapshot.js';

export interface Divergence {
  readonly what: string;
  readonly reason: string;
  /** Only where a layer holds such an entry. */
  readonly with?: EntryKind;
  /** The two hold different things from now on: the scenario ends here. */
  readonly ends?: boolean;
  /** The descriptor shows different things from now on: it is closed. */
  readonly closes?: boolean;
  /**
   * What differs is the mode or a time of the path that was looked at, and stays so until both are
   * given the same.
   */
  readonly lasts?: boolean;
  /**
   * Whether two outcomes, of the operation or of an lstat after it, differ in just this way;
   * `failed`: how the operation itself failed.
   */
  readonly explains: (
    operation: Call,
    ours: Outcome,
    kernels: Outcome,
    failed: string | undefined,
    scenario: Scenario,
  ) => boolean;
}

const withoutLinks = (text: string) => text.replace(/ nlink \d+/, '');
const withoutSetGid = (text: string) =>
  text.replace(
    /^mode (\d+)/,
    (_all, mode: string) => `mode ${(parseInt(mode, 8) & ~0o2000).toString(8)}`,
  );
const withoutAtime = (text: string) => text.replace(/ atime \S+/, '');

const withoutMtime = (text: string) => text.replace(/ mtime \S+/, '');

export const divergences: readonly Divergence[] = [
  {
    what: 'a rename that fails leaves the times of its directory alone',
    reason:
      'overlayfs leaves it to ext4 to find that the target is not empty, which has by then made and taken back a whiteout (ext4_rename)',
    lasts: true,
    explains: (operation, ours, kernels, failed) =>
      operation.op === 'rename' &&
      failed === 'ENOTEMPTY' &&
      / mtime now/.test(kernels.text) &&
      withoutMtime(ours.text) === withoutMtime(kernels.text),
  },
  {
    what: 'the link count of a directory that has become a merged one on one side',
    reason:
      'the copy-up of a child is no change that the kernel is told of: the count is asked for again when a sub-directory comes or goes. ' +
      'A name of a hard-linked lower file is copied up when it is looked at',
    explains: (_operation, ours, kernels) =>
      [ours, kernels].some(({ text }) => /^mode 4\d{4} nlink 1 /.test(text)) &&
      withoutLinks(ours.text) === withoutLinks(kernels.text),
  },
  {
    what: 'the removal of an access ACL leaves S_ISGID',
    reason:
      'overlayfs clears the bit when somebody outside the group removes one, ext4 only when he sets one (fs/overlayfs/inode.c, ovl_set_or_remove_acl)',
    lasts: true,
    explains: (operation, ours, kernels) =>
      operation.op === 'removexattr' &&
      operation.name === 'system.posix_acl_access' &&
      // Of a lower file without an ACL: overlayfs has copied it up by then.
      ((ours.text === 'ENODATA' && kernels.text === '0') ||
        withoutSetGid(withoutLinks(ours.text)) === withoutLinks(kernels.text)),
  },
  {
    what: 'a directory in which whiteouts by xattr hide everything is empty',
    reason:
      'overlayfs shows nothing in it, either, but does not see that when it asks whether it is empty (fs/overlayfs/readdir.c, ovl_check_empty_dir)',
    with: 'xwhiteout',
    ends: true,
    explains: (operation, ours, kernels) =>
      (operation.op === 'rmdir' || operation.op === 'rename') &&
      ours.text === '0' &&
      kernels.text === 'ENOTEMPTY',
  },
  {
    what: 'a shared mapping of a file that was copied up shows what is written',
    reason:
      'overlayfs maps the file that was opened, which was the lower one (overlayfs.rst, "Non-standard behavior"); here it must show what reading shows (side.ts)',
    explains: (operation, ours, kernels) =>
      operation.op === 'mapread' &&
      [ours, kernels].every(({ text }) => / bytes: /.test(text) || text === 'EFAULT'),
  },
  {
    what: 'a directory is renamed whose redirect is longer than 256 bytes',
    reason: 'overlayfs writes none that long (its parameter redirect_max), but reads it',
    ends: true,
    explains: (operation, ours, kernels, _failed, scenario) =>
      operation.op === 'rename' &&
      scenario.redirect &&
      ours.text === '0' &&
      kernels.text === 'EXDEV' &&
      // Or that of a directory above was, which had a long name then.
      holdsLongName(scenario),
  },
  {
    what: 'what was removed from a lower and is open can be changed',
    reason:
      'as what was removed from ext4; overlayfs copies it up to where it was, and finds a whiteout or something else there (fs/overlayfs/copy_up.c, ovl_copy_up_workdir, ovl_link_up)',
    closes: true,
    explains: (operation, ours, kernels) =>
      ['futimens', 'fchmod', 'fchown'].includes(operation.op) &&
      ours.text === '0' &&
      ['ENOTDIR', 'EEXIST'].includes(kernels.text),
  },
  {
    what: 'a name of a file is renamed onto another, or exchanged with it',
    reason:
      'rename(2) of the upper does nothing with them; overlayfs then finds that its names have not moved (ovl_rename)',
    explains: (operation, ours, kernels) =>
      operation.op === 'rename' && ours.text === '0' && kernels.text === 'ESTALE',
    ends: true,
  },
  {
    what: 'what was removed and is open has no links, and its last times',
    reason:
      'the kernel shows the link count of the object in the lower layer, which is still there; of a directory that was removed it takes the whiteouts out, which changes its time',
    explains: (operation, ours, kernels) => {
      if (operation.op !== 'fstat' || !/^mode \d+ nlink 0 /.test(ours.text)) return false;
      const cleared = /^mode 4\d{4} .* mtime now/.test(kernels.text);
      const shown = (text: string) => withoutLinks(cleared ? withoutMtime(text) : text);
      return shown(ours.text) === shown(kernels.text);
    },
  },
  {
    what: 'a file of the upper that was read has a new atime',
    reason:
      'the upper is read as any file is, by the rule of its own mount; overlayfs opens it with O_NOATIME and keeps the rule itself',
    explains: (_operation, ours, kernels) =>
      // After an exchange the kernel shows the times that reading here has left.
      / atime now/.test(ours.text + kernels.text) &&
      withoutAtime(ours.text) === withoutAtime(kernels.text),
  },
];

function holdsLongName({ lowers }: Scenario): boolean {
  return lowers.some(({ entries }) => entries.some(({ path }) => path.length > 200));
}

export function explained(
  scenario: Scenario,
  operation: Call,
  ours: Outcome,
  kernels: Outcome,
  failed?: string,
): Divergence | undefined {
  const holds = (kind: EntryKind) =>
    scenario.lowers.some((layer) => layer.entries.some((entry) => entry.kind === kind));
  return divergences.find(
    (divergence) =>
      (divergence.with === undefined || holds(divergence.with)) &&
      divergence.explains(operation, ours, kernels, failed, scenario),
  );
}

/**
 * A whiteout that hides nothing, in a directory of one layer: overlayfs lists such a directory as
 * it is on disk, the whiteout with it, and then does not find it (fs/overlayfs/readdir.c,
 * `ovl_iterate_real`). plyfs never shows one.
 */
export async function isStrayWhiteout(
  actor: Actor,
  directory: Buffer,
  name: string,
): Promise<boolean> {
  try {
    await actor.lstat(Buffer.concat([directory, Buffer.from(`/${name}`, 'latin1')]));
    return false;
  } catch (error) {
    return error instanceof Errno && error.errno === E.ENOENT;
  }
}

/** The same in a whole tree of the kernel's. */
export function withoutStrayWhiteouts(tree: Tree): Tree {
  return new Map([...tree].filter(([, line]) => !line.startsWith('unreadable: ENOENT:')));
}

export function withoutStraysIn(taken: Snapshot): Snapshot {
  return new Map([...taken].filter(([, { error }]) => error !== E.ENOENT));
}
