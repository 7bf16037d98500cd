/**
 * A process that mounts one union after another, so that a scenario need not wait for Node to
 * start. The test's process never serves a mount itself.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Mounter, UnionSpec } from '../mounters.js';

/** What the process is told, with a number that comes back in its answer. */
export type Request = { readonly id: number } & (
  | { readonly op: 'mount'; readonly spec: UnionSpec; readonly dir: string }
  /** Answered when every mount that was made has ended. */
  | { readonly op: 'ended' }
);

export interface Answer {
  readonly id: number;
  readonly error?: string;
}

const program = fileURLToPath(new URL('server-program.js', import.meta.url));

export class Server implements Mounter {
  readonly name = 'plyfs';
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, (error: string | undefined) => void>();
  private next = 1;
  private said = '';

  constructor() {
    this.child = fork(program, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.said = (this.said + text).slice(-4000);
    });
    this.child.on('message', ({ id, error }: Answer) => {
      this.waiting.get(id)?.(error);
      this.waiting.delete(id);
    });
    const gone = (why: string) => {
      for (const settle of this.waiting.values()) settle(`the server ended (${why}): ${this.said}`);
      this.waiting.clear();
    };
    this.child.on('error', (error) => gone(error.message));
    this.child.on('close', (code, signal) => gone(String(signal ?? code)));
  }

  private ask(request: Omit<Request, 'id'>): Promise<void> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, (error) => {
        if (error === undefined) resolve();
        else reject(new Error(error));
      });
      this.child.send({ ...request, id }, (error) => {
        if (error === null) return;
        this.waiting.delete(id);
        reject(new Error(`the server has ended: ${error.message}: ${this.said}`));
      });
    });
  }

  mount(spec: UnionSpec, dir: string): Promise<void> {
    return this.ask({ op: 'mount', spec, dir } as Omit<Request, 'id'>);
  }

  /** Settles when what was unmounted has ended: everything is flushed and closed. */
  ended(): Promise<void> {
    return this.ask({ op: 'ended' });
  }

  /** Ends the process, and with it every mount. */
  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const closed = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await closed;
  }
}
