/**
 * A C project as GNU autoconf leaves it: a `configure` that compiles one small program after
 * another, a config.h and a Makefile made from templates, and sources that share headers.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';

const headers =
  'stdio stdlib string unistd fcntl errno limits stdint signal time math ctype locale dirent pwd grp poll sched'.split(
    ' ',
  );
const functions =
  'open read write close fork execve mmap munmap strlcpy getline strdup memmem qsort_r statx openat2 reallocarray getrandom nanosleep'.split(
    ' ',
  );

const preamble = `#!/bin/sh
# What a configure script does: one small program compiled a question, its answer noted.
set -u
: "\${CC:=cc}" "\${CFLAGS:=-O1}"
exec 5>config.log
: >confdefs.h
ask() { # MESSAGE NAME STAGE: whether conftest.c compiles
  printf 'checking for %s... ' "$1"
  if test "$3" = link; then $CC $CFLAGS -o conftest conftest.c >&5 2>&5; else $CC $CFLAGS -c -o conftest.o conftest.c >&5 2>&5; fi
  if test $? -eq 0; then echo yes; echo "#define $2 1" >>confdefs.h; else echo no; echo "/* #undef $2 */" >>confdefs.h; fi
  rm -f conftest conftest.o conftest.c conftest.err
}
`;

const ending = `
cat confdefs.h >config.h.new
if cmp -s config.h.new config.h 2>/dev/null; then rm -f config.h.new; else mv config.h.new config.h; fi
echo 'creating Makefile'
sed -e "s,@CC@,$CC,g" -e "s,@CFLAGS@,$CFLAGS,g" Makefile.in >Makefile.tmp && mv Makefile.tmp Makefile
rm -f confdefs.h
`;

function configureScript(checks: number): string {
  const questions: string[] = [];
  for (let i = 0; i < checks; i++) {
    const name = (i % 2 === 0 ? headers : functions)[
      (i >> 1) % (i % 2 === 0 ? headers : functions).length
    ]!;
    const define = `HAVE_${name.toUpperCase()}${i % 2 === 0 ? '_H' : ''}_${i}`;
    questions.push(
      i % 2 === 0
        ? `cat confdefs.h - >conftest.c <<'END'\n#include <${name}.h>\nint unused;\nEND\nask '${name}.h (${i})' ${define} compile`
        : `cat confdefs.h - >conftest.c <<'END'\nchar ${name}(void);\nint main(void) { return ${name}(); }\nEND\nask '${name} (${i})' ${define} link`,
    );
  }
  return `${preamble}${questions.join('\n')}${ending}`;
}

const makefile = `CC = @CC@
CFLAGS = @CFLAGS@
SOURCES := $(wildcard src/*.c)
OBJECTS := $(SOURCES:.c=.o)
program: libproject.a main.o
\t$(CC) $(CFLAGS) -o $@ main.o libproject.a
libproject.a: $(OBJECTS)
\trm -f $@
\tar rc $@ $(OBJECTS)
%.o: %.c config.h
\t$(CC) $(CFLAGS) -I. -Iinclude -MMD -MP -c -o $@ $<
-include $(OBJECTS:.o=.d) main.d
`;

/** Below `directory`, which is made: `files` C files, as many headers, as many checks. */
export function writeProject(directory: string, files: number): void {
  for (const name of ['src', 'include']) mkdirSync(`${directory}/${name}`, { recursive: true });
  writeFileSync(`${directory}/configure`, configureScript(files));
  chmodSync(`${directory}/configure`, 0o755);
  writeFileSync(`${directory}/Makefile.in`, makefile);
  for (let i = 0; i < files; i++) {
    writeFileSync(
      `${directory}/include/part${i}.h`,
      `#pragma once\nstruct part${i} { int value[${i + 1}]; };\nint part${i}(int);\n`,
    );
    const included = [i, (i + 1) % files, (i + 7) % files, (i + 19) % files];
    writeFileSync(
      `${directory}/src/part${i}.c`,
      [
        '#include "config.h"',
        '#include <stdio.h>',
        '#include <stdlib.h>',
        '#include <string.h>',
        ...[...new Set(included)].map((n) => `#include "part${n}.h"`),
        `int part${i}(int n) { struct part${i} p; memset(&p, n, sizeof p); return p.value[n % ${i + 1}] + (n > 1 ? part${(i + 1) % files}(n / 2) : 0); }`,
        '',
      ].join('\n'),
    );
  }
  writeFileSync(
    `${directory}/main.c`,
    '#include <stdio.h>\n#include "part0.h"\nint main(int n, char **a) { return printf("%d\\n", part0(n)) < 0; }\n',
  );
}
