/**
 * What a container's program may do: ids and capabilities (credentials(7), capabilities(7)). All
 * return 0 or `-errno`.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace plyfs {

/** No program run from here on can have more than `kept`, a bit a capability. Takes CAP_SETPCAP. */
int BoundCapabilities(uint64_t kept);

/**
 * Real, effective and saved ids, and supplementary groups. Another user than root has no
 * capabilities then.
 */
int SetIds(uint32_t uid, uint32_t gid, const uint32_t* groups, size_t group_count);

/** What the process has from here on: `kept` of it. */
int KeepCapabilities(uint64_t kept);

}  // namespace plyfs
