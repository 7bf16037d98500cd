/**
 * Passing on what is read from one descriptor to another, on a thread of its own: either end may
 * block for as long as it likes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <new>

#include "napi-helpers.h"
#include "native-thread.h"
#include "syscalls.h"

namespace plyfs {
namespace {

constexpr size_t kStackBytes = 64 * 1024;
/** A pipe holds as much. */
constexpr size_t kPieceBytes = 64 * 1024;

struct Relay {
  int from;
  int to;
  int stop;
  int64_t result = 0;
  napi_deferred deferred = nullptr;
  napi_threadsafe_function done = nullptr;
};

/** 0 when `fd` is ready (or can only fail), -ECANCELED when `stop` is. */
int Await(int fd, short event, int stop) {
  pollfd ready[] = {{fd, event, 0}, {stop, POLLIN, 0}};
  while (poll(ready, 2, -1) < 0) {
    if (errno != EINTR) return -errno;
  }
  return ready[1].revents != 0 ? -ECANCELED : 0;
}

int WriteAll(const Relay& relay, const char* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t written = write(relay.to, bytes + done, size - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno == EAGAIN) {
      // Whoever shares the descriptor has made it so.
      const int result = Await(relay.to, POLLOUT, relay.stop);
      if (result < 0) return result;
    } else if (errno != EINTR) {
      return -errno;
    }
  }
  return 0;
}

/** 0 at the end, an errno of reading, or a negative one of writing and of `stop`. */
int64_t PassOn(const Relay& relay, char* piece) {
  for (;;) {
    const int ready = Await(relay.from, POLLIN, relay.stop);
    if (ready < 0) return ready;
    const ssize_t got = read(relay.from, piece, kPieceBytes);
    if (got == 0) return 0;
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      // A terminal whose other end is gone.
      return errno == EIO ? 0 : errno;
    }
    const int written = WriteAll(relay, piece, static_cast<size_t>(got));
    if (written < 0) return written;
  }
}

void* Run(void* argument) {
  auto* const relay = static_cast<Relay*>(argument);
  // In the background, who reads a terminal is stopped by it, and who writes may be: with these
  // blocked it would be told EIO (tty_io.c, __tty_check_change).
  sigset_t terminal;
  sigemptyset(&terminal);
  sigaddset(&terminal, SIGTTIN);
  sigaddset(&terminal, SIGTTOU);
  pthread_sigmask(SIG_UNBLOCK, &terminal, nullptr);
  auto* const piece = static_cast<char*>(malloc(kPieceBytes));
  relay->result = piece == nullptr ? -ENOMEM : PassOn(*relay, piece);
  free(piece);
  const napi_threadsafe_function done = relay->done;
  // Refused when the environment is going down: nobody waits then.
  if (napi_call_threadsafe_function(done, relay, napi_tsfn_blocking) == napi_ok)
    napi_release_threadsafe_function(done, napi_tsfn_release);
  return nullptr;
}

void Settle(napi_env env, napi_value, void*, void* data) {
  auto* const relay = static_cast<Relay*>(data);
  if (env != nullptr) napi_resolve_deferred(env, relay->deferred, Number(env, relay->result));
  delete relay;
}

/** relayAsync(from, to, stop) */
napi_value RelayAsync(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const int from = args.Int(0);
  const int to = args.Int(1);
  const int stop = args.Int(2);
  if (args.Failed()) return args.Failure();
  auto* const relay = new (std::nothrow) Relay{from, to, stop};
  napi_value promise = nullptr;
  if (relay == nullptr || napi_create_promise(env, &relay->deferred, &promise) != napi_ok) {
    delete relay;
    napi_throw_error(env, nullptr, "A relay could not be started: out of memory.");
    return nullptr;
  }
  napi_value name = nullptr;
  napi_create_string_latin1(env, "plyfs", NAPI_AUTO_LENGTH, &name);
  pthread_t thread;
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr,
                                      Settle, &relay->done) == napi_ok) {
    if (StartNativeThread(&thread, kStackBytes, "plyfs-relay", Run, relay)) {
      pthread_detach(thread);
      return promise;
    }
    napi_release_threadsafe_function(relay->done, napi_tsfn_abort);
  }
  napi_resolve_deferred(env, relay->deferred, Number(env, -EAGAIN));
  delete relay;
  return promise;
}

/** [read, write], close-on-exec. */
napi_value Pipe(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) < 0) return args.Result(-1);
  napi_value pair = nullptr;
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, Number(env, ends[i]));
  return pair;
}

constexpr Function kFunctions[] = {{"relayAsync", RelayAsync}, {"pipe", Pipe}};

}  // namespace

void RegisterRelay(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
