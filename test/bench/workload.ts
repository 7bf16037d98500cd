/**
 * What is measured. A scenario is one mount and what is done to it in order; each timed step is a
 * row of the table.
 *
 * A step's figure is the time of one whole process seen from outside, unless it says otherwise.
 * What must be there first is made by `before`, which is not timed.
 */
import type { Stack } from './layers.js';
import type { TargetName } from './targets.js';

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
  /**
   * Of the daemon when nothing but the mount's root had been asked for, in bytes; undefined without
   * one.
   */
  readonly memoryAtMount: number | undefined;
}

export type Unit = 'ms' | 'MB' | 'B' | '×';

/**
 * Highest ratio of plyfs over these that is aimed at; `figure`: highest figure of its own, in the
 * row's unit.
 */
export type Goal = Readonly<Partial<Record<TargetName | 'docker' | 'podman' | 'figure', number>>>;

/** A command that is timed. */
export interface Command {
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Step {
  /** As `walk-first`; unique, for `--only` and for comparing runs. */
  readonly key: string;
  readonly title: string;
  readonly unit: Unit;
  before?(scene: Scene): Promise<void>;
  /** A command to time, or how to come by the figure. null: there is none for this target. */
  readonly measure: ((scene: Scene) => Command) | { figure(scene: Scene): Promise<number | null> };
  readonly goal?: Goal;
  /** What is aimed at when reads and writes pass through to the layers' files. */
  readonly passthroughGoal?: Goal;
}

/**
 * `default`: the large stack. `deep`: 125 layers. `flat`: the bottom of these alone. `own`: nothing
 * but the scenario's layer.
 */
export type StackName = 'default' | 'deep' | 'flat' | 'own';

export interface Scenario {
  readonly key: string;
  readonly stack?: Exclude<StackName, 'default'>;
  /**
   * A directory that `prepare` fills, used as one more layer below the others. Scenarios that name
   * the same share it.
   */
  readonly layer?: string;
  /** One sentence that says why this cannot be measured here, or undefined. */
  unavailable?(): Promise<string | undefined>;
  /** Made once. `layer`: the directory of that name. */
  prepare?(shared: string, stack: Stack, layer: string): Promise<void>;
  readonly steps: readonly Step[];
}

/** A row computed from two others, round by round. */
export interface Derived {
  readonly key: string;
  readonly title: string;
  readonly over: readonly [dividend: string, divisor: string];
  readonly goal?: Goal;
}

/** How much is done; `--quick` does less. */
export interface Sizes {
  readonly smallFiles: number;
  readonly createdFiles: number;
  readonly sequentialMiB: number;
  readonly randomMiB: number;
  readonly randomOperations: number;
  readonly copiedUpMiB: number;
  /** Names looked up in the bottom of the deep stack. */
  readonly deepNames: number;
  readonly repositoryFiles: number;
  /** Checks of the configure script, and C files. */
  readonly projectFiles: number;
  /** Whether the npm project is installed with its tools. */
  readonly npmTools: boolean;
  /** Debian packages that are unpacked and configured. */
  readonly debianPackages: readonly string[];
}

/**
 * A shell line with the mount as its current directory; `$2` is `shared`, `$3` scratch space
 * outside the mount.
 */
export function shell(line: string): (scene: Scene) => Command {
  return ({ mnt, shared, scratch }) => ({
    argv: ['sh', '-c', line, 'sh', mnt, shared, scratch],
    cwd: mnt,
  });
}
