/**
 * What a sandbox is to be: made by who starts it, read by the processes inside. Everything in it is
 * plain JSON.
 *
 * A sandbox is three processes besides the union's, one in the other's namespaces, so that the
 * kernel ends all of them with the first:
 *
 * - the starter (sandbox.ts), outside: gives ids, carries standard streams and signals, returns the
 *   exit status;
 * - the supervisor (supervisor.ts), process 1 of a PID namespace in which nothing else outlives it:
 *   shows the root file system in its own mount namespace, starts the container, answers what root
 *   cannot do where there is one id only, and unmounts at the end;
 * - the container, process 1 of a PID namespace below, which the supervisor starts and leads
 *   (container.ts): a small native program (native/container/) makes its mounts, leaves the host's
 *   tree, and becomes the container's program.
 */
import type { ByteString } from '../base/bytes.js';
import type { MountRecipe } from '../sys/mount-recipe.js';

/**
 * Whose ids the container has. `host`: the machine's, for root. `ranges`: a user namespace with a
 * range of subordinate ids. `emulated`: one that has room for a single id, with a supervisor that
 * answers for the others. `single`: the same where the kernel cannot have calls answered:
 * everything is root's.
 */
export type IdMode = 'host' | 'ranges' | 'emulated' | 'single';

export interface Volume {
  /** Absolute, on the host; a directory or a file. */
  readonly source: ByteString;
  /** Absolute, in the container. */
  readonly target: ByteString;
  readonly readOnly: boolean;
}

export interface ContainerProcess {
  /** Not empty. */
  readonly args: readonly ByteString[];
  /** Without HOME, unless it was given: the user's is added. */
  readonly env: readonly ByteString[];
  /** Absolute. Made if it is not there. */
  readonly cwd: ByteString;
  /** `USER[:GROUP]`, names or numbers; empty: 0. */
  readonly user: ByteString;
}

export interface SandboxPlan {
  readonly root: MountRecipe;
  readonly ids: IdMode;
  /** An existing empty directory, which nothing outside is mounted at. */
  readonly scratch: string;
  readonly network: 'host' | 'none';
  readonly hostname: string;
  /** Contents of files in /etc that are the runtime's. */
  readonly etc: Readonly<Record<'resolv.conf' | 'hosts' | 'hostname', string>>;
  readonly readOnly: boolean;
  readonly volumes: readonly Volume[];
  readonly process: ContainerProcess;
  /** An OCI runtime that is handed a bundle, in place of the container process. */
  readonly runtime?: string;
  readonly terminal?: { readonly rows: number; readonly columns: number };
}

/** What the supervisor is told first. */
export interface SupervisorPlan extends SandboxPlan {
  /** Whether the container has a standard input; otherwise it is empty. */
  readonly input: boolean;
}

/** From the starter to the supervisor, after the plan; a line of JSON each. */
export interface SignalMessage {
  readonly signal: number;
}

/** From the supervisor to the starter. */
export type SupervisorMessage =
  | { readonly started: true }
  /** The container's program could not be started, or the sandbox not be made. */
  | { readonly failed: Failure }
  /** As wait(2) says. */
  | { readonly exited: number | null; readonly signal: string | null };

export interface Failure {
  /** 125: no sandbox; 126: the program cannot be run; 127: it is not there. As docker run ends. */
  readonly status: 125 | 126 | 127;
  readonly code: string;
  readonly sentence: string;
}
