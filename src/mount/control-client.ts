/**
 * Asking a mount's process (mount-questions.ts). What it answers is another process's word, maybe
 * another user's: checked before it is used.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';
import { socketsOf } from '../host/mount-server.js';
import { isDead } from '../host/unmount.js';
import type { MountEntry } from '../host/mount-table.js';
import { OVERRIDE_NAMES, type OverrideBelief } from '../overlay/override-stat.js';
import type { UnionEvent } from '../union/events.js';
import type { LayerInUse } from '../union/options.js';
import type { MountStack, Question, Told } from './control-socket.js';

/** Milliseconds. A mount that was just made listens a moment after it answers. */
const PATIENCE = 1500;
const BETWEEN = 25;
const MAX_LAYERS = 501;
const MAX_LINE = 8 << 20;

/** Throws `mount-dead`, and `mount-silent` where nobody answers. */
export async function askStack(mount: MountEntry): Promise<MountStack> {
  const { stack, socket } = await ask(mount, 'stack');
  socket.destroy();
  return stack;
}

export interface Following {
  readonly stack: MountStack;
  /** Until the mount ends or the signal is aborted. */
  readonly told: AsyncIterable<Told>;
}

/**
 * What the mount does from now on: whatever happens after this has resolved is told. Throws as
 * `askStack`.
 */
export async function followMount(mount: MountEntry, signal: AbortSignal): Promise<Following> {
  const { stack, socket, lines } = await ask(mount, 'trace');
  const stop = (): void => void socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  async function* told(): AsyncIterable<Told> {
    for (;;) {
      const next = await lines.next();
      if (next.done === true) return;
      const parsed = toldOf(next.value);
      if (parsed !== undefined) yield parsed;
    }
  }
  return { stack, told: told() };
}

interface Conversation {
  readonly stack: MountStack;
  readonly socket: Socket;
  readonly lines: AsyncIterator<string>;
}

async function ask(mount: MountEntry, question: Question): Promise<Conversation> {
  const until = performance.now() + PATIENCE;
  do {
    for (const path of socketsOf(mount)) {
      const asked = await askAt(path, question);
      if (asked !== undefined) return asked;
    }
    if (await isDead(textOf(mount.mountpoint))) {
      throw new PlyfsError(
        'mount-dead',
        `The process that served ${textOf(mount.mountpoint)} has ended: take the mount away with \`ply umount ${textOf(mount.mountpoint)}\`.`,
      );
    }
    await setTimeout(BETWEEN);
  } while (performance.now() < until);
  throw new PlyfsError(
    'mount-silent',
    `The process that serves ${textOf(mount.mountpoint)} cannot be asked: it is another user's, of an older plyfs, or runs where its socket is not seen.`,
  );
}

/**
 * Undefined: nobody is there, or not somebody who knows the answer. The caller destroys the socket.
 */
export async function askAt(path: string, question: Question): Promise<Conversation | undefined> {
  const socket = connect(path);
  socket.on('error', () => socket.destroy());
  bound(socket);
  const lines = linesOf(socket);
  socket.write(`${question}\n`);
  const first = await lines.next();
  const stack = first.done === true ? undefined : stackOf(first.value);
  if (stack === undefined) socket.destroy();
  return stack === undefined ? undefined : { stack, socket, lines };
}

/** They end with the conversation, however that ends. */
async function* linesOf(socket: Socket): AsyncGenerator<string, undefined> {
  const reader = createInterface({ input: socket, crlfDelay: Infinity });
  socket.once('close', () => {
    reader.close();
  });
  try {
    yield* reader;
  } catch {
    // Refused, or broken off.
  }
}

/** Nobody may fill this process's memory with a line that does not end. */
function bound(socket: Socket): void {
  let length = 0;
  socket.on('data', (piece: Buffer) => {
    const newline = piece.lastIndexOf(10);
    length = newline < 0 ? length + piece.length : piece.length - newline - 1;
    if (length > MAX_LINE) socket.destroy();
  });
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function isText(value: unknown): value is ByteString {
  return typeof value === 'string' && !/[^\0-\xff]/.test(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function stackOf(text: string): MountStack | undefined {
  const { pid, mountpoint, layers } = parse(text) ?? {};
  if (
    !isCount(pid) ||
    !isText(mountpoint) ||
    !Array.isArray(layers) ||
    layers.length === 0 ||
    layers.length > MAX_LAYERS
  )
    return undefined;
  const sound = layers.map((layer: unknown) => layerOf(layer as Record<string, unknown>));
  return sound.every((layer) => layer !== undefined)
    ? { pid, mountpoint, layers: sound }
    : undefined;
}

function layerOf(layer: Record<string, unknown> | null): LayerInUse | undefined {
  const { index, path, fd, form, marks, overrideStat } = layer ?? {};
  if (!isCount(index) || index >= MAX_LAYERS || !isText(path) || !isCount(fd)) return undefined;
  if ((form !== 'overlay' && form !== 'aufs') || (marks !== 'trusted' && marks !== 'user'))
    return undefined;
  if (overrideStat === undefined) return { index, path, fd, form, marks };
  const override = overrideOf(overrideStat);
  return override === undefined
    ? undefined
    : { index, path, fd, form, marks, overrideStat: override };
}

function overrideOf(value: unknown): OverrideBelief | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { attribute, objects } = value as Record<string, unknown>;
  const known = OVERRIDE_NAMES.find((name) => name === attribute);
  return known !== undefined && (objects === 'every' || objects === 'of-root')
    ? { attribute: known, objects }
    : undefined;
}

const eventTypes: ReadonlySet<unknown> = new Set<UnionEvent['type']>([
  'copy-up',
  'whiteout',
  'opaque',
  'exdev',
  'lookup',
]);

function toldOf(text: string): Told | undefined {
  const { time, event, lost } = parse(text) ?? {};
  if (isCount(lost)) return { lost };
  if (!isCount(time) || typeof event !== 'object' || event === null) return undefined;
  const { type, path, layer, bytes, microseconds } = event as Record<string, unknown>;
  if (!eventTypes.has(type) || !isText(path)) return undefined;
  if (type === 'lookup' && layer !== null && !isCount(layer)) return undefined;
  if (type === 'copy-up' && (!isCount(layer) || !isCount(bytes) || !isCount(microseconds)))
    return undefined;
  return { time, event: event as UnionEvent };
}
