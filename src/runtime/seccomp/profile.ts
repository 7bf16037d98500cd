/**
 * A profile of system calls in the terms of Docker's (moby, profiles/seccomp): rules of which some
 * hold for some processors, capabilities or kernels only, and what is left of them for one
 * container.
 */

/** A processor, by Go's name for it, as profiles have it. */
export type Machine = 'amd64' | 'arm64' | 'riscv64' | 'ppc64le' | 's390x';

/** What a call meets: it goes on, or fails with `errno`. */
export type Action = 'allow' | { readonly errno: number };

/** Holds for argument `index` of the call; `value` and `mask` are at most 32 bits wide. */
export type Condition =
  | { readonly index: number; readonly is: 'equal' | 'less'; readonly value: number }
  /** The argument has this value where `mask` has ones. */
  | {
      readonly index: number;
      readonly is: 'masked';
      readonly mask: number;
      readonly value: number;
    };

export interface Terms {
  /** One of these is the machine. */
  readonly machines?: readonly Machine[];
  readonly capabilities?: readonly string[];
  /** This kernel or a newer one. */
  readonly minKernel?: readonly [major: number, minor: number];
}

export interface Rule {
  readonly names: readonly string[];
  readonly action: Action;
  /** All of them hold. Rules of one name are alternatives. */
  readonly when?: readonly Condition[];
  /** Every term given holds, of `capabilities` each one. */
  readonly includes?: Terms;
  /** No term given holds, of `capabilities` not one. */
  readonly excludes?: Terms;
}

export interface Profile {
  /** Of calls that no rule speaks of. */
  readonly fallback: { readonly errno: number };
  readonly rules: readonly Rule[];
}

/** What a container is, to a profile. */
export interface Subject {
  readonly machine: Machine;
  /** The bounding set: what a program run in the container can have at most. */
  readonly capabilities: ReadonlySet<string>;
  readonly kernel: readonly [major: number, minor: number];
}

/**
 * The rules that hold for `subject`, as moby chooses them (profiles, seccomp_linux.go,
 * setupSeccomp).
 */
export function rulesFor(profile: Profile, subject: Subject): readonly Rule[] {
  return profile.rules.filter(({ includes = {}, excludes = {} }) => {
    const refused =
      excludes.machines?.includes(subject.machine) === true ||
      excludes.capabilities?.some((name) => subject.capabilities.has(name)) === true ||
      (excludes.minKernel !== undefined && atLeast(subject.kernel, excludes.minKernel));
    return (
      !refused &&
      includes.machines?.includes(subject.machine) !== false &&
      includes.capabilities?.every((name) => subject.capabilities.has(name)) !== false &&
      (includes.minKernel === undefined || atLeast(subject.kernel, includes.minKernel))
    );
  });
}

function atLeast(
  [major, minor]: readonly [number, number],
  [wantedMajor, wantedMinor]: readonly [number, number],
): boolean {
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
