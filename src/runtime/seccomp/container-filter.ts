/**
 * Docker's default profile for the containers of this machine: as a filter, and in an OCI
 * configuration.
 */
import { arch, release } from 'node:os';
import { encode } from './bpf.js';
import { compile } from './compile.js';
import { dockerProfile } from './docker-profile.js';
import {
  rulesFor,
  type Action,
  type Condition,
  type Machine,
  type Rule,
  type Subject,
} from './profile.js';

/** Node's names of processors. */
const machines: Readonly<Record<string, Machine>> = {
  x64: 'amd64',
  arm64: 'arm64',
  riscv64: 'riscv64',
  ppc64: 'ppc64le',
  s390x: 's390x',
};

/** Undefined on a machine that the profile does not know. */
function thisMachine(capabilities: Iterable<string>): Subject | undefined {
  const machine = machines[arch()];
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return machine === undefined
    ? undefined
    : { machine, capabilities: new Set(capabilities), kernel: [major, minor] };
}

/**
 * An array of struct sock_filter for seccomp(2), for a container that can have `capabilities`;
 * undefined on a machine whose system calls are not known here.
 */
export function containerFilter(capabilities: Iterable<string>): Uint8Array | undefined {
  const subject = thisMachine(capabilities);
  if (subject === undefined) return undefined;
  const program = compile(dockerProfile, rulesFor(dockerProfile, subject), subject.machine);
  return program === undefined ? undefined : encode(program);
}

/** Docker's archMap, in the words of the runtime specification. */
const ociArchitectures: Readonly<Record<Machine, readonly string[]>> = {
  amd64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
  riscv64: ['SCMP_ARCH_RISCV64'],
  ppc64le: ['SCMP_ARCH_PPC64LE'],
  s390x: ['SCMP_ARCH_S390X', 'SCMP_ARCH_S390'],
};

/**
 * `linux.seccomp` of a configuration (runtime-spec, config-linux.md, "Seccomp"); undefined on a
 * machine that the profile does not know.
 */
export function ociSeccomp(capabilities: Iterable<string>): object | undefined {
  const subject = thisMachine(capabilities);
  if (subject === undefined) return undefined;
  return {
    ...ociAction(dockerProfile.fallback, 'defaultAction', 'defaultErrnoRet'),
    architectures: ociArchitectures[subject.machine],
    syscalls: rulesFor(dockerProfile, subject).map(({ names, action, when }: Rule) => ({
      names,
      ...ociAction(action, 'action', 'errnoRet'),
      ...(when !== undefined && { args: when.map(ociCondition) }),
    })),
  };
}

function ociAction(action: Action, key: string, errnoKey: string): object {
  return action === 'allow'
    ? { [key]: 'SCMP_ACT_ALLOW' }
    : { [key]: 'SCMP_ACT_ERRNO', [errnoKey]: action.errno };
}

function ociCondition(condition: Condition): object {
  const { index, value } = condition;
  switch (condition.is) {
    case 'equal':
      return { index, value, op: 'SCMP_CMP_EQ' };
    case 'less':
      return { index, value, op: 'SCMP_CMP_LT' };
    case 'masked':
      return { index, value: condition.mask, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' };
  }
}
