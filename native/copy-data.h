/** Copying a range of one file to the same place in another. May run on any thread. */
#pragma once

#include <stdint.h>

namespace plyfs {

/**
 * Copies as `copyData` in src/sys/syscalls.ts says; returns bytes passed over, or `-errno`. Moves
 * the position of `from` (lseek), reads and writes neither position.
 */
int64_t CopyData(int from, int to, int64_t offset, int64_t length, bool reflink);

/**
 * copy_file_range(2) from one file to another, as far as one call goes; returns bytes copied, or
 * `-errno`. A negative length is none.
 */
int64_t CopyRange(int from, int64_t from_offset, int to, int64_t to_offset, int64_t length);

/**
 * Gives the file's data, not what describes it, to the device, and waits until it lies there if
 * told so; 0, or `-errno` (sync_file_range(2) of all).
 */
int64_t WriteOut(int fd, bool wait);

}  // namespace plyfs
