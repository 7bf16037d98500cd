/**
 * Which descriptor serves which node's data.
 *
 * The table belongs to the main thread. What threads share is the `Descriptor`: it is closed when
 * its last holder, the table or a transfer under way, lets go of it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

namespace plyfs {

class Descriptor {
 public:
  /** How a read that must not block is done. */
  enum class Reads : uint8_t {
    /** preadv2(RWF_NOWAIT). */
    kNowait,
    /** The file system knows no RWF_NOWAIT and may block. */
    kMayBlock,
    /** The file system knows no RWF_NOWAIT and keeps its data in memory (tmpfs). */
    kMemory,
  };

  /** Owns `fd`. The first holder is the caller. */
  Descriptor(int fd, bool writable) : fd_(fd), writable_(writable) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int fd() const { return fd_; }
  bool writable() const { return writable_; }

  void Hold() { holders_.fetch_add(1, std::memory_order_relaxed); }
  /**
   * True when this was the last holder: the caller then deletes it, which closes the descriptor.
   */
  bool LetGo() { return holders_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  ~Descriptor();

  /**
   * Data of the node was read through the kernel's page cache, by this descriptor or by one that it
   * has replaced.
   */
  std::atomic<bool> read_cached{false};
  /** Both are the main thread's. */
  bool used = false;
  Reads reads = Reads::kNowait;

 private:
  const int fd_;
  const bool writable_;
  std::atomic<int> holders_{1};
};

class DescriptorTable {
 public:
  /** Null when the node has none. */
  Descriptor* Find(uint64_t node) const {
    const size_t page = node >> kPageBits;
    if (page < pages_.size()) {
      Descriptor** entries = pages_[page].get();
      return entries == nullptr ? nullptr : entries[node & kPageMask];
    }
    if (node < kDenseNodes) return nullptr;
    const auto found = sparse_.find(node);
    return found == sparse_.end() ? nullptr : found->second;
  }

  /**
   * Puts `descriptor` (null: none) in place of what the node had, which is returned: the table's
   * hold passes to the caller.
   */
  Descriptor* Exchange(uint64_t node, Descriptor* descriptor);

  /** Calls `visit(Descriptor*)` for each and forgets them all. */
  template <typename Visitor>
  void Clear(Visitor visit) {
    for (auto& page : pages_) {
      if (page == nullptr) continue;
      for (size_t i = 0; i < kPageNodes; i++) {
        if (page[i] != nullptr) visit(page[i]);
      }
    }
    for (auto& entry : sparse_) visit(entry.second);
    pages_.clear();
    sparse_.clear();
  }

 private:
  // Node ids are handed out densely from 1: two levels, the second made when it is needed.
  static constexpr unsigned kPageBits = 10;
  static constexpr size_t kPageNodes = size_t{1} << kPageBits;
  static constexpr uint64_t kPageMask = kPageNodes - 1;
  static constexpr uint64_t kDenseNodes = uint64_t{1} << 31;

  /** Passes `read_cached` on from what the node had, also when it has nothing in between. */
  void PassOn(uint64_t node, const Descriptor* former, Descriptor* descriptor);

  std::vector<std::unique_ptr<Descriptor*[]>> pages_;
  std::unordered_map<uint64_t, Descriptor*> sparse_;
  /** Nodes whose former descriptor was `read_cached`. */
  std::vector<bool> read_cached_;
};

}  // namespace plyfs
