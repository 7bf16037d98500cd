import t from 'tap';
import { bytesOf } from '../../src/base/bytes.js';
import { parseMountOptions } from '../../src/mount/mount-options.js';
import type { ParsedOptions } from '../../src/mount/mount-options.js';

function parse(...lists: string[]): ParsedOptions {
  return parseMountOptions(lists.map(bytesOf));
}

const lowers = (options: ParsedOptions): string[] =>
  options.union.lowers.map((layer) => layer.path);

t.test('layers', async (t) => {
  t.same(lowers(parse('lowerdir=/a:/b:c')), ['/a', '/b', 'c']);
  t.same(lowers(parse('lowerdir=/a\\:b:/c\\\\:/d\\,e')), ['/a:b', '/c\\', '/d,e']);
  t.same(lowers(parse('lowerdir+=/a:b,lowerdir+=/c')), ['/a:b', '/c']);
  t.same(lowers(parse('lowerdir=/ü')), ['/\u00c3\u00bc'], 'bytes, not text');
  t.same(lowers(parse('lowerdir=/a,lowerdir=/b')), ['/b'], 'the last one holds');
  const all = parse('lowerdir=/l,upperdir=/u\\,x,workdir=/w');
  t.same(all.union.upper, { path: '/u,x', work: '/w' });
  t.equal(all.mount.readOnly, false);
  t.equal(parse('lowerdir=/l').mount.readOnly, true, 'without an upper the mount is read-only');
  t.equal(parse('ro,lowerdir=/l,upperdir=/u,workdir=/w').mount.readOnly, true);
  t.same(parse('lowerdir=/a,upperdir=/u,workdir=/w,upper_whiteout=aufs').union.upper, {
    path: '/u',
    work: '/w',
    form: 'aufs',
  });
  t.match(parse('lowerdir=/a,permissions=off'), {
    mount: { permissions: false, allowOther: false },
    union: { acl: false },
  });
  t.throws(() => parse('lowerdir=/a,permissions=off,allow_other'), { code: 'usage' });
  t.same(parse('lowerdir=/a:/b,whiteout=aufs').union.lowers, [
    { path: '/a', form: 'aufs' },
    { path: '/b', form: 'aufs' },
  ]);
});

t.test('several lists and empty options', async (t) => {
  t.same(lowers(parse(',,lowerdir=/a,,ro,', '', 'rw,noacl')), ['/a']);
});

t.test('defaults', async (t) => {
  t.strictSame(parse('lowerdir=/l,upperdir=/u,workdir=/w'), {
    union: {
      redirectDir: false,
      index: false,
      acl: true,
      xattrs: true,
      fsync: true,
      volatile: false,
      staticNlink: false,
      xino: 'auto',
      lowers: [{ path: '/l' }],
      upper: { path: '/u', work: '/w' },
      ownership: { uidMapping: [], gidMapping: [], xattrPermissions: 0 },
    },
    mount: { readOnly: false },
    transport: 'native',
    writeback: false,
    passthrough: false,
    debug: false,
    timeout: Infinity,
    ignored: [],
  });
});

t.test('ownership', async (t) => {
  const { ownership } = parse(
    'lowerdir=/l,uidmapping=0:1000:1:1:110000:65536,gidmapping=5:6:7,xattr_permissions=2',
  ).union;
  t.same(ownership.uidMapping, [
    { onDisk: 0, shown: 1000, length: 1 },
    { onDisk: 1, shown: 110000, length: 65536 },
  ]);
  t.same(ownership.gidMapping, [{ onDisk: 5, shown: 6, length: 7 }]);
  t.equal(ownership.xattrPermissions, 2);
  const fromPodman = parse('lowerdir=/l,uidmapping=:0:1:1000,gidmapping=:0:1:999:999:2000:1').union
    .ownership;
  t.same(
    fromPodman.uidMapping,
    [{ onDisk: 0, shown: 1, length: 1000 }],
    'with a colon before the first',
  );
  t.equal(fromPodman.gidMapping.length, 2);
  t.match(parse('lowerdir=/l,squash_to_root').union.ownership, { squashToUid: 0, squashToGid: 0 });
  t.match(parse('lowerdir=/l,squash_to_uid=7,squash_to_root').union.ownership, {
    squashToUid: 7,
    squashToGid: 0,
  });
});

t.test('switches', async (t) => {
  const on = parse(
    'lowerdir=/l,noacl,static_nlink,noxattrs=1,fsync=0,writeback,userxattr,redirect_dir=on,index=on,xino=off,timeout=1.5,debug,threaded=1',
  );
  t.match(on.union, {
    acl: false,
    staticNlink: true,
    xattrs: false,
    fsync: false,
    userXattr: true,
    redirectDir: true,
    index: true,
    xino: 'off',
  });
  t.match(on, { writeback: true, timeout: 1.5, debug: true });
  t.match(parse('lowerdir=/l,volatile').union, { volatile: true, fsync: false });
  t.equal(parse('lowerdir=/l,writeback=0').writeback, false);
  t.equal(parse('lowerdir=/l,passthrough').passthrough, true);
  t.throws(() => parse('lowerdir=/l,passthrough,writeback'), /passthrough and writeback/);
  t.throws(() => parse('lowerdir=/l,passthrough,transport=fuse-native'), /passthrough/);
  t.equal(parse('lowerdir=/l,transport=fuse-native').transport, 'fuse-native');
  t.equal(parse('lowerdir=/l,redirect_dir=nofollow').union.redirectDir, false);
});

t.test('the mount', async (t) => {
  t.strictSame(
    parse(
      'lowerdir=/l,ro,allow_other,suid,dev,noexec,noatime,nodiratime,lazytime,sync,dirsync,fsname=a\\,b,subtype=x.y',
    ).mount,
    {
      readOnly: true,
      allowOther: true,
      suid: true,
      dev: true,
      exec: false,
      atime: 'noatime',
      nodiratime: true,
      lazytime: true,
      sync: true,
      dirsync: true,
      fsname: 'a,b',
      subtype: 'x.y',
    },
  );
});

t.test('what others pass', async (t) => {
  const { ignored, union } = parse(
    'context="system_u:object_r:container_file_t:s0:c1,c2",metacopy=on,index=off,defaults,_netdev,nofail,x-systemd.automount,auto,frob=1,lowerdir=/l,workdir=/w',
  );
  t.same(ignored, [
    'option ignored: context="system_u:object_r:container_file_t:s0:c1,c2": security labels are those of the layers',
    'option ignored: metacopy=on: a copy-up always copies data',
    'unknown argument ignored: frob=1',
    'option ignored: workdir: there is no upperdir',
  ]);
  t.equal(union.upper, undefined);
  t.same(parse('lowerdir=/l,constructor,__proto__=1').ignored, [
    'unknown argument ignored: constructor',
    'unknown argument ignored: __proto__=1',
  ]);
});

t.test('what is wrong', async (t) => {
  const cases: [string, RegExp][] = [
    ['upperdir=/u,workdir=/w', /lowerdir is missing/],
    ['lowerdir=/l,upperdir=/u', /workdir is missing/],
    ['lowerdir=', /lowerdir: expected directories/],
    ['lowerdir=/a:', /lowerdir: expected directories/],
    ['lowerdir=/a::/b', /data-only/],
    ['lowerdir', /lowerdir: a value is missing/],
    ['lowerdir=/l,upperdir=,workdir=/w', /upperdir: expected a directory/],
    ['lowerdir=/l,uidmapping=1:2', /uidmapping: expected ONDISK:SHOWN:LENGTH/],
    ['lowerdir=/l,uidmapping=1:2:x', /uidmapping/],
    ['lowerdir=/l,uidmapping=:', /uidmapping/],
    ['lowerdir=/l,uidmapping=1::2:3', /uidmapping/],
    ['lowerdir=/l,uidmapping=1:2:0', /uidmapping/],
    ['lowerdir=/l,gidmapping=4294967294:0:2', /gidmapping.*within/],
    ['lowerdir=/l,squash_to_uid=-1', /squash_to_uid: expected a user id, but got '-1'/],
    ['lowerdir=/l,xattr_permissions=3', /one of 0, 1, 2/],
    ['lowerdir=/l,timeout=soon', /timeout: expected a number of seconds/],
    ['lowerdir=/l,fsync=yes', /fsync: expected 0 or 1/],
    ['lowerdir=/l,xino=maybe', /one of off, auto, on/],
    ['lowerdir=/l,ro=1', /ro: takes no value/],
    ['lowerdir=/l,transport=pigeon', /one of native, fuse-native/],
    ['lowerdir=/l,subtype=a b', /subtype/],
  ];
  for (const [text, message] of cases)
    t.throws(() => parse(text), { code: 'usage', message }, text);
});
