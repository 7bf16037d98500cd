#include "native-thread.h"

#include <signal.h>

namespace plyfs {

bool StartNativeThread(pthread_t* thread, size_t stack_bytes, const char* name,
                       void* (*entry)(void*), void* argument) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setstacksize(&attributes, stack_bytes);
  sigset_t all;
  sigset_t former;
  sigfillset(&all);
  // A new thread inherits its creator's mask.
  pthread_sigmask(SIG_SETMASK, &all, &former);
  const int error = pthread_create(thread, &attributes, entry, argument);
  pthread_sigmask(SIG_SETMASK, &former, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) return false;
  pthread_setname_np(*thread, name);
  return true;
}

}  // namespace plyfs
