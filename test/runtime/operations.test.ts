/**
 * The plan of a container's first process: what is malformed ends it, and what is tolerated does
 * not.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { ByteString } from '../../src/base/bytes.js';
import { E } from '../../src/base/errno.js';
import { sealedFirstProgram } from '../../src/runtime/first-program.js';
import { eachOutcome, recordOf, type Outcome } from '../../src/runtime/operations.js';
import { sys } from '../../src/sys/index.js';
import { figure } from '../support/figures.js';

/** What the first process says to records, in namespaces of its own, and how it ends. */
async function answers(
  t: Test,
  records: Buffer,
): Promise<{ outcomes: Outcome[]; status: number | null }> {
  const fd = sealedFirstProgram();
  const words = [
    '--user',
    '--map-root-user',
    '--mount',
    '--uts',
    '--ipc',
    '--net',
    '/proc/self/fd/4',
    '3',
    '4',
  ];
  const child = spawn('unshare', words, { stdio: ['ignore', 'inherit', 'inherit', 'pipe', fd] });
  t.teardown(() => child.kill('SIGKILL'));
  const channel = child.stdio[3] as Socket;
  const outcomes: Outcome[] = [];
  eachOutcome(channel, (outcome) => outcomes.push(outcome));
  channel.on('error', () => undefined);
  channel.end(records);
  const [status] = (await once(child, 'close')) as [number | null];
  sys.close(fd);
  return { outcomes, status };
}

t.test('what is no plan ends it, with an errno for the operation', async (t) => {
  const bytes = (text: string): ByteString => text as ByteString;
  const report = recordOf({ do: 'report' }, {})!;
  const name = recordOf({ do: 'hostname', name: bytes('box') }, {})!;
  const execute = recordOf(
    { do: 'execute', paths: [bytes('/bin/true')], args: [bytes('true')], env: [] },
    {},
  )!;
  const changed = (record: Buffer, at: number, value: number): Buffer => {
    const copy = Buffer.from(record);
    copy.writeUInt32LE(value, at);
    return copy;
  };
  const longer = (record: Buffer): Buffer =>
    changed(Buffer.concat([record, Buffer.alloc(8)]), 0, record.length + 4);
  const cases: [string, Buffer, number][] = [
    [
      'no operation of this name',
      Buffer.from(report.toString('latin1').replace('report', 'repeat'), 'latin1'),
      E.ENOSYS,
    ],
    ['a field too many', longer(report), E.EINVAL],
    ['a text longer than the record', changed(name, name.length - 8, 4000), E.EINVAL],
    ['a text with a NUL in it', recordOf({ do: 'hostname', name: bytes('b\0x') }, {})!, E.EINVAL],
    [
      'a list of more than there is',
      changed(execute, 8 + 4 + 'execute'.length + 1, 0x7fffffff),
      E.EINVAL,
    ],
    ['a record of no bytes', Buffer.alloc(4), E.EPROTO],
    ['a record longer than any', changed(report, 0, 0x7fffffff), E.EPROTO],
    ['a record that ends early', report.subarray(0, report.length - 1), E.EPROTO],
  ];
  for (const [what, record, errno] of cases) {
    const { outcomes, status } = await answers(t, Buffer.concat([report, record]));
    t.same(
      outcomes,
      [
        { index: 0, errno: 0 },
        { index: 1, errno },
      ],
      what,
    );
    t.equal(status, 1, `${what}: it ends by itself`);
  }
  const failing = { do: 'enter-root', path: bytes('/no/such/directory') } as const;
  const chosen = [
    recordOf(failing, { tolerated: true })!,
    recordOf({ do: 'report' }, { otherwise: true })!,
    recordOf({ do: 'report' }, { otherwise: true })!,
    recordOf(failing, {})!,
  ];
  t.same(
    (await answers(t, Buffer.concat(chosen))).outcomes,
    [
      { index: 1, errno: 0 },
      { index: 3, errno: E.ENOENT },
    ],
    'what is tolerated, and what is done instead',
  );
  figure(t, cases.length, 'malformed plans refused');
});
