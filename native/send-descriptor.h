/** Passing a descriptor over a Unix socket (SCM_RIGHTS, unix(7)). */
#pragma once

namespace plyfs {

/**
 * One message with the descriptor, for `receiveFd`. 0 or `-errno`; a socket that nobody reads any
 * more is -EPIPE, without a signal.
 */
int SendDescriptor(int socket, int fd);

}  // namespace plyfs
