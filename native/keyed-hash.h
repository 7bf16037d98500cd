/**
 * A hash of names that whoever chooses the names cannot foresee: SipHash-1-3 (Aumasson and
 * Bernstein, "SipHash: a fast short-input PRF"; the variant that the standard libraries of Rust and
 * Python use for their tables), under a key that each process draws for itself.
 *
 * Names of a layer are its maker's choice. With a hash that he can compute, a table of them becomes
 * one chain.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace plyfs {

struct HashKey {
  uint64_t k0;
  uint64_t k1;
};

/** This process's key, from getrandom(2). */
const HashKey& ProcessHashKey();

namespace sip {

inline uint64_t RotateLeft(uint64_t value, int bits) {
  return (value << bits) | (value >> (64 - bits));
}

struct State {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v2 += v3;
    v1 = RotateLeft(v1, 13) ^ v0;
    v3 = RotateLeft(v3, 16) ^ v2;
    v0 = RotateLeft(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = RotateLeft(v1, 17) ^ v2;
    v3 = RotateLeft(v3, 21) ^ v0;
    v2 = RotateLeft(v2, 32);
  }
};

}  // namespace sip

/** SipHash-1-3 of the bytes. */
inline uint64_t KeyedHash(const HashKey& key, const char* bytes, size_t length) {
  sip::State state{key.k0 ^ 0x736f6d6570736575, key.k1 ^ 0x646f72616e646f6d,
                   key.k0 ^ 0x6c7967656e657261, key.k1 ^ 0x7465646279746573};
  const char* const whole = bytes + (length & ~size_t{7});
  for (; bytes != whole; bytes += 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    state.v3 ^= word;
    state.Round();
    state.v0 ^= word;
  }
  uint64_t last = 0;
  memcpy(&last, bytes, length & 7);
  last |= static_cast<uint64_t>(length) << 56;
  state.v3 ^= last;
  state.Round();
  state.v0 ^= last;
  state.v2 ^= 0xff;
  for (int i = 0; i < 3; i++) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace plyfs
