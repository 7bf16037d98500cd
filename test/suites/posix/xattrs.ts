/** Extended attributes: xattr(7). */
import { O_WRONLY, XATTR_CREATE, XATTR_REPLACE } from '../constants.js';
import { asRoot, nobody, type PosixCases } from '../posix-suite.js';
import { makeEveryType } from './types.js';

/** A version 2 `security.capability` value granting cap_net_bind_service (linux/capability.h). */
const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');

export const xattrCases: PosixCases = {
  'set, get, list, replace and remove on files and directories': async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.mkdir('dir');
    for (const name of ['file', 'dir']) await s.actor.setxattr(name, 'user.before', 'kept');
    await s.settle();
    for (const name of ['file', 'dir']) {
      s.t.equal(await s.actor.getxattr(name, 'user.before'), 'kept');
      await s.actor.setxattr(name, 'user.a', Buffer.from([0, 255, 10]));
      await s.actor.setxattr(name, 'user.empty', '');
      s.t.equal(await s.actor.getxattr(name, 'user.a'), '\x00\xff\n');
      s.t.equal(await s.actor.xattrSize(name, 'user.empty'), 0);
      s.t.same(await s.actor.listxattr(name), ['user.a', 'user.before', 'user.empty']);
      await s.actor.setxattr(name, 'user.a', 'longer than before');
      s.t.equal(await s.actor.getxattr(name, 'user.a'), 'longer than before');
      await s.actor.removexattr(name, 'user.a');
      await s.actor.removexattr(name, 'user.before');
      s.t.same(await s.actor.listxattr(name), ['user.empty']);
      await s.fails('ENODATA', s.actor.getxattr(name, 'user.before'));
    }
    s.t.equal(await s.actor.get('file'), 'x');
  },

  'missing attributes are ENODATA, small buffers ERANGE, size 0 asks': async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.setxattr('file', 'user.some', '0123456789');
    await s.settle();
    await s.fails('ENODATA', s.actor.getxattr('file', 'user.none'));
    await s.fails('ENODATA', s.actor.removexattr('file', 'user.none'));
    await s.fails('ERANGE', s.actor.getxattr('file', 'user.some', 5));
    await s.fails('ERANGE', s.actor.listxattr('file', 3));
    s.t.equal(await s.actor.xattrSize('file', 'user.some'), 10);
    s.t.equal(await s.actor.getxattr('file', 'user.some', 10), '0123456789');
    await s.fails('ENOENT', s.actor.getxattr('new', 'user.some'));
  },

  'XATTR_CREATE over one is EEXIST, XATTR_REPLACE of none ENODATA': async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.setxattr('file', 'user.some', 'v');
    await s.settle();
    await s.fails('EEXIST', s.actor.setxattr('file', 'user.some', 'w', XATTR_CREATE));
    await s.fails('ENODATA', s.actor.setxattr('file', 'user.none', 'w', XATTR_REPLACE));
    s.t.equal(await s.actor.getxattr('file', 'user.some'), 'v');
    await s.actor.setxattr('file', 'user.some', 'w', XATTR_REPLACE);
    await s.actor.setxattr('file', 'user.none', 'w', XATTR_CREATE);
    s.t.same(await s.actor.listxattr('file'), ['user.none', 'user.some']);
  },

  'names are bytes; an empty one and flags that there are not are refused': async (s) => {
    await s.actor.put('file', 'x');
    await s.settle();
    const name = Buffer.from([0x75, 0x73, 0x65, 0x72, 0x2e, 0xff, 0x0a, 0x80]);
    await s.actor.setxattr('file', name, 'v');
    s.t.equal(await s.actor.getxattr('file', name), 'v');
    s.t.same(await s.actor.listxattr('file'), [name.toString('latin1')]);
    await s.actor.removexattr('file', name);
    await s.fails('EINVAL', s.actor.setxattr('file', 'user.a', 'v', 4));
    await s.fails('EINVAL', s.actor.setxattr('file', 'user.', 'v'));
    await s.fails('ERANGE', s.actor.setxattr('file', '', 'v'));
    await s.fails('ERANGE', s.actor.getxattr('file', ''));
    s.t.same(await s.actor.listxattr('file'), []);
  },

  'many attributes, and none': async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.put('none', 'x');
    const names = Array.from(
      { length: 30 },
      (_, i) => `user.attribute-${String(i).padStart(2, '0')}`,
    );
    for (const name of names.slice(0, 15)) await s.actor.setxattr('file', name, name);
    await s.settle();
    for (const name of names.slice(15)) await s.actor.setxattr('file', name, name);
    s.t.same(await s.actor.listxattr('file'), names);
    for (const name of names) s.t.equal(await s.actor.getxattr('file', name), name);
    s.t.same(await s.actor.listxattr('none'), []);
    for (const name of names) await s.actor.removexattr('file', name);
    s.t.same(await s.actor.listxattr('file'), []);
  },

  'names too long are ERANGE, unknown namespaces EOPNOTSUPP': async (s) => {
    await s.actor.put('file', 'x');
    await s.settle();
    await s.fails('ERANGE', s.actor.setxattr('file', `user.${'n'.repeat(251)}`, 'v'));
    await s.actor.setxattr('file', `user.${'n'.repeat(250)}`, 'v');
    s.t.equal(await s.actor.getxattr('file', `user.${'n'.repeat(250)}`), 'v');
    await s.fails('EOPNOTSUPP', s.actor.setxattr('file', 'nonsense.a', 'v'));
    await s.fails('E2BIG', s.actor.setxattr('file', 'user.big', Buffer.alloc(65537)));
  },

  'user attributes are for files and directories only': async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const name of ['link', 'fifo', 'socket', 'dangling']) {
      await s.fails('EPERM', s.actor.setxattr(name, 'user.a', 'v'), name);
      s.t.same(await s.actor.listxattr(name), [], name);
    }
  },

  'trusted attributes of every type, shown to root alone': asRoot(async (s) => {
    await makeEveryType(s.actor);
    await s.settle();
    for (const name of ['file', 'dir', 'link', 'fifo', 'device']) {
      await s.actor.setxattr(name, 'trusted.a', `of ${name}`);
      s.t.equal(await s.actor.getxattr(name, 'trusted.a'), `of ${name}`);
      s.t.same(await s.actor.listxattr(name), ['trusted.a'], name);
    }
    const user = await s.start({ identity: nobody });
    await s.actor.chmod('file', 0o666);
    s.t.same(await user.listxattr('file'), []);
    await s.fails('ENODATA', user.getxattr('file', 'trusted.a'));
    await s.fails('EPERM', user.setxattr('file', 'trusted.b', 'v'));
    await user.setxattr('file', 'user.b', 'v');
  }),

  'an attribute of a symlink is its own': asRoot(async (s) => {
    await s.actor.put('file', 'x');
    await s.actor.symlink('file', 'link');
    await s.settle();
    await s.actor.setxattr('link', 'trusted.of-link', 'v');
    s.t.same(await s.actor.listxattr('file'), []);
    s.t.same(await s.actor.listxattr('link'), ['trusted.of-link']);
  }),

  'user attributes need permission to the file': asRoot(async (s) => {
    await s.actor.put('file', 'x', 0o600);
    await s.actor.setxattr('file', 'user.secret', 'v');
    await s.settle();
    const user = await s.start({ identity: nobody });
    await s.fails('EACCES', user.getxattr('file', 'user.secret'));
    await s.fails('EACCES', user.setxattr('file', 'user.b', 'v'));
    await s.actor.chmod('file', 0o644);
    s.t.equal(await user.getxattr('file', 'user.secret'), 'v');
    await s.fails('EACCES', user.removexattr('file', 'user.secret'));
  }),

  'a file capability is kept, and dropped by write and chown': asRoot(async (s) => {
    for (const name of ['written', 'chowned', 'truncated', 'kept']) {
      await s.actor.put(name, 'x', 0o777);
      await s.actor.chmod(name, 0o777);
      await s.actor.setxattr(name, 'security.capability', capability);
    }
    await s.settle();
    s.t.equal(
      Buffer.from(await s.actor.getxattr('kept', 'security.capability'), 'latin1').toString('hex'),
      capability.toString('hex'),
    );
    const fd = await s.actor.open('written', O_WRONLY);
    await s.actor.write(fd, 'y');
    await s.fails(
      'ENODATA',
      s.actor.getxattr('written', 'security.capability'),
      'after a write by root',
    );
    await s.actor.lchown('chowned', 1, 1);
    await s.fails('ENODATA', s.actor.getxattr('chowned', 'security.capability'), 'after chown');
    const user = await s.start({ identity: nobody });
    await user.truncate('truncated', 0);
    await s.fails(
      'ENODATA',
      s.actor.getxattr('truncated', 'security.capability'),
      'after a truncation',
    );
    await s.actor.chmod('kept', 0o755);
    await s.actor.utimens('kept', [1, 1], [1, 1]);
    await s.actor.rename('kept', 'new');
    s.t.equal(await s.actor.xattrSize('new', 'security.capability'), 20);
    await s.fails('EPERM', user.setxattr('new', 'security.capability', capability));
  }),
};
