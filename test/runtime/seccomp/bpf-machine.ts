/**
 * Runs a seccomp filter on a call, as the kernel does (net/core/filter.c, ___bpf_prog_run;
 * seccomp(2), struct seccomp_data).
 */

export interface Call {
  readonly number: number;
  readonly arch: number;
  /** Up to six, of 64 bits. */
  readonly args?: readonly bigint[];
}

/**
 * What `filter`, an array of struct sock_filter, returns. Throws for an instruction that seccomp
 * does not take or a jump that leads out.
 */
export function runFilter(filter: Uint8Array, { number, arch, args = [] }: Call): number {
  const program = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, number, true);
  data.setUint32(4, arch, true);
  args.forEach((value, index) =>
    data.setBigUint64(16 + 8 * index, BigInt.asUintN(64, value), true),
  );
  let accumulator = 0;
  for (let at = 0; ; at++) {
    // Past the end this throws.
    const code = program.getUint16(8 * at, true);
    const [jt, jf] = [program.getUint8(8 * at + 2), program.getUint8(8 * at + 3)];
    const k = program.getUint32(8 * at + 4, true);
    switch (code) {
      case 0x20:
        accumulator = data.getUint32(k, true);
        break;
      case 0x54:
        accumulator = (accumulator & k) >>> 0;
        break;
      case 0x05:
        at += k;
        break;
      case 0x15:
        at += accumulator === k ? jt : jf;
        break;
      case 0x25:
        at += accumulator > k ? jt : jf;
        break;
      case 0x35:
        at += accumulator >= k ? jt : jf;
        break;
      case 0x45:
        at += (accumulator & k) !== 0 ? jt : jf;
        break;
      case 0x06:
        return k;
      default:
        throw new Error(
          `instruction ${at}: 0x${code.toString(16)} is none of seccomp's that are known here`,
        );
    }
  }
}
