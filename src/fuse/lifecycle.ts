/**
 * Handlers of the handshake, of references the kernel gives back, and of interrupted callers.
 */
import { setImmediate } from 'node:timers/promises';
import type { Awaitable } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { BackingFiles } from './backing.js';
import { NO_ANSWER } from './connection.js';
import type { Connection } from './connection.js';
import { negotiate } from './init.js';
import {
  BatchForgetIn,
  ForgetIn,
  ForgetOne,
  InitFlag,
  InitIn,
  InitOut,
  InterruptIn,
} from './protocol.js';
import { malformed } from './request.js';
import type { Slot } from './request.js';

export function init(c: Connection, slot: Slot): number {
  slot.fixed(InitIn.oldSize);
  const flags = slot.u32(InitIn.flags);
  const extended = (flags & InitFlag.INIT_EXT) !== 0 && slot.length >= InitIn.size;
  let answer;
  try {
    answer = negotiate(
      {
        major: slot.u32(InitIn.major),
        minor: slot.u32(InitIn.minor),
        maxReadahead: slot.u32(InitIn.maxReadahead),
        flags,
        flags2: extended ? slot.u32(InitIn.flags2) : 0,
      },
      c.options,
    );
  } catch (error) {
    if (!(error instanceof PlyfsError)) throw error;
    c.failure = error;
    return -E.EPROTO;
  }
  c.flags = answer.flags;
  if (answer.maxStackDepth > 0) c.backing = new BackingFiles(c.session, c.changing);
  if (!answer.again) {
    c.session.setMaxWrite(answer.maxWrite);
    if (c.options.xattrs) c.session.answerAbsence('security.capability' as ByteString);
    c.options.ready?.();
  }

  const { words, halves, replyWord, reply } = slot;
  words.fill(0, replyWord, replyWord + (InitOut.size >>> 2));
  words[replyWord + (InitOut.major >>> 2)] = answer.major;
  words[replyWord + (InitOut.minor >>> 2)] = answer.minor;
  words[replyWord + (InitOut.maxReadahead >>> 2)] = answer.maxReadahead;
  words[replyWord + (InitOut.flags >>> 2)] = answer.flags;
  halves[(reply + InitOut.maxBackground) >>> 1] = answer.maxBackground;
  halves[(reply + InitOut.congestionThreshold) >>> 1] = answer.congestionThreshold;
  words[replyWord + (InitOut.maxWrite >>> 2)] = answer.maxWrite;
  words[replyWord + (InitOut.timeGran >>> 2)] = answer.timeGran;
  halves[(reply + InitOut.maxPages) >>> 1] = answer.maxPages;
  words[replyWord + (InitOut.flags2 >>> 2)] = answer.flags2;
  words[replyWord + (InitOut.maxStackDepth >>> 2)] = answer.maxStackDepth;
  return InitOut.size;
}

export function forget(c: Connection, slot: Slot): number {
  slot.fixed(ForgetIn.size);
  c.fs.forget(slot.node, slot.u64(ForgetIn.nlookup, E.EINVAL));
  c.session.release(slot.index);
  return NO_ANSWER;
}

/**
 * Nodes given back in a row: some milliseconds of the main thread where most of them leave the
 * table.
 */
const FORGETS_AT_ONCE = 1024;

/**
 * Linux hands over as many references as a message holds (65,536): between pieces of them others
 * are served.
 */
export function batchForget(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(BatchForgetIn.size);
  const count = slot.u32(BatchForgetIn.count);
  if (count > (slot.length - BatchForgetIn.size) / ForgetOne.size) throw malformed();
  if (count > FORGETS_AT_ONCE) return forgetInPieces(c, slot, count);
  forgetSome(c, slot, 0, count);
  c.session.release(slot.index);
  return NO_ANSWER;
}

function forgetSome(c: Connection, slot: Slot, from: number, to: number): void {
  for (
    let i = from, at = BatchForgetIn.size + from * ForgetOne.size;
    i < to;
    i++, at += ForgetOne.size
  ) {
    c.fs.forget(slot.nodeAt(at + ForgetOne.nodeid), slot.u64(at + ForgetOne.nlookup, E.EINVAL));
  }
}

/**
 * A node may be looked up again before its turn comes: references are counted, so their order does
 * not matter.
 */
async function forgetInPieces(c: Connection, slot: Slot, count: number): Promise<number> {
  for (let from = 0; from < count && !c.ended; from += FORGETS_AT_ONCE) {
    forgetSome(c, slot, from, Math.min(from + FORGETS_AT_ONCE, count));
    await setImmediate();
  }
  if (!c.ended) c.session.release(slot.index);
  return NO_ANSWER;
}

/** A request that is answered already, or did not wait, has nothing to interrupt. */
export function interrupt(c: Connection, slot: Slot): number {
  slot.fixed(InterruptIn.size);
  const caller = c.pending.get(slot.uniqueAt(InterruptIn.unique));
  if (caller != null) caller.interrupted = true;
  c.session.release(slot.index);
  return NO_ANSWER;
}

/** The answer to a notification that is never sent (FUSE_NOTIFY_RETRIEVE). */
export function notifyReply(c: Connection, slot: Slot): number {
  c.session.release(slot.index);
  return NO_ANSWER;
}
