/**
 * Inheriting a default ACL in the workdir gives what the file system gives in place (posix-acl.ts):
 * against the kernel.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { bytesOf, type ByteString, type Name } from '../../src/base/bytes.js';
import { sys } from '../../src/sys/index.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
} from '../../src/sys/constants.js';
import { ACL_ACCESS, ACL_DEFAULT, inheritAcl } from '../../src/union/posix-acl.js';
import { temporaryDirectory } from '../support/mounts.js';

const [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20];
const NO_ID = 0xffffffff;

/** The binary form of linux/posix_acl_xattr.h. */
function encode(
  entries: readonly (readonly [tag: number, permissions: number, id: number])[],
): Buffer {
  const value = Buffer.alloc(4 + 8 * entries.length);
  value.writeUInt32LE(2, 0);
  entries.forEach(([tag, permissions, id], i) => {
    value.writeUInt16LE(tag, 4 + 8 * i);
    value.writeUInt16LE(permissions, 6 + 8 * i);
    value.writeUInt32LE(id, 8 + 8 * i);
  });
  return value;
}

const permissions = fc.nat(7);
const named = fc.uniqueArray(fc.tuple(fc.nat(60_000), permissions), {
  maxLength: 3,
  selector: ([id]) => id,
});
const acls = fc
  .record({
    owner: permissions,
    users: named,
    group: permissions,
    groups: named,
    mask: permissions,
    other: permissions,
    masked: fc.boolean(),
  })
  .map(({ owner, users, group, groups, mask, other, masked }) => {
    const sorted = (list: [number, number][]) => [...list].sort(([a], [b]) => a - b);
    return encode([
      [USER_OBJ, owner, NO_ID],
      ...sorted(users).map(([id, bits]) => [USER, bits, id] as const),
      [GROUP_OBJ, group, NO_ID],
      ...sorted(groups).map(([id, bits]) => [GROUP, bits, id] as const),
      ...(masked || users.length + groups.length > 0 ? [[MASK, mask, NO_ID] as const] : []),
      [OTHER, other, NO_ID],
    ]);
  });

t.test('random default ACLs and modes, beside the kernel', async (t) => {
  const base = await temporaryDirectory(t);
  const dirfd = sys.openat(AT_FDCWD, bytesOf(base), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  t.teardown(() => sys.close(dirfd));
  if (
    sys.setxattrat(
      dirfd,
      '' as ByteString,
      ACL_DEFAULT,
      encode([
        [USER_OBJ, 7, NO_ID],
        [GROUP_OBJ, 5, NO_ID],
        [OTHER, 0, NO_ID],
      ]),
      0,
    ) < 0
  ) {
    t.plan(0, 'the file system of the temporary directory has no ACLs');
    return;
  }
  const found = Buffer.alloc(1024);
  let serial = 0;
  fc.assert(
    fc.property(acls, fc.nat(0o777), (acl, mode) => {
      const set = sys.setxattrat(dirfd, '' as ByteString, ACL_DEFAULT, acl, 0);
      if (set < 0) throw new Error(`the kernel refuses the ACL (${set})`);
      const name = `f${serial++}` as Name;
      const fd = sys.openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
      if (fd < 0) throw new Error(`create: ${fd}`);
      const size = sys.getxattrat(fd, '' as ByteString, ACL_ACCESS, found);
      sys.close(fd);
      const kernel = {
        mode: statSync(`${base}/${name}`).mode & 0o777,
        access: size < 0 ? null : found.toString('hex', 0, size),
      };
      sys.unlinkat(dirfd, name, 0);
      const inherited = inheritAcl(acl, mode);
      const ours = inherited && {
        mode: inherited.mode & 0o777,
        access: inherited.access === null ? null : inherited.access.toString('hex'),
      };
      if (JSON.stringify(ours) !== JSON.stringify(kernel)) {
        throw new Error(
          `${acl.toString('hex')} with mode ${mode.toString(8)}: ${JSON.stringify(ours)}, the kernel ${JSON.stringify(kernel)}`,
        );
      }
    }),
    { numRuns: 400 },
  );
  t.pass(`${serial} files`);
});

t.test('as setfacl writes them', async (t) => {
  const base = await temporaryDirectory(t);
  mkdirSync(`${base}/d`);
  try {
    execFileSync('setfacl', ['-d', '-m', 'u:7:rwx,g:8:r,m:rx,o:-', `${base}/d`], {
      stdio: 'ignore',
    });
  } catch {
    t.plan(0, 'setfacl does not work here');
    return;
  }
  const value = Buffer.alloc(1024);
  const dirfd = sys.openat(AT_FDCWD, bytesOf(`${base}/d`), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  const size = sys.getxattrat(dirfd, '' as ByteString, ACL_DEFAULT, value);
  sys.close(dirfd);
  t.match(inheritAcl(value.subarray(0, size), 0o666), { mode: 0o640 });
});

t.test('values that are no ACL', async (t) => {
  const good = encode([
    [USER_OBJ, 7, NO_ID],
    [GROUP_OBJ, 5, NO_ID],
    [OTHER, 0, NO_ID],
  ]);
  t.match(inheritAcl(good, 0o666), { mode: 0o640, access: null });
  for (const bad of [
    Buffer.alloc(0),
    Buffer.alloc(3),
    good.subarray(0, 11),
    encode([[USER_OBJ, 7, NO_ID]]),
    Buffer.concat([Buffer.from([3, 0, 0, 0]), good.subarray(4)]),
  ]) {
    t.equal(inheritAcl(bad, 0o666), undefined, bad.toString('hex'));
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(0o777), (value, mode) => {
      const inherited = inheritAcl(value, mode);
      if (inherited !== undefined && (inherited.mode & ~0o777) !== 0)
        t.fail(Buffer.from(value).toString('hex'));
    }),
  );
});
