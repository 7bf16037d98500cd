/**
 * What is measured. A scenario is one mount and what is done to it in order; each timed step is a row of the table.
 *
 * A step's figure is the time of one whole process seen from outside, unless it says otherwise. What must be there first is made by
 * `before`, which is not timed.
 */
import type { TargetName } from './targets.js';
import type { Stack } from './layers.js';

/** Where a scenario's step works. */
export interface Scene {
  readonly target: TargetName;
  readonly mnt: string;
  readonly upper: string;
  /** On the same file system, not below the mount; empty when the scenario starts. */
  readonly scratch: string;
  /** What `prepare` made, once for all targets and rounds. */
  readonly shared: string;
  readonly stack: Stack;
  /** The process that serves the mount. */
  readonly daemon: number | undefined;
  /** Milliseconds from starting the mount program until the mount answered. */
  readonly mountTime: number;
}

export interface Step {
  /** As `walk-first`; unique, for `--only` and for comparing runs. */
  readonly key: string;
  readonly title: string;
  readonly unit: 'ms' | 'MB' | '×';
  before?(scene: Scene): Promise<void>;
  /** A command to time, or how to come by the figure. null: there is none for this target. */
  readonly measure: ((scene: Scene) => readonly string[]) | { figure(scene: Scene): Promise<number | null> };
  /** Highest ratio of plyfs over these that is aimed at, and the highest figure in `unit`. */
  readonly goal?: { readonly 'fuse-overlayfs'?: number; readonly kernel?: number; readonly figure?: number };
}

export interface Scenario {
  readonly key: string;
  /** Absent: the default stack. */
  readonly stack?: 'deep';
  /** Made once. */
  prepare?(shared: string, stack: Stack): Promise<void>;
  readonly steps: readonly Step[];
}
