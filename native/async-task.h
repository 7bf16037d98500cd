/** Work on libuv's thread pool whose end settles a promise. */
#pragma once

#include <errno.h>
#include <node_api.h>

#include <new>

#include "napi-helpers.h"

namespace plyfs {

class AsyncTask {
 public:
  virtual ~AsyncTask() = default;

  /**
   * On the pool: it must not touch JavaScript. False: not finished; it is queued again, behind what
   * others have queued meanwhile.
   */
  virtual bool Run() = 0;
  /** On the main thread, once `Run` was true. What the promise resolves to. */
  virtual napi_value Result(napi_env env) = 0;

  /**
   * Queues the task, which belongs to the pool from here on, and returns its promise. `task` null:
   * there was no memory for it.
   */
  static napi_value Start(napi_env env, AsyncTask* task) {
    napi_value promise = nullptr;
    if (task == nullptr || napi_create_promise(env, &task->deferred_, &promise) != napi_ok) {
      delete task;
      napi_throw_error(env, nullptr, "A native call could not be started: out of memory.");
      return nullptr;
    }
    task->Queue(env);
    return promise;
  }

 private:
  void Queue(napi_env env) {
    napi_value name = nullptr;
    napi_create_string_latin1(env, "plyfs", NAPI_AUTO_LENGTH, &name);
    if (napi_create_async_work(env, nullptr, name, Execute, Complete, this, &work_) == napi_ok &&
        napi_queue_async_work(env, work_) == napi_ok)
      return;
    Settle(env, Number(env, -EAGAIN));
  }

  void Settle(napi_env env, napi_value result) {
    napi_resolve_deferred(env, deferred_, result);
    if (work_ != nullptr) napi_delete_async_work(env, work_);
    delete this;
  }

  static void Execute(napi_env, void* data) {
    AsyncTask* const task = static_cast<AsyncTask*>(data);
    task->finished_ = task->Run();
  }

  static void Complete(napi_env env, napi_status status, void* data) {
    AsyncTask* const task = static_cast<AsyncTask*>(data);
    // Cancelled: the environment is going down and the work was not done.
    if (status != napi_ok) return task->Settle(env, Number(env, -ECANCELED));
    if (task->finished_) return task->Settle(env, task->Result(env));
    napi_delete_async_work(env, task->work_);
    task->work_ = nullptr;
    task->Queue(env);
  }

  bool finished_ = false;
  napi_deferred deferred_ = nullptr;
  napi_async_work work_ = nullptr;
};

}  // namespace plyfs
