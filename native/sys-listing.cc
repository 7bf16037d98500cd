/**
 * Listings: directories merged into records (directory-merge.h), and such records turned into
 * directory entries of FUSE.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "async-task.h"
#include "directory-merge.h"
#include "fault-plan.h"
#include "fuse-wire.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/** Numbers that describe a directory: descriptor, base of its inode numbers, device. */
constexpr size_t kSource = 3;
constexpr size_t kMaxDirectories = 500;
/**
 * Directories that nobody has asked to list are listed while they have no more entries together: a
 * millisecond or two.
 */
constexpr int64_t kMostUnasked = 4096;
/** Entries that a task on the pool reads before others have their turn. */
constexpr int64_t kTurn = 100'000;

/** The descriptor's own position: it is listed by one at a time. */
int Rewind(int fd) {
  if (Look("lseek", fd, [&] { return lseek(fd, 0, SEEK_SET); }) >= 0) return 0;
  // An O_PATH descriptor (a directory that we may search but not read) cannot be listed.
  return errno == EBADF ? -EACCES : -errno;
}

/**
 * `bounded`: what is mounted there is not of the layer (EXDEV). ENOSYS before Linux 5.6 then: the
 * caller looks closer.
 */
int OpenBelow(int parent, const char* name, int flags, bool bounded) {
  if (!bounded) return openat(parent, name, flags);
  open_how how{};
  how.flags = static_cast<uint32_t>(flags);
  how.resolve = RESOLVE_NO_XDEV;
  return static_cast<int>(syscall(SYS_openat2, parent, name, &how, sizeof how));
}

/**
 * A directory below `parent`, or `parent` itself as ".", for listing; -1 with errno. `bounded`:
 * EXDEV where something is mounted.
 */
int OpenForListing(int parent, const char* name, bool bounded) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  const int fd =
      Look("openat", parent, [&] { return OpenBelow(parent, name, kFlags | O_NOATIME, bounded); });
  // O_NOATIME is for the owner and CAP_FOWNER only.
  if (fd >= 0 || errno != EPERM) return fd;
  return Look("openat", parent, [&] { return OpenBelow(parent, name, kFlags, bounded); });
}

/** listDirectories of src/sys/syscalls.ts. */
napi_value ListDirectories(napi_env env, napi_callback_info info) {
  Args<6> args(env, info);
  const Doubles fds = args.Float64s(0);
  const uint32_t count = args.Uint(1);
  const bool upper = args.Bool(2);
  const int64_t limit = args.Int64(3);
  const Bytes out = args.Buffer(4);
  int64_t left = args.Int64(5);
  if (!args.Failed() && (count > fds.length / kSource || count > kMaxDirectories))
    args.TooSmall(0, "count directories, 500 at most, of three numbers each");
  if (args.Failed()) return args.Failure();
  DirectoryMerge merge(upper, count == 1);
  for (uint32_t i = 0; i < count; i++) {
    const int fd = static_cast<int>(fds.data[kSource * i]);
    const int rewound = Rewind(fd);
    if (rewound < 0) return args.Value(rewound);
    const auto base = static_cast<uint64_t>(fds.data[kSource * i + 1]);
    const int failed =
        merge.Add(fd, static_cast<uint16_t>(i), base, static_cast<uint64_t>(limit), left);
    if (failed < 0) return args.Value(failed);
  }
  const size_t size = merge.Size();
  if (size <= out.length) merge.Write(out.data);
  return args.Value(static_cast<int64_t>(size));
}

/** Directories of any size, listed on the pool by descriptors of its own. */
class ListingTask final : public AsyncTask {
 public:
  ListingTask(bool upper, uint64_t limit, size_t count) : limit_(limit), merge_(upper, count == 1) {
    sources_.reserve(count);
  }

  ~ListingTask() override {
    for (; next_ < sources_.size(); next_++) close(sources_[next_].fd);
    if (listed_ >= 0) close(listed_);
  }

  /** False, with errno, when there is no descriptor left. */
  bool AddSource(int fd, uint64_t base) {
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own >= 0) sources_.push_back({own, base});
    return own >= 0;
  }

  bool Run() override {
    for (int64_t left = kTurn; next_ < sources_.size();) {
      const Source& source = sources_[next_];
      // A position of its own: the main thread may list by the same one.
      if (listed_ < 0) listed_ = OpenForListing(source.fd, ".", false);
      if (listed_ < 0) return End(-errno);
      const int failed =
          merge_.Add(listed_, static_cast<uint16_t>(next_), source.base, limit_, left);
      if (failed == -E2BIG) return false;
      if (failed < 0) return End(failed);
      close(listed_);
      listed_ = -1;
      close(source.fd);
      next_++;
    }
    const size_t size = merge_.Size();
    records_.reset(new (std::nothrow) uint8_t[size]);
    if (!records_) return End(-ENOMEM);
    merge_.Write(records_.get());
    return End(static_cast<int64_t>(size));
  }

  napi_value Result(napi_env env) override {
    if (result_ <= 0) return result_ < 0 ? Number(env, result_) : Copied(env);
    napi_value buffer = nullptr;
    uint8_t* const bytes = records_.get();
    const auto release = [](napi_env, void* data, void*) { delete[] static_cast<uint8_t*>(data); };
    // Some builds of V8 have their memory fenced off, and take a copy only.
    if (napi_create_external_buffer(env, static_cast<size_t>(result_), bytes, release, nullptr,
                                    &buffer) != napi_ok)
      return Copied(env);
    records_.release();
    return buffer;
  }

 private:
  struct Source {
    int fd;
    uint64_t base;
  };

  bool End(int64_t result) {
    result_ = result;
    return true;
  }

  napi_value Copied(napi_env env) const {
    napi_value buffer = nullptr;
    if (napi_create_buffer_copy(env, static_cast<size_t>(result_), records_.get(), nullptr,
                                &buffer) != napi_ok)
      return Number(env, -ENOMEM);
    return buffer;
  }

  const uint64_t limit_;
  DirectoryMerge merge_;
  std::vector<Source> sources_;
  /** The first source that was not read to its end, and what it is read by. */
  size_t next_ = 0;
  int listed_ = -1;
  int64_t result_ = 0;
  std::unique_ptr<uint8_t[]> records_;
};

/** listDirectoriesAsync of src/sys/syscalls.ts. */
napi_value ListDirectoriesAsync(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const Doubles fds = args.Float64s(0);
  const uint32_t count = args.Uint(1);
  const bool upper = args.Bool(2);
  const int64_t limit = args.Int64(3);
  if (!args.Failed() && (count > fds.length / kSource || count > kMaxDirectories))
    args.TooSmall(0, "count directories, 500 at most, of three numbers each");
  if (args.Failed()) return args.Failure();
  std::unique_ptr<ListingTask> task(new (std::nothrow)
                                        ListingTask(upper, static_cast<uint64_t>(limit), count));
  for (uint32_t i = 0; task && i < count; i++) {
    if (!task->AddSource(static_cast<int>(fds.data[kSource * i]),
                         static_cast<uint64_t>(fds.data[kSource * i + 1])))
      return args.Value(-errno);
  }
  return AsyncTask::Start(env, task.release());
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
  for (ssize_t at = 0; at < size;
       at += static_cast<ssize_t>(strnlen(names + at, static_cast<size_t>(size - at))) + 1) {
    if (strncmp(names + at, "user.", 5) == 0 || strncmp(names + at, "trusted.", 8) == 0)
      return kPerhapsMarked;
  }
  return kWithoutMarks;
}

/**
 * Whether the directory lies where `device` says (major times 2^20, and minor), or where does not
 * matter (-1).
 */
bool LiesOn(int fd, double device) {
  if (device < 0) return true;
  struct statx st;
  if (Look("statx", fd, [&] { return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st); }) < 0)
    return false;
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
  if (!args.Failed() && (count > parents.length / kSource || count > kMaxDirectories))
    args.TooSmall(0, "count directories, 500 at most, of three numbers each");
  if (!args.Failed() && count > found.length) args.TooSmall(5, "count numbers");
  if (args.Failed()) return args.Failure();
  DirectoryMerge merge(upper, false);
  int64_t left = kMostUnasked;
  bool listed = out.data != nullptr;
  bool ended = false;
  uint16_t directories = 0;
  for (uint32_t i = 0; i < count; i++) {
    found.data[i] = kAbsent;
    if (ended) continue;
    const int parent = static_cast<int>(parents.data[kSource * i]);
    const int fd = OpenForListing(parent, name.c_str(), upper && i == 0);
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
      listed = merge.Add(fd, directories++, base, static_cast<uint64_t>(limit), left) >= 0;
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
  if (!args.Failed() && (start > out.length || limit > out.length - start))
    args.TooSmall(2, "limit bytes from start");
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
    // Node 0: "no attributes given" (fs/fuse/readdir.c, fuse_direntplus_link). The padding is zeros
    // as well.
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
  for (int64_t i = 0; i < count && at < records.length && Sound(records, at); i++)
    at += SizeOf(records.data + at);
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
    if (record[13] == name.length() &&
        memcmp(record + kRecordHeader, name.c_str(), name.length()) == 0)
      return args.Value(static_cast<int64_t>(at));
  }
  return args.Value(-ENOENT);
}

constexpr Function kFunctions[] = {
    {"listDirectories", ListDirectories}, {"listDirectoriesAsync", ListDirectoriesAsync},
    {"findDirectories", FindDirectories}, {"findEntry", FindEntry},
    {"packEntries", PackEntries},         {"skipEntries", SkipEntries},
};

}  // namespace

void RegisterListing(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
