#!/bin/sh
# Runs the tests of native/ (test/sys/, the plan of a first process), and the fuzzing of what
# reaches it, with both targets built under AddressSanitizer and UndefinedBehaviorSanitizer. The
# build lies in a directory of its own; the checkout needs `make build` before, and is not changed.
set -eu

cd "$(dirname "$0")/.."
if ! ls dist/test/sys/*.test.js >/dev/null 2>&1; then
  echo 'asan.sh: dist/test/sys/ has no tests; run make build first.' >&2
  exit 2
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -R native binding.gyp package.json dist test "$scratch"
rm -rf "$scratch/native/build"
ln -s "$PWD/node_modules" "$scratch/node_modules"
cd "$scratch"

nodedir=$(dirname "$(dirname "$(node -p process.execPath)")")
[ ! -e "$nodedir/include/node/node_api.h" ] || set -- "--nodedir=$nodedir"
node_modules/.bin/node-gyp rebuild --loglevel=warn --asan=1 "$@" </dev/null >build.log 2>&1 || {
  cat build.log >&2
  exit 1
}
if ! nm -D build/Release/plyfs.node | grep -q __asan_; then
  echo 'asan.sh: the addon was built without AddressSanitizer; look at binding.gyp for its variable asan.' >&2
  exit 1
fi

# Node does not free what it holds at exit: leaks are not reported.
ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:exitcode=99
UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
libraries="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export ASAN_OPTIONS UBSAN_OPTIONS

# Programs that the tests start do without: dd, for one, calls aligned_alloc in a way that ends it.
echo 'delete process.env.LD_PRELOAD;' >unload.mjs

failed=0
for test in dist/test/sys/*.test.js dist/test/runtime/operations.test.js \
  dist/test/fuzz/requests.test.js dist/test/fuzz/layer-values.test.js; do
  if timeout -k 5 300 env LD_PRELOAD="$libraries" node --import ./unload.mjs "$test" >test.log 2>&1; then
    echo "ok  $test"
  else
    failed=1
    cat test.log
    echo "not ok  $test"
  fi
done
exit $failed
