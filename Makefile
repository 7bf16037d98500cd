# plyfs: `make build`, `make demo`, `make test`; `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PREFIX ?= /usr/local
DESTDIR ?=

NODE ?= node
BIN := node_modules/.bin

NPM_STAMP := node_modules/.package-lock.json
ADDON_STAMP := build/.built
TSC_STAMP := dist/.built
# The mount program in one file: Node starts it a tenth of a second sooner than it finds eighty
# modules.
PROGRAM := dist/src/programs/plyfs.js

NATIVE_SOURCES := binding.gyp $(shell find native -name '*.cc' -o -name '*.h')
TYPESCRIPT := $(shell find src test -name '*.ts' 2>/dev/null)

compiled = $(patsubst %.ts,dist/%.js,$(1))
TESTS := $(call compiled,$(sort $(shell find test -name '*.test.ts' 2>/dev/null)))
INTEGRATION_TESTS := $(filter dist/test/integration/%,$(TESTS))
SOAK_TESTS := $(filter dist/test/soak/%,$(TESTS))
UNIT_TESTS := $(filter-out $(INTEGRATION_TESTS) $(SOAK_TESTS),$(TESTS))

# A regular expression over the paths of test sources: make test ONLY=image/reference
ONLY ?=
export ONLY
# What `make quick` compares with: by default the commit where this branch left main.
SINCE ?=

# Debian packages that the tests call upon. `make test` and `make integration` install what is
# missing when they may.
TEST_NEEDS := fuse3:fusermount3 attr:getfattr acl:setfacl util-linux:setpriv g++:g++ \
	e2fsprogs:mkfs.ext4 zstd:zstd xz-utils:xz bzip2:bzip2
INTEGRATION_NEEDS := $(TEST_NEEDS) mmdebstrap:mmdebstrap fuse-overlayfs:fuse-overlayfs \
	sqlite3:sqlite3 python3:python3 podman:podman crun:crun uidmap:newuidmap buildah:buildah \
	skopeo:skopeo docker.io:dockerd docker-registry:docker-registry openssl:openssl \
	busybox-static:busybox stress-ng:stress-ng git:git \
	xfsprogs:mkfs.xfs btrfs-progs:mkfs.btrfs mergerfs:mergerfs

BENCH_NEEDS := fuse3:fusermount3 e2fsprogs:mkfs.ext4 fuse-overlayfs:fuse-overlayfs \
	time:time mmdebstrap:mmdebstrap docker.io:dockerd podman:podman fio:fio git:git
# Options of the benchmark: make bench ARGS=--help.
ARGS ?=

# What a test run leaves for .ci/run to count.
RESULTS := dist/results

.PHONY: build
build: $(ADDON_STAMP) $(PROGRAM) ## npm packages, native addon, TypeScript

$(NPM_STAMP): package.json package-lock.json .npmrc
	@scripts/need-tools node
	npm ci --no-progress --loglevel=error </dev/null
	@touch $@

# Node's own headers where it came with them (prefix/include/node), else node-gyp fetches them.
$(ADDON_STAMP): $(NATIVE_SOURCES) $(NPM_STAMP)
	@scripts/need-tools compiler
	@nodedir=$$($(NODE) -p "require('node:path').resolve(process.execPath, '../..')"); \
	test -e "$$nodedir/include/node/node_api.h" && set -- "--nodedir=$$nodedir" || set --; \
	echo "node-gyp configure build $$*"; \
	$(BIN)/node-gyp configure build --jobs max --loglevel=warn "$$@" </dev/null
	@touch $@

$(TSC_STAMP): $(TYPESCRIPT) tsconfig.json $(NPM_STAMP)
	$(BIN)/tsc
	@touch $@

# As deep as the modules it is made of: they find the addon relative to themselves.
$(PROGRAM): $(TSC_STAMP)
	@$(BIN)/esbuild dist/src/cli/plyfs.js --bundle --platform=node --format=esm --target=node20 \
		--log-level=warning --outfile=$@

.PHONY: check
check: $(TSC_STAMP) ## format, lint, types, import directions, columns, shell
	$(BIN)/prettier --check --log-level=warn --cache --cache-strategy=content \
		--cache-location=dist/cache/prettier .
	@scripts/format-native --check
	scripts/lint
	@scripts/check-shell
	@$(NODE) scripts/check-columns.js
	$(NODE) dist/test/architecture/imports.test.js >/dev/null || \
		$(NODE) dist/test/architecture/imports.test.js

.PHONY: test
test: build ## unit tests and mounts: needs Node, a compiler, fuse3 and attr only; ONLY=REGEXP
	@scripts/need-packages $(TEST_NEEDS)
	@scripts/need-tools fuse
	@scripts/run-tests $(RESULTS)/test.tap 2 $(UNIT_TESTS)

.PHONY: quick
quick: build check ## before a commit: check, nearest tests of what changed; SINCE=COMMIT
	@scripts/need-packages $(TEST_NEEDS)
	@scripts/need-tools fuse
	@scripts/run-tests $(RESULTS)/quick.tap 2 \
		$$($(NODE) scripts/changed-tests.js $(if $(SINCE),--since $(SINCE)))

.PHONY: integration
integration: build ## whole root file systems, containers, peers, from Debian; ONLY=REGEXP
	@scripts/need-packages $(INTEGRATION_NEEDS)
	@scripts/need-tools fuse
	@scripts/run-tests $(RESULTS)/integration.tap 2 $(INTEGRATION_TESTS)

.PHONY: soak
soak: build ## random operations and inputs from new seeds, and load, for as long as told
	@scripts/need-packages $(INTEGRATION_NEEDS)
	@scripts/need-tools fuse
	@scripts/run-tests $(RESULTS)/soak.tap 1 $(SOAK_TESTS)

.PHONY: mutate
mutate: build ## small changes of modules, one at a time, that their tests do not notice
	@$(NODE) scripts/mutate.js $(ARGS)

.PHONY: bench
bench: build ## times beside the kernel's overlay and the peers; ARGS=--help
	@scripts/need-packages $(BENCH_NEEDS)
	@scripts/need-tools fuse
	@$(NODE) dist/test/bench/main.js $(ARGS)

.PHONY: demo
demo: build ## mounts a small image and walks through what a union mount does
	@scripts/need-tools fuse
	@scripts/demo

.PHONY: install
install: build ## plyfs and ply into PREFIX/bin (default /usr/local); DESTDIR for packagers
	@scripts/install-package "$(DESTDIR)" "$(PREFIX)"

.PHONY: uninstall
uninstall: ## what install put there
	rm -rf "$(DESTDIR)$(PREFIX)/lib/plyfs"
	rm -f "$(DESTDIR)$(PREFIX)/bin/plyfs" "$(DESTDIR)$(PREFIX)/bin/ply"

.PHONY: format
format: $(NPM_STAMP) ## rewrites the sources in the project's format
	$(BIN)/prettier --write --log-level=warn .
	@scripts/format-native --write

.PHONY: clean
clean: ## everything the build made
	rm -rf dist build node_modules .tap .stryker-tmp

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
