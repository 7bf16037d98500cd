#include "fd-passing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "napi-helpers.h"

namespace plyfs {
namespace {

/**
 * The first descriptor of one message, close-on-exec; further ones are closed. -ECONNRESET when the
 * other side closed without sending, -EPROTO for a message without a descriptor.
 */
int ReceiveDescriptor(int socket) {
  uint8_t byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;

  int received = -1;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      if (received < 0) {
        received = fd;
      } else {
        close(fd);
      }
    }
  }
  if (received >= 0) return received;
  return got == 0 ? -ECONNRESET : -EPROTO;
}

napi_value ReceiveFd(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int socket = args.Int(0);
  if (args.Failed()) return args.Failure();
  return args.Value(ReceiveDescriptor(socket));
}

napi_value Socketpair(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  if (args.Failed()) return args.Failure();
  int pair[2] = {-1, -1};
  // Close-on-exec from the start, and taken off the child's end: a child spawned by another thread
  // meanwhile inherits neither.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return args.Result(-1);
  fcntl(pair[1], F_SETFD, 0);
  napi_value result = nullptr;
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, result, i, Number(env, pair[i]));
  return result;
}

}  // namespace

void RegisterFdPassing(napi_env env, napi_value object) {
  static const Function kFunctions[] = {{"receiveFd", ReceiveFd}, {"socketpair", Socketpair}};
  Register(env, object, kFunctions);
}

}  // namespace plyfs
