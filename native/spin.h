/**
 * Whether looking for a request is worth it before sleeping.
 *
 * A client sends its next request right after it woke to an answer, and on a virtual machine to
 * wake an idle processor costs tens of microseconds, twice a request: a spin that outlasts the
 * client's waking spares this side's. Where spins find nothing, or keep a processor from somebody
 * who wants it, they are given up, but for a try now and then.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

namespace plyfs {

class Spin {
 public:
  /** PLYFS_SPIN_US: microseconds of one spin, 0 for none, at most 1000. */
  Spin() {
    long microseconds = kDefaultMicroseconds;
    if (const char* setting = getenv("PLYFS_SPIN_US")) microseconds = strtol(setting, nullptr, 10);
    if (microseconds < 0) microseconds = 0;
    if (microseconds > 1000) microseconds = 1000;
    length_ = int64_t{microseconds} * 1000;
  }

  bool wanted() const { return length_ > 0; }

  /** Calls `found` until it is true, at most for the time of a spin. */
  template <typename Found>
  bool Run(Found found) {
    if (length_ == 0) return false;
    if (trust_ == 0 && ++skipped_ < kSkips) return false;
    skipped_ = 0;
    const int64_t end = Now() + length_;
    do {
      for (int i = 0; i < 8; i++) Pause();
      if (found()) {
        if (trust_ < kMaxTrust) trust_++;
        return true;
      }
    } while (Now() < end);
    if (trust_ > 0) trust_--;
    if (WasPreempted()) trust_ = 0;
    return false;
  }

 private:
  static constexpr long kDefaultMicroseconds = 80;
  static constexpr int kMaxTrust = 8;
  /** Without trust, one sleep in so many is tried as a spin. */
  static constexpr int kSkips = 32;

  static int64_t Now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }

  /**
   * Whether the scheduler took the processor from this thread, for another, since the last call.
   */
  bool WasPreempted() {
    rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) != 0) return false;
    const long former = preempted_;
    preempted_ = usage.ru_nivcsw;
    return preempted_ != former;
  }

  static void Pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  int64_t length_;
  int trust_ = 4;
  int skipped_ = 0;
  long preempted_ = 0;
};

}  // namespace plyfs
