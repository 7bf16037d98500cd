/** Small scenarios in which plyfs once differed from the kernel's overlay, by what they showed. */
import { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY, S_IFREG } from '../constants.js';
import type { Scenario } from './scenario.js';

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_ZERO_RANGE = 16;
const FALLOC_FL_PUNCH_HOLE = 2;

/** struct posix_acl_xattr_header and entries: u::rw- g::r-- o::--- */
const PLAIN_ACL =
  '\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x04\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff';

/** struct vfs_cap_data, revision 2: CAP_NET_RAW, effective. */
const CAPABILITY =
  '\x01\x00\x00\x02\x00\x20\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00';

/** With `.wh.` before it too long for a name. */
const LONG = 'w'.repeat(252);

/** In a lower layer: files with both set-id bits, and a directory that passes its group on. */
const setId = {
  lowers: [
    {
      entries: [
        { path: 'dir', kind: 'dir', mode: 0o2777, uid: 1000, gid: 0 },
        { path: 'source', kind: 'file', mode: 0o644, uid: 1000, gid: 0, fill: 's', size: 5000 },
        { path: 'tool', kind: 'file', mode: 0o6777, uid: 1000, gid: 0, fill: 't', size: 5000 },
      ],
    },
  ],
  redirect: false,
} as const;

export const regressions: Readonly<Record<string, Scenario>> = {
  'fallocate by root leaves set-id bits': {
    ...setId,
    operations: [
      { op: 'open', who: 0, path: 'tool', flags: O_WRONLY, mode: 0, slot: 0 },
      { op: 'fallocate', slot: 0, mode: FALLOC_FL_ZERO_RANGE, offset: 0, length: 10 },
      { op: 'fallocate', slot: 0, mode: 0, offset: 0, length: 10_000 },
      { op: 'compare' },
    ],
  },
  'fallocate by an ordinary user clears them, whatever its mode': {
    ...setId,
    operations: [
      { op: 'open', who: 1, path: 'tool', flags: O_WRONLY, mode: 0, slot: 0 },
      {
        op: 'fallocate',
        slot: 0,
        mode: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        offset: 0,
        length: 4096,
      },
      { op: 'compare' },
    ],
  },
  'copy_file_range by root leaves set-id bits, by an ordinary user clears them': {
    ...setId,
    operations: [
      { op: 'open', who: 0, path: 'source', flags: O_RDONLY, mode: 0, slot: 0 },
      { op: 'open', who: 0, path: 'tool', flags: O_WRONLY, mode: 0, slot: 1 },
      { op: 'copy', slot: 0, to: 1, offset: 0, toOffset: 0, length: 10 },
      { op: 'compare' },
      { op: 'open', who: 1, path: 'source', flags: O_RDONLY, mode: 0, slot: 0 },
      { op: 'open', who: 1, path: 'tool', flags: O_WRONLY, mode: 0, slot: 1 },
      { op: 'copy', slot: 0, to: 1, offset: 0, toOffset: 0, length: 10 },
      { op: 'compare' },
    ],
  },
  'an access ACL set from outside the group clears S_ISGID of a directory, with or without group execution':
    {
      ...setId,
      operations: [
        {
          op: 'setxattr',
          who: 1,
          path: 'dir',
          name: 'system.posix_acl_access',
          value: PLAIN_ACL,
          flags: 0,
        },
        { op: 'compare' },
      ],
    },
  'a default ACL leaves S_ISGID': {
    ...setId,
    operations: [
      {
        op: 'setxattr',
        who: 1,
        path: 'dir',
        name: 'system.posix_acl_default',
        value: PLAIN_ACL,
        flags: 0,
      },
      { op: 'compare' },
    ],
  },
  'a new file with set-id bits gets the permissions that the default ACL gives it': {
    ...setId,
    operations: [
      {
        op: 'setxattr',
        who: 0,
        path: 'dir',
        name: 'system.posix_acl_default',
        value: PLAIN_ACL,
        flags: 0,
      },
      { op: 'mknod', who: 1, path: 'dir/tool', mode: S_IFREG | 0o4755, rdev: [0, 0] },
      {
        op: 'open',
        who: 1,
        path: 'dir/opened',
        flags: O_WRONLY | O_CREAT | O_EXCL,
        mode: 0o6777,
        slot: 0,
      },
      { op: 'compare' },
    ],
  },
  'a lower name that was listed, replaced by a rename and removed stays hidden': {
    lowers: [
      {
        entries: [
          { path: 'dir/name', kind: 'fifo' },
          { path: 'other', kind: 'fifo' },
        ],
      },
    ],
    redirect: false,
    operations: [
      { op: 'list', who: 0, path: 'dir' },
      { op: 'rename', who: 0, path: 'other', to: 'dir/name', flags: 0 },
      { op: 'unlink', who: 0, path: 'dir/name' },
    ],
  },
  'what covers a name of an AUFS layer that stands beside its own marker leaves a whiteout': {
    lowers: [
      {
        dialect: 'aufs',
        // An odd time: a marker beside the name.
        entries: Array.from({ length: 10 }, (_, i) => ({
          path: `name${i}/inside`,
          kind: 'file' as const,
        })).flatMap((file, i) => [
          { path: `name${i}`, kind: 'opaque' as const, time: 1_000_000_001 },
          file,
        ]),
      },
    ],
    upper: {
      entries: Array.from({ length: 10 }, (_, i) => ({ path: `name${i}`, kind: 'fifo' as const })),
    },
    redirect: false,
    operations: [
      { op: 'list', who: 0, path: '.' },
      ...Array.from({ length: 10 }, (_, i) => ({
        op: 'unlink' as const,
        who: 0,
        path: `name${i}`,
      })),
    ],
  },
  'a write by root to a file with a capability leaves its set-id bits, one by its owner clears them':
    {
      lowers: [
        {
          entries: ['tool', 'mine'].map((path) => ({
            path,
            kind: 'file' as const,
            mode: 0o6777,
            uid: 1000,
            gid: 0,
            xattrs: { 'security.capability': CAPABILITY },
            fill: 't',
            size: 10,
          })),
        },
      ],
      redirect: false,
      operations: [
        { op: 'put', who: 0, path: 'tool', fill: 'A', length: 1, flags: O_WRONLY },
        { op: 'put', who: 1, path: 'mine', fill: 'A', length: 1, flags: O_WRONLY },
        { op: 'compare' },
      ],
    },
  'a directory of the lower that was removed is changed through its descriptor': {
    lowers: [{ entries: [{ path: 'a/b', kind: 'dir', mode: 0o755 }] }],
    redirect: false,
    operations: [
      { op: 'open', who: 0, path: 'a/b', flags: O_RDONLY, mode: 0, slot: 1 },
      { op: 'rmdir', who: 0, path: 'a/b' },
      { op: 'futimens', slot: 1, atime: [1_100_000_225, 1], mtime: [1_100_000_813, 2] },
      { op: 'compare' },
    ],
  },
  'a directory that hides by a marker of AUFS and has a name of 252 bytes': {
    lowers: [
      { dialect: 'aufs', entries: [{ path: LONG, kind: 'opaque', mode: 0o755, time: 1 }] },
      { entries: [{ path: `${LONG}/hidden`, kind: 'file' }] },
    ],
    redirect: false,
    operations: [{ op: 'list', who: 0, path: LONG }],
  },
  'trusted attributes are listed for administrators only': {
    lowers: [
      {
        entries: [
          {
            path: 'file',
            kind: 'file',
            mode: 0o644,
            xattrs: { 'trusted.note': 'of root', 'user.note': 'of a user' },
          },
        ],
      },
    ],
    redirect: false,
    operations: [
      { op: 'listxattr', who: 1, path: 'file' },
      { op: 'listxattr', who: 0, path: 'file' },
    ],
  },
};
