import t from 'tap';
import { bytesOf, type ByteString } from '../../src/base/bytes.js';
import { UsageError } from '../../src/base/error.js';
import { parsePlyfsArguments } from '../../src/cli/plyfs-arguments.js';

const parse = (...words: string[]) => parsePlyfsArguments(words.map(bytesOf));

t.test('the forms in which people and programs write a mount', (t) => {
  const plain = { kind: 'mount', mountpoint: '/mnt', foreground: false, debug: false };
  const forms: [string[], object][] = [
    [['/mnt'], { ...plain, options: [] }],
    [['-o', 'lowerdir=/a:/b', '/mnt'], { ...plain, options: ['lowerdir=/a:/b'] }],
    [['-olowerdir=/a', '/mnt'], { ...plain, options: ['lowerdir=/a'] }],
    // mount(8)'s helper: source, mount point, then the options.
    [
      ['none', '/mnt', '-o', 'rw,lowerdir=/a'],
      { ...plain, source: 'none', options: ['rw,lowerdir=/a'] },
    ],
    [
      ['-o', 'lowerdir=/a', 'none', '/mnt', '-o', 'ro'],
      { ...plain, source: 'none', options: ['lowerdir=/a', 'ro'] },
    ],
    [['-f', '/mnt'], { ...plain, options: [], foreground: true }],
    [['--foreground', '/mnt'], { ...plain, options: [], foreground: true }],
    [['-d', '/mnt'], { ...plain, options: [], foreground: true, debug: true }],
    [['-s', '-fo', 'ro', '/mnt'], { ...plain, options: ['ro'], foreground: true }],
    [['--', '-mnt'], { ...plain, mountpoint: '-mnt', options: [] }],
  ];
  for (const [words, command] of forms) t.same(parse(...words), command, words.join(' '));
  t.end();
});

t.test('help and version need nothing else', (t) => {
  for (const word of ['-h', '--help']) t.same(parse(word), { kind: 'help' });
  for (const word of ['-V', '--version']) t.same(parse(word, '/mnt'), { kind: 'version' });
  t.end();
});

t.test('bytes that are not UTF-8 stay what they are', (t) => {
  const command = parsePlyfsArguments(['-o', 'lowerdir=/\xff', '/\xfe mnt'] as ByteString[]);
  t.match(command, { mountpoint: '/\xfe mnt', options: ['lowerdir=/\xff'] });
  t.end();
});

t.test('what is not understood is said in one sentence', (t) => {
  t.throws(
    () => parse(),
    new UsageError(
      'No mount point is named: say where to mount, as in `plyfs -o lowerdir=TOP:BOTTOM DIRECTORY`.',
    ),
  );
  t.throws(() => parse('a', 'b', 'cé'), { code: 'usage', message: /from 'cé' on/ });
  t.throws(() => parse('-x', '/mnt'), {
    code: 'usage',
    message: /^Unknown option '-x': see --help\.$/,
  });
  t.throws(() => parse('/mnt', '-o'), { code: 'usage', message: /^[^\n]*see --help\.$/ });
  t.end();
});
