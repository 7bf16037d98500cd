/**
 * A session on /dev/fuse; typed and described by src/sys/session.ts.
 *
 * The main thread reads requests and owns everything but the transfers under way. It shares with
 * the transfer threads (data-path.h) the slots they hold and the descriptors, with the notifier
 * (notifier.h) a queue. No lock is held across a system call, and no two locks are held at once.
 *
 * Nothing here sleeps but libuv: when no request is there, JavaScript returns to the event loop,
 * which watches the device and calls it back. Sessions of one process, timers, signals and finished
 * asynchronous work so share the thread.
 *
 * Life: `open` makes it; it lives until it was closed and JavaScript has dropped its last function.
 * While it is open it holds libuv handles, which keep the event loop alive.
 */
#pragma once

#include <node_api.h>
#include <uv.h>

#include <string>

#include "awake.h"
#include "data-path.h"
#include "descriptor-table.h"
#include "notifier.h"
#include "session-slots.h"
#include "spin.h"

namespace plyfs {

class Session {
 public:
  static constexpr int kWakeEventLoop = -1;
  static constexpr int kWakeUnmounted = -2;

  /**
   * Makes the session and its JavaScript object. Null with an exception pending; the descriptor is
   * then still the caller's.
   */
  static napi_value Open(napi_env env, int device, uint32_t max_write);

 private:
  struct Count {
    double native = 0;
    double script = 0;
  };
  /** Requests with a larger opcode are counted under this one. */
  static constexpr uint32_t kCountedOpcodes = 128;
  static constexpr int kFirstSlots = 2;

  Session(napi_env env, int device, uint32_t max_write);
  ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool Start(napi_value* object);
  bool AddFunctions(napi_value object);
  void AddHandle(uv_handle_t* handle);
  void LetGo();

  int Next();
  bool Accept(int slot, size_t length);
  bool AnswerAbsence(int slot, uint64_t node);
  bool AddSlot();
  bool ShareIsUsedUp();
  int BackToEventLoop();

  void Watch();
  void StopWatching();
  void Resume(napi_value callback);
  void RunResume();

  /**
   * The slot's number if it is JavaScript's; else -1, with an exception pending unless the session
   * is closed.
   */
  int ScriptSlot(napi_value value, const char* function);
  bool AnswerFromScript(napi_value slot, napi_value result, const char* function);

  void Retire(Descriptor* former);
  void Close();
  void AnswerWhileClosing();

  // What JavaScript calls: the session is the callback's data.
  static napi_value CallNext(napi_env env, napi_callback_info info);
  static napi_value CallResume(napi_env env, napi_callback_info info);
  static napi_value CallAnswer(napi_env env, napi_callback_info info);
  static napi_value CallRelease(napi_env env, napi_callback_info info);
  static napi_value CallServe(napi_env env, napi_callback_info info);
  static napi_value CallPublish(napi_env env, napi_callback_info info);
  static napi_value CallRetire(napi_env env, napi_callback_info info);
  static napi_value CallUsedSince(napi_env env, napi_callback_info info);
  static napi_value CallAnswerAbsence(napi_env env, napi_callback_info info);
  static napi_value CallSetMaxWrite(napi_env env, napi_callback_info info);
  static napi_value CallInvalidateNode(napi_env env, napi_callback_info info);
  static napi_value CallExpireAttributes(napi_env env, napi_callback_info info);
  static napi_value CallInvalidateEntry(napi_env env, napi_callback_info info);
  static napi_value CallBackingOpen(napi_env env, napi_callback_info info);
  static napi_value CallBackingClose(napi_env env, napi_callback_info info);
  static napi_value CallCounts(napi_env env, napi_callback_info info);
  static napi_value CallTimes(napi_env env, napi_callback_info info);
  static napi_value CallClose(napi_env env, napi_callback_info info);

  static void OnDevice(uv_poll_t* handle, int status, int events);
  static void OnSlotFree(uv_async_t* handle);
  static void OnTick(uv_timer_t* handle);
  static void OnHandleClosed(uv_handle_t* handle);
  static void OnEnvironmentCleanup(napi_async_cleanup_hook_handle handle, void* session);

  const napi_env env_;
  const int device_;
  const uint32_t max_write_;

  SlotPool slots_;
  DescriptorTable descriptors_;
  DataPath data_path_;
  Notifier notifier_;
  Spin spin_;
  Awake awake_{spin_.wanted()};

  /** The attribute whose absence `AnswerAbsence` tells; empty: none. */
  std::string absent_;

  bool unmounted_ = false;
  bool closed_ = false;
  /** Requests read in this turn of the event loop, and when it began (coarse milliseconds). */
  uint32_t requests_in_turn_ = 0;
  int64_t turn_began_ = 0;
  /** All slots are taken: nothing is read until one is free. */
  bool starved_ = false;
  Count counts_[kCountedOpcodes + 1];

  /** On the device; active when `watching_`. */
  uv_poll_t poll_{};
  bool watching_ = false;
  /** Sent when a slot is free again. */
  uv_async_t slot_free_{};
  /** Active while `awake_.asked()`. */
  uv_timer_t tick_{};
  int handles_ = 0;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  napi_ref slots_array_ = nullptr;
  /** The function that `resume` was given last, and whether it is still to be called. */
  napi_ref resume_ = nullptr;
  bool resume_due_ = false;
  /** The open session is one, each libuv handle and each of its functions another. */
  int holders_ = 1;
};

}  // namespace plyfs

/** Makes `exports` a SessionConstructor. */
void RegisterSession(napi_env env, napi_value exports);
