/**
 * Standard streams of a container: pipes of its own, whose other ends are here, and what goes
 * through them is passed on.
 *
 * A descriptor that is handed into a container can be opened anew below /proc/self/fd, with more
 * rights than it was given, and leads to its inode: root of a container makes the file that its
 * output goes to set-id root, or rewrites the log that it was to add to. So nothing that the caller
 * has open goes in, a pipe neither: opened anew, its writer reads what others wrote, and O_NONBLOCK
 * and size are those of all who share it. Docker passes streams through its API, podman through
 * conmon's own pipes; what a container finds is a new pipe there too.
 *
 * A descriptor is relayed by a thread (native/relay.cc), so that a reader who does not read holds
 * up the container and not this process, and the descriptor's flags, which others share, stay what
 * they are. When a reader has gone, the container's end breaks: its programs get SIGPIPE, as in a
 * pipeline.
 */
import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ReadStream, WriteStream } from 'node:tty';
import { E } from '../base/errno.js';
import { errorOf, messageOf, PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import { sys } from '../sys/index.js';

/**
 * A number is a descriptor of this process, which stays the caller's and open; it need not be
 * readable or writable without waiting.
 */
export interface SandboxStreams {
  /** Absent: the container's standard input is empty. */
  readonly stdin?: Readable | number;
  /** Not ended. */
  readonly stdout: Writable | number;
  readonly stderr: Writable | number;
}

/** What goes through one pipe or terminal. */
interface Relay {
  /** Settles when nothing more goes through; rejects with `stream-failed`. */
  readonly ended: Promise<void>;
  stop(): void;
}

export class StandardStreams {
  readonly #streams: SandboxStreams;
  readonly #inputs: Relay[] = [];
  readonly #outputs: Relay[] = [];
  #unread: PlyfsError | undefined;
  #abandon: () => void = () => undefined;
  readonly #abandoned = new Promise<void>((resolve) => (this.#abandon = resolve));

  constructor(streams: SandboxStreams) {
    this.#streams = streams;
  }

  get hasInput(): boolean {
    return this.#streams.stdin !== undefined;
  }

  /**
   * Passes on what goes through pipes. `start` is called with the container's ends and starts who
   * has them; they are closed here when it returns.
   */
  throughPipes<T>(start: (stdin: number | undefined, stdout: number, stderr: number) => T): T {
    const { stdin, stdout, stderr } = this.#streams;
    const input = stdin === undefined ? undefined : newPipe();
    const output = newPipe();
    // Where both are one file, their order is kept.
    const errors = isSameFile(stdout, stderr) ? output : newPipe();
    const given = new Set([output[1], errors[1], ...(input === undefined ? [] : [input[0]])]);
    try {
      return start(input?.[0], output[1], errors[1]);
    } finally {
      for (const fd of given) sys.close(fd);
      if (stdin !== undefined && input !== undefined)
        this.#inputs.push(this.#relayInput(stdin, input[1]));
      this.#outputs.push(relayOutput(output[0], stdout, 'output'));
      if (errors !== output) this.#outputs.push(relayOutput(errors[0], stderr, 'error'));
    }
  }

  /** Errors alone: the rest goes through a terminal, or to who has the streams themselves. */
  errorsThroughPipe<T>(start: (stderr: number) => T): T {
    const errors = newPipe();
    try {
      return start(errors[1]);
    } finally {
      sys.close(errors[1]);
      this.#outputs.push(relayOutput(errors[0], this.#streams.stderr, 'error'));
    }
  }

  /** `master`: the other end of the container's terminal, which is closed at the end. */
  throughTerminal(master: number): void {
    const { stdin, stdout } = this.#streams;
    if (stdin !== undefined) this.#inputs.push(this.#relayInput(stdin, sys.dup(master)));
    this.#outputs.push(relayOutput(master, stdout, 'output'));
  }

  /**
   * After the container's end: stops reading for it, and waits until what it wrote is passed on.
   * Throws `stream-failed`.
   */
  async finish(): Promise<void> {
    for (const input of this.#inputs) input.stop();
    const passedOn = Promise.allSettled(this.#outputs.map(({ ended }) => ended));
    const outcomes = await Promise.race([passedOn, this.#abandoned]);
    for (const output of this.#outputs) output.stop();
    for (const outcome of outcomes ?? [])
      if (outcome.status === 'rejected') throw errorOf(outcome.reason);
    if (this.#unread !== undefined) throw this.#unread;
  }

  /**
   * What is not passed on by now is lost: `finish` does not wait for a reader that does not read.
   */
  abandon(): void {
    this.#abandon();
  }

  /** Owns `to`. A failure is the end of input to the container. */
  #relayInput(from: Readable | number, to: number): Relay {
    if (typeof from === 'number') {
      const { done, stop } = relayDescriptors(from, to);
      const ended = done.then((result) => {
        sys.close(to);
        if (result > 0) this.#unread = unreadable(reasonOf(result));
      });
      return { ended, stop };
    }
    const stream = isTerminal(to)
      ? new WriteStream(to)
      : new Socket({ fd: to, readable: false, writable: true });
    // Whoever was to read it has gone.
    stream.on('error', () => undefined);
    from.once('error', (error) => {
      this.#unread = unreadable(messageOf(error));
      stream.destroy();
    });
    from.pipe(stream);
    const stop = (): void => {
      from.unpipe(stream);
      stream.destroy();
    };
    return { ended: new Promise((resolve) => stream.once('close', () => resolve())), stop };
  }
}

/** Close-on-exec. */
export function newPipe(): [read: number, write: number] {
  const pipe = sys.pipe();
  if (typeof pipe === 'number')
    throw new PlyfsError('sandbox-failed', `No pipe can be had (${reasonOf(-pipe)}).`);
  return pipe;
}

function isSameFile(one: Writable | number, other: Writable | number): boolean {
  if (typeof one !== 'number' || typeof other !== 'number') return one === other;
  const [a, b] = [fstatSync(one, { bigint: true }), fstatSync(other, { bigint: true })];
  return a.dev === b.dev && a.ino === b.ino && a.rdev === b.rdev;
}

/** Owns `from`. */
function relayOutput(from: number, to: Writable | number, name: 'output' | 'error'): Relay {
  if (typeof to === 'number') {
    const { done, stop } = relayDescriptors(from, to);
    const ended = done.then((result) => {
      sys.close(from);
      if (result < 0 && result !== -E.EPIPE && result !== -E.ECANCELED)
        throw lost(name, reasonOf(-result));
    });
    ended.catch(() => undefined);
    return { ended, stop };
  }
  const stream = isTerminal(from)
    ? new ReadStream(from)
    : new Socket({ fd: from, readable: true, writable: false });
  const ended = pipeline(stream, to, { end: false }).catch((error: unknown) => {
    stream.destroy();
    // EIO: the last program that had the terminal has ended.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'EPIPE' && code !== 'EIO' && code !== 'ERR_STREAM_PREMATURE_CLOSE')
      throw lost(name, messageOf(error));
  });
  ended.catch(() => undefined);
  return { ended, stop: () => void stream.destroy() };
}

function unreadable(why: string): PlyfsError {
  return new PlyfsError(
    'stream-failed',
    `Standard input cannot be read (${why}): the container saw its end there.`,
  );
}

function lost(name: 'output' | 'error', why: string): PlyfsError {
  return new PlyfsError(
    'stream-failed',
    `Standard ${name} cannot be written (${why}): what the container wrote there since is lost.`,
  );
}

function isTerminal(fd: number): boolean {
  return fstatSync(fd).isCharacterDevice();
}

function relayDescriptors(from: number, to: number): { done: Promise<number>; stop: () => void } {
  const [stopped, stopper] = newPipe();
  let open = true;
  const stop = (): void => {
    if (open) sys.close(stopper);
    open = false;
  };
  const done = sys.relayAsync(from, to, stopped).finally(() => {
    stop();
    sys.close(stopped);
  });
  return { done, stop };
}
