#pragma once

namespace plyfs {

/**
 * A new network namespace has its loopback interface, switched off: switches it on. 0 or `-errno`.
 */
int LoopbackUp();

}  // namespace plyfs
