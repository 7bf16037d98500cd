/**
 * Giving memory back when the kernel has forgotten much.
 *
 * V8 collects when it is asked for more memory, and an idle mount asks for none: without this a
 * daemon would stay as large as the largest tree it was ever walked through.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { sys } from '../sys/index.js';

/**
 * Nodes that must have gone before a collection is worth its pause of some tens of milliseconds.
 */
const WORTHWHILE = 10_000;
/** Milliseconds without another node going. */
const QUIET = 500;

export class Reclaimer {
  #gone = 0;
  #goneAtTimer = 0;
  #timer: NodeJS.Timeout | null = null;

  /** A node was let go. */
  nodeGone(): void {
    if (++this.#gone >= WORTHWHILE && this.#timer === null) this.#wait();
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #wait(): void {
    this.#goneAtTimer = this.#gone;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#gone !== this.#goneAtTimer) this.#wait();
      else this.#collect();
    }, QUIET);
    this.#timer.unref();
  }

  #collect(): void {
    this.#gone = 0;
    // Node hands the collector out only under this flag, which may be set while it runs.
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    setFlagsFromString('--no-expose-gc');
    collect();
    // The first only queues the pages it has emptied; the second, over what little is left, hands
    // them back (130,000 nodes: 32 MiB).
    collect();
    // What V8 and native/ had from malloc lies free between what is still used (131,072 nodes: 46
    // MiB).
    sys.trimMemory();
  }
}
