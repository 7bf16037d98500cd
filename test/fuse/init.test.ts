import t from 'tap';
import { negotiate } from '../../src/fuse/init.js';
import { InitFlag as F, InitFlag2 as F2 } from '../../src/fuse/protocol.js';

const ALL = 0x7fff_ffff;
const offer = { major: 7, minor: 45, maxReadahead: 131072, flags: ALL, flags2: 0xffff_ffff };
const options = { writeback: false, acl: true, permissions: true, passthrough: false };

t.test('a new kernel: what is taken and what is not', async (t) => {
  const answer = negotiate(offer, options);
  t.match(answer, {
    major: 7,
    minor: 45,
    maxReadahead: 131072,
    maxWrite: 1 << 20,
    maxPages: 256,
    timeGran: 1,
    again: false,
  });
  const taken = Object.entries(F).flatMap(([name, bit]) =>
    (answer.flags & bit) !== 0 ? [name] : [],
  );
  t.same(taken.sort(), [
    'ASYNC_DIO',
    'ASYNC_READ',
    'BIG_WRITES',
    'CACHE_SYMLINKS',
    'DONT_MASK',
    'DO_READDIRPLUS',
    'EXPLICIT_INVAL_DATA',
    'HANDLE_KILLPRIV_V2',
    'HAS_IOCTL_DIR',
    'INIT_EXT',
    'MAX_PAGES',
    'NO_OPENDIR_SUPPORT',
    'NO_OPEN_SUPPORT',
    'PARALLEL_DIROPS',
    'POSIX_ACL',
    'READDIRPLUS_AUTO',
    'SETXATTR_EXT',
    'SPLICE_MOVE',
    'SPLICE_READ',
    'SPLICE_WRITE',
  ]);
  const taken2 = Object.entries(F2).flatMap(([name, bit]) =>
    (answer.flags2 & bit) !== 0 ? [name] : [],
  );
  t.same(taken2.sort(), [
    'ALLOW_IDMAP',
    'CREATE_SUPP_GROUP',
    'HAS_EXPIRE_ONLY',
    'HAS_RESEND',
    'NO_EXPORT_SUPPORT',
  ]);
});

t.test('nothing is taken that was not offered', async (t) => {
  for (let bit = 0; bit < 31; bit++) {
    const flags = 1 << bit;
    const answer = negotiate({ ...offer, flags }, options);
    t.equal(answer.flags & ~flags, 0);
    if (bit !== 30) t.equal(answer.flags2, 0, 'flags2 counts only with INIT_EXT');
  }
});

t.test('options', async (t) => {
  t.equal(
    negotiate(offer, { ...options, permissions: false }).flags2 & F2.ALLOW_IDMAP,
    0,
    'mapped ids take permissions',
  );
  t.equal(
    negotiate(offer, { ...options, writeback: true, acl: false }).flags &
      (F.WRITEBACK_CACHE | F.POSIX_ACL),
    F.WRITEBACK_CACHE,
  );
});

t.test('passthrough', async (t) => {
  const answer = negotiate(offer, { ...options, passthrough: true });
  t.equal(answer.flags & F.NO_OPEN_SUPPORT, 0, 'opens are told');
  t.ok(answer.flags & F.ATOMIC_O_TRUNC);
  t.ok(answer.flags2 & F2.PASSTHROUGH);
  t.equal(answer.maxStackDepth, 1);
  t.equal(negotiate(offer, options).maxStackDepth, 0);
  const flags2 = 0xffff_ffff & ~F2.PASSTHROUGH;
  t.throws(() => negotiate({ ...offer, flags2 }, { ...options, passthrough: true }), {
    code: 'no-passthrough',
    message: /Linux 6\.9/,
  });
});

t.test('old kernels', async (t) => {
  const answer = negotiate(
    { ...offer, minor: 23, flags: F.BIG_WRITES | F.ASYNC_READ, flags2: 0 },
    options,
  );
  t.match(answer, { minor: 23, maxWrite: 128 * 1024, maxPages: 0 });
  t.throws(() => negotiate({ ...offer, minor: 22 }, options), {
    code: 'kernel-too-old',
    message: /7\.22.*7\.23/,
  });
  t.throws(() => negotiate({ ...offer, major: 6 }, options), { code: 'kernel-too-old' });
});

t.test('newer kernels', async (t) => {
  t.equal(negotiate({ ...offer, minor: 99 }, options).minor, 45);
  t.match(negotiate({ ...offer, major: 8, minor: 0 }, options), {
    major: 7,
    minor: 45,
    flags: 0,
    again: true,
  });
});
