/** The addon's one entry: `{ sys, sessions, useNewCalls }`, typed by src/sys/index.ts. */
#include "fault-plan.h"
#include "kernel-features.h"
#include "napi-helpers.h"
#include "session.h"
#include "syscalls.h"

namespace {

napi_value UseNewCalls(napi_env env, napi_callback_info info) {
  plyfs::Args<1> args(env, info);
  const bool use = args.Bool(0);
  if (args.Failed()) return args.Failure();
  plyfs::fchmodat2_feature.Set(use);
  plyfs::xattrat_feature.Set(use);
  plyfs::utimensat_empty_feature.Set(use);
  plyfs::linkat_empty_feature.Set(use);
  return plyfs::Undefined(env);
}

constexpr plyfs::Function kFunctions[] = {{"useNewCalls", UseNewCalls}};

}  // namespace

NAPI_MODULE_INIT() {
  if (!plyfs::LoadFaultPlan()) {
    napi_throw_error(env, nullptr, "the file that PLYFS_FAULT_PLAN names cannot be mapped");
    return nullptr;
  }
  napi_value sys = nullptr;
  if (napi_create_object(env, &sys) != napi_ok) return nullptr;
  plyfs::RegisterFiles(env, sys);
  plyfs::RegisterNames(env, sys);
  plyfs::RegisterStat(env, sys);
  plyfs::RegisterListing(env, sys);
  plyfs::RegisterXattrs(env, sys);
  plyfs::RegisterXfsXattrs(env, sys);
  plyfs::RegisterHandles(env, sys);
  plyfs::RegisterMounts(env, sys);
  plyfs::RegisterQuota(env, sys);
  plyfs::RegisterFileFlags(env, sys);
  plyfs::RegisterCopy(env, sys);
  plyfs::RegisterAsync(env, sys);
  plyfs::RegisterCrc64(env, sys);
  plyfs::RegisterRelay(env, sys);
  plyfs::RegisterSandbox(env, sys);
  plyfs::RegisterRootEmulation(env, sys);
  plyfs::RegisterSignalWatch(env, sys);
  napi_set_named_property(env, exports, "sys", sys);

  napi_value sessions = nullptr;
  if (napi_create_object(env, &sessions) != napi_ok) return nullptr;
  RegisterSession(env, sessions);
  napi_set_named_property(env, exports, "sessions", sessions);
  plyfs::Register(env, exports, kFunctions);
  return exports;
}
