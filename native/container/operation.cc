#include "operation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace plyfs {
namespace {

/** 1, 0 when the other side ended before the first byte, or `-errno`. */
int ReadAll(int fd, void* to, size_t size) {
  auto* bytes = static_cast<uint8_t*>(to);
  for (size_t done = 0; done < size;) {
    const ssize_t got = read(fd, bytes + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) return done == 0 ? 0 : -EPROTO;
    done += static_cast<size_t>(got);
  }
  return 1;
}

}  // namespace

Operation::~Operation() {
  free(bytes_);
  for (void* block : kept_) free(block);
}

int Operation::Receive(int socket) {
  for (void*& block : kept_) {
    free(block);
    block = nullptr;
  }
  free(bytes_);
  bytes_ = nullptr;
  at_ = size_ = 0;
  malformed_ = false;
  uint32_t size = 0;
  int result = ReadAll(socket, &size, sizeof size);
  if (result <= 0) return result;
  if (size == 0 || size > kMaxBytes) return -EPROTO;
  bytes_ = static_cast<uint8_t*>(malloc(size));
  if (bytes_ == nullptr) return -ENOMEM;
  result = ReadAll(socket, bytes_, size);
  if (result <= 0) return result == 0 ? -EPROTO : result;
  size_ = size;
  flags_ = Word();
  name_ = Text();
  return malformed_ ? -EPROTO : 1;
}

const void* Operation::Take(size_t size) {
  if (malformed_ || size > size_ - at_) {
    malformed_ = true;
    return nullptr;
  }
  const void* const found = bytes_ + at_;
  at_ += size;
  return found;
}

uint32_t Operation::Word() {
  uint32_t value = 0;
  if (const void* const found = Take(sizeof value)) memcpy(&value, found, sizeof value);
  return value;
}

uint64_t Operation::Number() {
  uint64_t value = 0;
  if (const void* const found = Take(sizeof value)) memcpy(&value, found, sizeof value);
  return value;
}

const char* Operation::Text() {
  const size_t length = Word();
  const auto* const text = static_cast<const char*>(Take(length + 1));
  if (text != nullptr && strnlen(text, length + 1) == length) return text;
  malformed_ = true;
  return "";
}

void* Operation::Keep(size_t size) {
  for (void*& block : kept_) {
    if (block != nullptr) continue;
    block = calloc(1, size);
    return block;
  }
  return nullptr;
}

char** Operation::Texts() {
  static char* none[] = {nullptr};
  const size_t count = Word();
  // A text takes five bytes at least: the memory is bounded by what was sent.
  char** const texts =
      count > size_ ? nullptr : static_cast<char**>(Keep((count + 1) * sizeof(char*)));
  if (texts == nullptr) {
    malformed_ = true;
    return none;
  }
  for (size_t i = 0; i < count; i++) texts[i] = const_cast<char*>(Text());
  return texts;
}

const uint32_t* Operation::Numbers(size_t* count) {
  static const uint32_t none[] = {0};
  *count = 0;
  const size_t sent = Word();
  auto* const numbers =
      sent > size_ ? nullptr : static_cast<uint32_t*>(Keep((sent + 1) * sizeof(uint32_t)));
  if (numbers == nullptr) {
    malformed_ = true;
    return none;
  }
  for (size_t i = 0; i < sent; i++) numbers[i] = static_cast<uint32_t>(Number());
  *count = sent;
  return numbers;
}

}  // namespace plyfs
