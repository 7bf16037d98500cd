/**
 * The session's JavaScript object: its functions, its memory as ArrayBuffers, its turn on the event
 * loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <utility>

#include "answer.h"
#include "fd-passing.h"
#include "fuse-wire.h"
#include "napi-helpers.h"
#include "session.h"

namespace plyfs {
namespace {

constexpr uint32_t kLargestMaxWrite = 64u << 20;
constexpr uint32_t kSmallestMaxWrite = 4096;

napi_value ThrowRange(napi_env env, const char* function, const char* what) {
  char message[200];
  snprintf(message, sizeof message, "%s: %s.", function, what);
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return nullptr;
}

napi_value ThrowSlot(napi_env env, const char* function, const char* what) {
  char message[200];
  snprintf(message, sizeof message, "%s: %s.", function, what);
  napi_throw_error(env, "ERR_SLOT", message);
  return nullptr;
}

void FinalizeSlot(napi_env, void*, void* memory) { static_cast<SlotMemory*>(memory)->LetGo(); }

/** `this` is not needed: a call's session is its function's data. */
template <size_t Count>
class Call {
 public:
  Call(napi_env env, napi_callback_info info) {
    size_t count = Count;
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, values_, nullptr, &data);
    session_ = static_cast<Session*>(data);
  }
  Session* operator->() const { return session_; }
  napi_value operator[](size_t index) const { return values_[index]; }

 private:
  napi_value values_[Count];
  Session* session_;
};

/** Whole numbers below 2^53 from 0. */
bool ReadNode(napi_env env, napi_value value, const char* function, uint64_t* node) {
  int64_t number = -1;
  if (napi_get_value_int64(env, value, &number) != napi_ok || number < 0) {
    ThrowRange(env, function, "argument 1 must be a node id, a whole number from 0");
    return false;
  }
  *node = static_cast<uint64_t>(number);
  return true;
}

/** The name of a file or an attribute: 1 to 255 bytes, no NUL. */
bool ReadName(napi_env env, napi_value value, char (&name)[NAME_MAX + 2], size_t* length) {
  if (napi_get_value_string_latin1(env, value, name, sizeof name, length) != napi_ok) return false;
  return *length > 0 && *length <= NAME_MAX && memchr(name, 0, *length) == nullptr;
}

}  // namespace

napi_value Session::Open(napi_env env, int device, uint32_t max_write) {
  if (max_write < kSmallestMaxWrite || max_write > kLargestMaxWrite) {
    return ThrowRange(env, "open", "maxWrite must be 4096 to 67108864 bytes");
  }
  const int flags = fcntl(device, F_GETFL);
  if (flags < 0 || fcntl(device, F_SETFL, flags | O_NONBLOCK) < 0 ||
      fcntl(device, F_SETFD, FD_CLOEXEC) < 0) {
    char message[120];
    snprintf(message, sizeof message, "open: descriptor %d cannot be used: %s.", device,
             strerror(errno));
    napi_throw_error(env, "ERR_DESCRIPTOR", message);
    return nullptr;
  }
  auto* session = new Session(env, device, max_write);
  napi_value object = nullptr;
  if (session->Start(&object)) return object;
  session->LetGo();
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) {
    napi_throw_error(
        env, "ERR_SESSION",
        "open: no memory or no descriptor left for a session; raise the process's limits.");
  }
  return nullptr;
}

bool Session::Start(napi_value* object) {
  uv_loop_t* loop = nullptr;
  napi_value array = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok || napi_create_array(env_, &array) != napi_ok)
    return false;
  if (napi_create_reference(env_, array, 1, &slots_array_) != napi_ok) return false;
  bool made = true;
  for (int i = 0; i < kFirstSlots && made; i++) made = AddSlot();
  made = made && napi_create_object(env_, object) == napi_ok && AddFunctions(*object);
  made = made && napi_set_named_property(env_, *object, "fd", Number(env_, device_)) == napi_ok &&
         napi_set_named_property(env_, *object, "slots", array) == napi_ok &&
         napi_set_named_property(env_, *object, "replyOffset",
                                 Number(env_, static_cast<int64_t>(slots_.layout.reply_offset))) ==
             napi_ok &&
         napi_set_named_property(env_, *object, "replySize",
                                 Number(env_, static_cast<int64_t>(slots_.layout.reply_size))) ==
             napi_ok;
  made = made && uv_poll_init(loop, &poll_, device_) == 0;
  if (made) {
    AddHandle(reinterpret_cast<uv_handle_t*>(&poll_));
    made = uv_async_init(loop, &slot_free_, OnSlotFree) == 0;
    if (made)
      AddHandle(reinterpret_cast<uv_handle_t*>(&slot_free_));
    else
      uv_close(reinterpret_cast<uv_handle_t*>(&poll_), OnHandleClosed);
  }
  if (made) {
    uv_timer_init(loop, &tick_);
    AddHandle(reinterpret_cast<uv_handle_t*>(&tick_));
  }
  if (!made) {
    napi_delete_reference(env_, slots_array_);
    slots_array_ = nullptr;
    return false;
  }
  napi_add_async_cleanup_hook(env_, OnEnvironmentCleanup, this, &cleanup_);
  return true;
}

void Session::AddHandle(uv_handle_t* handle) {
  handle->data = this;
  handles_++;
  holders_++;
}

bool Session::AddFunctions(napi_value object) {
  static const Function kFunctions[] = {
      {"next", CallNext},
      {"resume", CallResume},
      {"answer", CallAnswer},
      {"release", CallRelease},
      {"serve", CallServe},
      {"publish", CallPublish},
      {"retire", CallRetire},
      {"usedSince", CallUsedSince},
      {"answerAbsence", CallAnswerAbsence},
      {"setMaxWrite", CallSetMaxWrite},
      {"invalidateNode", CallInvalidateNode},
      {"expireAttributes", CallExpireAttributes},
      {"invalidateEntry", CallInvalidateEntry},
      {"backingOpen", CallBackingOpen},
      {"backingClose", CallBackingClose},
      {"counts", CallCounts},
      {"times", CallTimes},
      {"close", CallClose},
  };
  const auto finalize = [](napi_env, void* session, void*) {
    static_cast<Session*>(session)->LetGo();
  };
  for (const Function& function : kFunctions) {
    napi_value value = nullptr;
    if (napi_create_function(env_, function.name, NAPI_AUTO_LENGTH, function.callback, this,
                             &value) != napi_ok ||
        napi_add_finalizer(env_, value, this, finalize, nullptr, nullptr) != napi_ok) {
      return false;
    }
    holders_++;
    if (napi_set_named_property(env_, object, function.name, value) != napi_ok) return false;
  }
  return true;
}

void Session::LetGo() {
  if (--holders_ == 0) delete this;
}

/** One more slot, in JavaScript's array too. False when there is no memory. */
bool Session::AddSlot() {
  napi_value array = nullptr;
  napi_value buffer = nullptr;
  if (napi_get_reference_value(env_, slots_array_, &array) != napi_ok) return false;
  SlotMemory* memory = SlotMemory::Map(slots_.layout.total);
  if (memory == nullptr) return false;
  if (napi_create_external_arraybuffer(env_, memory->start(), slots_.layout.total, FinalizeSlot,
                                       memory, &buffer) != napi_ok) {
    memory->LetGo();
    memory->LetGo();
    return false;
  }
  if (napi_set_element(env_, array, static_cast<uint32_t>(slots_.count()), buffer) != napi_ok) {
    memory->LetGo();
    return false;
  }
  slots_.Add(memory);
  return true;
}

/**
 * Calls what `resume` was given, once. The session may be closed, but not freed, before this
 * returns.
 */
void Session::RunResume() {
  if (!resume_due_) return;
  resume_due_ = false;
  requests_in_turn_ = 0;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value callback = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env_, resume_, &callback);
  napi_get_global(env_, &receiver);
  if (napi_make_callback(env_, nullptr, receiver, callback, 0, nullptr, nullptr) ==
      napi_pending_exception) {
    napi_value error = nullptr;
    if (napi_get_and_clear_last_exception(env_, &error) == napi_ok)
      napi_fatal_exception(env_, error);
  }
  napi_close_handle_scope(env_, scope);
}

void Session::OnDevice(uv_poll_t* handle, int status, int) {
  auto* session = static_cast<Session*>(handle->data);
  // An unmounted device is in error, and libuv no longer watches it; `next` finds out what that
  // means.
  if (status < 0) session->watching_ = false;
  session->RunResume();
  if (!session->resume_due_ && !session->closed_) session->StopWatching();
}

void Session::OnSlotFree(uv_async_t* handle) {
  auto* session = static_cast<Session*>(handle->data);
  session->slots_.EndAwait();
  session->RunResume();
}

void Session::OnTick(uv_timer_t* handle) {
  auto* session = static_cast<Session*>(handle->data);
  session->awake_.Tick();
  if (!session->awake_.asked()) uv_timer_stop(handle);
}

void Session::OnHandleClosed(uv_handle_t* handle) {
  auto* session = static_cast<Session*>(handle->data);
  if (--session->handles_ == 0 && session->cleanup_ != nullptr)
    napi_remove_async_cleanup_hook(session->cleanup_);
  session->LetGo();
}

void Session::OnEnvironmentCleanup(napi_async_cleanup_hook_handle, void* session) {
  static_cast<Session*>(session)->Close();
}

int Session::ScriptSlot(napi_value value, const char* function) {
  if (closed_) return -1;
  int32_t slot = -1;
  if (napi_get_value_int32(env_, value, &slot) != napi_ok || slot < 0 || slot >= slots_.count() ||
      slots_[slot].owner.load(std::memory_order_relaxed) != Slot::Owner::kScript) {
    ThrowSlot(env_, function,
              "the slot holds no request that waits for an answer; a request is answered or "
              "released once");
    return -1;
  }
  return slot;
}

/** False with an exception pending. */
bool Session::AnswerFromScript(napi_value slot_value, napi_value result_value,
                               const char* function) {
  const int slot = ScriptSlot(slot_value, function);
  if (slot < 0) return closed_;
  int32_t result = 0;
  if (napi_get_value_int32(env_, result_value, &result) != napi_ok ||
      (result >= 0 && static_cast<size_t>(result) > slots_.layout.reply_size)) {
    ThrowRange(env_, function, "the result must be -errno or a number of bytes up to replySize");
    return false;
  }
  if (result < 0) slots_.times.Fail(slots_[slot].opcode);
  Answer(device_, slots_[slot].unique, slots_.Reply(slot), result);
  slots_.GiveBack(slot);
  return true;
}

napi_value Session::CallNext(napi_env env, napi_callback_info info) {
  const Call<2> call(env, info);
  int32_t slot = -1;
  const bool number = napi_get_value_int32(env, call[0], &slot) == napi_ok;
  if ((!number || slot != -1) && !call->AnswerFromScript(call[0], call[1], "next")) return nullptr;
  napi_value result = nullptr;
  napi_create_int32(env, call->Next(), &result);
  return result;
}

napi_value Session::CallResume(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, call[0], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "resume: argument 1 must be a function.");
    return nullptr;
  }
  if (call->closed_) return nullptr;
  call->Resume(call[0]);
  return nullptr;
}

void Session::Resume(napi_value callback) {
  napi_value former = nullptr;
  bool same = false;
  // A loop gives the same function each time.
  if (resume_ != nullptr && napi_get_reference_value(env_, resume_, &former) == napi_ok)
    napi_strict_equals(env_, former, callback, &same);
  if (!same) {
    if (resume_ != nullptr) napi_delete_reference(env_, resume_);
    resume_ = nullptr;
    if (napi_create_reference(env_, callback, 1, &resume_) != napi_ok) return;
  }
  resume_due_ = true;
  Watch();
}

napi_value Session::CallAnswer(napi_env env, napi_callback_info info) {
  const Call<2> call(env, info);
  call->AnswerFromScript(call[0], call[1], "answer");
  return nullptr;
}

napi_value Session::CallRelease(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  const int slot = call->ScriptSlot(call[0], "release");
  if (slot >= 0) call->slots_.GiveBack(slot);
  return nullptr;
}

napi_value Session::CallServe(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  const int slot = call->ScriptSlot(call[0], "serve");
  if (slot < 0) return nullptr;
  const uint32_t opcode = call->slots_[slot].opcode;
  Transfer transfer;
  if ((opcode != kRead && opcode != kWrite) || !call->data_path_.Decode(slot, &transfer)) {
    return ThrowSlot(env, "serve", "the slot holds neither a READ nor a WRITE");
  }
  Descriptor* descriptor = call->descriptors_.Find(transfer.node);
  if (descriptor == nullptr || (transfer.write && !descriptor->writable())) {
    return ThrowSlot(env, "serve", "the node has no descriptor for this; publish one before");
  }
  call->data_path_.Serve(slot, transfer, descriptor);
  return nullptr;
}

napi_value Session::CallPublish(napi_env env, napi_callback_info info) {
  const Call<3> call(env, info);
  uint64_t node = 0;
  int32_t fd = -1;
  bool writable = false;
  if (!ReadNode(env, call[0], "publish", &node)) return nullptr;
  if (napi_get_value_int32(env, call[1], &fd) != napi_ok || fd < 0)
    return ThrowRange(env, "publish", "argument 2 must be a descriptor");
  if (napi_get_value_bool(env, call[2], &writable) != napi_ok)
    return ThrowRange(env, "publish", "argument 3 must be a boolean");
  auto* descriptor = new Descriptor(fd, writable);
  call->Retire(call->closed_ ? descriptor : call->descriptors_.Exchange(node, descriptor));
  return nullptr;
}

napi_value Session::CallRetire(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  uint64_t node = 0;
  if (ReadNode(env, call[0], "retire", &node))
    call->Retire(call->descriptors_.Exchange(node, nullptr));
  return nullptr;
}

napi_value Session::CallUsedSince(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  uint64_t node = 0;
  if (!ReadNode(env, call[0], "usedSince", &node)) return nullptr;
  Descriptor* descriptor = call->descriptors_.Find(node);
  napi_value result = nullptr;
  napi_get_boolean(env, descriptor != nullptr && descriptor->used, &result);
  if (descriptor != nullptr) descriptor->used = false;
  return result;
}

napi_value Session::CallAnswerAbsence(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  char name[NAME_MAX + 2];
  size_t length = 0;
  if (!ReadName(env, call[0], name, &length))
    return ThrowRange(env, "answerAbsence", "argument 1 must be a name of 1 to 255 bytes");
  call->absent_.assign(name, length);
  return nullptr;
}

napi_value Session::CallSetMaxWrite(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  int64_t bytes = 0;
  // What a slot can take was settled by `open`; a WRITE is checked against its own length.
  if (napi_get_value_int64(env, call[0], &bytes) != napi_ok || bytes < 0 ||
      bytes > call->max_write_) {
    return ThrowRange(
        env, "setMaxWrite",
        "the largest WRITE must be at most the maxWrite that the session was opened with");
  }
  return nullptr;
}

napi_value Session::CallInvalidateNode(napi_env env, napi_callback_info info) {
  const Call<3> call(env, info);
  uint64_t node = 0;
  int64_t offset = 0;
  int64_t length = 0;
  if (!ReadNode(env, call[0], "invalidateNode", &node)) return nullptr;
  if (napi_get_value_int64(env, call[1], &offset) != napi_ok ||
      napi_get_value_int64(env, call[2], &length) != napi_ok) {
    return ThrowRange(env, "invalidateNode", "offset and length must be numbers of bytes");
  }
  if (!call->closed_ && !call->unmounted_) call->notifier_.InvalidateNode(node, offset, length);
  return nullptr;
}

napi_value Session::CallExpireAttributes(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  uint64_t node = 0;
  if (!ReadNode(env, call[0], "expireAttributes", &node)) return nullptr;
  if (!call->closed_ && !call->unmounted_) call->notifier_.ExpireAttributes(node);
  return nullptr;
}

napi_value Session::CallInvalidateEntry(napi_env env, napi_callback_info info) {
  const Call<2> call(env, info);
  uint64_t parent = 0;
  if (!ReadNode(env, call[0], "invalidateEntry", &parent)) return nullptr;
  char name[NAME_MAX + 2];
  size_t length = 0;
  if (!ReadName(env, call[1], name, &length))
    return ThrowRange(env, "invalidateEntry", "argument 2 must be a name of 1 to 255 bytes");
  if (!call->closed_ && !call->unmounted_)
    call->notifier_.InvalidateEntry(parent, name, static_cast<uint32_t>(length));
  return nullptr;
}

napi_value Session::CallBackingOpen(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  int32_t fd = -1;
  if (napi_get_value_int32(env, call[0], &fd) != napi_ok || fd < 0)
    return ThrowRange(env, "backingOpen", "argument 1 must be a descriptor");
  const FuseBackingMap map{fd, 0, 0};
  const int id = call->closed_ ? -EBADF : ioctl(call->device_, kBackingOpen, &map);
  return Number(env, id < 0 && !call->closed_ ? -errno : id);
}

napi_value Session::CallBackingClose(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  uint32_t id = 0;
  if (napi_get_value_uint32(env, call[0], &id) != napi_ok || id == 0)
    return ThrowRange(env, "backingClose", "argument 1 must be a backing id");
  if (!call->closed_) ioctl(call->device_, kBackingClose, &id);
  return nullptr;
}

napi_value Session::CallCounts(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  napi_value global = nullptr;
  napi_value constructor = nullptr;
  napi_value map = nullptr;
  napi_value set = nullptr;
  if (napi_get_global(env, &global) != napi_ok ||
      napi_get_named_property(env, global, "Map", &constructor) != napi_ok ||
      napi_new_instance(env, constructor, 0, nullptr, &map) != napi_ok ||
      napi_get_named_property(env, map, "set", &set) != napi_ok) {
    return nullptr;
  }
  for (uint32_t opcode = 0; opcode <= kCountedOpcodes; opcode++) {
    const Count& count = call->counts_[opcode];
    if (count.native == 0 && count.script == 0) continue;
    napi_value entry[2] = {Number(env, opcode), nullptr};
    napi_create_array_with_length(env, 2, &entry[1]);
    napi_set_element(env, entry[1], 0, Number(env, static_cast<int64_t>(count.native)));
    napi_set_element(env, entry[1], 1, Number(env, static_cast<int64_t>(count.script)));
    if (napi_call_function(env, map, set, 2, entry, nullptr) != napi_ok) return nullptr;
  }
  return map;
}

napi_value Session::CallTimes(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  napi_value list = nullptr;
  if (napi_create_array(env, &list) != napi_ok) return nullptr;
  uint32_t length = 0;
  for (uint32_t opcode = 0; opcode < RequestTimes::kOpcodes; opcode++) {
    const RequestTimes::Summary times = call->slots_.times.Summarize(opcode);
    if (times.requests == 0) continue;
    const std::pair<const char*, double> fields[] = {
        {"opcode", opcode},     {"requests", times.requests}, {"failed", times.failed},
        {"total", times.total}, {"p50", times.p50},           {"p99", times.p99},
        {"max", times.max}};
    napi_value entry = nullptr;
    if (napi_create_object(env, &entry) != napi_ok) return nullptr;
    for (const auto& [name, value] : fields) {
      napi_value number = nullptr;
      napi_create_double(env, value, &number);
      napi_set_named_property(env, entry, name, number);
    }
    if (napi_set_element(env, list, length++, entry) != napi_ok) return nullptr;
  }
  return list;
}

napi_value Session::CallClose(napi_env env, napi_callback_info info) {
  const Call<1> call(env, info);
  call->Close();
  return nullptr;
}

namespace {

napi_value OpenSession(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const int device = args.Int(0);
  const int64_t max_write = args.Int64(1);
  if (args.Failed()) return args.Failure();
  return Session::Open(
      env, device, max_write < 0 || max_write > UINT32_MAX ? 0 : static_cast<uint32_t>(max_write));
}

}  // namespace
}  // namespace plyfs

void RegisterSession(napi_env env, napi_value exports) {
  static const plyfs::Function kFunctions[] = {{"open", plyfs::OpenSession}};
  plyfs::Register(env, exports, kFunctions);
  plyfs::RegisterFdPassing(env, exports);
}
