/*
 * What libseccomp makes of a profile: reads `default ACTION`, `arch TOKEN`, `without TOKEN` and
 * `rule ACTION NAME [INDEX OP A B]...` (numbers) from standard input, and writes the filter to
 * standard output; with names as arguments, `TOKEN NAME...`, prints their numbers instead. The
 * library is the one that runc and crun use; its headers need not be installed.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* seccomp.h */
struct comparison {
  unsigned argument;
  int op;
  uint64_t a, b;
};

static void* library;

static void* symbol(const char* name) {
  void* found = dlsym(library, name);
  if (found == NULL) exit(3);
  return found;
}

int main(int argc, char** argv) {
  library = dlopen("libseccomp.so.2", RTLD_NOW);
  if (library == NULL) return 2;
  int (*resolve)(uint32_t, const char*) = symbol("seccomp_syscall_resolve_name_arch");
  if (argc > 1) {
    for (int i = 2; i < argc; i++) printf("%d\n", resolve(strtoul(argv[1], NULL, 0), argv[i]));
    return 0;
  }
  void* (*init)(uint32_t) = symbol("seccomp_init");
  int (*add_architecture)(void*, uint32_t) = symbol("seccomp_arch_add");
  int (*remove_architecture)(void*, uint32_t) = symbol("seccomp_arch_remove");
  int (*add_rule)(void*, uint32_t, int, unsigned, const struct comparison*) =
      symbol("seccomp_rule_add_array");
  int (*export_filter)(void*, int) = symbol("seccomp_export_bpf");
  int (*native)(const char*) = symbol("seccomp_syscall_resolve_name");
  void* filter = NULL;
  char line[4096];
  while (fgets(line, sizeof line, stdin) != NULL) {
    char* word = strtok(line, " \n");
    unsigned long value = strtoul(strtok(NULL, " \n"), NULL, 0);
    if (strcmp(word, "default") == 0) {
      if ((filter = init(value)) == NULL) return 4;
    } else if (strcmp(word, "arch") == 0) {
      add_architecture(filter, value); /* Fails for the machine's own, which is there. */
    } else if (strcmp(word, "without") == 0) {
      if (remove_architecture(filter, value) < 0) return 6;
    } else {
      int call = native(strtok(NULL, " \n"));
      struct comparison comparisons[6];
      unsigned count = 0;
      for (char* index; count < 6 && (index = strtok(NULL, " \n")) != NULL; count++) {
        comparisons[count].argument = strtoul(index, NULL, 0);
        comparisons[count].op = atoi(strtok(NULL, " \n"));
        comparisons[count].a = strtoull(strtok(NULL, " \n"), NULL, 0);
        comparisons[count].b = strtoull(strtok(NULL, " \n"), NULL, 0);
      }
      int result = add_rule(filter, value, call, count, comparisons);
      if (result < 0) fprintf(stderr, "rule %d: %d\n", call, result);
    }
  }
  return export_filter(filter, 1) < 0 ? 5 : 0;
}
