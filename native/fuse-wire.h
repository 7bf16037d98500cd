/**
 * What native/ itself reads and writes of the FUSE protocol (include/uapi/linux/fuse.h, 7.23 and
 * later).
 *
 * Declared here and not taken from <linux/fuse.h>, whose age differs between the distributions that
 * build this.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

namespace plyfs {

enum Opcode : uint32_t {
  kForget = 2,
  kRead = 15,
  kWrite = 16,
  kGetxattr = 22,
  kInterrupt = 36,
  kBatchForget = 42,
};

struct FuseInHeader {
  uint32_t len;
  uint32_t opcode;
  uint64_t unique;
  uint64_t nodeid;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint16_t total_extlen;
  uint16_t padding;
};
static_assert(sizeof(FuseInHeader) == 40);

struct FuseOutHeader {
  uint32_t len;
  /** 0 or -errno; in a notification (`unique` 0), its code. */
  int32_t error;
  uint64_t unique;
};
static_assert(sizeof(FuseOutHeader) == 16);

/** The attribute's name follows, with its NUL. */
struct FuseGetxattrIn {
  uint32_t size;
  uint32_t padding;
};
static_assert(sizeof(FuseGetxattrIn) == 8);

struct FuseReadIn {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t read_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(FuseReadIn) == 40);

struct FuseWriteIn {
  uint64_t fh;
  uint64_t offset;
  uint32_t size;
  uint32_t write_flags;
  uint64_t lock_owner;
  uint32_t flags;
  uint32_t padding;
};
static_assert(sizeof(FuseWriteIn) == 40);

/** In `write_flags`: the set-id bits go with this write (FUSE_HANDLE_KILLPRIV_V2). */
constexpr uint32_t kWriteKillSuidgid = 1u << 2;

struct FuseBackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
static_assert(sizeof(FuseBackingMap) == 16);

struct FuseWriteOut {
  uint32_t size;
  uint32_t padding;
};
static_assert(sizeof(FuseWriteOut) == 8);

/** FUSE_DEV_IOC_BACKING_OPEN and _CLOSE; the argument of the second is the id. */
constexpr unsigned long kBackingOpen = _IOW(229, 1, FuseBackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);

/**
 * Followed by the name, and zeros up to a multiple of 8 bytes. In an answer to READDIRPLUS a
 * fuse_entry_out comes before it.
 */
struct FuseDirent {
  uint64_t ino;
  uint64_t off;
  uint32_t namelen;
  uint32_t type;
};
static_assert(sizeof(FuseDirent) == 24);

/** Bytes of a fuse_entry_out. */
constexpr size_t kEntryOutSize = 128;

constexpr int32_t kNotifyInvalInode = 2;
constexpr int32_t kNotifyInvalEntry = 3;

struct FuseNotifyInvalInode {
  uint64_t ino;
  int64_t off;
  int64_t len;
};
static_assert(sizeof(FuseNotifyInvalInode) == 24);

/** Followed by the name and a NUL; `namelen` does not count the NUL. */
struct FuseNotifyInvalEntry {
  uint64_t parent;
  uint32_t namelen;
  uint32_t flags;
};
static_assert(sizeof(FuseNotifyInvalEntry) == 16);

/** FORGET, BATCH_FORGET and INTERRUPT have no answer. */
inline bool TakesAnswer(uint32_t opcode) {
  return opcode != kForget && opcode != kBatchForget && opcode != kInterrupt;
}

}  // namespace plyfs
