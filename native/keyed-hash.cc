#include "keyed-hash.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

namespace plyfs {
namespace {

HashKey Draw() {
  HashKey key{};
  if (getrandom(&key, sizeof key, 0) == static_cast<ssize_t>(sizeof key)) return key;
  // A sandbox without the call: what an outsider knows least of a process.
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  key.k0 = reinterpret_cast<uintptr_t>(&key) ^ static_cast<uint64_t>(now.tv_nsec) << 32;
  key.k1 = static_cast<uint64_t>(getpid()) << 32 ^ static_cast<uint64_t>(now.tv_sec);
  return key;
}

}  // namespace

const HashKey& ProcessHashKey() {
  static const HashKey key = Draw();
  return key;
}

}  // namespace plyfs
