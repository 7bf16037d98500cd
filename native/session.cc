/**
 * The session's loop: reading requests, telling whose they are, going back to the event loop; and
 * its end.
 */
#include "session.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "fault-plan.h"
#include "fuse-wire.h"

namespace plyfs {
namespace {

/** While requests keep coming, the event loop has its turn after so many, */
constexpr uint32_t kRequestsPerTurn = 64;
/** and after so many milliseconds (by a clock that ticks every few). */
constexpr int64_t kMillisecondsPerTurn = 4;

int64_t CoarseMilliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

Session::Session(napi_env env, int device, uint32_t max_write)
    : env_(env),
      device_(device),
      max_write_(max_write),
      slots_(
          max_write, [](void* handle) { uv_async_send(static_cast<uv_async_t*>(handle)); },
          &slot_free_),
      data_path_(device, slots_, notifier_),
      notifier_(device) {}

/** The next request for JavaScript, or a wake. */
int Session::Next() {
  if (closed_ || unmounted_) return kWakeUnmounted;
  for (;;) {
    if (ShareIsUsedUp()) return BackToEventLoop();
    const int slot = slots_.Peek();
    starved_ = slot < 0;
    if (starved_) {
      if (slots_.count() < SlotPool::kMaxSlots && AddSlot()) continue;
      return BackToEventLoop();
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
      requests_in_turn_++;
      if (awake_.Request())
        uv_timer_start(&tick_, OnTick, Awake::kTickMilliseconds, Awake::kTickMilliseconds);
      if (Accept(slot, static_cast<size_t>(length))) return slot;
      continue;
    }
    if (length < 0) {
      if (errno == EAGAIN) {
        awake_.Pause();
        return BackToEventLoop();
      }
      // ENOENT: the request was interrupted while it was being read.
      if (errno == EINTR || errno == ENOENT) {
        requests_in_turn_++;
        continue;
      }
    }
    // ENODEV after the unmount; 0 is a socket's end. After any other error nothing more can be
    // expected either.
    unmounted_ = true;
    return kWakeUnmounted;
  }
}

/**
 * Takes in the request of `length` bytes that lies in a free slot. True when it is JavaScript's,
 * and the slot with it.
 */
bool Session::Accept(int index, size_t length) {
  Slot& slot = slots_[index];
  FuseInHeader header;
  if (length < sizeof header) return false;
  memcpy(&header, slot.start(), sizeof header);
  slot.unique = header.unique;
  slot.opcode = header.opcode;
  slot.length = static_cast<uint32_t>(length);
  slot.started = Ticks();
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
    if (descriptor != nullptr &&
        (!transfer.write ||
         (descriptor->writable() && (transfer.write_flags & kWriteKillSuidgid) == 0))) {
      data_path_.Serve(index, transfer, descriptor);
      count.native++;
      return false;
    }
  }
  if (header.opcode == kGetxattr && AnswerAbsence(index, header.nodeid)) {
    slots_.GiveBack(index);
    count.native++;
    return false;
  }
  slots_.Take(index, Slot::Owner::kScript);
  count.script++;
  return true;
}

/**
 * True when the slot's GETXATTR was answered: the node's file, which a writable descriptor is of,
 * lacks the attribute.
 */
bool Session::AnswerAbsence(int index, uint64_t node) {
  constexpr size_t kName = sizeof(FuseInHeader) + sizeof(FuseGetxattrIn);
  const Slot& slot = slots_[index];
  // With its NUL; behind a shorter request there are zeros.
  if (absent_.empty() || slot.length < kName + absent_.size() ||
      memcmp(slot.start() + kName, absent_.c_str(), absent_.size() + 1) != 0)
    return false;
  const Descriptor* descriptor = descriptors_.Find(node);
  if (descriptor == nullptr || !descriptor->writable()) return false;
  const auto look = [&] { return fgetxattr(descriptor->fd(), absent_.c_str(), nullptr, 0); };
  if (Look("getxattr", descriptor->fd(), look) >= 0 || errno != ENODATA) return false;
  slots_.times.Fail(kGetxattr);
  Answer(device_, slot.unique, slots_.Reply(index), -ENODATA);
  return true;
}

/** While requests stream: whether others on the event loop have waited long enough. */
bool Session::ShareIsUsedUp() {
  if (requests_in_turn_ >= kRequestsPerTurn) return true;
  const int64_t now = CoarseMilliseconds();
  if (requests_in_turn_ == 0) turn_began_ = now;
  return now - turn_began_ >= kMillisecondsPerTurn;
}

int Session::BackToEventLoop() {
  requests_in_turn_ = 0;
  return kWakeEventLoop;
}

/**
 * Has libuv call `RunResume` when `next` has something to do. The device is left alone while no
 * slot is free: its requests wait in the kernel.
 */
void Session::Watch() {
  if (starved_) {
    StopWatching();
    if (!slots_.Await()) uv_async_send(&slot_free_);
  } else if (!watching_) {
    watching_ = uv_poll_start(&poll_, UV_READABLE, OnDevice) == 0;
  }
}

void Session::StopWatching() {
  if (watching_) uv_poll_stop(&poll_);
  watching_ = false;
}

/** The table no longer has `former`; null is none. */
void Session::Retire(Descriptor* former) {
  if (former != nullptr) data_path_.LetGo(former);
}

void Session::Close() {
  if (closed_) return;
  closed_ = true;
  awake_.Close();
  data_path_.Stop();
  notifier_.Stop([this] { AnswerWhileClosing(); });
  descriptors_.Clear([this](Descriptor* descriptor) { Retire(descriptor); });
  slots_.Close();
  // libuv takes the device out of its epoll set first.
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&slot_free_), OnHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&tick_), OnHandleClosed);
  watching_ = false;
  resume_due_ = false;
  close(device_);

  if (resume_ != nullptr) napi_delete_reference(env_, resume_);
  if (slots_array_ != nullptr) napi_delete_reference(env_, slots_array_);
  resume_ = nullptr;
  slots_array_ = nullptr;
  LetGo();
}

/**
 * A notification may wait for a request that JavaScript holds, or for one that was not read yet:
 * nobody else answers them now.
 */
void Session::AnswerWhileClosing() {
  for (int i = 0; i < slots_.count(); i++) {
    if (slots_[i].owner.load() != Slot::Owner::kScript) continue;
    if (TakesAnswer(slots_[i].opcode)) Answer(device_, slots_[i].unique, slots_.Reply(i), -EIO);
    slots_.GiveBack(i);
  }
  const int slot = slots_.Peek();
  if (slot < 0) return;
  const ssize_t length = read(device_, slots_[slot].start(), slots_.layout.request_size);
  FuseInHeader header;
  if (length < static_cast<ssize_t>(sizeof header)) return;
  memcpy(&header, slots_[slot].start(), sizeof header);
  if (TakesAnswer(header.opcode)) Answer(device_, header.unique, slots_.Reply(slot), -EIO);
}

}  // namespace plyfs
