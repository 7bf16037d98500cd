/** How a driver's layers lie in its home: what a driver's layout does without mounting anything. */
import type { LayerDirectories } from './driver.js';

export interface Layout {
  readonly home: string;
  /** Makes what the home itself needs. */
  prepare(): void;
  exists(id: string): boolean;
  ids(): string[];
  /**
   * `prepare` is called when the layer's directory is there and empty. Throws `layer-id-invalid`,
   * `layer-exists`, `layer-missing`, `layer-damaged`, `too-many-layers`.
   */
  create(
    id: string,
    parent: string | undefined,
    access: 'read-only' | 'read-write',
    prepare?: (directory: string) => void,
  ): void;
  remove(id: string): void;
  /**
   * The directories that hold what is written to a layer, the files' own first; those below it and
   * what else the layout knows of it are elsewhere.
   */
  written(id: string): readonly string[];
  directories(id: string): LayerDirectories;
  /** Undefined for a base. */
  parentOf(id: string): string | undefined;
  /** The layer is not to be written to any more. */
  isCommitted(id: string): boolean;
  /** The directory that stands for the layer in the mount table. */
  directoryOf(id: string): string;
  /** The layer whose directory that is. */
  idOf(directory: string): string | undefined;
}
