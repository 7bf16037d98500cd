/** Writing answers to the device. */
#pragma once

#include <stdint.h>

namespace plyfs {

/**
 * Answers request `unique`: `result` >= 0 bytes of body, or -errno. The header is put into the 16
 * bytes in front of `body`, so that one contiguous write carries both.
 *
 * An answer that the kernel finds malformed becomes EIO: no request is left hanging. Every other
 * failure means that nobody waits any more (interrupted, aborted, unmounted) and is ignored. A
 * `unique` of 0 would be a notification: nothing is written.
 */
void Answer(int device, uint64_t unique, uint8_t* body, int64_t result);

}  // namespace plyfs
