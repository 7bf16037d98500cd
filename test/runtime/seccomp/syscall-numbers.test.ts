/**
 * The table of system calls is the kernel's: its headers, where they are installed, have the same
 * names and numbers.
 */
import t from 'tap';
import { callsOf, type Abi } from '../../../src/runtime/seccomp/syscall-numbers.js';
import { figure } from '../../support/figures.js';
import { run } from '../../support/command.js';

/**
 * What includes the numbers of an ABI (arch/arm64 and arch/riscv, include/uapi/asm/unistd.h, choose
 * among the generic ones).
 */
const generic =
  '#define __BITS_PER_LONG 64\n#define __ARCH_WANT_NEW_STAT\n#define __ARCH_WANT_SET_GET_RLIMIT\n#define __ARCH_WANT_SYS_CLONE3\n#define __ARCH_WANT_MEMFD_SECRET\n';
const sources: Readonly<Partial<Record<Abi, string>>> = {
  x86_64: '#include <asm/unistd_64.h>',
  i386: '#include <asm/unistd_32.h>',
  x32: '#define __X32_SYSCALL_BIT 0x40000000\n#include <asm/unistd_x32.h>',
  aarch64: `${generic}#define __ARCH_WANT_RENAMEAT\n#include <asm-generic/unistd.h>`,
  riscv64: `${generic}#include <asm-generic/unistd.h>`,
};
/** Of riscv64's own header, which is on such machines only. */
const own: readonly string[] = ['riscv_flush_icache', 'riscv_hwprobe'];
/** In the headers, and no call: how many there are, and where an architecture's own begin. */
const none: readonly string[] = ['syscalls', 'arch_specific_syscall'];

async function numbersOf(source: string): Promise<Map<string, number> | undefined> {
  const { status, stdout } = await run(['cc', '-E', '-dM', '-'], { input: source });
  if (status !== 0) return undefined;
  const defined = new Map(
    [...stdout.matchAll(/^#define __(NR_\w+|NR3264_\w+) (.+)$/gm)].map(([, name, text]) => [
      name!,
      text!,
    ]),
  );
  const valueOf = (text: string): number => {
    const plain = text.replace('__X32_SYSCALL_BIT', '0x40000000').replace(/[()]/g, '');
    const other = /^__(NR\w*)$/.exec(plain)?.[1];
    if (other !== undefined) return valueOf(defined.get(other)!);
    return plain.split('+').reduce((sum, part) => sum + Number(part), 0);
  };
  const names = [...defined.keys()].filter(
    (name) => name.startsWith('NR_') && !none.includes(name.slice(3)),
  );
  return new Map(names.map((name) => [name.slice(3), valueOf(defined.get(name)!)]));
}

t.test('numbers', async (t) => {
  let compared = 0;
  for (const [abi, source] of Object.entries(sources) as [Abi, string][]) {
    const headers = await numbersOf(source);
    if (headers === undefined) {
      t.comment(`${abi}: its header is not on this machine`);
      continue;
    }
    const calls = callsOf(abi);
    // Newer headers have calls that the table has not, and older ones lack the newest.
    const base = abi === 'x32' ? 0x40000000 : 0;
    const newest = Math.max(...[...headers.values()].filter((number) => number < base + 512));
    const [inTable, inHeaders] = [new Map<string, number>(), new Map<string, number>()];
    for (const [name, number] of headers)
      if (calls.has(name) || number <= base + 469) inHeaders.set(name, number);
    for (const [name, number] of calls) {
      if (
        headers.has(name) ||
        !(number > newest || own.includes(name) || ['uretprobe', 'uprobe'].includes(name))
      )
        inTable.set(name, number);
    }
    compared += inHeaders.size;
    t.same(Object.fromEntries([...inTable].sort()), Object.fromEntries([...inHeaders].sort()), abi);
  }
  t.ok(compared > 0);
  figure(t, compared, 'numbers of system calls compared with headers');
});
