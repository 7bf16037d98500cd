/**
 * The descriptors of regular files.
 *
 * The kernel opens cached files without a message, so a descriptor is opened at the first transfer
 * and closed when others need its place. Transfers that native/ serves are not seen here: before
 * one is closed its `usedSince` mark is asked, which gives it a second chance (the clock
 * algorithm).
 */
import { LRUCache } from 'lru-cache';
import type { ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY, O_RDWR } from '../sys/constants.js';
import type { DescriptorTable } from '../vfs/filesystem.js';
import { onDisk } from '../overlay/disk-directory.js';
import { UPPER } from '../overlay/layer.js';
import type { Node } from './node.js';
import { asOwner, wayTo } from '../overlay/owner-rights.js';
import { protectionOf, UNPROTECTED } from './protection.js';

/** How many used descriptors are passed over in search of an unused one. */
const SECOND_CHANCES = 16;

interface OpenFile {
  fd: number;
  writable: boolean;
}

/** `withheld`: native/ was told that it is not for writing. */
interface PublishedFile extends OpenFile {
  withheld: boolean;
}

export class OpenFiles {
  readonly #max: number;
  readonly #guarded: ByteString | undefined;
  readonly #open: LRUCache<Node, PublishedFile>;
  readonly #noatime: boolean;
  #table: DescriptorTable | null = null;

  /**
   * `guarded`: an attribute that a write must take away, and the upper's file system does not:
   * native/ gets no writable descriptor of a file that has it.
   */
  constructor(
    max: number,
    { noatime, guarded }: { noatime: boolean; guarded?: ByteString | undefined },
  ) {
    this.#max = max;
    this.#noatime = noatime;
    this.#guarded = guarded;
    this.#open = new LRUCache({
      max: max + 1,
      dispose: (_file, node, reason) => this.#retire(node, reason),
    });
  }

  attach(table: DescriptorTable): void {
    this.#table = table;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * The node's descriptor, for writing too if asked; a writable one is only for a node in the
   * upper. Throws `Errno`.
   */
  get(node: Node, writable: boolean): number {
    const file = this.#open.get(node);
    if (file !== undefined && writable && file.withheld) this.drop(node);
    else if (file !== undefined && (file.writable || !writable)) return file.fd;
    const opened = openNode(node, writable, this.#noatime);
    this.put(node, opened.fd, opened.writable);
    return opened.fd;
  }

  /** Takes over a descriptor that was opened elsewhere, a copy-up's for one. */
  put(node: Node, fd: number, writable: boolean): void {
    for (let chances = SECOND_CHANCES; this.#open.size >= this.#max;) {
      const oldest = this.#open.rkeys().next();
      if (oldest.done === true) break;
      if (chances-- > 0 && this.#table?.usedSince(oldest.value.id) === true)
        this.#open.get(oldest.value);
      else this.#open.delete(oldest.value);
    }
    const withheld = writable && this.#isGuarded(fd);
    this.#open.set(node, { fd, writable, withheld }, { noDisposeOnSet: true });
    this.#table?.publish(node.id, fd, writable && !withheld);
  }

  #isGuarded(fd: number): boolean {
    return (
      this.#guarded !== undefined && sys.getxattrat(fd, '' as ByteString, this.#guarded, null) >= 0
    );
  }

  /** Closes the node's descriptor: its object has changed place, or it is going. */
  drop(node: Node): void {
    this.#open.delete(node);
  }

  clear(): void {
    this.#open.clear();
  }

  #retire(node: Node, reason: string): void {
    if (reason !== 'set') this.#table?.retire(node.id);
  }
}

/** Opens the data of a node where it lies now. */
function openNode(node: Node, writable: boolean, noatime: boolean): OpenFile {
  if (node.orphanFd >= 0) {
    const path = `/proc/self/fd/${node.orphanFd}` as ByteString;
    const reopen = (): number =>
      sys.openat(AT_FDCWD, path, (node.inUpper ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
    const fd = node.inUpper
      ? asOwner(() => wayTo(node.orphanFd, '' as ByteString), reopen)
      : reopen();
    return { fd: check(fd, 'open'), writable: node.inUpper };
  }
  const { holder, name } = node.data ?? node;
  // Files of the upper are opened for both at once, where the owner's mode lets us: a write often
  // follows.
  if (holder.layer.index === UPPER && (writable || protectionOf(node) === UNPROTECTED)) {
    const directory = onDisk(holder);
    const fd = writable
      ? directory.openAsOwner(name, { noatime })
      : directory.openForWriting(name, { noatime });
    if (fd >= 0 || writable) return { fd: check(fd, name), writable: true };
  }
  return { fd: check(holder.open(name), name), writable: false };
}
