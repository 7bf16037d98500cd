/** copyData: the cheapest way two files allow, from sharing extents down to reading and writing. */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>

#include "copy-data.h"
#include "fault-plan.h"
#include "napi-helpers.h"
#include "syscalls.h"

namespace plyfs {
namespace {

/**
 * Bytes of one copy_file_range: it must end now and then, for signals and for the progress of file
 * systems that copy inside.
 */
constexpr int64_t kRangeBytes = int64_t{1} << 30;
constexpr size_t kBufferBytes = 256 * 1024;

template <typename Call>
auto Retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

bool Clone(int from, int to, off_t offset, off_t length, off_t size) {
  if (offset == 0 && length == size)
    return Change("FICLONE", to, [&] { return Retry([&] { return ioctl(to, FICLONE, from); }); }) ==
           0;
  file_clone_range range{};
  range.src_fd = from;
  range.src_offset = offset;
  range.src_length = length;
  range.dest_offset = offset;
  return Change("FICLONERANGE", to,
                [&] { return Retry([&] { return ioctl(to, FICLONERANGE, &range); }); }) == 0;
}

/** Bytes read and written; short at the end of the file only. */
int64_t ReadAndWrite(int from, int to, off_t offset, off_t end) {
  const std::unique_ptr<char[]> buffer(new (std::nothrow) char[kBufferBytes]);
  if (!buffer) return -ENOMEM;
  off_t position = offset;
  while (position < end) {
    const size_t wanted = std::min<off_t>(kBufferBytes, end - position);
    const ssize_t got = Look("pread", from, [&] {
      return Retry([&] { return pread(from, buffer.get(), wanted, position); });
    });
    if (got < 0) return -errno;
    if (got == 0) break;
    for (ssize_t done = 0; done < got;) {
      const auto write = [&] {
        return pwrite(to, buffer.get() + done, got - done, position + done);
      };
      const ssize_t put = Change("pwrite", to, [&] { return Retry(write); });
      if (put < 0) return -errno;
      if (put == 0) return -EIO;
      done += put;
    }
    position += got;
  }
  return position - offset;
}

/** Bytes copied of a range without holes; short at the end of the file only. */
int64_t CopyExtent(int from, int to, off_t offset, off_t end) {
  off_t position = offset;
  while (position < end) {
    off_t source = position;
    off_t target = position;
    const size_t wanted = std::min<off_t>(kRangeBytes, end - position);
    const auto copy = [&] { return copy_file_range(from, &source, to, &target, wanted, 0); };
    const ssize_t copied = Change("copy_file_range", to, [&] { return Retry(copy); });
    if (copied > 0) {
      position += copied;
      continue;
    }
    const bool unsupported =
        copied ==
            0 /* the end, or a file system that generates its content (copy_file_range(2), BUGS) */
        || errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS;
    if (!unsupported) return -errno;
    const int64_t rest = ReadAndWrite(from, to, position, end);
    return rest < 0 ? rest : position - offset + rest;
  }
  return position - offset;
}

/** Makes a shorter file so long, for what ends in a hole. */
int Extend(int to, off_t length) {
  struct stat status;
  if (Look("fstat", to, [&] { return fstat(to, &status); }) < 0) return -1;
  if (status.st_size >= length) return 0;
  return Change("ftruncate", to, [&] { return Retry([&] { return ftruncate(to, length); }); });
}

}  // namespace

int64_t CopyData(int from, int to, int64_t offset, int64_t length, bool reflink) {
  if (offset < 0 || length < 0) return -EINVAL;
  struct stat status;
  if (Look("fstat", from, [&] { return fstat(from, &status); }) < 0) return -errno;
  // Also keeps offset + length from overflowing.
  if (offset >= status.st_size || length == 0) return 0;
  const off_t end = length >= status.st_size - offset ? status.st_size : offset + length;
  if (reflink && Clone(from, to, offset, end - offset, status.st_size)) return end - offset;

  off_t position = offset;
  // Where what was written ends.
  off_t written = offset;
  while (position < end) {
    off_t data = Look("lseek", from, [&] { return lseek(from, position, SEEK_DATA); });
    if (data < 0) {
      // ENXIO: nothing but a hole up to the end of the file.
      if (errno == ENXIO) break;
      if (errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) return -errno;
      data = position;
    }
    if (data >= end) break;
    off_t hole = Look("lseek", from, [&] { return lseek(from, data, SEEK_HOLE); });
    if (hole <= data || hole > end) hole = end;
    const int64_t copied = CopyExtent(from, to, data, hole);
    if (copied < 0) return copied;
    // The file was cut short meanwhile.
    if (copied < hole - data) return data + copied - offset;
    position = written = hole;
  }
  return written < end && Extend(to, end) < 0 ? -errno : end - offset;
}

int64_t CopyRange(int from, int64_t from_offset, int to, int64_t to_offset, int64_t length) {
  off_t source = from_offset;
  off_t target = to_offset;
  const size_t wanted = length < 0 ? 0 : length;
  const auto copy = [&] { return copy_file_range(from, &source, to, &target, wanted, 0); };
  const ssize_t copied = Change("copy_file_range", to, [&] { return Retry(copy); });
  return copied < 0 ? -errno : copied;
}

int64_t WriteOut(int fd, bool wait) {
  constexpr unsigned kWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
  const unsigned flags = SYNC_FILE_RANGE_WRITE | (wait ? kWait : 0);
  const int result = Change("sync_file_range", fd, [&] {
    return Retry([&] { return sync_file_range(fd, 0, 0, flags); });
  });
  return result < 0 ? -errno : 0;
}

namespace {

napi_value CopyRangeCall(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int from = args.Int(0);
  const int64_t from_offset = args.Int64(1);
  const int to = args.Int(2);
  const int64_t to_offset = args.Int64(3);
  const int64_t length = args.Int64(4);
  if (args.Failed()) return args.Failure();
  return args.Value(CopyRange(from, from_offset, to, to_offset, length));
}

napi_value WriteOutCall(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int fd = args.Int(0);
  const bool wait = args.Bool(1);
  if (args.Failed()) return args.Failure();
  return args.Value(WriteOut(fd, wait));
}

napi_value CopyDataCall(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int from = args.Int(0);
  const int to = args.Int(1);
  const int64_t offset = args.Int64(2);
  const int64_t length = args.Int64(3);
  const bool reflink = args.Bool(4);
  if (args.Failed()) return args.Failure();
  return args.Value(CopyData(from, to, offset, length, reflink));
}

constexpr Function kFunctions[] = {
    {"copyData", CopyDataCall}, {"copyFileRange", CopyRangeCall}, {"writeOut", WriteOutCall}};

}  // namespace

void RegisterCopy(napi_env env, napi_value object) { Register(env, object, kFunctions); }

}  // namespace plyfs
