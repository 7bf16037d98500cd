/**
 * Requests that no kernel sends. The session reads one end of a socket pair; the test writes
 * requests to the other.
 *
 * The socket is a stream, so one request is sent at a time.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { sessions } from '../../src/sys/index.js';
import { Wake, type Session } from '../../src/sys/session.js';
import { randomNumbers } from '../support/random-numbers.js';

const READ = 15;
const WRITE = 16;
const GETXATTR = 22;
const NO_ANSWER = new Set([2, 36, 42]);
const EIO = 5;
const ENODATA = 61;
const HEADER = 40;
const BODY = 40;
const MAX_WRITE = 64 * 1024;
const READABLE = 7;
const WRITABLE = 8;
const UNPUBLISHED = 9;
const HUGE_NODE = 2 ** 40;

interface Fields {
  readonly opcode: number;
  readonly node: number;
  readonly length: number;
  /** What the header says; `length` when honest. */
  readonly claimed?: number;
  readonly unique: bigint;
  readonly offset?: bigint;
  readonly size?: number;
  readonly flags?: number;
  /** How the caller's file was opened. */
  readonly openFlags?: number;
}

/** A request of `length` bytes; what does not fit is cut off. */
function request(fields: Fields): Uint8Array {
  const bytes = new Uint8Array(Math.max(fields.length, HEADER + BODY)).fill(0x5a);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, fields.claimed ?? fields.length, true);
  view.setUint32(4, fields.opcode, true);
  view.setBigUint64(8, fields.unique, true);
  view.setBigUint64(16, BigInt(fields.node), true);
  view.setBigUint64(HEADER + 8, fields.offset ?? 0n, true);
  view.setUint32(HEADER + 16, fields.size ?? 0, true);
  view.setUint32(HEADER + 20, fields.flags ?? 0, true);
  if (fields.openFlags !== undefined) view.setUint32(HEADER + 32, fields.openFlags, true);
  return bytes.subarray(0, fields.length);
}

interface Answer {
  readonly unique: bigint;
  readonly error: number;
  readonly body: Uint8Array;
}

class Peer {
  readonly session: Session;
  readonly #end: number;
  readonly #directory = mkdtempSync(join(tmpdir(), 'plyfs-requests-'));
  readonly content = Buffer.alloc(10_000, 'content');

  constructor() {
    const pair = sessions.socketpair();
    if (typeof pair === 'number') throw new Error(`socketpair: errno ${-pair}`);
    this.#end = pair[1];
    this.session = sessions.open(pair[0], MAX_WRITE);
    for (const name of ['readable', 'writable']) writeFileSync(this.path(name), this.content);
    this.session.publish(READABLE, openSync(this.path('readable'), 'r'), false);
    this.session.publish(WRITABLE, openSync(this.path('writable'), 'r+'), true);
    this.session.publish(HUGE_NODE, openSync(this.path('readable'), 'r'), false);
  }

  path(name: string): string {
    return join(this.#directory, name);
  }

  send(bytes: Uint8Array): void {
    if (writeSync(this.#end, bytes) !== bytes.length)
      throw new Error('the socket did not take the request whole');
  }

  /**
   * What comes of the request sent. A `next` may come back because it is others' turn, but not two
   * in a row.
   */
  next(): number {
    const slot = this.session.next(-1, 0);
    return slot === (Wake.EventLoop as number) ? this.session.next(-1, 0) : slot;
  }

  #receive(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const got = readSync(this.#end, bytes, done, length - done, null);
      if (got === 0) throw new Error('the session closed its end');
      done += got;
    }
    return bytes;
  }

  /**
   * The next answer; it blocks until there is one. An answer too many would be found in the next
   * one's place.
   */
  answer(): Answer {
    const header = new DataView(this.#receive(16).buffer);
    const body = this.#receive(header.getUint32(0, true) - 16);
    return { unique: header.getBigUint64(8, true), error: header.getInt32(4, true), body };
  }

  end(): void {
    this.session.close();
    closeSync(this.#end);
    rmSync(this.#directory, { recursive: true });
  }
}

/** Lets the event loop look at all it watches. */
async function turns(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise(setImmediate);
}

type Expected = 'dropped' | 'eio' | 'native' | 'script';

/** Who is to answer, by the rules of src/sys/session.ts. */
function expectation(fields: Fields): Expected {
  if (fields.length < HEADER) return 'dropped';
  const answered = !NO_ANSWER.has(fields.opcode) && fields.unique !== 0n;
  if ((fields.claimed ?? fields.length) !== fields.length) return answered ? 'eio' : 'dropped';
  if (fields.opcode !== READ && fields.opcode !== WRITE) return 'script';
  const room = fields.length - HEADER - BODY;
  const size = fields.size ?? 0;
  if (room < 0 || size > (fields.opcode === WRITE ? room : 1 << 20))
    return answered ? 'eio' : 'dropped';
  const published = fields.opcode === READ ? [READABLE, WRITABLE, HUGE_NODE] : [WRITABLE];
  if (
    !published.includes(fields.node) ||
    (fields.opcode === WRITE && ((fields.flags ?? 0) & 4) !== 0)
  )
    return 'script';
  return answered ? 'native' : 'dropped';
}

void t.test('whatever is read, every request that can be answered is answered once', (t) => {
  const peer = new Peer();
  t.teardown(() => {
    peer.end();
  });
  const { session } = peer;
  const random = randomNumbers(20240229);
  const seen = { dropped: 0, eio: 0, native: 0, script: 0 };
  const pick = <T>(...choices: [T, ...T[]]): T => choices[random(choices.length)] ?? choices[0];

  for (let i = 1; i <= 6000; i++) {
    const opcode = pick(READ, READ, WRITE, WRITE, pick(2, 36, 42), random(60), random(0x7fffffff));
    const length = pick(
      1 + random(HEADER),
      HEADER + random(BODY),
      HEADER + BODY,
      HEADER + BODY + random(200),
      HEADER + BODY + random(MAX_WRITE),
    );
    const room = Math.max(0, length - HEADER - BODY);
    const lie = random(8) === 0;
    const fields: Fields = {
      opcode,
      length,
      node: pick(READABLE, WRITABLE, UNPUBLISHED, HUGE_NODE, 0, 2 ** 31 - 1, 2 ** 31, 2 ** 52),
      unique: random(50) === 0 ? 0n : BigInt(i),
      offset: pick(0n, BigInt(random(20_000)), 2n ** 63n - 1n, 2n ** 64n - 1n, 2n ** 40n),
      size: pick(0, room, room, random(20_000), room + 1, 0xffffffff, 1 << 20, (1 << 20) + 1),
      flags: pick(0, 0, 0, 1, 4),
      ...(lie ? { claimed: pick(0, length + 1, length - 1, 0xffffffff) } : {}),
    };
    const expected = expectation(fields);
    // A write at 1 TiB would make a sparse file of that size, and reads after it large.
    if (expected === 'native' && opcode === WRITE && fields.offset === 2n ** 40n) continue;
    seen[expected]++;
    const what = `${i}: ${expected} ${JSON.stringify(fields, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value))}`;
    peer.send(request(fields));
    const slot = peer.next();
    if (expected === 'script') {
      if (slot < 0) throw new Error(`${slot}, not given to JavaScript: ${what}`);
      const bytes = new Uint8Array(session.slots[slot] as ArrayBuffer);
      if (bytes.subarray(length, length + 8).some((byte) => byte !== 0))
        throw new Error(`not followed by zeros: ${what}`);
      if (NO_ANSWER.has(opcode)) {
        session.release(slot);
        continue;
      }
      const body = random(300);
      bytes.fill(i & 0xff, session.replyOffset, session.replyOffset + body);
      if (random(2) === 0) session.answer(slot, body);
      else if (session.next(slot, body) !== (Wake.EventLoop as number))
        throw new Error(`another request: ${what}`);
      if (fields.unique === 0n) continue;
      const answer = peer.answer();
      if (answer.unique !== fields.unique || answer.error !== 0 || answer.body.length !== body)
        throw new Error(`answer: ${what}`);
      if (answer.body.some((byte) => byte !== (i & 0xff))) throw new Error(`body: ${what}`);
      continue;
    }
    if (slot !== (Wake.EventLoop as number)) throw new Error(`slot ${slot}: ${what}`);
    if (expected === 'dropped') continue;
    const answer = peer.answer();
    if (answer.unique !== fields.unique) throw new Error(`answer to ${answer.unique}: ${what}`);
    if (expected === 'eio' && answer.error !== -EIO)
      throw new Error(`error ${answer.error}: ${what}`);
    if (expected === 'native' && answer.body.length > (fields.size ?? 0) + 8)
      throw new Error(`${answer.body.length} bytes: ${what}`);
  }
  for (const [kind, count] of Object.entries(seen)) t.ok(count > 100, `${count} ${kind}`);
  t.equal(session.slots.length < 8, true, 'no slot was lost');
  t.end();
});

void t.test('reads and writes do what they say', (t) => {
  const peer = new Peer();
  t.teardown(() => {
    peer.end();
  });
  const { session, content } = peer;
  const ask = (fields: Omit<Fields, 'unique'>, data?: Uint8Array): Answer => {
    const bytes = request({ ...fields, unique: 77n });
    if (data !== undefined) bytes.set(data, HEADER + BODY);
    peer.send(bytes);
    t.equal(peer.next(), Wake.EventLoop);
    return peer.answer();
  };
  const read = (node: number, offset: number, size: number): Answer =>
    ask({ opcode: READ, node, length: HEADER + BODY, offset: BigInt(offset), size });
  t.same(read(READABLE, 0, 20_000).body, new Uint8Array(content));
  t.same(read(HUGE_NODE, 9_990, 4096).body, new Uint8Array(content.subarray(9_990)));
  t.equal(read(READABLE, 10_000, 4096).body.length, 0, 'the end');
  t.equal(read(READABLE, 50_000, 4096).body.length, 0, 'beyond it');
  t.same(read(READABLE, 512, 512).body, new Uint8Array(content.subarray(512, 1024)));
  t.equal(read(READABLE, 0, 0).body.length, 0);

  const data = Buffer.alloc(MAX_WRITE, 'new');
  const written = ask(
    {
      opcode: WRITE,
      node: WRITABLE,
      length: HEADER + BODY + MAX_WRITE,
      offset: 5n,
      size: MAX_WRITE,
    },
    data,
  );
  t.equal(new DataView(written.body.buffer).getUint32(0, true), MAX_WRITE);
  t.equal(written.body.length, 8);
  t.equal(
    ask({ opcode: WRITE, node: WRITABLE, length: HEADER + BODY + 1, offset: 2n ** 63n, size: 1 })
      .error,
    -22,
    'EINVAL',
  );
  const file = readFileSync(peer.path('writable'));
  t.same(file, Buffer.concat([content.subarray(0, 5), Buffer.alloc(MAX_WRITE, 'new')]));

  // Set-id bits are for JavaScript, which may then have the write done all the same.
  peer.send(
    request({
      opcode: WRITE,
      node: WRITABLE,
      length: HEADER + BODY + 1,
      size: 1,
      flags: 4,
      unique: 5n,
    }),
  );
  const slot = peer.next();
  t.ok(slot >= 0);
  session.serve(slot);
  t.equal(peer.answer().unique, 5n);
  t.throws(
    () => {
      session.serve(slot);
    },
    { code: 'ERR_SLOT' },
  );

  peer.send(
    request({ opcode: READ, node: READABLE, length: HEADER + BODY, size: 100, unique: 6n }),
  );
  session.retire(READABLE);
  const held = peer.next();
  t.throws(
    () => {
      session.serve(held);
    },
    { code: 'ERR_SLOT' },
  );
  session.answer(held, -2);
  t.equal(peer.answer().error, -2);
  t.equal(readFileSync(peer.path('writable'))[0], 0x5a);
  t.same(session.counts().get(WRITE), [2, 1]);
  const times = session.times();
  t.equal(times.find(({ opcode }) => opcode === READ)?.failed, 1);
  for (const { opcode, requests, total, p50, p99, max } of times) {
    t.equal(
      requests,
      session
        .counts()
        .get(opcode)
        ?.reduce((a, b) => a + b),
      'all are done, whoever served them',
    );
    t.ok(
      p50 > 0 && p50 <= p99 && p99 <= max && max <= total && total <= requests * max,
      `in order: ${[p50, p99, max, total].join(' ')}`,
    );
  }
  t.end();
});

void t.test(
  "a direct write is answered after the kernel has dropped what it may have read of the file's former data",
  (t) => {
    const peer = new Peer();
    t.teardown(() => {
      peer.end();
    });
    const O_DIRECT = 0x4000;
    const NOTIFY_INVAL_INODE = 2;
    const read = { opcode: READ, node: WRITABLE, length: HEADER + BODY, offset: 0n, size: 512 };
    const write = {
      opcode: WRITE,
      node: WRITABLE,
      length: HEADER + BODY + 512,
      offset: 4096n,
      size: 512,
    };
    const ask = (fields: Omit<Fields, 'unique'>, unique: bigint): void => {
      peer.send(request({ ...fields, unique }));
      peer.next();
    };
    ask({ ...read, openFlags: O_DIRECT }, 2n);
    t.equal(peer.answer().unique, 2n);
    ask({ ...write, openFlags: O_DIRECT }, 4n);
    t.equal(peer.answer().unique, 4n, 'nothing is in the page cache: at once');
    ask({ ...read, openFlags: 0 }, 6n);
    t.equal(peer.answer().unique, 6n);
    ask({ ...write, openFlags: 0 }, 8n);
    t.equal(peer.answer().unique, 8n, 'a write through the page cache leaves it right');

    ask({ ...write, openFlags: O_DIRECT }, 10n);
    const dropped = peer.answer();
    t.match(dropped, { unique: 0n, error: NOTIFY_INVAL_INODE }, 'a message of its own');
    const body = new DataView(dropped.body.buffer, dropped.body.byteOffset);
    t.same(
      [body.getBigUint64(0, true), body.getBigInt64(8, true), body.getBigInt64(16, true)],
      [BigInt(WRITABLE), 4096n, 512n],
      'the range',
    );
    const answered = peer.answer();
    t.match(answered, { unique: 10n, error: 0 });
    t.equal(new DataView(answered.body.buffer).getUint32(0, true), 512, 'bytes written');

    // As at copy-up: another file takes the place of the one that was read.
    peer.session.retire(WRITABLE);
    peer.session.publish(WRITABLE, openSync(peer.path('writable'), 'r+'), true);
    ask({ ...write, openFlags: O_DIRECT }, 12n);
    t.same([peer.answer().unique, peer.answer().unique], [0n, 12n], 'also by another descriptor');
    t.end();
  },
);

void t.test(
  'an attribute that a file lacks is denied without JavaScript, where the descriptor is of the file itself',
  (t) => {
    const peer = new Peer();
    t.teardown(() => {
      peer.end();
    });
    const { session } = peer;
    let unique = 0n;
    /** Whether JavaScript was given the question, or -errno. */
    const ask = (node: number, name: string): 'script' | number => {
      const bytes = Buffer.alloc(HEADER + 8 + name.length);
      bytes.writeUInt32LE(bytes.length, 0);
      bytes.writeUInt32LE(GETXATTR, 4);
      bytes.writeBigUInt64LE(++unique, 8);
      bytes.writeBigUInt64LE(BigInt(node), 16);
      bytes.write(name, HEADER + 8, 'latin1');
      peer.send(bytes);
      const slot = peer.next();
      if (slot >= 0) {
        session.answer(slot, -EIO);
        peer.answer();
        return 'script';
      }
      const { unique: of, error } = peer.answer();
      t.equal(of, unique);
      return error;
    };

    t.equal(ask(WRITABLE, 'user.asked\0'), 'script', 'nobody has said which');
    session.answerAbsence('user.asked' as Parameters<Session['answerAbsence']>[0]);
    t.equal(ask(WRITABLE, 'user.asked\0'), -ENODATA);
    t.equal(ask(WRITABLE, 'user.asked'), -ENODATA, 'without its NUL');
    t.equal(ask(WRITABLE, 'user.other\0'), 'script');
    t.equal(ask(WRITABLE, 'user.asked.too\0'), 'script');
    t.equal(ask(WRITABLE, 'user.ask'), 'script');
    t.equal(ask(WRITABLE, ''), 'script');
    t.equal(ask(READABLE, 'user.asked\0'), 'script', 'data may be of another file');
    t.equal(ask(UNPUBLISHED, 'user.asked\0'), 'script');
    execFileSync('setfattr', ['-n', 'user.asked', '-v', 'y', peer.path('writable')]);
    t.equal(ask(WRITABLE, 'user.asked\0'), 'script', 'the file has it');
    t.end();
  },
);

void t.test('arguments of the wrong kind', (t) => {
  const peer = new Peer();
  t.teardown(() => {
    peer.end();
  });
  const { session } = peer;
  const wrong = 'x' as unknown as number;
  t.throws(() => session.next(wrong, 0));
  t.throws(() => {
    session.publish(-1, 3, true);
  });
  t.throws(() => {
    session.publish(1, -1, true);
  });
  t.throws(() => {
    session.invalidateEntry(1, 'x'.repeat(256) as Parameters<Session['invalidateEntry']>[1]);
  });
  t.throws(() => {
    session.answerAbsence('x'.repeat(256) as Parameters<Session['answerAbsence']>[0]);
  });
  t.throws(() => {
    session.setMaxWrite(MAX_WRITE + 1);
  });
  t.throws(() => {
    session.resume(wrong as unknown as () => void);
  });
  session.retire(12345);
  t.equal(session.usedSince(12345), false);
  t.equal(session.next(-1, 0), Wake.EventLoop);
  t.end();
});

void t.test('resume calls once, when there is something to read', async (t) => {
  const peer = new Peer();
  t.teardown(() => {
    peer.end();
  });
  const { session } = peer;
  let calls = 0;
  const resumed = new Promise<void>((resolve) => {
    session.resume(() => t.fail('replaced'));
    session.resume(() => {
      calls++;
      resolve();
    });
  });
  await turns();
  t.equal(calls, 0, 'not without a request');
  peer.send(request({ opcode: READ, node: READABLE, length: HEADER + BODY, size: 4, unique: 3n }));
  await resumed;
  await turns();
  t.equal(calls, 1);
  t.equal(session.next(-1, 0), Wake.EventLoop);
  t.equal(peer.answer().unique, 3n);

  // From within the callback, and with the same function.
  await new Promise<void>((resolve) => {
    const again = (): void => {
      if (++calls < 5) session.resume(again);
      else resolve();
    };
    session.resume(again);
    peer.send(
      request({ opcode: READ, node: READABLE, length: HEADER + BODY, size: 4, unique: 4n }),
    );
  });
  t.equal(calls, 5);
  t.equal(session.next(-1, 0), Wake.EventLoop);
  t.equal(peer.answer().unique, 4n);

  await new Promise<void>((resolve) => {
    const close = (): void => {
      session.close();
      resolve();
    };
    session.resume(close);
    peer.send(new Uint8Array(1));
  });
  session.resume(() => t.fail('after close'));
});

void t.test('the other side goes away', (t) => {
  const pair = sessions.socketpair();
  if (typeof pair === 'number') throw new Error(`socketpair: errno ${-pair}`);
  const session = sessions.open(pair[0], MAX_WRITE);
  t.equal(session.next(-1, 0), Wake.EventLoop);
  closeSync(pair[1]);
  t.equal(session.next(-1, 0), Wake.Unmounted);
  session.close();
  t.end();
});

t.test(
  'attributes are expired by one message, at once; a socket has no backing files',
  async (t) => {
    const [ours, end] = sessions.socketpair() as [number, number];
    const session = sessions.open(ours, MAX_WRITE);
    t.teardown(() => {
      session.close();
      closeSync(end);
    });
    session.expireAttributes(HUGE_NODE);
    const message = Buffer.alloc(100);
    t.equal(readSync(end, message), 40);
    // fuse_out_header: FUSE_NOTIFY_INVAL_INODE in place of an error, no request;
    // fuse_notify_inval_inode_out: an offset below 0 means no data.
    t.same(
      [message.readUInt32LE(0), message.readInt32LE(4), message.readBigUInt64LE(8)],
      [40, 2, 0n],
    );
    t.same(
      [message.readBigUInt64LE(16), message.readBigInt64LE(24), message.readBigInt64LE(32)],
      [BigInt(HUGE_NODE), -1n, 0n],
    );
    t.ok(session.backingOpen(end) < 0);
    session.backingClose(1);
    t.throws(() => session.backingOpen(-1), { code: 'ERR_OUT_OF_RANGE' });
    t.throws(
      () => {
        session.backingClose(0);
      },
      { code: 'ERR_OUT_OF_RANGE' },
    );
    t.throws(
      () => {
        session.expireAttributes(-1);
      },
      { code: 'ERR_OUT_OF_RANGE' },
    );
  },
);
