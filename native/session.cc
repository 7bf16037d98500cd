/** The session's loop: reading requests, telling whose they are, sleeping; and its end. */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "fuse-wire.h"

namespace plyfs {
namespace {

/** While requests keep coming, the event loop is looked at after so many, */
constexpr uint32_t kRequestsPerLook = 32;
/** and after so many milliseconds (by a clock that ticks every few). */
constexpr int64_t kMillisecondsPerLook = 4;

int64_t CoarseMilliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

bool Readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

}  // namespace

Session::Session(napi_env env, int device, uint32_t max_write)
    : env_(env), device_(device), max_write_(max_write), slots_(max_write), data_path_(device, slots_), notifier_(device) {}

/** The next request for JavaScript, or a wake. */
int Session::Next() {
  if (closed_ || unmounted_) return kWakeUnmounted;
  for (;;) {
    if (LoopIsDue()) return kWakeEventLoop;
    const int slot = slots_.Peek();
    if (slot < 0) {
      if (slots_.count() < SlotPool::kMaxSlots && AddSlot()) continue;
      const int wake = WaitForSlot();
      if (wake != 0) return wake;
      continue;
    }
    uint8_t* memory = slots_[slot].start();
    const size_t room = slots_.layout.request_size;
    ssize_t length = read(device_, memory, room);
    if (length < 0 && errno == EAGAIN) {
      spin_.Run([&] {
        length = read(device_, memory, room);
        return length >= 0 || errno != EAGAIN;
      });
    }
    if (length > 0) {
      requests_since_look_++;
      if (Accept(slot, static_cast<size_t>(length))) return slot;
      continue;
    }
    if (length < 0) {
      if (errno == EAGAIN) {
        const int wake = WaitForRequest();
        if (wake != 0) return wake;
        continue;
      }
      // ENOENT: the request was interrupted while it was being read.
      if (errno == EINTR || errno == ENOENT) {
        requests_since_look_++;
        continue;
      }
    }
    // ENODEV after the unmount; 0 is a socket's end. After any other error nothing more can be expected either.
    unmounted_ = true;
    return kWakeUnmounted;
  }
}

/** Takes in the request of `length` bytes that lies in a free slot. True when it is JavaScript's, and the slot with it. */
bool Session::Accept(int index, size_t length) {
  Slot& slot = slots_[index];
  FuseInHeader header;
  if (length < sizeof header) return false;
  memcpy(&header, slot.start(), sizeof header);
  slot.unique = header.unique;
  slot.opcode = header.opcode;
  slot.length = static_cast<uint32_t>(length);
  if (header.len != length) {
    if (TakesAnswer(header.opcode)) Answer(device_, header.unique, slots_.Reply(index), -EIO);
    return false;
  }
  // Whoever looks for a name's NUL finds one.
  memset(slot.start() + length, 0, 8);

  Count& count = counts_[header.opcode < kCountedOpcodes ? header.opcode : kCountedOpcodes];
  if (header.opcode == kRead || header.opcode == kWrite) {
    Transfer transfer;
    if (!data_path_.Decode(index, &transfer)) {
      Answer(device_, header.unique, slots_.Reply(index), -EIO);
      count.native++;
      return false;
    }
    Descriptor* descriptor = descriptors_.Find(header.nodeid);
    if (descriptor != nullptr && (!transfer.write || (descriptor->writable() && (transfer.write_flags & kWriteKillSuidgid) == 0))) {
      data_path_.Serve(index, transfer, descriptor);
      count.native++;
      return false;
    }
  }
  slots_.Take(index, Slot::Owner::kScript);
  count.script++;
  return true;
}

/** Milliseconds that libuv would sleep now; -1 without end. */
int Session::LoopTimeout() {
  // libuv's clock stands still while JavaScript runs.
  uv_update_time(loop_);
  return uv_backend_timeout(loop_);
}

/** While requests stream: whether it is time to look at the event loop, and it has something to do. */
bool Session::LoopIsDue() {
  if (requests_since_look_ == 0) return false;
  const int64_t now = CoarseMilliseconds();
  if (requests_since_look_ < kRequestsPerLook && now - last_look_ < kMillisecondsPerLook) return false;
  requests_since_look_ = 0;
  last_look_ = now;
  return LoopTimeout() == 0 || Readable(loop_fd_);
}

/** 0 when the device may have a request. */
int Session::WaitForRequest() {
  const int timeout = LoopTimeout();
  if (timeout == 0) return kWakeEventLoop;
  pollfd entries[2] = {{device_, POLLIN, 0}, {loop_fd_, POLLIN, 0}};
  const int ready = poll(entries, 2, timeout);
  requests_since_look_ = 0;
  last_look_ = CoarseMilliseconds();
  if (ready == 0) return kWakeEventLoop;
  // After EINTR libuv's handler has made its descriptor readable, if the signal was its.
  if (ready > 0 && entries[1].revents != 0) return kWakeEventLoop;
  return 0;
}

/** All slots are taken: 0 when one may be free. The device is left alone, its requests wait in the kernel. */
int Session::WaitForSlot() {
  const int timeout = LoopTimeout();
  if (timeout == 0) return kWakeEventLoop;
  if (!slots_.Await()) return 0;
  pollfd entries[2] = {{slots_.event(), POLLIN, 0}, {loop_fd_, POLLIN, 0}};
  const int ready = poll(entries, 2, timeout);
  slots_.EndAwait();
  if (ready == 0 || (ready > 0 && entries[1].revents != 0)) return kWakeEventLoop;
  return 0;
}

/** The table no longer has `former`; null is none. */
void Session::Retire(Descriptor* former) {
  if (former != nullptr) data_path_.LetGo(former);
}

void Session::Close() {
  if (closed_) return;
  closed_ = true;
  data_path_.Stop();
  notifier_.Stop([this] { AnswerWhileClosing(); });
  descriptors_.Clear([this](Descriptor* descriptor) { Retire(descriptor); });
  slots_.Close();
  close(device_);

  if (resume_ != nullptr) napi_delete_reference(env_, resume_);
  if (slots_array_ != nullptr) napi_delete_reference(env_, slots_array_);
  resume_ = nullptr;
  slots_array_ = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&wake_), OnHandleClosed);
}

/** A notification may wait for a request that JavaScript holds, or for one that was not read yet: nobody else answers them now. */
void Session::AnswerWhileClosing() {
  for (int i = 0; i < slots_.count(); i++) {
    if (slots_[i].owner.load() != Slot::Owner::kScript) continue;
    if (TakesAnswer(slots_[i].opcode)) Answer(device_, slots_[i].unique, slots_.Reply(i), -EIO);
    slots_.GiveBack(i);
  }
  const int slot = slots_.Peek();
  pollfd entry{device_, POLLIN, 0};
  if (slot < 0 || poll(&entry, 1, 5) <= 0) return;
  const ssize_t length = read(device_, slots_[slot].start(), slots_.layout.request_size);
  FuseInHeader header;
  if (length < static_cast<ssize_t>(sizeof header)) return;
  memcpy(&header, slots_[slot].start(), sizeof header);
  if (TakesAnswer(header.opcode)) Answer(device_, header.unique, slots_.Reply(slot), -EIO);
}

}  // namespace plyfs
