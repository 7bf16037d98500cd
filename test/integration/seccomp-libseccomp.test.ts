/**
 * Docker's profile as this project compiles it, beside what libseccomp makes of it, by which runc
 * and crun load it; and the table of calls beside libseccomp's.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { encode } from '../../src/runtime/seccomp/bpf.js';
import { compile } from '../../src/runtime/seccomp/compile.js';
import { dockerProfile } from '../../src/runtime/seccomp/docker-profile.js';
import {
  rulesFor,
  type Action,
  type Condition,
  type Machine,
  type Rule,
} from '../../src/runtime/seccomp/profile.js';
import { callsOf, type Abi } from '../../src/runtime/seccomp/syscall-numbers.js';
import { defaultCapabilities } from '../../src/runtime/capabilities.js';
import { runFilter } from '../runtime/seccomp/bpf-machine.js';
import { succeed } from '../support/command.js';
import { figure } from '../support/figures.js';
import { temporaryDirectory } from '../support/mounts.js';
import { root } from '../support/root.js';

const base = await temporaryDirectory(t);
const program = `${base}/libseccomp-filter`;
await succeed([
  'cc',
  '-O1',
  '-Wall',
  '-o',
  program,
  join(root, 'test/integration/libseccomp-filter.c'),
  '-ldl',
]);

/** libseccomp's tokens of architectures (seccomp.h, SCMP_ARCH_*). */
const tokens: Readonly<Record<Abi, number>> = {
  x86_64: 0xc000003e,
  i386: 0x40000003,
  x32: 0x4000003e,
  aarch64: 0xc00000b7,
  arm: 0x40000028,
  riscv64: 0xc00000f3,
};

async function numbersOf(abi: Abi, names: readonly string[]): Promise<number[]> {
  const lines = await succeed([program, String(tokens[abi]), ...names]);
  return lines.trim().split('\n').map(Number);
}

t.test('numbers', async (t) => {
  let compared = 0;
  for (const abi of Object.keys(tokens) as Abi[]) {
    const calls = callsOf(abi);
    const found = await numbersOf(abi, [...calls.keys()]);
    // A negative number: it does not know the call, or knows it as a part of another.
    // ARM_SYNC_FILE_RANGE is a second name there.
    const wrong = [...calls].filter(
      ([, number], index) => found[index]! >= 0 && found[index] !== number,
    );
    compared += found.filter((number) => number >= 0).length;
    t.same(wrong, [], abi);
  }
  figure(t, compared, 'numbers of system calls compared with libseccomp');
});

/** SCMP_ACT_*. */
function actionOf(action: Action): number {
  return action === 'allow' ? 0x7fff0000 : 0x00050000 + action.errno;
}

/** enum scmp_compare: NE, LT, LE, EQ, GE, GT and MASKED_EQ from 1 on. */
function comparisonOf(condition: Condition): string {
  const { index, value } = condition;
  switch (condition.is) {
    case 'less':
      return `${index} 2 ${value} 0`;
    case 'equal':
      return `${index} 4 ${value} 0`;
    case 'masked':
      return `${index} 7 ${condition.mask} ${value}`;
  }
}

const values = [
  0,
  1,
  8,
  9,
  11,
  12,
  13,
  38,
  39,
  40,
  41,
  45,
  46,
  0x20000,
  0x20008,
  0x10000000,
  0x7e020000,
  0x3d0f00,
  0xffffffff,
  2 ** 32,
  2 ** 32 + 8,
  2 ** 60,
];

/** What runs on each: Docker's archMap. */
const machines: Readonly<Partial<Record<Machine, readonly Abi[]>>> = {
  amd64: ['x86_64', 'i386', 'x32'],
  arm64: ['aarch64', 'arm'],
  riscv64: ['riscv64'],
};

t.test(
  'verdicts',
  {
    skip:
      process.arch === 'x64' ? false : 'libseccomp resolves names for the machine that it runs on',
  },
  async (t) => {
    // -1: unknown to this libseccomp. Below that are names of calls that other ABIs have.
    const all = [...new Set(dockerProfile.rules.flatMap(({ names }) => names))];
    const known = await numbersOf('x86_64', all);
    const names = new Set(all.filter((_, index) => known[index] !== -1));
    let compared = 0;
    for (const [machine, abis] of Object.entries(machines) as [Machine, readonly Abi[]][]) {
      for (const capabilities of [
        Object.keys(defaultCapabilities),
        ['CAP_SYS_ADMIN'],
        ['CAP_BPF', 'CAP_SYS_PTRACE', 'CAP_SYS_TIME'],
      ]) {
        const chosen = rulesFor(dockerProfile, {
          machine,
          capabilities: new Set(capabilities),
          kernel: [6, 18],
        });
        const rules: Rule[] = chosen.map((rule) => ({
          ...rule,
          names: rule.names.filter((name) => names.has(name)),
        }));
        const lines = [
          `default ${actionOf(dockerProfile.fallback)}`,
          ...abis.map((abi) => `arch ${tokens[abi]}`),
          ...(machine === 'amd64' ? [] : [`without ${tokens.x86_64}`]),
          ...rules.flatMap(({ names, action, when = [] }) =>
            names.map((name) =>
              ['rule', actionOf(action), name, ...when.map(comparisonOf)].join(' '),
            ),
          ),
        ];
        const input = `${base}/rules`;
        await succeed([
          'sh',
          '-c',
          'printf %s "$1" >"$2"; "$0" <"$2" >"$2.bpf"',
          program,
          `${lines.join('\n')}\n`,
          input,
        ]);
        const [theirs, ours] = [
          readFileSync(`${input}.bpf`),
          encode(compile(dockerProfile, rules, machine)!),
        ];
        const wrong: string[] = [];
        for (const abi of abis) {
          const calls = callsOf(abi);
          const arch = abi === 'x32' ? tokens.x86_64 : tokens[abi];
          const base = abi === 'x32' ? 0x40000000 : 0;
          // ARM's own calls begin there, far beyond the last common one: what lies between is
          // ENOSYS here, as in runc.
          const spoken = rules.flatMap(({ names }) =>
            names.flatMap((name) => calls.get(name) ?? []),
          );
          const last = Math.max(...spoken.filter((number) => number < base + 0xf0000));
          const numbers = [
            ...Array.from({ length: last - base + 1 }, (_, index) => base + index),
            ...spoken.filter((number) => number > last),
          ];
          for (const number of numbers) {
            for (const value of values) {
              for (const args of [[BigInt(value)], [0n, BigInt(value)]]) {
                compared++;
                const [a, b] = [theirs, ours].map((filter) =>
                  runFilter(filter, { number, arch, args }),
                );
                if (a !== b)
                  wrong.push(
                    `${abi} ${number} ${args.join()}: ${a!.toString(16)} there, ${b!.toString(16)} here`,
                  );
              }
            }
          }
        }
        t.same(wrong.slice(0, 20), [], `${machine}: ${capabilities.join()}`);
      }
    }
    figure(t, compared, 'verdicts compared with libseccomp');
  },
);
