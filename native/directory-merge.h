/**
 * The names of several directories merged into one run of records.
 *
 * A name costs no JavaScript object this way. A record, at offsets in bytes, integers
 * little-endian:
 *   0 u64 inode number | 8 u16 directory that shows the name | 10 u16 count of directories below |
 *     12 u8 DT_* | 13 u8 length of the name
 *   14 u8 1 when a lower directory shows the name | 15 u8 unused | 16 name | then the directories
 *     below, u16 each
 * The layout is src/union/packed-listing.ts's too.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "keyed-hash.h"

namespace plyfs {

constexpr size_t kRecordHeader = 16;

/** What getdents64(2) writes. */
struct Dirent64 {
  uint64_t ino;
  int64_t off;
  uint16_t length;
  uint8_t type;
  char name[];
};

/**
 * One directory merged after the other, the topmost first. Rules: overlayfs.rst, "Directories" and
 * "whiteouts and opaque directories".
 */
class DirectoryMerge {
 public:
  /** `upper`: the first directory is the upper layer's. `alone`: there is no other. */
  DirectoryMerge(bool upper, bool alone) : upper_(upper), alone_(alone) {}

  /**
   * Takes in what `fd` has from where it stands, and counts it off `left`. 0 at the directory's
   * end; or -errno: -E2BIG when nothing was left (call again to go on); -EOPNOTSUPP for what only a
   * closer look can tell: an entry without a type, a number from `number_limit` on; -ENOMEM for
   * more names than the records' numbers can count.
   */
  int Add(int fd, uint16_t directory, uint64_t number_base, uint64_t number_limit, int64_t& left);

  /** Bytes that `Write` takes. */
  size_t Size() const;
  void Write(uint8_t* out) const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Name {
    uint64_t ino;
    uint32_t hash;
    uint32_t start;
    uint8_t length;
    uint8_t type;
    uint16_t holder;
    /** A directory has ended the search: nothing further down counts. */
    bool closed;
    bool hidden;
    /** The topmost lower directory that speaks of the name was heard, and whether it shows it. */
    bool settled;
    bool covers;
    uint32_t first_below;
    uint32_t last_below;
    uint16_t below;
  };

  struct Below {
    uint16_t directory;
    uint32_t next;
  };

  int Take(int fd, const Dirent64& entry, size_t length, uint16_t directory, uint64_t number_base);
  Name* Find(const char* text, size_t length, uint32_t hash);
  void Insert(const Name& name);
  void Place(uint32_t index);

  const HashKey& key_ = ProcessHashKey();
  const bool upper_;
  const bool alone_;
  std::vector<Name> names_;
  std::vector<Below> below_;
  std::vector<uint32_t> table_;
  std::string text_;
  alignas(Dirent64) char buffer_[32 * 1024];
};

}  // namespace plyfs
