/**
 * What can be asked of a mount's process: what it is made of, and to tell what it does from now on.
 *
 * It listens on a Unix socket in the user's private runtime directory, whose name begins with the
 * mount's device number: that is the same in every mount namespace and whatever becomes of the
 * directory it is mounted at. Who asks writes a line, `stack`, `trace` or `leave`; the answer is
 * lines of JSON, a `MountStack` first. A mount that is abandoned leaves when it is asked to. Paths
 * are byte strings in it, one character a byte.
 *
 * The mount may cover that directory, and the program's own files, which this process must not look
 * for then: the directory is opened before it mounts, and nothing but what is built into Node is
 * loaded afterwards.
 *
 * Whoever asks must not be able to harm the mount: few are heard at a time, what they write is
 * bounded, and what they do not read is dropped and counted.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { closeSync, constants, openSync, readdirSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { ByteString } from '../base/bytes.js';
import { isAbandoned } from './abandoned-mount.js';
import { socketPrefix } from '../host/mount-server.js';
import { runtimeDirectory } from '../host/runtime-directory.js';
import { mountAt } from '../host/mount-table.js';
import { UNION_CHANNEL, type UnionEvent } from '../union/events.js';
import type { LayerInUse } from '../union/options.js';

export interface MountStack {
  readonly pid: number;
  readonly mountpoint: ByteString;
  /** Topmost first. */
  readonly layers: readonly LayerInUse[];
}

/**
 * What follows the stack after `trace`. `lost`: events that were not told, because the listener was
 * too slow.
 */
export type Told =
  { readonly time: number; readonly event: UnionEvent } | { readonly lost: number };

export type Question = 'stack' | 'trace' | 'leave';

const MAX_LISTENERS = 16;
/** Bytes of events that wait for a listener. */
const MAX_WAITING = 4 << 20;
/** A question is one word. */
const MAX_QUESTION = 16;

/** A place to listen at, open. */
export interface Ear {
  readonly directory: number;
}

/**
 * To be called before the mount is made. Undefined: there is no place, and the mount goes on
 * without.
 */
export function openEar(): Ear | undefined {
  try {
    return { directory: openSync(runtimeDirectory(), constants.O_RDONLY | constants.O_DIRECTORY) };
  } catch {
    return undefined;
  }
}

/** What is asked about. */
export interface Answerer {
  readonly mountpoint: ByteString;
  readonly layers: readonly LayerInUse[];
  /** Takes the mount away; what goes wrong is the mount's own to tell. */
  readonly leave: () => void;
}

/** Listens until the returned function is called, and keeps no process alive. */
export async function answerQuestions(
  { directory }: Ear,
  { mountpoint, layers, leave }: Answerer,
): Promise<() => void> {
  // Short enough for sockaddr_un, wherever the directory is; and below no mount.
  const place = `/proc/self/fd/${directory}`;
  const device = mountAt(mountpoint)?.device;
  const { createServer } = await import('node:net');
  const stack: MountStack = { pid: process.pid, mountpoint, layers };
  const server = createServer((socket) => {
    hear(socket, stack, leave);
  });
  server.maxConnections = MAX_LISTENERS;
  server.on('error', () => undefined);
  const path = `${place}/${socketPrefix(device ?? '')}${process.pid}`;
  if (device !== undefined) {
    // The device is this mount's now: whatever listened under its number has ended.
    for (const name of readdirSync(place))
      if (name.startsWith(socketPrefix(device))) rmSync(`${place}/${name}`, { force: true });
    server.listen(path);
    server.unref();
  }
  return () => {
    server.close();
    rmSync(path, { force: true });
    closeSync(directory);
  };
}

function hear(socket: Socket, stack: MountStack, leave: () => void): void {
  socket.unref();
  socket.on('error', () => socket.destroy());
  let said = '';
  const listen = (piece: string): void => {
    said += piece;
    const [word, more] = said.split('\n');
    if (more === undefined && said.length <= MAX_QUESTION) return;
    socket.off('data', listen);
    // What else comes is read and forgotten, so that the end is heard.
    socket.resume();
    switch (word) {
      case 'stack':
        socket.end(line(stack));
        break;
      case 'trace':
        tell(socket, stack);
        break;
      case 'leave':
        socket.end(line(stack));
        if (isAbandoned()) leave();
        break;
      default:
        socket.destroy();
    }
  };
  socket.setEncoding('latin1').on('data', listen);
}

function tell(socket: Socket, stack: MountStack): void {
  let lost = 0;
  const tellLost = (): void => {
    if (lost > 0) socket.write(line({ lost } satisfies Told));
    lost = 0;
  };
  const listener = (message: unknown): void => {
    if (socket.writableLength > MAX_WAITING) {
      lost++;
      return;
    }
    tellLost();
    socket.write(line({ time: Date.now(), event: message as UnionEvent } satisfies Told));
  };
  subscribe(UNION_CHANNEL, listener);
  socket.on('drain', tellLost);
  socket.once('close', () => unsubscribe(UNION_CHANNEL, listener));
  socket.write(line(stack));
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
