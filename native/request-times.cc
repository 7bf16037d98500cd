#include "request-times.h"

#include <math.h>

#include <algorithm>

namespace plyfs {

/**
 * The power of two, and the two bits below the highest. Numbers under 4 have buckets of their own.
 */
uint32_t RequestTimes::BucketOf(uint64_t ticks) {
  if (ticks < 4) return static_cast<uint32_t>(ticks);
  const uint32_t power = 63 - static_cast<uint32_t>(__builtin_clzll(ticks));
  return (power - 1) * 4 + static_cast<uint32_t>((ticks >> (power - 2)) & 3);
}

double RequestTimes::EndOf(uint32_t bucket) {
  if (bucket < 4) return bucket + 1;
  return ldexp(5 + bucket % 4, static_cast<int>(bucket / 4) - 1);
}

void RequestTimes::Record(uint32_t opcode, uint64_t ticks) {
  if (opcode >= kOpcodes) return;
  // Two processors may disagree by a few.
  if (static_cast<int64_t>(ticks) < 0) ticks = 0;
  Opcode& of = opcodes_[opcode];
  of.buckets[BucketOf(ticks)].fetch_add(1, std::memory_order_relaxed);
  of.total.fetch_add(ticks, std::memory_order_relaxed);
  uint64_t max = of.max.load(std::memory_order_relaxed);
  while (ticks > max && !of.max.compare_exchange_weak(max, ticks, std::memory_order_relaxed)) {}
}

void RequestTimes::Fail(uint32_t opcode) {
  if (opcode < kOpcodes) opcodes_[opcode].failed.fetch_add(1, std::memory_order_relaxed);
}

RequestTimes::Summary RequestTimes::Summarize(uint32_t opcode) const {
  Summary summary;
  if (opcode >= kOpcodes) return summary;
  const Opcode& of = opcodes_[opcode];
  uint64_t counts[kBuckets];
  for (uint32_t i = 0; i < kBuckets; i++) {
    counts[i] = of.buckets[i].load(std::memory_order_relaxed);
    summary.requests += static_cast<double>(counts[i]);
  }
  if (summary.requests == 0) return summary;
  const double nanoseconds =
      static_cast<double>(std::max<int64_t>(MonotonicNanoseconds() - start_, 1));
  const double ticks_per_microsecond =
      static_cast<double>(std::max<uint64_t>(Ticks() - start_ticks_, 1)) * 1000 / nanoseconds;
  const double max = static_cast<double>(of.max.load(std::memory_order_relaxed));
  const auto quantile = [&](double fraction) {
    double left = ceil(summary.requests * fraction);
    for (uint32_t i = 0; i < kBuckets; i++) {
      left -= static_cast<double>(counts[i]);
      if (left <= 0) return std::min(EndOf(i), max);
    }
    return max;
  };
  summary.failed = static_cast<double>(of.failed.load(std::memory_order_relaxed));
  summary.total =
      static_cast<double>(of.total.load(std::memory_order_relaxed)) / ticks_per_microsecond;
  summary.p50 = quantile(0.5) / ticks_per_microsecond;
  summary.p99 = quantile(0.99) / ticks_per_microsecond;
  summary.max = max / ticks_per_microsecond;
  return summary;
}

}  // namespace plyfs
