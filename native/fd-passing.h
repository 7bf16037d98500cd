/** Unix sockets that pass descriptors, as fusermount3 uses them. */
#pragma once

#include <node_api.h>

namespace plyfs {

/** One message with the descriptor, for `receiveFd`. 0 or `-errno`; a socket that nobody reads any more is -EPIPE, without a signal. */
int SendDescriptor(int socket, int fd);

/** `receiveFd(socket)` and `socketpair()` as properties of `object`. */
void RegisterFdPassing(napi_env env, napi_value object);

}  // namespace plyfs
