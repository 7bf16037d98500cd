/**
 * Keeps idle processors of a virtual machine awake while requests stream.
 *
 * From a request until its answer the client's processor is idle for some microseconds. Where the
 * host takes a processor away as soon as it is idle (guest_halt_poll_ns=0), to wake it costs more
 * than the request. A latency of 0, asked for through the kernel's PM QoS interface
 * (Documentation/power/pm_qos_interface.rst), has idle processors look for work instead. That takes
 * root, ends with the process at the latest, and is done under the cpuidle driver of virtual
 * machines only: elsewhere waking is cheap, and sleep saves power.
 */
#pragma once

#include <stdint.h>

namespace plyfs {

class Awake {
 public:
  /** How often `Tick` is to be called while `asked`. */
  static constexpr uint64_t kTickMilliseconds = 20;

  /** `wanted` false: it never asks. */
  explicit Awake(bool wanted);
  ~Awake() { Close(); }
  Awake(const Awake&) = delete;
  Awake& operator=(const Awake&) = delete;

  /** A request came. True when it was the one that made a stream of them: ticks are to begin. */
  bool Request() { return ++requests_ == kStream && !asked_ && Ask(); }

  /** No request came in time. */
  void Pause() {
    if (!asked_) requests_ = 0;
  }

  /** Gives up what was asked for when requests no longer stream. */
  void Tick();

  /** For good. */
  void Close();

  bool asked() const { return asked_; }

 private:
  /**
   * So many requests without a pause, or in one tick, are a stream: to ask wakes every idle
   * processor once.
   */
  static constexpr uint32_t kStream = 32;

  bool Ask();

  int device_ = -1;
  bool asked_ = false;
  uint32_t requests_ = 0;
};

}  // namespace plyfs
