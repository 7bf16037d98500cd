#include "answer.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fuse-wire.h"

namespace plyfs {
namespace {

/** 0 or errno. EINTR does not happen on /dev/fuse; on a socket (tests) nothing was sent. */
int WriteOnce(int device, const void* data, size_t length) {
  for (;;) {
    if (write(device, data, length) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

}  // namespace

void Answer(int device, uint64_t unique, uint8_t* body, int64_t result) {
  if (unique == 0) return;
  FuseOutHeader header;
  header.len = static_cast<uint32_t>(sizeof header + (result > 0 ? result : 0));
  header.error = result < 0 ? static_cast<int32_t>(result) : 0;
  header.unique = unique;
  uint8_t* start = body - sizeof header;
  memcpy(start, &header, sizeof header);
  if (WriteOnce(device, start, header.len) != EINVAL) return;
  // The kernel refuses an error outside -511..0 without ending the request; where the size is wrong
  // it has ended it with EIO already, and this write finds no request (fs/fuse/dev.c,
  // fuse_dev_do_write).
  header.len = sizeof header;
  header.error = -EIO;
  WriteOnce(device, &header, sizeof header);
}

}  // namespace plyfs
