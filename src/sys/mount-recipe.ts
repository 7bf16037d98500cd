/** What one process knows of a mount that another is to make. */

/**
 * How a file system is shown by another process, at a directory of its choice, in a mount namespace
 * of its own.
 */
export type MountRecipe =
  /**
   * A program that mounts at the directory that follows its words, and returns when that answers.
   */
  | { readonly by: 'program'; readonly words: readonly string[] }
  | {
      readonly by: 'mount';
      readonly source: string;
      readonly type: string;
      readonly flags: number;
      readonly data: string;
      /** Where relative paths in `data` start. */
      readonly from: string;
    }
  | { readonly by: 'bind'; readonly path: string };
