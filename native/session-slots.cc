#include "session-slots.h"

#include <sys/mman.h>

#include "fuse-wire.h"

namespace plyfs {
namespace {

constexpr size_t kPage = 4096;
/**
 * max_pages is 256 by default (fs.fuse.max_pages_limit): the largest READ, and listings that fit
 * one answer.
 */
constexpr size_t kMinDataSize = size_t{1} << 20;
/** In front of the body, on the same page: the answer's header, at a cache line's end. */
constexpr size_t kReplyRoom = 64;

constexpr size_t RoundUp(size_t bytes) { return (bytes + kPage - 1) & ~(kPage - 1); }

}  // namespace

SlotLayout::SlotLayout(uint32_t max_write) {
  // The kernel asks for room for its largest WRITE, and for at least 8 KiB (FUSE_MIN_READ_BUFFER).
  const size_t request_area = RoundUp(size_t{max_write} + 2 * kPage);
  const size_t largest = RoundUp(max_write);
  request_size = request_area - 8;
  reply_offset = request_area + kReplyRoom;
  data_offset = request_area + kPage;
  data_size = largest > kMinDataSize ? largest : kMinDataSize;
  total = data_offset + data_size;
  reply_size = total - reply_offset;
}

SlotMemory* SlotMemory::Map(size_t bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  return new SlotMemory(static_cast<uint8_t*>(start), bytes);
}

void SlotMemory::LetGo() {
  if (holders_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  munmap(start_, bytes_);
  delete this;
}

void SlotPool::Close() {
  for (int i = 0; i < count_; i++) slots_[i].memory->LetGo();
  count_ = 0;
  free_.store(0);
}

int SlotPool::Add(SlotMemory* memory) {
  const int index = count_++;
  slots_[index].memory = memory;
  free_.fetch_or(uint64_t{1} << index);
  return index;
}

bool SlotPool::Await() {
  // Pairs with GiveBack: of "slot given back" and "main thread waits", the later one sees the
  // earlier.
  awaited_.store(true);
  if (free_.load() == 0) return true;
  EndAwait();
  return false;
}

}  // namespace plyfs
