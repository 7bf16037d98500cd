/**
 * One operation of a container's plan, as the supervisor writes it (src/runtime/operations.ts):
 * numbers in the machine's byte order.
 *
 *   u32 bytes of what follows, at most kMaxBytes
 *   u32 flags
 *   text name of the operation
 *   its fields, each a number (u64), a text (u32 length, bytes, a NUL) or a list (u32 count, then
 *     as many fields)
 *
 * A text has no NUL within. What is malformed, too long, or left over when the last field was read
 * makes the operation `Malformed`; fields read from then on are zeros and empty texts.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace plyfs {

enum OperationFlag : uint32_t {
  /** Its failure is passed over. */
  kTolerated = 1,
  /** Carried out only when the operation before it was, and failed. */
  kOtherwise = 2,
};

class Operation {
 public:
  /**
   * An argument of execve(2) may have 128 KiB, all of them 6 MiB (fs/exec.c, bprm_stack_limits).
   */
  static constexpr uint32_t kMaxBytes = 8 << 20;

  Operation() = default;
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  /**
   * Takes the next one from `socket`, in the place of what this one held. 1; 0 at the end; or
   * `-errno`, -EPROTO for what is malformed.
   */
  int Receive(int socket);

  const char* name() const { return name_; }
  bool Has(OperationFlag flag) const { return (flags_ & flag) != 0; }

  uint64_t Number();
  int Int() { return static_cast<int>(Number()); }
  /** Valid as long as the operation, as what the others return. */
  const char* Text();
  /** Of texts, with a null pointer after the last. */
  char** Texts();
  /** Of numbers. */
  const uint32_t* Numbers(size_t* count);

  /** Asked when all fields were read. */
  bool Malformed() const { return malformed_ || at_ != size_; }

 private:
  const void* Take(size_t size);
  uint32_t Word();
  /** A block that lives as long as the operation; null when there is no memory. */
  void* Keep(size_t size);

  uint8_t* bytes_ = nullptr;
  size_t size_ = 0;
  size_t at_ = 0;
  bool malformed_ = false;
  uint32_t flags_ = 0;
  const char* name_ = "";
  /** Of the lists; `execute` has three. */
  void* kept_[3] = {};
};

}  // namespace plyfs
