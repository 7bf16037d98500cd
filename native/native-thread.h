/** Threads that never run JavaScript. */
#pragma once

#include <pthread.h>
#include <stddef.h>

namespace plyfs {

/**
 * Starts a joinable thread with every signal blocked: signals are for libuv's handlers on the main
 * thread. False when the system gives no thread. `name`: at most 15 bytes.
 */
bool StartNativeThread(pthread_t* thread, size_t stack_bytes, const char* name,
                       void* (*entry)(void*), void* argument);

}  // namespace plyfs
