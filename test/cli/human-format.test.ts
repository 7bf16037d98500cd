/** Expected texts: the tests and the comments of go-units (size_test.go, duration_test.go). */
import t from 'tap';
import {
  ellipsis,
  humanAge,
  humanDuration,
  humanSize,
  shortId,
} from '../../src/cli/human-format.js';

t.test('sizes', (t) => {
  const cases: [number, string][] = [
    [0, '0B'],
    [999, '999B'],
    [1000, '1kB'],
    [1024, '1.02kB'],
    [1_000_000, '1MB'],
    [1_048_576, '1.05MB'],
    [77_819_424, '77.8MB'],
    [123_700_000, '124MB'],
    [2 * 2 ** 30, '2.15GB'],
    [3_420_000_000_000, '3.42TB'],
    [999_999, '1e+03kB'],
  ];
  for (const [bytes, text] of cases) t.equal(humanSize(bytes), text);
  t.end();
});

t.test('durations', (t) => {
  const second = 1000;
  const minute = 60 * second;
  const hour = 60 * minute;
  const day = 24 * hour;
  const cases: [number, string][] = [
    [450, 'Less than a second'],
    [second, '1 second'],
    [47 * second, '47 seconds'],
    [minute, 'About a minute'],
    [3 * minute, '3 minutes'],
    [35 * minute + 40 * second, '35 minutes'],
    [hour, 'About an hour'],
    [hour + 45 * minute, '2 hours'],
    [3 * hour + 40 * minute, '4 hours'],
    [3 * day, '3 days'],
    [7 * day, '7 days'],
    [13 * day + 5 * hour, '13 days'],
    [14 * day, '2 weeks'],
    [59 * day, '8 weeks'],
    [60 * day, '2 months'],
    [366 * day, '12 months'],
    [2 * 365 * day, '2 years'],
    [23 * 30 * day, '23 months'],
    [7 * 365 * day, '7 years'],
  ];
  for (const [milliseconds, text] of cases) t.equal(humanDuration(milliseconds), text);
  t.equal(
    humanAge(new Date('2024-05-01T00:00:00Z'), new Date('2024-05-15T01:00:00Z')),
    '2 weeks ago',
  );
  t.equal(humanAge(undefined), 'N/A');
  t.end();
});

t.test('ids and long texts', (t) => {
  t.equal(shortId(`sha256:${'0123456789abcdef'.repeat(4)}`), '0123456789ab');
  t.equal(ellipsis('é'.repeat(45), 45), 'é'.repeat(45));
  t.equal(ellipsis('é'.repeat(46), 45), `${'é'.repeat(44)}…`);
  t.end();
});
