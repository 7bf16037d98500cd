/**
 * The descriptor table of this transport: which descriptor a node's data goes through now.
 *
 * A transfer holds the descriptor while it is under way; one that was replaced or retired meanwhile
 * is closed by the last. The table owns its descriptors, and handles have none of their own: so a
 * handle that was opened before a copy-up reads what is written after it.
 */
import { closeSync } from 'node:fs';
import type { DescriptorTable, NodeId } from '../../vfs/filesystem.js';

export class Descriptor {
  readonly fd: number;
  readonly writable: boolean;
  used = false;
  #users = 0;
  #retired = false;

  constructor(fd: number, writable: boolean) {
    this.fd = fd;
    this.writable = writable;
  }

  /** Keeps it open over `transfer`. */
  async use<T>(transfer: (fd: number) => Promise<T>): Promise<T> {
    this.used = true;
    this.#users++;
    try {
      return await transfer(this.fd);
    } finally {
      this.#users--;
      this.#closeIfDone();
    }
  }

  retire(): void {
    this.#retired = true;
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (this.#retired && this.#users === 0) closeSync(this.fd);
  }
}

export class Descriptors implements DescriptorTable {
  readonly #published = new Map<NodeId, Descriptor>();

  get(node: NodeId): Descriptor | undefined {
    return this.#published.get(node);
  }

  publish(node: NodeId, fd: number, writable: boolean): void {
    const former = this.#published.get(node);
    this.#published.set(node, new Descriptor(fd, writable));
    former?.retire();
  }

  retire(node: NodeId): void {
    const former = this.#published.get(node);
    this.#published.delete(node);
    former?.retire();
  }

  usedSince(node: NodeId): boolean {
    const descriptor = this.#published.get(node);
    if (descriptor === undefined) return false;
    const { used } = descriptor;
    descriptor.used = false;
    return used;
  }

  clear(): void {
    for (const node of [...this.#published.keys()]) this.retire(node);
  }
}
