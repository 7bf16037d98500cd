/**
 * Handlers of the handshake, of references the kernel gives back, and of interrupted callers.
 */
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { BackingFiles } from './backing.js';
import { NO_ANSWER } from './connection.js';
import type { Connection } from './connection.js';
import { negotiate } from './init.js';
import { BatchForgetIn, ForgetIn, ForgetOne, InitFlag, InitIn, InitOut, InterruptIn } from './protocol.js';
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

export function batchForget(c: Connection, slot: Slot): number {
  slot.fixed(BatchForgetIn.size);
  const count = slot.u32(BatchForgetIn.count);
  if (count > (slot.length - BatchForgetIn.size) / ForgetOne.size) throw malformed();
  for (let i = 0, at: number = BatchForgetIn.size; i < count; i++, at += ForgetOne.size) {
    c.fs.forget(slot.nodeAt(at + ForgetOne.nodeid), slot.u64(at + ForgetOne.nlookup, E.EINVAL));
  }
  c.session.release(slot.index);
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
