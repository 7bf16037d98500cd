#include "directory-merge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault-plan.h"

namespace plyfs {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

int DirectoryMerge::Add(int fd, uint16_t directory, uint64_t number_base, uint64_t number_limit,
                        int64_t& left) {
  for (;;) {
    if (left <= 0) return -E2BIG;
    const long size = Look("getdents64", fd,
                           [&] { return syscall(SYS_getdents64, fd, buffer_, sizeof buffer_); });
    if (size < 0) return -errno;
    if (size == 0) return 0;
    for (long at = 0; at < size; left--) {
      const auto* entry = reinterpret_cast<const Dirent64*>(buffer_ + at);
      at += entry->length;
      const size_t length = strlen(entry->name);
      if (entry->name[0] == '.' && (length == 1 || (length == 2 && entry->name[1] == '.')))
        continue;
      if (entry->type == DT_UNKNOWN || length > UINT8_MAX || entry->ino >= number_limit)
        return -EOPNOTSUPP;
      if (text_.size() > UINT32_MAX - length || below_.size() == kNone) return -ENOMEM;
      const int failed = Take(fd, *entry, length, directory, number_base);
      if (failed < 0) return failed;
    }
  }
}

size_t DirectoryMerge::Size() const {
  size_t size = 0;
  for (const Name& name : names_) {
    if (!name.hidden) size += kRecordHeader + name.length + 2 * size_t{name.below};
  }
  return size;
}

void DirectoryMerge::Write(uint8_t* out) const {
  for (const Name& name : names_) {
    if (name.hidden) continue;
    memcpy(out, &name.ino, 8);
    memcpy(out + 8, &name.holder, 2);
    memcpy(out + 10, &name.below, 2);
    out[12] = name.type;
    out[13] = name.length;
    out[14] = name.covers;
    out[15] = 0;
    memcpy(out + kRecordHeader, text_.data() + name.start, name.length);
    out += kRecordHeader + name.length;
    for (uint32_t below = name.first_below; below != kNone; below = below_[below].next, out += 2)
      memcpy(out, &below_[below].directory, 2);
  }
}

int DirectoryMerge::Take(int fd, const Dirent64& entry, size_t length, uint16_t directory,
                         uint64_t number_base) {
  const bool lower = !upper_ || directory > 0;
  const uint32_t hash = alone_ ? 0 : static_cast<uint32_t>(KeyedHash(key_, entry.name, length));
  Name* known = alone_ ? nullptr : Find(entry.name, length, hash);
  if (known != nullptr && known->closed && (known->settled || !lower)) return 0;
  bool whiteout = false;
  if (entry.type == DT_CHR) {
    struct statx st;
    const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    if (Look("statx", fd, [&] { return statx(fd, entry.name, flags, STATX_TYPE, &st); }) < 0)
      return errno == ENOENT ? 0 : -errno;
    whiteout = st.stx_rdev_major == 0 && st.stx_rdev_minor == 0;
  }
  const bool is_directory = entry.type == DT_DIR;
  if (known == nullptr) {
    // Alone, a whiteout hides nothing but itself.
    if (whiteout && alone_) return 0;
    Insert({number_base + entry.ino, hash, static_cast<uint32_t>(text_.size()),
            static_cast<uint8_t>(length), entry.type, directory, !is_directory, whiteout, lower,
            lower && !whiteout, kNone, kNone, 0});
    text_.append(entry.name, length);
    return 0;
  }
  if (lower && !known->settled) {
    known->settled = true;
    known->covers = !whiteout;
  }
  if (known->closed) return 0;
  if (!is_directory) {
    known->closed = true;
    return 0;
  }
  // A directory that was copied up keeps the number of the topmost lower one.
  if (known->below == 0 && upper_ && known->holder == 0) known->ino = number_base + entry.ino;
  const auto index = static_cast<uint32_t>(below_.size());
  below_.push_back({directory, kNone});
  if (known->first_below == kNone)
    known->first_below = index;
  else
    below_[known->last_below].next = index;
  known->last_below = index;
  known->below++;
  return 0;
}

DirectoryMerge::Name* DirectoryMerge::Find(const char* text, size_t length, uint32_t hash) {
  if (table_.empty()) return nullptr;
  for (size_t at = hash & (table_.size() - 1); table_[at] != kNone;
       at = (at + 1) & (table_.size() - 1)) {
    Name& name = names_[table_[at]];
    if (name.hash == hash && name.length == length &&
        memcmp(text_.data() + name.start, text, length) == 0)
      return &name;
  }
  return nullptr;
}

void DirectoryMerge::Insert(const Name& name) {
  names_.push_back(name);
  if (alone_) return;
  if (names_.size() * 2 > table_.size()) {
    table_.assign(table_.empty() ? 64 : table_.size() * 2, kNone);
    for (uint32_t i = 0; i < names_.size(); i++) Place(i);
  } else {
    Place(static_cast<uint32_t>(names_.size() - 1));
  }
}

void DirectoryMerge::Place(uint32_t index) {
  size_t at = names_[index].hash & (table_.size() - 1);
  while (table_[at] != kNone) at = (at + 1) & (table_.size() - 1);
  table_[at] = index;
}

}  // namespace plyfs
