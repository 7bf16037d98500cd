#include "data-path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "fault-plan.h"
#include "fuse-wire.h"
#include "native-thread.h"
#include "notifier.h"

namespace plyfs {
namespace {

constexpr size_t kMaxThreads = 4;
/** Bytes of the largest write that is done on the main thread. */
constexpr uint32_t kSmallWrite = 64 * 1024;
/**
 * A write on the main thread that took longer (nanoseconds) sends the ones after it to the threads,
 */
constexpr int64_t kSlowWrite = 2'000'000;
/** for so long. */
constexpr int64_t kSlowWritePause = 1'000'000'000;
/**
 * Closing the last reference to a deleted file of more 512-byte blocks frees them, which may take
 * long.
 */
constexpr blkcnt_t kManyBlocks = 2048;
constexpr size_t kThreadStack = 256 * 1024;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/**
 * Bytes read, fewer than `size` only at the end of the file; or -errno, also after a part was read:
 * FUSE takes a short answer for the end.
 */
int64_t ReadAll(int fd, uint8_t* data, uint32_t size, uint64_t offset) {
  uint32_t done = 0;
  while (done < size) {
    const auto read = [&] {
      return pread(fd, data + done, size - done, static_cast<off_t>(offset + done));
    };
    const ssize_t got = Look("pread", fd, read);
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<uint32_t>(got);
    } else if (errno != EINTR) {
      return -errno;
    }
  }
  return done;
}

/** Bytes written; -errno when none were. */
int64_t WriteAll(int fd, const uint8_t* data, uint32_t size, uint64_t offset) {
  uint32_t done = 0;
  while (done < size) {
    const auto write = [&] {
      return pwrite(fd, data + done, size - done, static_cast<off_t>(offset + done));
    };
    const ssize_t put = Change("pwrite", fd, write);
    if (put > 0) {
      done += static_cast<uint32_t>(put);
      continue;
    }
    if (put < 0 && errno == EINTR) continue;
    if (done > 0) break;
    return put < 0 ? -errno : -EIO;
  }
  return done;
}

bool LivesInMemory(int fd) {
  struct statfs info;
  return fstatfs(fd, &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
}

}  // namespace

bool DataPath::Decode(int index, Transfer* transfer) {
  const Slot& slot = slots_[index];
  FuseInHeader header;
  if (slot.length < sizeof header) return false;
  memcpy(&header, slot.start(), sizeof header);
  const uint8_t* body = slot.start() + sizeof header;
  transfer->node = header.nodeid;
  transfer->write = slot.opcode == kWrite;
  if (transfer->write) {
    FuseWriteIn in;
    if (slot.length < sizeof header + sizeof in) return false;
    memcpy(&in, body, sizeof in);
    transfer->offset = in.offset;
    transfer->size = in.size;
    transfer->write_flags = in.write_flags;
    transfer->direct = (in.flags & O_DIRECT) != 0;
    return in.size <= slot.length - sizeof header - sizeof in;
  }
  FuseReadIn in;
  if (slot.length < sizeof header + sizeof in) return false;
  memcpy(&in, body, sizeof in);
  transfer->offset = in.offset;
  transfer->size = in.size;
  transfer->write_flags = 0;
  transfer->direct = (in.flags & O_DIRECT) != 0;
  return in.size <= slots_.layout.data_size;
}

void DataPath::Serve(int slot, const Transfer& transfer, Descriptor* descriptor) {
  descriptor->used = true;
  if (!transfer.write && !transfer.direct)
    descriptor->read_cached.store(true, std::memory_order_relaxed);
  if (transfer.write ? WriteNow(slot, transfer, descriptor) : ReadNow(slot, transfer, descriptor)) {
    slots_.GiveBack(slot);
    return;
  }
  slots_.Take(slot, Slot::Owner::kTransfer);
  descriptor->Hold();
  Later(Job{slot, descriptor, transfer});
}

/** True when answered: the page cache held all of it. */
bool DataPath::ReadNow(int slot, const Transfer& transfer, Descriptor* descriptor) {
  if (descriptor->reads == Descriptor::Reads::kMayBlock) return false;
  uint8_t* data = slots_.Data(slot);
  if (descriptor->reads == Descriptor::Reads::kMemory) {
    Run(Job{slot, descriptor, transfer});
    return true;
  }
  uint32_t done = 0;
  while (done < transfer.size) {
    const off_t offset = static_cast<off_t>(transfer.offset + done);
    const iovec rest{data + done, transfer.size - done};
    const ssize_t got = Look("preadv2", descriptor->fd(), [&] {
      return preadv2(descriptor->fd(), &rest, 1, offset, RWF_NOWAIT);
    });
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP || errno == ENOSYS) {
        descriptor->reads = LivesInMemory(descriptor->fd()) ? Descriptor::Reads::kMemory
                                                            : Descriptor::Reads::kMayBlock;
        return ReadNow(slot, transfer, descriptor);
      }
      // EAGAIN: not in the page cache. Any other error is found again, and answered, by the thread.
      return false;
    }
    if (got == 0) break;
    done += static_cast<uint32_t>(got);
    // Short is the end of the file, or the end of what is cached. Cached are whole pages, or at
    // least sectors.
    if (done < transfer.size && (transfer.offset + done) % 512 != 0) break;
  }
  Answer(device_, slots_[slot].unique, data, done);
  return true;
}

/** True when answered. */
bool DataPath::WriteNow(int slot, const Transfer& transfer, Descriptor* descriptor) {
  if (transfer.size > kSmallWrite) return false;
  const int64_t start = Now();
  if (start < writes_slow_until_) return false;
  Run(Job{slot, descriptor, transfer});
  const int64_t end = Now();
  if (end - start > kSlowWrite) writes_slow_until_ = end + kSlowWritePause;
  return true;
}

/** Carries out and answers; leaves slot and descriptor to the caller. */
void DataPath::Run(const Job& job) {
  const Transfer& transfer = job.transfer;
  const uint64_t unique = slots_[job.slot].unique;
  if (!transfer.write) {
    uint8_t* data = slots_.Data(job.slot);
    const int64_t result = ReadAll(job.descriptor->fd(), data, transfer.size, transfer.offset);
    if (result < 0) slots_.times.Fail(kRead);
    Answer(device_, unique, data, result);
    return;
  }
  const uint8_t* data = slots_[job.slot].start() + sizeof(FuseInHeader) + sizeof(FuseWriteIn);
  const int64_t result = WriteAll(job.descriptor->fd(), data, transfer.size, transfer.offset);
  if (result < 0) slots_.times.Fail(kWrite);
  uint8_t* body = slots_.Reply(job.slot);
  const FuseWriteOut out{static_cast<uint32_t>(result < 0 ? 0 : result), 0};
  // A read through the page cache may have brought there what was in the file before. Linux drops
  // it after a direct write that is waited for, but not after an asynchronous one (mm/filemap.c,
  // generic_file_direct_write: left to dio_complete, which FUSE has not). Whoever hears that it is
  // written reads it.
  if (transfer.direct && result > 0 && unique != 0 && job.descriptor->read_cached.load() &&
      notifier_.InvalidateThenAnswer(transfer.node, static_cast<int64_t>(transfer.offset), result,
                                     unique, &out, sizeof out)) {
    return;
  }
  memcpy(body, &out, sizeof out);
  Answer(device_, unique, body, result < 0 ? result : static_cast<int64_t>(sizeof out));
}

void DataPath::LetGo(Descriptor* descriptor) {
  if (!descriptor->LetGo()) return;
  struct stat info;
  if (fstat(descriptor->fd(), &info) == 0 && info.st_nlink == 0 && info.st_blocks > kManyBlocks) {
    descriptor->Hold();
    Later(Job{-1, descriptor, {}});
    return;
  }
  delete descriptor;
}

void DataPath::Later(const Job& job) {
  bool waiting = false;
  bool queued = false;
  {
    const std::lock_guard<std::mutex> hold(lock_);
    waiting = idle_ > queue_.size();
    if (!stopping_) {
      queue_.push_back(job);
      queued = true;
    }
  }
  if (queued) {
    if (!waiting && threads_.size() < kMaxThreads) StartThread();
    if (!threads_.empty()) {
      wake_.notify_one();
      return;
    }
    const std::lock_guard<std::mutex> hold(lock_);
    queue_.pop_back();
  }
  // No thread can be had: late is better than never.
  if (job.slot >= 0) {
    Run(job);
    slots_.GiveBack(job.slot);
  }
  if (job.descriptor->LetGo()) delete job.descriptor;
}

bool DataPath::StartThread() {
  pthread_t thread;
  if (!StartNativeThread(&thread, kThreadStack, "plyfs-data", ThreadEntry, this)) return false;
  threads_.push_back(thread);
  return true;
}

void* DataPath::ThreadEntry(void* self) {
  static_cast<DataPath*>(self)->ThreadMain();
  return nullptr;
}

void DataPath::ThreadMain() {
  std::unique_lock<std::mutex> hold(lock_);
  for (;;) {
    while (queue_.empty() && !stopping_) {
      idle_++;
      wake_.wait(hold);
      idle_--;
    }
    if (queue_.empty()) return;
    const Job job = queue_.front();
    queue_.pop_front();
    hold.unlock();
    if (job.slot >= 0) Run(job);
    // The descriptor first: who finds the slot free again may expect a retired descriptor to be
    // closed.
    if (job.descriptor->LetGo()) delete job.descriptor;
    if (job.slot >= 0) slots_.GiveBack(job.slot);
    hold.lock();
  }
}

void DataPath::Stop() {
  {
    const std::lock_guard<std::mutex> hold(lock_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  threads_.clear();
}

}  // namespace plyfs
