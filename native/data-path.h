/**
 * READ and WRITE without JavaScript: at once on the main thread where that cannot take long, else
 * on transfer threads.
 *
 * `Serve` and `CloseLater` are the main thread's. A transfer thread touches its slot, its
 * descriptor (which it holds) and the device, nothing else; the queue's lock is the only one, and
 * nothing is called while it is held.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "descriptor-table.h"
#include "session-slots.h"

namespace plyfs {

/** A READ or WRITE as decoded from a request that was checked: its data is inside the slot. */
struct Transfer {
  bool write;
  uint32_t size;
  uint64_t offset;
  uint64_t node;
  uint32_t write_flags;
  /** Past the kernel's page cache (O_DIRECT). */
  bool direct;
};

class Notifier;

class DataPath {
 public:
  DataPath(int device, SlotPool& slots, Notifier& notifier)
      : device_(device), slots_(slots), notifier_(notifier) {}
  ~DataPath() { Stop(); }
  DataPath(const DataPath&) = delete;
  DataPath& operator=(const DataPath&) = delete;

  /**
   * Decodes the slot's READ or WRITE. False when the request is too short for what it says, or asks
   * for more than a slot holds.
   */
  bool Decode(int slot, Transfer* transfer);

  /** Carries the transfer out and answers it, now or later; then the slot is free. */
  void Serve(int slot, const Transfer& transfer, Descriptor* descriptor);

  /** Lets go of a hold. The close that this may bring does not keep the main thread for long. */
  void LetGo(Descriptor* descriptor);

  /**
   * Waits for all transfers and ends the threads. Later transfers are done by the caller's thread.
   */
  void Stop();

 private:
  struct Job {
    /** -1: only lets go of the descriptor. */
    int slot;
    Descriptor* descriptor;
    Transfer transfer;
  };

  bool ReadNow(int slot, const Transfer& transfer, Descriptor* descriptor);
  bool WriteNow(int slot, const Transfer& transfer, Descriptor* descriptor);
  void Later(const Job& job);
  void Run(const Job& job);
  bool StartThread();
  void ThreadMain();
  static void* ThreadEntry(void* self);

  const int device_;
  SlotPool& slots_;
  Notifier& notifier_;
  /** Until this time (monotonic nanoseconds) no write is done on the main thread. */
  int64_t writes_slow_until_ = 0;

  std::mutex lock_;
  std::condition_variable wake_;
  // Under lock_:
  std::deque<Job> queue_;
  size_t idle_ = 0;
  bool stopping_ = false;
  // The main thread's:
  std::vector<pthread_t> threads_;
};

}  // namespace plyfs
