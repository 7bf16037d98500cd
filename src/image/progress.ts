/** How far something long has come. Libraries print nothing: whoever wants to show it asks. */

export interface Progress {
  /**
   * `spool`: an archive that cannot be read in place is written to a temporary file; `layer`: a
   * layer is read into the store; `exists`: a layer is there already and is not read; `save`: a
   * layer is written into an archive. Of a layer that is pulled: `wait`, `download`, `extract`, and
   * `done`.
   */
  readonly kind: 'spool' | 'layer' | 'exists' | 'save' | 'wait' | 'download' | 'extract' | 'done';
  /** A layer's DiffID, of one that is pulled its blob's digest; the archive's name. */
  readonly id: string;
  /** Bytes, of the archive as it is: compressed if it is. */
  readonly done: number;
  readonly total?: number;
}

export type OnProgress = (progress: Progress) => void;
