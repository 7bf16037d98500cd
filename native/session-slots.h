/**
 * The slots: memory for requests and their answers, and who owns each.
 *
 * A slot is free, JavaScript's, or a native transfer's. Only the main thread takes slots; a native
 * thread gives its own back, which is one atomic operation on the set of free slots.
 *
 * Memory of a slot:  [request | zeros >= 8 ..][48: unused][16: header][body of an answer ..]
 *                     0                        replyArea              replyOffset = replyArea + 64
 * A native READ puts its data at `replyArea + 4096`, on a page's start. Pages that nobody touched
 * cost nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "request-times.h"

namespace plyfs {

/** Where things are in a slot, in bytes. */
struct SlotLayout {
  explicit SlotLayout(uint32_t max_write);

  /** Bytes that a read of the device may fill; 8 zero bytes follow any request. */
  size_t request_size;
  size_t reply_offset;
  size_t reply_size;
  size_t data_offset;
  /** Bytes of the largest READ. */
  size_t data_size;
  size_t total;
};

/**
 * Mapped memory, shared by the pool and by JavaScript's ArrayBuffer: unmapped when both have let
 * go.
 */
class SlotMemory {
 public:
  /** Null when there is no memory. Two holders: the pool and the ArrayBuffer. */
  static SlotMemory* Map(size_t bytes);
  void LetGo();
  uint8_t* start() const { return start_; }

 private:
  SlotMemory(uint8_t* start, size_t bytes) : start_(start), bytes_(bytes) {}

  uint8_t* const start_;
  const size_t bytes_;
  std::atomic<int> holders_{2};
};

struct Slot {
  enum class Owner : uint8_t { kNobody, kScript, kTransfer };

  SlotMemory* memory = nullptr;
  std::atomic<Owner> owner{Owner::kNobody};
  uint32_t opcode = 0;
  /** Bytes of the request. */
  uint32_t length = 0;
  uint64_t unique = 0;
  /** `Ticks` when the request was read. */
  uint64_t started = 0;

  uint8_t* start() const { return memory->start(); }
};

class SlotPool {
 public:
  static constexpr int kMaxSlots = 64;

  /**
   * `signal(target)` is called, on whatever thread, when a slot was given back while `Await` was
   * on.
   */
  SlotPool(uint32_t max_write, void (*signal)(void*), void* target)
      : layout(max_write), signal_(signal), target_(target) {}
  ~SlotPool() { Close(); }
  SlotPool(const SlotPool&) = delete;
  SlotPool& operator=(const SlotPool&) = delete;

  const SlotLayout layout;
  /** Of the requests whose slots were given back. */
  RequestTimes times;

  /** Lets go of the memory: there are no slots any more. */
  void Close();

  int count() const { return count_; }
  Slot& operator[](int index) { return slots_[index]; }
  uint8_t* Reply(int index) { return slots_[index].start() + layout.reply_offset; }
  uint8_t* Data(int index) { return slots_[index].start() + layout.data_offset; }

  /** The free slot with the lowest number (its memory is the warmest), or -1. It stays free. */
  int Peek() const {
    const uint64_t free = free_.load(std::memory_order_acquire);
    return free == 0 ? -1 : __builtin_ctzll(free);
  }
  /** Adds a free slot over `memory`; the caller checked that there is room. Returns its number. */
  int Add(SlotMemory* memory);

  void Take(int index, Slot::Owner owner) {
    slots_[index].owner.store(owner, std::memory_order_relaxed);
    free_.fetch_and(~(uint64_t{1} << index), std::memory_order_relaxed);
  }
  /** The request that the slot held is done with. */
  void GiveBack(int index) {
    times.Record(slots_[index].opcode, Ticks() - slots_[index].started);
    slots_[index].owner.store(Slot::Owner::kNobody, std::memory_order_relaxed);
    free_.fetch_or(uint64_t{1} << index);
    if (awaited_.load()) signal_(target_);
  }

  /**
   * Announces that the main thread waits for the signal that a slot is free. False when one is free
   * already: do not wait.
   */
  bool Await();
  void EndAwait() { awaited_.store(false); }

 private:
  void (*const signal_)(void*);
  void* const target_;
  Slot slots_[kMaxSlots];
  int count_ = 0;
  std::atomic<uint64_t> free_{0};
  std::atomic<bool> awaited_{false};
};

}  // namespace plyfs
