/**
 * Rules become a filter for the kernel: a search by the number of the call, whose outcome the
 * kernel works out beforehand where no argument decides (kernel/seccomp.c, seccomp_cache_prepare).
 */
import { constants } from 'node:os';
import { Data, instruction, Op, Verdict, type Instruction } from './bpf.js';
import { ARM_PRIVATE_CALLS, callsOf, X32_BIT, type Abi } from './syscall-numbers.js';
import type { Action, Condition, Machine, Profile, Rule } from './profile.js';

/** Calls that come with one value of `arch` (linux/audit.h, AUDIT_ARCH_*). */
interface Architecture {
  readonly audit: number;
  /** In the order of their numbers. */
  readonly abis: readonly Abi[];
}

/** What runs on a machine, its own first: Docker's archMap. */
const architectures: Readonly<Partial<Record<Machine, readonly Architecture[]>>> = {
  amd64: [
    { audit: 0xc000003e, abis: ['x86_64', 'x32'] },
    { audit: 0x40000003, abis: ['i386'] },
  ],
  arm64: [
    { audit: 0xc00000b7, abis: ['aarch64'] },
    { audit: 0x40000028, abis: ['arm'] },
  ],
  riscv64: [{ audit: 0xc00000f3, abis: ['riscv64'] }],
};

/**
 * Their arguments are words of 32 bits: nothing is asked of the upper half, as libseccomp does not.
 */
const narrow: ReadonlySet<Abi> = new Set(['i386', 'x32', 'arm']);

/**
 * The filter of `rules`, which `rulesFor` chose for `machine`, or undefined for a machine whose
 * calls are not known here.
 *
 * A call with a number beyond every one that the rules name fails with ENOSYS, as under runc
 * (libcontainer/seccomp/patchbpf): a C library takes that for a kernel that has no such call, and
 * does without.
 */
export function compile(
  { fallback }: Profile,
  rules: readonly Rule[],
  machine: Machine,
): Instruction[] | undefined {
  const known = architectures[machine];
  if (known === undefined) return undefined;
  const program = [instruction(Op.load, Data.arch)];
  for (const { audit, abis } of known) {
    const spans = abis.flatMap((abi) => spansOf(rules, abi, verdictOf(fallback)));
    const body = [instruction(Op.load, Data.number), ...search(spans)];
    program.push(instruction(Op.ifEqual, audit, 1, 0), instruction(Op.jump, body.length), ...body);
  }
  program.push(returns(Verdict.killProcess));
  return program;
}

/** Calls from the number `from` on, up to the next span's. */
interface Span {
  readonly from: number;
  /** Ends in a return, whatever it meets. */
  readonly code: readonly Instruction[];
}

/** In order, of all numbers from the ABI's first on. */
function spansOf(rules: readonly Rule[], abi: Abi, fallback: number): Span[] {
  const calls = callsOf(abi);
  const alternatives = new Map<number, Rule[]>();
  for (const rule of rules) {
    for (const name of rule.names) {
      const number = calls.get(name);
      if (number !== undefined)
        alternatives.set(number, [...(alternatives.get(number) ?? []), rule]);
    }
  }
  const unknown = Verdict.errno(constants.errno.ENOSYS);
  const last = Math.max(
    ...[...alternatives.keys()].filter((number) => abi !== 'arm' || number < ARM_PRIVATE_CALLS),
  );
  const others = (number: number): Instruction[] => [returns(number <= last ? fallback : unknown)];

  const start = abi === 'x32' ? X32_BIT : 0;
  const spans: Span[] = [{ from: start, code: others(start) }];
  for (const [number, chosen] of [...alternatives].sort(([a], [b]) => a - b)) {
    const code = chosen.reduceRight<readonly Instruction[]>(
      (after, rule) => alternative(rule, abi, after),
      others(number),
    );
    put(spans, number, code);
    put(spans, number + 1, others(number + 1));
  }
  return spans;
}

/**
 * Adds a span. One that begins where the last does takes its place, and one that returns the same
 * as the last joins it.
 */
function put(spans: Span[], from: number, code: readonly Instruction[]): void {
  if (spans.at(-1)?.from === from) spans.pop();
  const before = spans.at(-1)?.code;
  const joins = before?.length === 1 && code.length === 1 && before[0]?.k === code[0]?.k;
  if (!joins) spans.push({ from, code });
}

/** A search by halves. A far jump takes an instruction of its own. */
function search(spans: readonly Span[]): readonly Instruction[] {
  const half = spans.length >> 1;
  const middle = spans[half] as Span;
  if (half === 0) return middle.code;
  const [below, above] = [search(spans.slice(0, half)), search(spans.slice(half))];
  const way =
    below.length <= 0xff
      ? [instruction(Op.ifAtLeast, middle.from, below.length, 0)]
      : [instruction(Op.ifAtLeast, middle.from, 0, 1), instruction(Op.jump, below.length)];
  return [...way, ...below, ...above];
}

/** What `rule` says where its conditions hold, and `after` elsewhere. */
function alternative(
  { action, when = [] }: Rule,
  abi: Abi,
  after: readonly Instruction[],
): readonly Instruction[] {
  const verdict = returns(verdictOf(action));
  if (when.length === 0) return [verdict];
  const steps = when.flatMap((condition) => stepsOf(condition, narrow.has(abi)));
  const held = steps.map((step, index) =>
    typeof step === 'function' ? step(steps.length - index) : step,
  );
  return [...held, verdict, ...after];
}

/**
 * An instruction, or a comparison that skips as much as it is given where the condition does not
 * hold.
 */
type Step = Instruction | ((skipped: number) => Instruction);

/**
 * Values are words of 32 bits: a condition that compares all of an argument does not hold where its
 * upper half is not zero.
 */
function stepsOf(condition: Condition, lowOnly: boolean): Step[] {
  const { index, value } = condition;
  const isValue =
    (expected: number): Step =>
    (skipped) =>
      instruction(Op.ifEqual, expected, 0, skipped);
  const upper = lowOnly ? [] : [instruction(Op.load, Data.high(index)), isValue(0)];
  const load = instruction(Op.load, Data.low(index));
  switch (condition.is) {
    case 'equal':
      return [...upper, load, isValue(value)];
    case 'less':
      return [...upper, load, (skipped) => instruction(Op.ifAtLeast, value, skipped, 0)];
    case 'masked':
      return [load, instruction(Op.and, condition.mask), isValue(value)];
  }
}

function verdictOf(action: Action): number {
  return action === 'allow' ? Verdict.allow : Verdict.errno(action.errno);
}

function returns(verdict: number): Instruction {
  return instruction(Op.return, verdict);
}
