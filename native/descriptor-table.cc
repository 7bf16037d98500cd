#include "descriptor-table.h"

#include <unistd.h>

namespace plyfs {

Descriptor::~Descriptor() { close(fd_); }

Descriptor* DescriptorTable::Exchange(uint64_t node, Descriptor* descriptor) {
  if (node < kDenseNodes) {
    const size_t page = node >> kPageBits;
    if (page >= pages_.size()) {
      if (descriptor == nullptr) return nullptr;
      pages_.resize(page + 1);
    }
    auto& entries = pages_[page];
    if (entries == nullptr) {
      if (descriptor == nullptr) return nullptr;
      entries.reset(new Descriptor*[kPageNodes]());
    }
    Descriptor* former = entries[node & kPageMask];
    entries[node & kPageMask] = descriptor;
    PassOn(node, former, descriptor);
    return former;
  }
  if (descriptor != nullptr) descriptor->read_cached = true;
  const auto found = sparse_.find(node);
  if (found == sparse_.end()) {
    if (descriptor != nullptr) sparse_.emplace(node, descriptor);
    return nullptr;
  }
  Descriptor* former = found->second;
  if (descriptor == nullptr) {
    sparse_.erase(found);
  } else {
    found->second = descriptor;
  }
  return former;
}

void DescriptorTable::PassOn(uint64_t node, const Descriptor* former, Descriptor* descriptor) {
  if (former != nullptr && former->read_cached) {
    if (node >= read_cached_.size()) read_cached_.resize(node + 1);
    read_cached_[node] = true;
  }
  if (descriptor != nullptr)
    descriptor->read_cached = node < read_cached_.size() && read_cached_[node];
}

}  // namespace plyfs
