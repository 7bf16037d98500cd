/** Copying a range of one file to the same place in another. May run on any thread. */
#pragma once

#include <stdint.h>

namespace plyfs {

/**
 * Copies as `copyData` in src/sys/syscalls.ts says; returns bytes passed over, or `-errno`. Moves the position of `from`
 * (lseek), reads and writes neither position.
 */
int64_t CopyData(int from, int to, int64_t offset, int64_t length, bool reflink);

}  // namespace plyfs
