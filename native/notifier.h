/**
 * Notifications to the kernel, from a thread of their own: the kernel takes an inode's or a
 * directory's lock for one, and the lock's holder may be waiting for an answer from the main
 * thread.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include <condition_variable>
#include <deque>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>

namespace plyfs {

class Notifier {
 public:
  explicit Notifier(int device) : device_(device) {}
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  void InvalidateNode(uint64_t node, int64_t offset, int64_t length);
  /**
   * At once, from the caller's thread: for a node with a request under way, so that the kernel
   * finds its inode without waiting, and takes no lock for attributes alone (fs/fuse/inode.c,
   * fuse_reverse_inval_inode).
   */
  void ExpireAttributes(uint64_t node) const;
  /**
   * Makes the kernel forget the cached data of a range, and then answers the request `unique` with
   * `body`: from the notifier's thread, in this order. False: nothing was sent. From any thread.
   */
  bool InvalidateThenAnswer(uint64_t node, int64_t offset, int64_t length, uint64_t unique,
                            const void* body, size_t body_length);
  /** `name`: `length` bytes. */
  void InvalidateEntry(uint64_t parent, const char* name, uint32_t length);

  /**
   * Drops what was not sent and ends the thread. While it is stuck in the kernel `answer_requests`
   * is called again and again, which answers whatever requests there are, until the lock is free.
   */
  template <typename AnswerRequests>
  void Stop(AnswerRequests answer_requests) {
    if (!BeginStop()) return;
    for (int attempts = 0; attempts < kAttempts && !AwaitEnd(); attempts++) answer_requests();
    EndStop();
  }

 private:
  static constexpr int kAttempts = 1000;
  static constexpr int kMillisecondsPerAttempt = 5;
  /** Messages that wait. One that is too many is dropped: the kernel is not reading any. */
  static constexpr size_t kMaxQueue = size_t{1} << 18;

  /** Outlives the notifier where its thread never comes back from the kernel. */
  struct State {
    std::mutex lock;
    std::condition_variable wake;
    std::condition_variable end;
    std::deque<std::string> queue;
    bool stopping = false;
    /** The thread needs nothing of this any more but to let go of it. */
    bool ended = false;
    int device = -1;
    ~State();
  };

  void Send(int32_t code, const void* body, size_t length, const char* name, size_t name_length);
  /** All of the messages, or, where the queue is full or there is no thread, none. */
  bool Queue(std::initializer_list<std::string> messages);
  bool Start();
  bool BeginStop();
  /** Whether the thread has ended within an attempt's time. */
  bool AwaitEnd();
  void EndStop();
  static void* ThreadEntry(void* state);

  const int device_;
  /** Held while the thread is started. */
  std::mutex start_;
  std::shared_ptr<State> state_;
  pthread_t thread_{};
};

}  // namespace plyfs
