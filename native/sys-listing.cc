/**
 * Listings: the names of several directories merged into one run of records, and such records turned into directory entries of FUSE.
 *
 * A name costs no JavaScript object this way. A record, at offsets in bytes, integers little-endian:
 *   0 u64 inode number | 8 u16 directory that shows the name | 10 u16 count of directories below | 12 u8 DT_* | 13 u8 length of the name
 *   14 u8 1 when a lower directory shows the name | 15 u8 unused | 16 name | then the directories below, u16 each
 * The layout is src/union/packed-listing.ts's too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "fault-plan.h"
#include "fuse-wire.h"
#include "keyed-hash.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

constexpr size_t kRecordHeader = 16;
constexpr uint32_t kNone = UINT32_MAX;
/** Numbers that describe a directory: descriptor, base of its inode numbers, device. */
constexpr size_t kSource = 3;
constexpr size_t kMaxDirectories = 500;
/** A directory that nobody has asked to list is listed while it has no more names. */
constexpr size_t kMaxUnasked = 2000;

struct Dirent64 {
  uint64_t ino;
  int64_t off;
  uint16_t length;
  uint8_t type;
  char name[];
};

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

/** One directory merged after the other, the topmost first. Rules: overlayfs.rst, "Directories" and "whiteouts and opaque directories". */
class Merge {
 public:
  /** `upper`: the first directory is the upper layer's. */
  explicit Merge(bool upper, bool alone) : upper_(upper), alone_(alone) {}

  /**
   * Takes in what `fd` has from where it stands. 0 or -errno; -EOPNOTSUPP for what only a closer look can tell: an entry without a type, a number that
   * does not fit. -E2BIG: more than `most` names came together.
   */
  int Add(int fd, uint16_t directory, uint64_t number_base, uint64_t number_limit, size_t most) {
    for (;;) {
      const long size = Look("getdents64", fd, [&] { return syscall(SYS_getdents64, fd, buffer_, sizeof buffer_); });
      if (size < 0) return -errno;
      if (size == 0) return 0;
      if (names_.size() > most) return -E2BIG;
      for (long at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const Dirent64*>(buffer_ + at);
        at += entry->length;
        const size_t length = strlen(entry->name);
        if (entry->name[0] == '.' && (length == 1 || (length == 2 && entry->name[1] == '.'))) continue;
        if (entry->type == DT_UNKNOWN || length > UINT8_MAX || entry->ino >= number_limit) return -EOPNOTSUPP;
        const int failed = Take(fd, *entry, length, directory, number_base);
        if (failed < 0) return failed;
      }
    }
  }

  size_t Size() const {
    size_t size = 0;
    for (const Name& name : names_) {
      if (!name.hidden) size += kRecordHeader + name.length + 2 * size_t{name.below};
    }
    return size;
  }

  void Write(uint8_t* out) const {
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
      for (uint32_t below = name.first_below; below != kNone; below = below_[below].next, out += 2) memcpy(out, &below_[below].directory, 2);
    }
  }

 private:
  int Take(int fd, const Dirent64& entry, size_t length, uint16_t directory, uint64_t number_base) {
    const bool lower = !upper_ || directory > 0;
    const uint32_t hash = alone_ ? 0 : static_cast<uint32_t>(KeyedHash(key_, entry.name, length));
    Name* known = alone_ ? nullptr : Find(entry.name, length, hash);
    if (known != nullptr && known->closed && (known->settled || !lower)) return 0;
    bool whiteout = false;
    if (entry.type == DT_CHR) {
      struct statx st;
      const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
      if (Look("statx", fd, [&] { return statx(fd, entry.name, flags, STATX_TYPE, &st); }) < 0) return errno == ENOENT ? 0 : -errno;
      whiteout = st.stx_rdev_major == 0 && st.stx_rdev_minor == 0;
    }
    const bool is_directory = entry.type == DT_DIR;
    if (known == nullptr) {
      // Alone, a whiteout hides nothing but itself.
      if (whiteout && alone_) return 0;
      Insert({number_base + entry.ino, hash, static_cast<uint32_t>(text_.size()), static_cast<uint8_t>(length), entry.type, directory, !is_directory,
              whiteout, lower, lower && !whiteout, kNone, kNone, 0});
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
    if (known->first_below == kNone) known->first_below = index;
    else below_[known->last_below].next = index;
    known->last_below = index;
    known->below++;
    return 0;
  }

  Name* Find(const char* text, size_t length, uint32_t hash) {
    if (table_.empty()) return nullptr;
    for (size_t at = hash & (table_.size() - 1); table_[at] != kNone; at = (at + 1) & (table_.size() - 1)) {
      Name& name = names_[table_[at]];
      if (name.hash == hash && name.length == length && memcmp(text_.data() + name.start, text, length) == 0) return &name;
    }
    return nullptr;
  }

  void Insert(const Name& name) {
    names_.push_back(name);
    if (alone_) return;
    if (names_.size() * 2 > table_.size()) {
      table_.assign(table_.empty() ? 64 : table_.size() * 2, kNone);
      for (uint32_t i = 0; i < names_.size(); i++) Place(i);
    } else {
      Place(static_cast<uint32_t>(names_.size() - 1));
    }
  }

  void Place(uint32_t index) {
    size_t at = names_[index].hash & (table_.size() - 1);
    while (table_[at] != kNone) at = (at + 1) & (table_.size() - 1);
    table_[at] = index;
  }

  const HashKey& key_ = ProcessHashKey();
  const bool upper_;
  const bool alone_;
  std::vector<Name> names_;
  std::vector<Below> below_;
  std::vector<uint32_t> table_;
  std::string text_;
  alignas(Dirent64) char buffer_[32 * 1024];
};

napi_value ListDirectories(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const Doubles fds = args.Float64s(0);
  const uint32_t count = args.Uint(1);
  const bool upper = args.Bool(2);
  const int64_t limit = args.Int64(3);
  const Bytes out = args.Buffer(4);
  if (!args.Failed() && (count > fds.length / kSource || count > kMaxDirectories)) args.TooSmall(0, "count directories, 500 at most, of three numbers each");
  if (args.Failed()) return args.Failure();
  Merge merge(upper, count == 1);
  for (uint32_t i = 0; i < count; i++) {
    const int fd = static_cast<int>(fds.data[kSource * i]);
    // An O_PATH descriptor (a directory that we may search but not read) cannot be listed.
    if (Look("lseek", fd, [&] { return lseek(fd, 0, SEEK_SET); }) < 0) return args.Value(errno == EBADF ? -EACCES : -errno);
    const auto base = static_cast<uint64_t>(fds.data[kSource * i + 1]);
    const int failed = merge.Add(fd, static_cast<uint16_t>(i), base, static_cast<uint64_t>(limit), SIZE_MAX);
    if (failed < 0) return args.Value(failed);
  }
  const size_t size = merge.Size();
  if (size <= out.length) merge.Write(out.data);
  return args.Value(static_cast<int64_t>(size));
}

/** Whether a whole record starts at `at`. */
bool Sound(const Bytes& records, size_t at) {
  if (records.length - at < kRecordHeader) return false;
  uint16_t below;
  memcpy(&below, records.data + at + 10, 2);
  return records.length - at >= kRecordHeader + records.data[at + 13] + 2 * size_t{below};
}

size_t SizeOf(const uint8_t* record) {
  uint16_t below;
  memcpy(&below, record + 10, 2);
  return kRecordHeader + record[13] + 2 * size_t{below};
}

/** What findDirectories says of one directory; a negative number is -errno. */
enum Found { kAbsent = 0, kWithoutMarks = 1, kPerhapsMarked = 2 };

/** Marks of union file systems are attributes of the classes `user` and `trusted`. */
Found Marked(int fd) {
  char names[1024];
  const ssize_t size = Look("flistxattr", fd, [&] { return flistxattr(fd, names, sizeof names); });
  if (size < 0) return errno == EOPNOTSUPP ? kWithoutMarks : kPerhapsMarked;
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(strnlen(names + at, static_cast<size_t>(size - at))) + 1) {
    if (strncmp(names + at, "user.", 5) == 0 || strncmp(names + at, "trusted.", 8) == 0) return kPerhapsMarked;
  }
  return kWithoutMarks;
}

/** Whether the directory lies where `device` says (major times 2^20, and minor), or where does not matter (-1). */
bool LiesOn(int fd, double device) {
  if (device < 0) return true;
  struct statx st;
  if (Look("statx", fd, [&] { return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st); }) < 0) return false;
  return st.stx_dev_major * 1048576.0 + st.stx_dev_minor == device;
}

/** findDirectories of src/sys/syscalls.ts. */
napi_value FindDirectories(napi_env env, napi_callback_info info) {
  Args<7> args(env, info);
  const Doubles parents = args.Float64s(0);
  const uint32_t count = args.Uint(1);
  const Path name(args, 2);
  const bool upper = args.Bool(3);
  const int64_t limit = args.Int64(4);
  const Doubles found = args.Float64s(5);
  const Bytes out = args.BufferOrNull(6);
  if (!args.Failed() && (count > parents.length / kSource || count > kMaxDirectories)) args.TooSmall(0, "count directories, 500 at most, of three numbers each");
  if (!args.Failed() && count > found.length) args.TooSmall(5, "count numbers");
  if (args.Failed()) return args.Failure();
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  Merge merge(upper, false);
  bool listed = out.data != nullptr;
  bool ended = false;
  uint16_t directories = 0;
  for (uint32_t i = 0; i < count; i++) {
    found.data[i] = kAbsent;
    if (ended) continue;
    const int parent = static_cast<int>(parents.data[kSource * i]);
    int fd = Look("openat", parent, [&] { return openat(parent, name.c_str(), kFlags | O_NOATIME); });
    // O_NOATIME is for the owner and CAP_FOWNER only.
    if (fd < 0 && errno == EPERM) fd = Look("openat", parent, [&] { return openat(parent, name.c_str(), kFlags); });
    if (fd < 0) {
      if (errno == ENOENT) continue;
      found.data[i] = -errno;
      ended = true;
      continue;
    }
    const Found marked = Marked(fd);
    found.data[i] = marked;
    if (marked == kPerhapsMarked) {
      ended = true;
      listed = false;
    } else if (listed) {
      listed = LiesOn(fd, parents.data[kSource * i + 2]);
    }
    if (listed) {
      const auto base = static_cast<uint64_t>(parents.data[kSource * i + 1]);
      listed = merge.Add(fd, directories++, base, static_cast<uint64_t>(limit), kMaxUnasked) >= 0;
    }
    close(fd);
  }
  if (!listed) return args.Value(-EOPNOTSUPP);
  const size_t size = merge.Size();
  if (size <= out.length) merge.Write(out.data);
  return args.Value(static_cast<int64_t>(size));
}

enum PackResult { kEnd = 0, kFull = 1, kDirectory = 2 };

napi_value PackEntries(napi_env env, napi_callback_info info) {
  Args<7> args(env, info);
  const Bytes records = args.Buffer(0);
  const Doubles cursor = args.Float64s(1);
  const Bytes out = args.Buffer(2);
  const uint32_t start = args.Uint(3);
  const uint32_t limit = args.Uint(4);
  const bool plus = args.Bool(5);
  const int64_t cookie_base = args.Int64(6);
  if (!args.Failed() && cursor.length < 3) args.TooSmall(1, "offset, number and bytes used");
  if (!args.Failed() && (start > out.length || limit > out.length - start)) args.TooSmall(2, "limit bytes from start");
  if (args.Failed()) return args.Failure();

  auto at = static_cast<size_t>(cursor.data[0]);
  auto number = static_cast<uint64_t>(cursor.data[1]);
  auto used = static_cast<size_t>(cursor.data[2]);
  int result = kEnd;
  const size_t before = plus ? kEntryOutSize : 0;
  while (at < records.length && Sound(records, at)) {
    const uint8_t* record = records.data + at;
    if (record[12] == DT_DIR) {
      result = kDirectory;
      break;
    }
    FuseDirent dirent{};
    dirent.namelen = record[13];
    const size_t size = (before + sizeof dirent + dirent.namelen + 7) & ~size_t{7};
    if (used + size > limit) {
      result = kFull;
      break;
    }
    memcpy(&dirent.ino, record, 8);
    dirent.off = static_cast<uint64_t>(cookie_base) + number;
    dirent.type = record[12];
    uint8_t* to = out.data + start + used;
    // Node 0: "no attributes given" (fs/fuse/readdir.c, fuse_direntplus_link). The padding is zeros as well.
    memset(to, 0, size);
    memcpy(to + before, &dirent, sizeof dirent);
    memcpy(to + before + sizeof dirent, record + kRecordHeader, dirent.namelen);
    used += size;
    at += SizeOf(record);
    number++;
  }
  cursor.data[0] = static_cast<double>(at);
  cursor.data[1] = static_cast<double>(number);
  cursor.data[2] = static_cast<double>(used);
  return args.Value(result);
}

/** Where the record with this number starts; the records' end when there are fewer. */
napi_value SkipEntries(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const Bytes records = args.Buffer(0);
  const int64_t count = args.Int64(1);
  if (args.Failed()) return args.Failure();
  size_t at = 0;
  for (int64_t i = 0; i < count && at < records.length && Sound(records, at); i++) at += SizeOf(records.data + at);
  return args.Value(static_cast<int64_t>(at));
}

/** findEntry of src/sys/syscalls.ts. */
napi_value FindEntry(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const Bytes records = args.Buffer(0);
  const Path name(args, 1);
  if (args.Failed()) return args.Failure();
  for (size_t at = 0; at < records.length && Sound(records, at); at += SizeOf(records.data + at)) {
    const uint8_t* record = records.data + at;
    if (record[13] == name.length() && memcmp(record + kRecordHeader, name.c_str(), name.length()) == 0) return args.Value(static_cast<int64_t>(at));
  }
  return args.Value(-ENOENT);
}

constexpr Function kFunctions[] = {
    {"listDirectories", ListDirectories},
    {"findDirectories", FindDirectories},
    {"findEntry", FindEntry},
    {"packEntries", PackEntries},
    {"skipEntries", SkipEntries},
};

}  // namespace

void RegisterListing(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
