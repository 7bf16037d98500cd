/** Unix sockets that pass descriptors, as fusermount3 uses them. */
#pragma once

#include <node_api.h>

namespace plyfs {

/** `receiveFd(socket)` and `socketpair()` as properties of `object`. */
void RegisterFdPassing(napi_env env, napi_value object);

}  // namespace plyfs
