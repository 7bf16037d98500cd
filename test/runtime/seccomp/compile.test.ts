/**
 * The compiled filter says of every call what the profile says, whatever the arguments, the
 * capabilities and the machine.
 */
import t from 'tap';
import { encode } from '../../../src/runtime/seccomp/bpf.js';
import { compile } from '../../../src/runtime/seccomp/compile.js';
import { dockerProfile } from '../../../src/runtime/seccomp/docker-profile.js';
import {
  rulesFor,
  type Condition,
  type Machine,
  type Rule,
} from '../../../src/runtime/seccomp/profile.js';
import { callsOf, type Abi } from '../../../src/runtime/seccomp/syscall-numbers.js';
import { defaultCapabilities } from '../../../src/runtime/capabilities.js';
import { figure } from '../../support/figures.js';
import { runFilter } from './bpf-machine.js';

const ALLOW = 0x7fff0000;
const EPERM = 0x00050001;
const ENOSYS = 0x00050026;

/** linux/audit.h. */
const audit: Readonly<Record<Abi, number>> = {
  x86_64: 0xc000003e,
  x32: 0xc000003e,
  i386: 0x40000003,
  aarch64: 0xc00000b7,
  arm: 0x40000028,
  riscv64: 0xc00000f3,
};
const abisOf: Readonly<Partial<Record<Machine, readonly Abi[]>>> = {
  amd64: ['x86_64', 'i386', 'x32'],
  arm64: ['aarch64', 'arm'],
  riscv64: ['riscv64'],
};

/** Each capability that a rule asks for, none, all, and a container's. */
const named = [
  ...new Set(dockerProfile.rules.flatMap((rule) => rule.includes?.capabilities ?? [])),
];
const capabilitySets = [
  [],
  named,
  Object.keys(defaultCapabilities),
  ...named.map((name) => [name]),
].map((names) => new Set(names));

/**
 * Around each value that a condition compares with, each namespace's flag alone and with others,
 * and all of it in the upper half.
 */
const values = [
  ...[
    0n,
    1n,
    8n,
    10n,
    11n,
    12n,
    13n,
    19n,
    38n,
    39n,
    40n,
    41n,
    45n,
    46n,
    0x20000n,
    0x20008n,
    0x20009n,
    0xffffffffn,
    0xfffffffen,
  ],
  ...[17, 25, 26, 27, 28, 29, 30].map((bit) => 1n << BigInt(bit)),
  ...[
    0x3d0f00n,
    0x1200011n,
    0x10000011n,
    0x7e020000n,
    0x100000000n,
    0x100000008n,
    0x10000000cn,
    0x7e02000000000000n,
  ],
  0xffffffffffffffffn,
];

function holds(condition: Condition, args: readonly bigint[], bits: number): boolean {
  const argument = BigInt.asUintN(bits, args[condition.index] ?? 0n);
  switch (condition.is) {
    case 'equal':
      return argument === BigInt(condition.value);
    case 'less':
      return argument < BigInt(condition.value);
    case 'masked':
      return (argument & BigInt(condition.mask)) === BigInt(condition.value);
  }
}

/** From the rules as they are written. */
function expected(
  rules: readonly Rule[],
  name: string | undefined,
  last: boolean,
  args: readonly bigint[],
  bits: number,
): number {
  const rule = rules.find(
    ({ names, when = [] }) =>
      name !== undefined && names.includes(name) && when.every((one) => holds(one, args, bits)),
  );
  if (rule === undefined) return last ? ENOSYS : EPERM;
  return rule.action === 'allow' ? ALLOW : 0x00050000 + rule.action.errno;
}

t.test('every call of every ABI, with every set of capabilities', (t) => {
  let compared = 0;
  const wrong: string[] = [];
  for (const [machine, abis] of Object.entries(abisOf) as [Machine, readonly Abi[]][]) {
    for (const capabilities of capabilitySets) {
      const rules = rulesFor(dockerProfile, { machine, capabilities, kernel: [6, 18] });
      const filter = encode(compile(dockerProfile, rules, machine)!);
      const conditional = new Set(
        rules.filter(({ when }) => when !== undefined).flatMap(({ names }) => names),
      );
      for (const abi of abis) {
        const bits = ['i386', 'x32', 'arm'].includes(abi) ? 32 : 64;
        const calls = callsOf(abi);
        const nameOf = new Map([...calls].map(([name, number]) => [number, name]));
        // Two names of one number (arm_sync_file_range): both are in one rule.
        const spoken = rules.flatMap(({ names }) => names.flatMap((name) => calls.get(name) ?? []));
        const base = abi === 'x32' ? 0x40000000 : 0;
        const last = Math.max(...spoken.filter((number) => number < base + 0xf0000));
        for (const number of [
          ...Array.from({ length: 1100 }, (_, index) => base + index),
          ...nameOf.keys(),
          base + 0xf0000,
          base + 0xfffff,
        ]) {
          const name = nameOf.get(number);
          for (const value of name !== undefined && conditional.has(name) ? values : [0n]) {
            for (const args of [[value], [0n, value]]) {
              compared++;
              const found = runFilter(filter, { number, arch: audit[abi], args });
              const wanted = expected(rules, name, number > last, args, bits);
              if (found !== wanted)
                wrong.push(
                  `${abi} ${name ?? number} ${args.join()}: ${found.toString(16)}, not ${wanted.toString(16)}`,
                );
            }
          }
        }
      }
    }
  }
  figure(t, compared, 'verdicts of a seccomp filter');
  t.same(wrong.slice(0, 20), []);
  t.end();
});

t.test('what a container of this project meets', (t) => {
  const capabilities = new Set(Object.keys(defaultCapabilities));
  const filter = encode(
    compile(
      dockerProfile,
      rulesFor(dockerProfile, { machine: 'amd64', capabilities, kernel: [6, 18] }),
      'amd64',
    )!,
  );
  const call = (abi: Abi, name: string, ...args: bigint[]): number =>
    runFilter(filter, { number: callsOf(abi).get(name)!, arch: audit[abi], args });
  const refused =
    'mount umount2 unshare setns keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup kexec_load init_module syslog ' +
    'reboot settimeofday swapon quotactl acct open_by_handle_at pivot_root open_tree move_mount fsopen mount_setattr iopl vhangup';
  for (const name of refused.split(' ')) {
    for (const abi of ['x86_64', 'i386', 'x32'] as const)
      t.equal(call(abi, name), EPERM, `${name} of ${abi}`);
  }
  for (const name of 'chroot execve chown setuid ptrace seccomp mknod'.split(' '))
    t.equal(call('x86_64', name), ALLOW, name);
  t.equal(
    call('x86_64', 'clone3'),
    ENOSYS,
    'clone3: as where it is not, because its flags cannot be seen',
  );
  t.equal(call('x86_64', 'clone', 0x3d0f00n), ALLOW, 'a thread');
  t.equal(call('x86_64', 'clone', 0x10000000n), EPERM, 'a user namespace');
  t.equal(call('x86_64', 'socket', 40n), EPERM, 'AF_VSOCK');
  t.equal(call('x86_64', 'socket', 16n), ALLOW, 'AF_NETLINK');
  t.equal(call('x86_64', 'personality', 0x40000n), EPERM, 'ADDR_NO_RANDOMIZE');
  t.end();
});

t.test('names', (t) => {
  const known = new Set((Object.keys(audit) as Abi[]).flatMap((abi) => [...callsOf(abi).keys()]));
  const unknown = new Set(
    dockerProfile.rules.flatMap(({ names }) => names).filter((name) => !known.has(name)),
  );
  // swapcontext is a call of ppc64le, and s390_* are of s390x.
  t.same(
    [...unknown],
    ['swapcontext', 's390_pci_mmio_read', 's390_pci_mmio_write', 's390_runtime_instr'],
  );
  t.end();
});

t.test('other kernels and machines', (t) => {
  const rules = rulesFor(dockerProfile, {
    machine: 'amd64',
    capabilities: new Set(),
    kernel: [4, 7],
  });
  const filter = encode(compile(dockerProfile, rules, 'amd64')!);
  t.equal(
    runFilter(filter, { number: 101, arch: audit.x86_64 }),
    EPERM,
    'ptrace(2) before Linux 4.8 changes the call that seccomp has seen',
  );
  t.equal(
    runFilter(filter, { number: 0, arch: audit.aarch64 }),
    0x80000000,
    "a call of another machine's kind ends the process",
  );
  t.equal(compile(dockerProfile, rules, 's390x'), undefined, 'its calls are not known');
  t.throws(
    () => encode(Array.from({ length: 4097 }, () => ({ code: 6, jt: 0, jf: 0, k: 0 }))),
    RangeError,
  );
  t.throws(() => encode([{ code: 0x15, jt: 256, jf: 0, k: 0 }]), RangeError);
  t.end();
});
