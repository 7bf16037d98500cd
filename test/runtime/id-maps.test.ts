/** Ranges of subuid(5), and the rows that newuidmap(1) is given for them. */
import t from 'tap';
import { mapWords, rangesOf } from '../../src/runtime/id-maps.js';

t.test('all lines of the user count, by the name or the number', async (t) => {
  const content = [
    'me:100000:65536',
    'other:300000:65536',
    '1000:500000:10',
    'me:700000:1 ',
    '# me:1:1',
    'me:0x10:5',
    'me:5:0',
    'me:4294967000:1000',
    'me:4294967000:295',
    'mean:1:1',
    'me:1',
  ].join('\n');
  t.same(rangesOf(content, ['1000', 'me']), [
    { start: 100000, count: 65536 },
    { start: 500000, count: 10 },
    { start: 700000, count: 1 },
    { start: 4294967000, count: 295 },
  ]);
  t.same(rangesOf(content, ['nobody']), []);
});

t.test('each range follows on the one before it, after the user, who is root', async (t) => {
  const ranges = [
    { start: 100000, count: 65536 },
    { start: 500000, count: 10 },
    { start: 700000, count: 5 },
  ];
  t.same(mapWords(1000, ranges), [
    [0, 1000, 1],
    [1, 100000, 65536],
    [65537, 500000, 10],
    [65547, 700000, 5],
  ]);
  t.same(mapWords(1000, []), [[0, 1000, 1]]);
});
