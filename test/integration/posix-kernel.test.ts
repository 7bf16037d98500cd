/** The POSIX suite on the kernel's overlay: what a union can and cannot do, told by the oracle. */
import t from 'tap';
import { kernel, unavailable } from '../suites/mounters.js';
import { placements, posixOnUnion, type Placement } from '../suites/posix-on-union.js';

const lowerDescriptor =
  'a descriptor opened before copy-up stays on the lower file (overlayfs.rst, "Non-standard behavior")';
const noIndex =
  'with index=off names of one lower file part when one is copied up (overlayfs.rst, "Inode properties")';

const ofLowerFiles = {
  'an unlinked file open only for reading still reads': `${lowerDescriptor}, and the lower file keeps its name`,
  'a file replaced by rename while open keeps its content for the descriptor': `${lowerDescriptor}, and the lower file keeps its name`,
  'a removed working directory is empty and takes nothing':
    "a removed lower directory's descriptor tells the lower directory's link count",
  'a shared mapping for reading sees what is written later': lowerDescriptor,
  'names linked before are one file': noIndex,
  'renaming one name of a file onto another does nothing': noIndex,
};

const exclude: Partial<Record<Placement, Readonly<Record<string, string>>>> = {
  lower: ofLowerFiles,
  merged: {
    ...ofLowerFiles,
    'an entry tells the inode number and type that stat tells, . and .. included':
      'a merged directory without overlay.origin, which nobody but this suite made, is listed with the number of its upper',
  },
};

t.setTimeout(300_000);
const skip = await unavailable(t, kernel);
for (const placement of placements) {
  await t.test(placement, { skip: skip ?? false }, (t) =>
    posixOnUnion(t, kernel, placement, exclude[placement]),
  );
}
