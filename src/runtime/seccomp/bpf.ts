/**
 * Classic BPF as seccomp(2) takes it (linux/filter.h, linux/bpf_common.h): the instructions that a
 * filter is made of.
 */

export interface Instruction {
  readonly code: number;
  /** How many instructions are skipped when a comparison holds, and when it does not: 0 to 255. */
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** BPF_CLASS | BPF_MODE or BPF_OP | BPF_SRC. */
export const Op = {
  /** The word at offset `k` of struct seccomp_data. */
  load: 0x20,
  and: 0x54,
  jump: 0x05,
  ifEqual: 0x15,
  ifGreater: 0x25,
  ifAtLeast: 0x35,
  return: 0x06,
} as const;

/** The longest program that Linux takes (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;

/**
 * Offsets in struct seccomp_data of a little-endian machine: of an argument the low word is first.
 */
export const Data = {
  number: 0,
  arch: 4,
  low: (argument: number): number => 16 + 8 * argument,
  high: (argument: number): number => 20 + 8 * argument,
} as const;

/** What a filter returns (linux/seccomp.h, SECCOMP_RET_*). */
export const Verdict = {
  killProcess: 0x80000000,
  allow: 0x7fff0000,
  errno: (errno: number): number => 0x00050000 + errno,
} as const;

export function instruction(code: number, k: number, jt = 0, jf = 0): Instruction {
  return { code, jt, jf, k };
}

/**
 * An array of struct sock_filter of a little-endian machine. Throws RangeError for what the kernel
 * would refuse.
 */
export function encode(program: readonly Instruction[]): Uint8Array {
  if (program.length > MAX_INSTRUCTIONS)
    throw new RangeError(`a filter of ${program.length} instructions`);
  const bytes = new DataView(new ArrayBuffer(8 * program.length));
  program.forEach(({ code, jt, jf, k }, index) => {
    if (jt > 0xff || jf > 0xff)
      throw new RangeError(`a jump over ${Math.max(jt, jf)} instructions`);
    bytes.setUint16(8 * index, code, true);
    bytes.setUint8(8 * index + 2, jt);
    bytes.setUint8(8 * index + 3, jf);
    bytes.setUint32(8 * index + 4, k, true);
  });
  return new Uint8Array(bytes.buffer);
}
