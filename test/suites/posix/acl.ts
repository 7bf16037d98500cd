/**
 * POSIX access control lists, as the `system.posix_acl_*` attributes that setfacl(1) writes:
 * acl(5).
 */
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

const tags = { user: 1, namedUser: 2, group: 4, namedGroup: 8, mask: 16, other: 32 } as const;
type AclEntry = readonly [tag: keyof typeof tags, permissions: number, id?: number];

/**
 * The attribute's value (linux/posix_acl_xattr.h: version 2, then tag u16, permissions u16, id
 * u32).
 */
export function acl(...entries: readonly AclEntry[]): Buffer {
  const value = Buffer.alloc(4 + 8 * entries.length);
  value.writeUInt32LE(2, 0);
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    value.writeUInt16LE(tags[tag], 4 + 8 * i);
    value.writeUInt16LE(permissions, 6 + 8 * i);
    value.writeUInt32LE(id ?? 0xffffffff, 8 + 8 * i);
  }
  return value;
}

const hex = (latin1: string) => Buffer.from(latin1, 'latin1').toString('hex');
const access = 'system.posix_acl_access';
const byDefault = 'system.posix_acl_default';

const letNobodyWrite = acl(
  ['user', 6],
  ['namedUser', 6, 65534],
  ['group', 4],
  ['mask', 6],
  ['other', 0],
);

export const aclCases: PosixCases = {
  'an ACL is kept, shows in the mode, and is removed': async (s) => {
    await s.actor.put('old', 'x', 0o640);
    await s.settle();
    await s.actor.setxattr('old', access, letNobodyWrite);
    s.t.equal(hex(await s.actor.getxattr('old', access)), letNobodyWrite.toString('hex'));
    s.t.equal((await s.actor.lstat('old')).mode & 0o777, 0o660, 'the group bits are the mask');
    s.t.ok((await s.actor.listxattr('old')).includes(access));
    await s.actor.chmod('old', 0o600);
    s.t.equal(
      hex(await s.actor.getxattr('old', access)),
      acl(['user', 6], ['namedUser', 6, 65534], ['group', 4], ['mask', 0], ['other', 0]).toString(
        'hex',
      ),
      'chmod sets the mask',
    );
    await s.actor.removexattr('old', access);
    await s.fails('ENODATA', s.actor.getxattr('old', access));
  },

  'an ACL kept from before is there, and survives a write': async (s) => {
    await s.actor.put('old', 'x', 0o640);
    await s.actor.setxattr('old', access, letNobodyWrite);
    await s.settle();
    s.t.equal(hex(await s.actor.getxattr('old', access)), letNobodyWrite.toString('hex'));
    await s.actor.put('old', 'changed');
    s.t.equal(hex(await s.actor.getxattr('old', access)), letNobodyWrite.toString('hex'));
    s.t.equal((await s.actor.lstat('old')).mode & 0o777, 0o660);
  },

  'an ACL that only repeats the mode becomes the mode': async (s) => {
    await s.actor.put('old', 'x', 0o600);
    await s.settle();
    await s.actor.setxattr('old', access, acl(['user', 7], ['group', 5], ['other', 1]));
    s.t.equal((await s.actor.lstat('old')).mode & 0o777, 0o751);
    await s.fails('ENODATA', s.actor.getxattr('old', access));
  },

  'malformed ACLs are EINVAL, a default ACL on a file EACCES': async (s) => {
    await s.actor.put('old', 'x');
    await s.settle();
    await s.fails('EINVAL', s.actor.setxattr('old', access, acl(['user', 6])));
    await s.fails('EINVAL', s.actor.setxattr('old', access, letNobodyWrite.subarray(0, 13)));
    await s.fails('EOPNOTSUPP', s.actor.setxattr('old', access, 'nonsense'), 'of another version');
    await s.fails('EACCES', s.actor.setxattr('old', byDefault, letNobodyWrite));
  },

  'an ACL grants and denies': asRoot(async (s) => {
    await s.actor.put('granted', 'content', 0o600);
    await s.actor.setxattr('granted', access, letNobodyWrite);
    await s.actor.put('denied', 'content', 0o644);
    await s.actor.setxattr(
      'denied',
      access,
      acl(['user', 6], ['namedUser', 0, 65534], ['group', 4], ['mask', 4], ['other', 4]),
    );
    await s.settle();
    const user = await s.start({ identity: nobody });
    s.t.equal(await user.get('granted'), 'content');
    await user.put('granted', 'changed');
    await s.fails('EACCES', user.open('denied'));
    const third = await s.start({ identity: { uid: 1234, gid: 1234 } });
    s.t.equal(await third.get('denied'), 'content');
    await s.fails('EACCES', third.open('granted'));
    await s.fails('EPERM', user.setxattr('granted', access, letNobodyWrite));
  }),

  'named groups, and the mask that limits them': asRoot(async (s) => {
    await s.actor.mkdir('dir', 0o700);
    await s.actor.put('dir/file', 'content', 0o600);
    const group = (permissions: number, mask: number) =>
      acl(
        ['user', 7],
        ['group', 0],
        ['namedGroup', permissions, 2000],
        ['mask', mask],
        ['other', 0],
      );
    await s.actor.setxattr('dir', access, group(5, 5));
    await s.actor.setxattr('dir/file', access, group(6, 4));
    await s.settle();
    const member = await s.start({ identity: { uid: 1000, gid: 1000, groups: [2000] } });
    const other = await s.start({ identity: { uid: 1001, gid: 1001 } });
    s.t.same(await member.names('dir'), ['file']);
    s.t.equal(await member.get('dir/file'), 'content');
    await s.fails('EACCES', member.open('dir/file', 1), 'the mask has no write permission');
    await s.fails('EACCES', member.put('dir/new', 'x'));
    await s.fails('EACCES', other.names('dir'));
    await s.fails('EACCES', other.get('dir/file'));
    await s.actor.chmod('dir/file', 0o660);
    await member.put('dir/file', 'written');
    s.t.equal(await s.actor.get('dir/file'), 'written');
    await s.actor.chmod('dir', 0o700);
    await s.fails('EACCES', member.get('dir/file'), 'the mask is empty now');
  }),

  'special files have ACLs, symbolic links none': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    await s.actor.setxattr('fifo', access, letNobodyWrite);
    s.t.equal((await s.actor.lstat('fifo')).mode & 0o777, 0o660);
    await s.fails('EOPNOTSUPP', s.actor.setxattr('link', access, letNobodyWrite));
    await s.fails('EOPNOTSUPP', s.actor.getxattr('link', access));
    s.t.equal((await s.actor.lstat('file')).mode & 0o777, 0o640);
  },

  'a default ACL is inherited in place of the umask': async (s) => {
    await s.actor.mkdir('dir', 0o755);
    await s.actor.setxattr(
      'dir',
      byDefault,
      acl(['user', 7], ['namedUser', 7, 65534], ['group', 5], ['mask', 7], ['other', 0]),
    );
    await s.settle();
    await s.actor.umask(0o077);
    await s.actor.put('dir/file', 'x', 0o666);
    s.t.equal((await s.actor.lstat('dir/file')).mode & 0o777, 0o660);
    s.t.equal(
      hex(await s.actor.getxattr('dir/file', access)),
      acl(['user', 6], ['namedUser', 7, 65534], ['group', 5], ['mask', 6], ['other', 0]).toString(
        'hex',
      ),
    );
    await s.actor.mkdir('dir/sub', 0o777);
    s.t.equal((await s.actor.lstat('dir/sub')).mode & 0o777, 0o770);
    s.t.equal(
      await s.actor.getxattr('dir/sub', byDefault),
      await s.actor.getxattr('dir', byDefault),
    );
    await s.actor.mknod('dir/fifo', 0o010666);
    s.t.equal((await s.actor.lstat('dir/fifo')).mode & 0o777, 0o660);
    await s.actor.symlink('x', 'dir/link');
    s.t.notOk((await s.actor.listxattr('dir/link')).includes(access));
    await s.actor.put('plain', 'x', 0o666);
    s.t.equal((await s.actor.lstat('plain')).mode & 0o777, 0o600, 'elsewhere the umask holds');
  },

  'a minimal default ACL sets the mode without an ACL': async (s) => {
    await s.actor.mkdir('dir');
    await s.actor.setxattr('dir', byDefault, acl(['user', 7], ['group', 4], ['other', 0]));
    await s.settle();
    await s.actor.umask(0o077);
    await s.actor.put('dir/new', 'x', 0o666);
    s.t.equal((await s.actor.lstat('dir/new')).mode & 0o777, 0o640);
    s.t.same(await s.actor.listxattr('dir/new'), []);
    await s.actor.removexattr('dir', byDefault);
    await s.actor.put('dir/new2', 'x', 0o666);
    s.t.equal((await s.actor.lstat('dir/new2')).mode & 0o777, 0o600);
  },
};
