/** `USER[:GROUP]` by an image's passwd and group files, as moby reads them (user/user.go). */
import t from 'tap';
import type { ByteString } from '../../src/base/bytes.js';
import { findUser } from '../../src/runtime/user.js';

const files: Readonly<Record<string, string>> = {
  '/etc/passwd': [
    'root:x:0:0:root:/root:/bin/sh',
    'www:x:33:34:www:/var/www:/bin/false',
    'home:x:40:41::',
    '77:x:5:6::/seven:',
    'large:x:2147483648:1::/:',
  ].join('\n'),
  '/etc/group': [
    'root:x:0:',
    'www:x:34:home',
    'adm:x:4:root,www',
    'wwwrun:x:8:wwwrun',
    'staff:x:50:x,www,y',
    'broken:x:many:www',
  ].join('\n'),
};
const find = (spec: string) => findUser(spec as ByteString, (path) => files[path] ?? '');

t.test('a user has the group of passwd, and those that name the user', async (t) => {
  t.same(find('www'), { uid: 33, gid: 34, groups: [4, 50], home: '/var/www' });
  t.same(find('33'), find('www'), 'by the number as well');
  t.same(find(''), { uid: 0, gid: 0, groups: [4], home: '/root' });
  t.same(find('home'), { uid: 40, gid: 41, groups: [34], home: '/' });
  t.same(find('77'), { uid: 5, gid: 6, groups: [], home: '/seven' }, 'a name of digits');
});

t.test('with a group there are no others', async (t) => {
  t.same(find('www:adm'), { uid: 33, gid: 4, groups: [], home: '/var/www' });
  t.same(find('www:4'), find('www:adm'));
  t.same(find('www:'), find('www'), 'an empty one is none');
  t.same(find('1234:5678'), { uid: 1234, gid: 5678, groups: [], home: '/' });
});

t.test('numbers need no entry, names do', async (t) => {
  t.same(find('1234'), { uid: 1234, gid: 0, groups: [], home: '/' });
  t.same(find('2147483647').uid, 2147483647);
  for (const spec of ['nobody', 'www:nobody', '2147483648', '-1', '1:2147483648', 'large'])
    t.throws(() => find(spec), { code: 'user-unknown' }, spec);
});
