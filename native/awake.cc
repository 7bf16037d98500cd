#include "awake.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

namespace plyfs {
namespace {

constexpr char kDevice[] = "/dev/cpu_dma_latency";
constexpr char kDriver[] = "/sys/devices/system/cpu/cpuidle/current_driver";
/**
 * Microseconds. The second is the kernel's PM_QOS_CPU_LATENCY_DEFAULT_VALUE: as if nothing were
 * asked for.
 */
constexpr int32_t kNone = 0;
constexpr int32_t kAny = 2'000'000'000;

/**
 * Whether idle processors of this machine wait for a while before they are given back to a host.
 */
bool IsVirtual() {
  char driver[16] = {};
  const int file = open(kDriver, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t length = read(file, driver, sizeof driver - 1);
  close(file);
  return length > 0 && strcmp(driver, "haltpoll\n") == 0;
}

}  // namespace

Awake::Awake(bool wanted) {
  if (wanted && IsVirtual()) device_ = open(kDevice, O_WRONLY | O_CLOEXEC);
}

void Awake::Close() {
  if (device_ >= 0) close(device_);
  device_ = -1;
  asked_ = false;
}

bool Awake::Ask() {
  asked_ = device_ >= 0 && write(device_, &kNone, sizeof kNone) == sizeof kNone;
  return asked_;
}

void Awake::Tick() {
  if (asked_ && requests_ < kStream) {
    asked_ = false;
    // What cannot be taken back by value is by closing.
    if (write(device_, &kAny, sizeof kAny) != sizeof kAny) Close();
  }
  requests_ = 0;
}

}  // namespace plyfs
