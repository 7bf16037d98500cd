/**
 * Whether those who list directories go on to ask for the attributes of what they found.
 *
 * READDIRPLUS may give each name with its node and attributes, which costs the kernel an inode and
 * a dentry a name, and us a node: worth it for ls -l, tar or rm -r, which would look each name up
 * otherwise, and wasted on find, which needs the types only. The kernel asks for it at the start of
 * every directory (FUSE_READDIRPLUS_AUTO), so it is decided here, by what followed earlier
 * listings: where names that were given bare are looked up, the next directories come with
 * attributes, and the kernel forgets the bare listings it has cached. Attributes that nobody uses
 * are not noticed, so now and then one directory is given bare to see.
 *
 * A directory given bare whose names are looked up costs a LOOKUP a name, a directory given with
 * attributes that nobody wants a third of that: hence the few lookups that are enough to change
 * over, and the long way back.
 */
import type { DirectoryNode, Node } from './node.js';

/** Lookups in bare listings that are enough, */
const ENOUGH = 3;
/** when each listing that followed counts them for so much less. */
const FADING = 0.75;
/**
 * How many directories with attributes before one is given bare to see: doubled each time that
 * shows it is right.
 */
const FIRST_STRETCH = 32;
const LONGEST_STRETCH = 1024;

export class ListingHabit {
  #attributes = false;
  /** Lookups of names given bare, fading. */
  #lookups = 0;
  #stretch = FIRST_STRETCH;
  #left = 0;
  /** The directories whose bare listing the kernel may have cached. */
  readonly #bare = new Set<DirectoryNode>();
  #forgetListing: (directory: DirectoryNode) => void = () => undefined;

  /** `forgetListing` makes the kernel ask again for a directory's listing. */
  attach(forgetListing: (directory: DirectoryNode) => void): void {
    this.#forgetListing = forgetListing;
  }

  /**
   * Called when a directory with something in it is listed from the start: whether its names are
   * given with attributes.
   */
  withAttributes(directory: DirectoryNode): boolean {
    if (this.#attributes && --this.#left > 0) {
      this.#bare.delete(directory);
      return true;
    }
    if (this.#attributes) {
      this.#attributes = false;
      // On trial: a little more is enough.
      this.#lookups = ENOUGH - 1;
    } else {
      this.#lookups *= FADING;
      if (this.#lookups < 1) this.#stretch = FIRST_STRETCH;
    }
    this.#bare.add(directory);
    return false;
  }

  /** A name was looked up. */
  lookedUp(directory: DirectoryNode, node: Node): void {
    if (this.#attributes || node.isDirectory() || !this.#bare.has(directory)) return;
    if (++this.#lookups <= ENOUGH) return;
    this.#attributes = true;
    this.#left = this.#stretch;
    this.#stretch = Math.min(2 * this.#stretch, LONGEST_STRETCH);
    // This one is being read already.
    this.#bare.delete(directory);
    for (const other of this.#bare) this.#forgetListing(other);
    this.#bare.clear();
  }

  /** The kernel has forgotten the directory. */
  gone(directory: DirectoryNode): void {
    this.#bare.delete(directory);
  }
}
