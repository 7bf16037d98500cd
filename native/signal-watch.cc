/**
 * A signal that JavaScript is to act on, while its thread is held by a system call that does not
 * return.
 */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "napi-helpers.h"
#include "native-thread.h"
#include "syscalls.h"

namespace plyfs {
namespace {

constexpr int kSignals[] = {SIGHUP, SIGINT, SIGTERM};
constexpr long kStepMilliseconds = 50;
constexpr size_t kStack = 64 * 1024;

/** What libuv installed, by signal: written before ours stands in its place. */
struct sigaction former[NSIG];
sem_t raised;
std::atomic<int> raised_signal{0};
std::atomic<bool> handled{false};
long grace_milliseconds = 0;

/** Async-signal-safe: sem_post(3) and lock-free atomics, then libuv's own handler. */
void Raised(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  handled.store(false);
  raised_signal.store(signal);
  sem_post(&raised);
  errno = saved;
  const struct sigaction& next = former[signal];
  if ((next.sa_flags & SA_SIGINFO) != 0)
    next.sa_sigaction(signal, info, context);
  else if (next.sa_handler != SIG_DFL && next.sa_handler != SIG_IGN)
    next.sa_handler(signal);
}

void* Watch(void*) {
  while (true) {
    if (sem_wait(&raised) != 0) continue;
    const int signal = raised_signal.load();
    for (long waited = 0; !handled.load(); waited += kStepMilliseconds) {
      if (waited >= grace_milliseconds) _exit(128 + signal);
      const timespec step{0, kStepMilliseconds * 1'000'000};
      nanosleep(&step, nullptr);
    }
  }
}

napi_value EndUnlessHandled(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  grace_milliseconds = args.Int(0);
  if (args.Failed()) return args.Failure();
  if (sem_init(&raised, 0, 0) != 0) return args.Value(-errno);
  pthread_t thread;
  if (!StartNativeThread(&thread, kStack, "plyfs-signals", Watch, nullptr))
    return args.Value(-EAGAIN);
  pthread_detach(thread);
  for (const int signal : kSignals) {
    if (sigaction(signal, nullptr, &former[signal]) != 0) return args.Value(-errno);
    struct sigaction ours = former[signal];
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = Raised;
    if (sigaction(signal, &ours, nullptr) != 0) return args.Value(-errno);
  }
  return args.Value(0);
}

napi_value SignalHandled(napi_env env, napi_callback_info) {
  handled.store(true);
  return Undefined(env);
}

constexpr Function kFunctions[] = {{"endUnlessHandled", EndUnlessHandled},
                                   {"signalHandled", SignalHandled}};

}  // namespace

void RegisterSignalWatch(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
