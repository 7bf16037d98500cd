/**
 * Calls that the running kernel may lack: tried until it says so, and then no more. Atomics:
 * `copyData` apart, calls come from every thread that runs JavaScript.
 */
#pragma once

#include <atomic>

namespace plyfs {

class KernelFeature {
 public:
  bool Try() const { return value_.load(std::memory_order_relaxed); }
  void Set(bool present) { value_.store(present, std::memory_order_relaxed); }

 private:
  std::atomic<bool> value_{true};
};

/** fchmodat2(2): Linux 6.6. */
inline KernelFeature fchmodat2_feature;
/** getxattrat(2), setxattrat(2), listxattrat(2), removexattrat(2): Linux 6.13. */
inline KernelFeature xattrat_feature;
/** utimensat(2) with AT_EMPTY_PATH: Linux 5.8. */
inline KernelFeature utimensat_empty_feature;
/** linkat(2) with AT_EMPTY_PATH: a privilege rather than a feature; never found absent. */
inline KernelFeature linkat_empty_feature;

}  // namespace plyfs
