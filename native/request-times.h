/**
 * How long requests took, by opcode: from being read from the device to having been answered.
 *
 * Always counted, by whichever thread ends the request: two readings of the processor's counter and
 * two additions a request, about 20 ns. Counter ticks become microseconds when somebody asks, by
 * how far the clock came meanwhile.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include <atomic>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace plyfs {

inline int64_t MonotonicNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/** Grows at one pace on all processors. */
inline uint64_t Ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return static_cast<uint64_t>(MonotonicNanoseconds());
#endif
}

class RequestTimes {
 public:
  /** Requests with a larger opcode are not counted. */
  static constexpr uint32_t kOpcodes = 64;

  /** In microseconds. The quantiles are at most a quarter too high. */
  struct Summary {
    double requests = 0;
    double failed = 0;
    double total = 0;
    double p50 = 0;
    double p99 = 0;
    double max = 0;
  };

  void Record(uint32_t opcode, uint64_t ticks);
  void Fail(uint32_t opcode);
  Summary Summarize(uint32_t opcode) const;

 private:
  /** Four to a power of two. */
  static constexpr uint32_t kBuckets = 64 * 4;

  struct Opcode {
    std::atomic<uint64_t> total{0};
    std::atomic<uint64_t> max{0};
    std::atomic<uint64_t> failed{0};
    std::atomic<uint64_t> buckets[kBuckets]{};
  };

  static uint32_t BucketOf(uint64_t ticks);
  /** The first number of ticks above a bucket. */
  static double EndOf(uint32_t bucket);

  const uint64_t start_ticks_ = Ticks();
  const int64_t start_ = MonotonicNanoseconds();
  Opcode opcodes_[kOpcodes];
};

}  // namespace plyfs
