#include "notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "fuse-wire.h"
#include "native-thread.h"

namespace plyfs {
namespace {

constexpr size_t kThreadStack = 128 * 1024;

}  // namespace

Notifier::State::~State() {
  if (device >= 0) close(device);
}

void Notifier::InvalidateNode(uint64_t node, int64_t offset, int64_t length) {
  const FuseNotifyInvalInode body{node, offset, length};
  Send(kNotifyInvalInode, &body, sizeof body, nullptr, 0);
}

void Notifier::ExpireAttributes(uint64_t node) const {
  struct {
    FuseOutHeader header;
    FuseNotifyInvalInode body;
  } const message{{sizeof message, kNotifyInvalInode, 0}, {node, -1, 0}};
  while (write(device_, &message, sizeof message) < 0 && errno == EINTR) {}
}

void Notifier::InvalidateEntry(uint64_t parent, const char* name, uint32_t length) {
  const FuseNotifyInvalEntry body{parent, length, 0};
  // The name's NUL is part of the message.
  Send(kNotifyInvalEntry, &body, sizeof body, name, size_t{length} + 1);
}

void Notifier::Send(int32_t code, const void* body, size_t length, const char* name,
                    size_t name_length) {
  const FuseOutHeader header{static_cast<uint32_t>(sizeof(FuseOutHeader) + length + name_length),
                             code, 0};
  std::string message;
  message.reserve(header.len);
  message.append(reinterpret_cast<const char*>(&header), sizeof header);
  message.append(static_cast<const char*>(body), length);
  if (name_length > 0) message.append(name, name_length);
  Queue({message});
}

bool Notifier::InvalidateThenAnswer(uint64_t node, int64_t offset, int64_t length, uint64_t unique,
                                    const void* body, size_t body_length) {
  const struct {
    FuseOutHeader header;
    FuseNotifyInvalInode body;
  } invalidation{{sizeof invalidation, kNotifyInvalInode, 0}, {node, offset, length}};
  const FuseOutHeader header{static_cast<uint32_t>(sizeof(FuseOutHeader) + body_length), 0, unique};
  std::string answer(reinterpret_cast<const char*>(&header), sizeof header);
  answer.append(static_cast<const char*>(body), body_length);
  return Queue(
      {std::string(reinterpret_cast<const char*>(&invalidation), sizeof invalidation), answer});
}

bool Notifier::Queue(std::initializer_list<std::string> messages) {
  {
    const std::lock_guard<std::mutex> starting(start_);
    if (state_ == nullptr && !Start()) return false;
  }
  {
    const std::lock_guard<std::mutex> hold(state_->lock);
    if (state_->queue.size() >= kMaxQueue || state_->stopping) return false;
    state_->queue.insert(state_->queue.end(), messages);
  }
  state_->wake.notify_one();
  return true;
}

bool Notifier::Start() {
  auto state = std::make_shared<State>();
  // Of its own, so that a thread which never comes back does not write to a number that means
  // another file by then.
  state->device = fcntl(device_, F_DUPFD_CLOEXEC, 0);
  if (state->device < 0) return false;
  auto* shared = new std::shared_ptr<State>(state);
  if (!StartNativeThread(&thread_, kThreadStack, "plyfs-notify", ThreadEntry, shared)) {
    delete shared;
    return false;
  }
  state_ = std::move(state);
  return true;
}

void* Notifier::ThreadEntry(void* argument) {
  auto* shared = static_cast<std::shared_ptr<State>*>(argument);
  const std::shared_ptr<State> state = *shared;
  delete shared;
  std::unique_lock<std::mutex> hold(state->lock);
  for (;;) {
    while (state->queue.empty() && !state->stopping) state->wake.wait(hold);
    if (state->stopping) break;
    const std::string message = std::move(state->queue.front());
    state->queue.pop_front();
    hold.unlock();
    // ENOENT: the kernel does not hold that node or name. Nothing depends on the others either.
    while (write(state->device, message.data(), message.size()) < 0 && errno == EINTR) {}
    hold.lock();
  }
  state->ended = true;
  state->end.notify_one();
  return nullptr;
}

bool Notifier::BeginStop() {
  if (state_ == nullptr) return false;
  {
    const std::lock_guard<std::mutex> hold(state_->lock);
    state_->stopping = true;
    state_->queue.clear();
  }
  state_->wake.notify_one();
  return true;
}

bool Notifier::AwaitEnd() {
  std::unique_lock<std::mutex> hold(state_->lock);
  return state_->end.wait_for(hold, std::chrono::milliseconds(kMillisecondsPerAttempt),
                              [this] { return state_->ended; });
}

void Notifier::EndStop() {
  if (AwaitEnd()) {
    pthread_join(thread_, nullptr);
  } else {
    pthread_detach(thread_);
  }
  state_.reset();
}

}  // namespace plyfs
